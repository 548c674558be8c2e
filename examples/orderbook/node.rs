//! Common part of every role: a node of the network, and reports about its neighbours.

use std::{net::SocketAddr, str::FromStr};

use anyhow::Context;
use mosaik::{
    Network, PeerId,
    discovery::{self, Event},
    iroh::{EndpointAddr, RelayMode, TransportAddr},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinHandle,
};

use crate::{
    report::{Format, Report, Reporter, role_of},
    stop,
};

/// Options of every node: the network, the address of one other node, and nothing else.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NodeOptions {
    /// The network's name, the same for all nodes.
    #[arg(long)]
    network: String,
    /// One node that is there already, as it prints it: `<peer id>@<ip>:<port>`.
    #[arg(long)]
    bootstrap: Option<Bootstrap>,
    /// Address to listen on; on several machines, one that the others can reach.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Format of the reports.
    #[arg(long, value_enum, default_value = "text")]
    reports: Format,
    /// Leave also when standard input ends: for a program that starts this one and holds its input
    /// open.
    #[arg(long)]
    until_input_ends: bool,
}

impl NodeOptions {
    pub(crate) fn reporter(&self) -> Reporter {
        Reporter(self.reports)
    }

    /// Starts the node, and tells whom it finds and loses.
    pub(crate) async fn start(&self, role: &str) -> anyhow::Result<Network> {
        let mut discovery = discovery::Config::builder()
            .with_tags(role)
            .no_dht_bootstrap();
        if let Some(bootstrap) = &self.bootstrap {
            discovery = discovery.with_bootstrap(bootstrap.0.clone());
        }
        let network = Network::builder(self.network.as_str())
            .with_relay_mode(RelayMode::Disabled)
            .with_addresses([self.listen])
            .with_discovery(discovery)
            .build()
            .await
            .with_context(|| format!("can't start a node at {}", self.listen))?;
        let reporter = self.reporter();
        let (peer, address) = (
            network.local().id(),
            Bootstrap(network.local().addr()).to_string(),
        );
        reporter.tell(Report::Ready { peer, address })?;
        tokio::spawn(tell_neighbours(network.discovery().clone(), reporter));
        Ok(network)
    }

    /// Resolves when the node is asked to leave: by a signal or, if so told, the end of its input.
    pub(crate) fn asked_to_leave(&self) -> JoinHandle<()> {
        tokio::spawn(asked_to_leave(self.until_input_ends))
    }
}

async fn tell_neighbours(discovery: discovery::Discovery, reporter: Reporter) {
    let mut events = discovery.events();
    for entry in discovery.catalog().peers() {
        let role = role_of(entry).into();
        let _ = reporter.tell(Report::Found {
            peer: *entry.id(),
            role,
        });
    }
    while let Ok(event) = events.recv().await {
        let report = match event {
            Event::PeerDiscovered(entry) => Report::Found {
                peer: *entry.id(),
                role: role_of(&entry).into(),
            },
            Event::PeerDeparted(peer) => Report::Lost { peer },
            Event::PeerUpdated(_) => continue,
        };
        // Nobody reads any more when this fails; the role ends by itself then.
        let _ = reporter.tell(report);
    }
}

async fn asked_to_leave(until_input_ends: bool) {
    let input_ended = async {
        if !until_input_ends {
            return std::future::pending().await;
        }
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {}
    };
    let signalled = async {
        if stop::requested().await.is_err() {
            // Where no signal can be heard, the end of the input still counts.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = input_ended => {}
        () = signalled => {}
    }
}

/// Address of a node, as text.
#[derive(Debug, Clone)]
pub(crate) struct Bootstrap(EndpointAddr);

impl std::fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@", self.0.id)?;
        for (i, addr) in self.0.ip_addrs().enumerate() {
            write!(f, "{}{addr}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Bootstrap {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let expected = "expected <peer id>@<ip>:<port>, with more addresses after commas";
        let (id, addrs) = text.split_once('@').context(expected)?;
        let id = PeerId::from_str(id).context(expected)?;
        let addrs = addrs
            .split(',')
            .map(|addr| addr.parse().map(TransportAddr::Ip));
        Ok(Self(EndpointAddr {
            id,
            addrs: addrs.collect::<Result<_, _>>().context(expected)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_being_printed() {
        let bad = ["", "x@127.0.0.1:1", "127.0.0.1:1", "@"];
        for text in bad {
            assert!(text.parse::<Bootstrap>().is_err(), "{text}");
        }
        let key = mosaik::SecretKey::from_bytes(&[7; 32]).public();
        let text = format!("{key}@127.0.0.1:80,[::1]:81");
        assert_eq!(text.parse::<Bootstrap>().unwrap().to_string(), text);
    }
}
