//! Reach of an address: the distance from which it can be dialed.

use std::net::IpAddr;

/// Reach of an address, the farthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    World,
    Site,
    Segment,
    Machine,
}

impl Reach {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            ip if ip.is_loopback() || ip.is_unspecified() => Self::Machine,
            IpAddr::V4(ip) if ip.is_link_local() => Self::Segment,
            IpAddr::V4(ip) if ip.is_private() || is_carrier_grade_nat(ip.octets()) => Self::Site,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::Segment,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Site,
            _ => Self::World,
        }
    }
}

/// 100.64.0.0/10 (RFC 6598).
const fn is_carrier_grade_nat(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xc0 == 64
}
