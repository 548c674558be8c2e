//! Joins a network to look at it: as an ordinary node that offers nothing.

use std::{
    collections::BTreeSet, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration,
};

use anyhow::Context;
use futures::{StreamExt, stream};
use mosaik::{
    Network, NetworkId, PeerId, Tag, Ticket,
    discovery::{self, PeerEntry},
    iroh::RelayMode,
    status::{self, OBSERVER_TAG, Report, findings::Observed, printable},
    tickets::Jwt,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{context, key, peer::Peer, stop::Stop};

/// Nodes that are asked at once.
const MAX_ASKED: usize = 256;
/// Time without a new peer after which the catalog counts as complete.
const QUIET: Duration = Duration::from_millis(300);
/// Exit code of a command that a signal has ended, as shells have it for Ctrl+C.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Clone, clap::Args)]
// Part of the options of commands, which have the name as well.
#[group(skip)]
pub(crate) struct Options {
    /// Network: a name, or an id of 64 hex digits.
    #[arg(short, long, env = "MOSAIK_NETWORK", hide_env_values = true)]
    network: Option<NetworkId>,

    /// Network, peers and files of a context, see `mosaik ctx`. What else is given here comes first.
    #[arg(short, long, env = "MOSAIK_CONTEXT", value_name = "NAME")]
    context: Option<String>,

    /// Peer to begin with: a peer id, `<peer id>@<ip:port>`, or `<peer id>@<host:port>`. Repeat for
    /// several. Without one, peers are looked for in the DHT.
    #[arg(short, long)]
    peers: Vec<Peer>,

    /// File with the secret key of the node that looks on, which is made if there is none. Without it
    /// the node has another id at each run.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// File with a token (JWT) to present to nodes that want a ticket. It is issued for the id of the
    /// key file, which `mosaik id --key-file` prints: every node of the network can read it, and only
    /// this one can use it.
    #[arg(long, value_name = "PATH")]
    ticket_file: Option<PathBuf>,

    /// Use no relays.
    #[arg(long)]
    no_relay: bool,

    /// Don't look for peers in the DHT. A node that looks on never publishes itself there.
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

    /// Seconds to find nodes, and again for the answer of each; all together have twice as long.
    #[arg(short, long, value_name = "SECS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

impl Options {
    /// The options with those of the context.
    fn resolved(&self) -> anyhow::Result<(NetworkId, Self)> {
        let mut options = self.clone();
        if let Some(name) = &self.context {
            let kept = context::find(name)?;
            // Its peers, key and ticket are of its network, and nobody else's business.
            anyhow::ensure!(
                options
                    .network
                    .is_none_or(|network| network == kept.network),
                "context {name} is of another network than --network or MOSAIK_NETWORK: give one of \
                 them"
            );
            options.network = Some(kept.network);
            if options.peers.is_empty() {
                options.peers = kept.peers()?;
            }
            options.key_file = options.key_file.or(kept.key_file);
            options.ticket_file = options.ticket_file.or(kept.ticket_file);
            options.no_relay |= kept.no_relay;
            options.no_dht |= kept.no_dht;
        }
        let network = options.network;
        let network = network
            .context("which network? Name it with --network, or a context with --context")?;
        anyhow::ensure!(
            options.ticket_file.is_none() || options.key_file.is_some(),
            "a ticket needs a key file: it is issued for the id of one node, which `mosaik id \
             --key-file PATH` prints"
        );
        Ok((network, options))
    }
}

/// Joins the network, looks, and leaves: also when the process is told to stop, at whatever moment.
///
/// `looks_until_stopped` is for those that go on until then: for them it is the regular end.
pub(crate) async fn look_on(
    options: &Options,
    looks_until_stopped: bool,
    look: impl AsyncFnOnce(&Observer) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let stopped = || {
        if looks_until_stopped {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(INTERRUPTED)
        }
    };
    let (network, options) = options.resolved()?;
    let built = tokio::select! {
        built = build(network, &options) => built?,
        () = stop.requested() => return Ok(stopped()),
    };
    let observer = Observer {
        network: built,
        timeout: Duration::from_secs(options.timeout),
    };
    let looked = tokio::select! {
        looked = async {
            observer.find_peers(&options.peers).await;
            look(&observer).await
        } => looked,
        () = stop.requested() => Ok(stopped()),
    };
    // Who is told twice to stop does so without a goodbye.
    tokio::select! {
        _ = observer.network.shutdown() => {}
        () = stop.requested() => {}
    }
    looked
}

/// Starts the node.
async fn build(network: NetworkId, options: &Options) -> anyhow::Result<Network> {
    let ticket = options.ticket_file.as_ref().map(|path| {
        let token = std::fs::read_to_string(path)
            .with_context(|| format!("can't read the ticket from {}", path.display()))?;
        anyhow::Ok(Ticket::new(Jwt::CLASS, token.trim().to_owned().into()))
    });
    let relay_mode = if options.no_relay {
        RelayMode::Disabled
    } else {
        RelayMode::Default
    };
    let mut discovery = discovery::Config::builder()
        .with_tags(OBSERVER_TAG)
        .with_no_dht_bootstrap(options.no_dht)
        // It is gone in a moment: nobody should look for it.
        .with_dht_publish_interval(None)
        .with_dht_nodes(options.dht_node.clone());
    for peer in &options.peers {
        discovery = peer.bootstrap(discovery);
    }
    let mut builder = Network::builder(network)
        .with_relay_mode(relay_mode)
        .with_mdns_discovery(options.mdns)
        .with_addresses(options.bind.iter().copied().collect::<BTreeSet<_>>())
        .with_status(status::Config::builder().disabled())
        .with_discovery(discovery);
    if let Some(key) = key::of_option(options.key_file.as_ref())? {
        builder = builder.with_secret_key(key);
    }
    let ticket = ticket.transpose()?;
    let network = builder
        .build()
        .await
        .context("the node could not be started")?;
    if let Some(ticket) = ticket {
        network.discovery().try_add_ticket(ticket)?;
    }
    Ok(network)
}

/// A node that looks on.
pub(crate) struct Observer {
    network: Network,
    timeout: Duration,
}

impl Observer {
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
        if timeout_at(deadline, synced).await == Ok(true) {
            return;
        }
        let mut catalog = self.network.discovery().catalog_watch();
        let some = catalog.wait_for(|catalog| catalog.peers_count() > 0);
        if !matches!(timeout_at(deadline, some).await, Ok(Ok(_))) {
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
        let observer = Tag::from(OBSERVER_TAG);
        let catalog = self.network.discovery().catalog();
        let nodes = catalog
            .peers()
            .filter(|entry| !entry.tags().contains(&observer) || offers(entry));
        nodes.map(|entry| *entry.id()).collect()
    }

    /// Asks all nodes, for twice the time that one has.
    pub(crate) async fn observe(&self) -> Observed {
        let deadline = Instant::now() + self.timeout * 2;
        let mut answers: Vec<_> = stream::iter(self.peers())
            .map(|peer| async move { (peer, self.ask(peer, deadline).await) })
            .buffer_unordered(MAX_ASKED)
            .collect()
            .await;
        answers.sort_by_key(|(peer, _)| *peer);
        let mut observed = Observed::default();
        for (peer, answer) in answers {
            match answer {
                Answer::Report(report) => observed.reports.push(*report),
                Answer::Refused(reason) => observed = observed.with_refused(peer, reason),
                Answer::Silent(reason) => observed = observed.with_silent(peer, reason),
            }
        }
        observed
    }

    async fn ask(&self, peer: PeerId, deadline: Instant) -> Answer {
        let now = Instant::now();
        if now >= deadline {
            return Answer::Silent("it was not asked, as no time was left".to_owned());
        }
        let until = deadline.min(now + self.timeout);
        match timeout_at(until, self.network.status_of(peer)).await {
            Ok(Ok(report)) => Answer::Report(Box::new(report)),
            Ok(Err(error @ (status::Error::NotAllowed | status::Error::TooManyRequests))) => {
                Answer::Refused(chain(&error))
            }
            Ok(Err(error)) => Answer::Silent(chain(&error)),
            Err(_) => Answer::Silent("no answer in time".to_owned()),
        }
    }
}

/// Answer of a node.
enum Answer {
    Report(Box<Report>),
    /// It is there, and tells nothing.
    Refused(String),
    Silent(String),
}

/// Returns whether a node does more than look on, whatever its tags say.
fn offers(entry: &PeerEntry) -> bool {
    !entry.streams().is_empty() || !entry.functions().is_empty() || !entry.groups().is_empty()
}

/// The nodes without a report, and what there is to show in its place.
pub(crate) fn unheard(observed: &Observed) -> impl Iterator<Item = (&PeerId, &'static str)> {
    let silent = observed.silent.iter();
    let refused = observed.refused.iter();
    silent
        .map(|(peer, _)| (peer, "does not answer"))
        .chain(refused.map(|(peer, _)| (peer, "tells nothing")))
}

/// An error with its causes, in one line that can be shown: the last one may be what a peer has said.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let text = causes.fold(error.to_string(), |text, cause| {
        // Some errors have their cause in their own text.
        let cause = cause.to_string();
        if text.ends_with(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    });
    printable(&text)
}
