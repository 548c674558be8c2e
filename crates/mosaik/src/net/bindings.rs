//! Binding several sockets: which one is used for what.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use iroh::endpoint::{BindOpts, Builder, InvalidSocketAddr};
use netwatch::interfaces::{self, IpNet};

/// A network of this machine.
#[derive(Debug)]
struct Subnet {
    addr: IpAddr,
    prefix_len: u8,
    /// True if the default route leads through it.
    is_default: bool,
}

/// Binds each address in place of what the builder binds by itself.
///
/// Each socket serves its own subnet. One socket of each family serves everything else: the
/// unspecified address, or else the one through whose network the machine reaches the world.
pub(super) async fn bind_each(
    builder: Builder,
    addresses: BTreeSet<SocketAddr>,
) -> Result<Builder, InvalidSocketAddr> {
    let mut builder = builder.clear_ip_transports();
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
    let subnets = match v4.len().max(v6.len()) {
        0 | 1 => Vec::new(),
        _ => subnets().await,
    };
    for family in [v4, v6] {
        for (addr, opts) in plan(family, &subnets) {
            builder = builder.bind_addr_with_opts(addr, opts)?;
        }
    }
    Ok(builder)
}

/// Bind options per address of one family; the default route comes last, as the endpoint takes no
/// further address after it.
fn plan(mut family: Vec<SocketAddr>, subnets: &[Subnet]) -> Vec<(SocketAddr, BindOpts)> {
    let home = |addr: &SocketAddr| {
        let homes = subnets.iter().filter(|subnet| subnet.contains(addr.ip()));
        homes.max_by_key(|subnet| subnet.prefix_len)
    };
    let fitness = |addr: &SocketAddr| {
        let leads_out = home(addr).is_some_and(|subnet| subnet.is_default);
        let ip = addr.ip();
        (ip.is_unspecified(), leads_out, !ip.is_loopback())
    };
    // Stable: of those alike, the first becomes the default.
    family.sort_by_key(|addr| Reverse(fitness(addr)));
    family.reverse();
    let rest = family.len().saturating_sub(1);
    let opts = |n: usize, addr: &SocketAddr| {
        // Of an unknown network: for this very address.
        let alone = if addr.is_ipv4() { 32 } else { 128 };
        let own = home(addr).map_or(alone, |subnet| subnet.prefix_len.max(1));
        if n < rest {
            BindOpts::default()
                .set_prefix_len(own)
                .set_is_default_route(false)
        } else {
            BindOpts::default()
        }
    };
    let planned = family.iter().enumerate();
    planned.map(|(n, addr)| (*addr, opts(n, addr))).collect()
}

async fn subnets() -> Vec<Subnet> {
    let state = interfaces::State::new().await;
    let default = state.default_route_interface.as_deref();
    let interfaces = state.interfaces.values();
    let subnets = interfaces.flat_map(|interface| {
        interface.addrs().map(move |net| Subnet {
            addr: net.addr(),
            prefix_len: match net {
                IpNet::V4(net) => net.prefix_len(),
                IpNet::V6 { net, .. } => net.prefix_len(),
            },
            is_default: default == Some(interface.name()),
        })
    });
    subnets.collect()
}

impl Subnet {
    fn contains(&self, ip: IpAddr) -> bool {
        let shared = match (self.addr, ip) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                (one.to_bits() ^ other.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        shared >= u32::from(self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(addr: &str, prefix_len: u8, is_default: bool) -> Subnet {
        Subnet {
            addr: addr.parse().unwrap(),
            prefix_len,
            is_default,
        }
    }

    /// The addresses in the order in which they are bound, with their prefix.
    fn planned(addrs: &[&str]) -> Vec<(String, u8, bool)> {
        let subnets = [
            subnet("127.0.0.1", 8, false),
            subnet("10.1.0.5", 16, false),
            subnet("10.1.2.5", 24, false),
            subnet("192.0.2.7", 24, true),
        ];
        let addrs: BTreeSet<_> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        let plan = plan(addrs.into_iter().collect(), &subnets).into_iter();
        plan.map(|(addr, opts)| {
            let text = addr.to_string();
            (text, opts.prefix_len(), opts.is_default_route())
        })
        .collect()
    }

    #[test]
    fn the_way_out_is_the_default_route_and_comes_last() {
        let plan = planned(&["10.1.2.5:1", "127.0.0.1:1", "192.0.2.7:1"]);
        let expected = [
            ("127.0.0.1:1", 8, false),
            ("10.1.2.5:1", 24, false),
            ("192.0.2.7:1", 0, true),
        ];
        assert_eq!(plan, expected.map(|(a, p, d)| (a.to_owned(), p, d)));
        let plan = planned(&["0.0.0.0:1", "192.0.2.7:2"]);
        assert_eq!(plan[1], ("0.0.0.0:1".to_owned(), 0, true));
        assert_eq!(plan[0].1, 24);
    }

    #[test]
    fn of_equals_the_first_is_the_default_route() {
        let plan = planned(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"]);
        assert_eq!(plan[2], ("127.0.0.1:0".to_owned(), 0, true));
        assert_eq!(planned(&["0.0.0.0:1", "0.0.0.0:2"])[0].1, 32);
        assert_eq!(
            planned(&["127.0.0.2:7"]),
            [("127.0.0.2:7".to_owned(), 0, true)]
        );
    }
}
