//! Nodes of one simulated network.

use std::sync::OnceLock;

use mosaik::{Digest, Network, NetworkId, PeerId, SecretKey, discovery, network::NetworkBuilder};

use crate::{Conditions, Hub};

/// Events that a slow reader may lag behind: invariants must see every one.
pub const EVENTS_BACKLOG: usize = 4 * 1024;

/// Builds nodes of one network, which talk through one hub. Everything follows from the seed.
#[derive(Debug)]
pub struct Fleet {
    seed: u64,
    hub: Hub,
    network_id: NetworkId,
}

impl Fleet {
    /// A network without nodes.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        show_logs();
        Self {
            seed,
            hub: Hub::new(seed, conditions),
            network_id: Digest::from(format!("mosaik sim {seed} {}", std::process::id()).as_str()),
        }
    }

    /// Hub that carries the packets.
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The network of all nodes. Holds the process id too, so that runs don't meet.
    pub const fn network_id(&self) -> NetworkId {
        self.network_id
    }

    /// The key of the n-th node.
    pub fn secret(&self, n: usize) -> SecretKey {
        let mut hasher = blake3::Hasher::new_derive_key("mosaik sim node key");
        hasher
            .update(&self.seed.to_le_bytes())
            .update(&(n as u64).to_le_bytes());
        SecretKey::from_bytes(hasher.finalize().as_bytes())
    }

    /// The id of the n-th node, whether it runs or not.
    pub fn id(&self, n: usize) -> PeerId {
        self.secret(n).public()
    }

    /// The n-th node, to be configured further.
    pub fn builder(&self, n: usize, discovery: discovery::ConfigBuilder) -> NetworkBuilder {
        let discovery = discovery
            .no_dht_bootstrap()
            .with_events_backlog(EVENTS_BACKLOG);
        let builder = Network::builder(self.network_id).with_discovery(discovery);
        self.hub.attach(builder, self.secret(n))
    }

    /// Starts the n-th node with these nodes as bootstrap peers.
    ///
    /// # Errors
    ///
    /// As [`NetworkBuilder::build`].
    pub async fn start(
        &self,
        n: usize,
        bootstrap: &[usize],
    ) -> Result<Network, mosaik::network::Error> {
        let peers: Vec<PeerId> = bootstrap.iter().map(|n| self.id(*n)).collect();
        let discovery = discovery::Config::builder().with_bootstrap(peers);
        self.builder(n, discovery).build().await
    }

    /// Starts this many nodes at the same instant; the first is everybody's bootstrap peer.
    ///
    /// # Errors
    ///
    /// As [`NetworkBuilder::build`].
    pub async fn start_all(&self, count: usize) -> Result<Vec<Network>, mosaik::network::Error> {
        let start = |n| self.start(n, if n == 0 { &[] } else { &[0] });
        futures::future::try_join_all((0..count).map(start)).await
    }
}

/// Shows the library's logs as `RUST_LOG` asks.
pub fn show_logs() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Fails when a program has set up its own.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .try_init();
    });
}
