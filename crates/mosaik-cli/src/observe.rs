//! Joins a network to look at it: as an ordinary node that offers nothing.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use futures::{StreamExt, stream};
use mosaik::{
    Network, NetworkId, PeerId, Tag, Ticket, discovery,
    iroh::RelayMode,
    status::{self, Report, findings::Observed},
    tickets::Jwt,
};
use tokio::time::{Instant, timeout};

use crate::peer::Peer;

/// Tag of nodes that only look on; others leave them out of what they show.
const OBSERVER: &str = "mosaik-observer";
/// Nodes that are asked at once.
const MAX_ASKED: usize = 32;
/// Time without a new peer after which the catalog counts as complete.
const QUIET: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
// Part of the options of commands, which have the name as well.
#[group(skip)]
pub(crate) struct Options {
    /// Network: a name, or an id of 64 hex digits.
    #[arg(short, long, env = "MOSAIK_NETWORK", hide_env_values = true)]
    network: NetworkId,

    /// Peer to begin with: a peer id, `<peer id>@<ip:port>`, or `<peer id>@<host:port>`. Repeat for
    /// several. Without one, peers are looked for in the DHT.
    #[arg(short, long)]
    peers: Vec<Peer>,

    /// File with a token (JWT) to present to nodes that want a ticket.
    #[arg(long, value_name = "PATH")]
    ticket_file: Option<PathBuf>,

    /// Use no relays.
    #[arg(long)]
    no_relay: bool,

    /// Don't look for peers in the DHT.
    #[arg(long)]
    no_dht: bool,

    /// DHT node to start from, as <host:port>. Repeat for several. Default: the public ones.
    #[arg(long, value_name = "HOST:PORT")]
    dht_node: Vec<String>,

    /// Socket address to bind. Repeat for several. Default: a random port on all interfaces.
    #[arg(long, value_name = "IP:PORT")]
    bind: Vec<SocketAddr>,

    /// Find nodes on the local segment.
    #[arg(long)]
    mdns: bool,

    /// Seconds to find nodes, and again to have their answers.
    #[arg(short, long, value_name = "SECS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// A node that looks on.
pub(crate) struct Observer {
    network: Network,
    timeout: Duration,
}

impl Observer {
    /// Joins the network, and waits until it knows its nodes.
    pub(crate) async fn join(options: &Options) -> anyhow::Result<Self> {
        let relay_mode = if options.no_relay {
            RelayMode::Disabled
        } else {
            RelayMode::Default
        };
        let mut discovery = discovery::Config::builder()
            .with_tags(OBSERVER)
            .with_no_dht_bootstrap(options.no_dht)
            .with_dht_nodes(options.dht_node.clone());
        for peer in &options.peers {
            discovery = peer.bootstrap(discovery);
        }
        let network = Network::builder(options.network)
            .with_relay_mode(relay_mode)
            .with_mdns_discovery(options.mdns)
            .with_addresses(
                options
                    .bind
                    .iter()
                    .copied()
                    .collect::<std::collections::BTreeSet<_>>(),
            )
            .with_status(status::Config::builder().disabled())
            .with_discovery(discovery)
            .build()
            .await
            .context("the node could not be started")?;
        if let Some(path) = &options.ticket_file {
            let token = std::fs::read_to_string(path)
                .with_context(|| format!("can't read the ticket from {}", path.display()))?;
            let ticket = Ticket::new(Jwt::CLASS, token.trim().to_owned().into());
            network.discovery().try_add_ticket(ticket)?;
        }
        let observer = Self {
            network,
            timeout: Duration::from_secs(options.timeout),
        };
        observer.find_peers(&options.peers).await;
        Ok(observer)
    }

    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Waits for the catalog, for a bounded time.
    async fn find_peers(&self, peers: &[Peer]) {
        let deadline = Instant::now() + self.timeout;
        let known = peers.iter().filter_map(|peer| match peer {
            Peer::At(addr) => Some(self.network.discovery().sync_with(addr.clone())),
            Peer::AtHost(..) => None,
        });
        let mut syncs: stream::FuturesUnordered<_> = known.collect();
        let synced = async {
            while let Some(result) = syncs.next().await {
                match result {
                    Ok(()) => return true,
                    Err(error) => tracing::debug!(%error, "a peer can't be reached"),
                }
            }
            false
        };
        // One is enough: it has brought the whole catalog.
        if tokio::time::timeout_at(deadline, synced).await == Ok(true) {
            return;
        }
        let mut catalog = self.network.discovery().catalog_watch();
        let some = catalog.wait_for(|catalog| catalog.peers_count() > 0);
        if !matches!(tokio::time::timeout_at(deadline, some).await, Ok(Ok(_))) {
            return;
        }
        while Instant::now() < deadline {
            if timeout(QUIET, catalog.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Nodes of the network, without those that only look on.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        let observer = Tag::from(OBSERVER);
        let catalog = self.network.discovery().catalog();
        let nodes = catalog
            .peers()
            .filter(|entry| !entry.tags().contains(&observer));
        nodes.map(|entry| *entry.id()).collect()
    }

    /// Asks all nodes.
    pub(crate) async fn observe(&self) -> Observed {
        let mut answers: Vec<_> = stream::iter(self.peers())
            .map(|peer| async move { (peer, self.ask(peer).await) })
            .buffer_unordered(MAX_ASKED)
            .collect()
            .await;
        answers.sort_by_key(|(peer, _)| *peer);
        let mut observed = Observed::default();
        for (peer, answer) in answers {
            match answer {
                Ok(report) => observed.reports.push(report),
                Err(reason) => observed = observed.with_silent(peer, reason),
            }
        }
        observed
    }

    async fn ask(&self, peer: PeerId) -> Result<Report, String> {
        match timeout(self.timeout, self.network.status_of(peer)).await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    pub(crate) async fn leave(self) {
        self.network.shutdown().await;
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
