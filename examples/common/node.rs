//! A node of the network, as every role of an example starts it.

use std::{
    fmt::{self, Display},
    net::SocketAddr,
    path::Path,
    str::FromStr,
};

use anyhow::Context;
use mosaik::{
    Network, PeerId, discovery,
    iroh::{EndpointAddr, RelayMode, TransportAddr},
};

/// Options of every node: the network, and the address of one other node.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NodeOptions {
    /// The network's name, the same for all nodes.
    #[arg(long)]
    network: String,
    /// A node that is there already, as it prints itself: `<peer id>@<ip>:<port>`. May be repeated.
    #[arg(long)]
    bootstrap: Vec<Address>,
    /// Address to listen on; on several machines, one that the others can reach.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl NodeOptions {
    /// Starts the node; with a directory, it keeps there what must survive its end.
    pub(crate) async fn start(&self, storage: Option<&Path>) -> anyhow::Result<Network> {
        let mut discovery = discovery::Config::builder().no_dht_bootstrap();
        for address in &self.bootstrap {
            discovery = discovery.with_bootstrap(address.0.clone());
        }
        let mut network = Network::builder(self.network.as_str())
            .with_relay_mode(RelayMode::Disabled)
            .with_addresses([self.listen])
            .with_discovery(discovery);
        if let Some(directory) = storage {
            network = network.with_storage(directory);
        }
        let network = network.build().await;
        network.with_context(|| format!("can't start a node at {}", self.listen))
    }
}

/// Address of a node, as text.
#[derive(Debug, Clone)]
pub(crate) struct Address(EndpointAddr);

impl Address {
    pub(crate) fn of(network: &Network) -> Self {
        Self(network.local().addr())
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@", self.0.id)?;
        for (i, addr) in self.0.ip_addrs().enumerate() {
            write!(f, "{}{addr}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Address {
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
