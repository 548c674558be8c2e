//! Runs a whole network in one process and measures how it behaves; or runs groups under faults.

mod collection_runs;
mod group_runs;
mod reader_runs;

use std::{
    num::NonZeroU64,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::ensure;
use clap::{Parser, Subcommand};
use mosaik::{Network, PeerId, network::RelayMode};
use mosaik_sim::{
    Conditions, EVENTS_BACKLOG, Fleet, each_until,
    invariants::{History, convergence, ghosts},
    stats::{Millis, Spread},
    timed,
};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::index};

/// Runs a whole network of mosaik nodes in one process, through the phases of its life: join,
/// changes, idleness, a departure, a crash, a partition and its healing.
#[derive(Debug, Clone, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Number of nodes.
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(4..=1000))]
    nodes: u16,
    /// Decides who is who, who fails, and which packets get lost. Random by default.
    #[arg(short, long)]
    seed: Option<u64>,
    /// Travel time of each packet.
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    latency: Duration,
    /// Each packet travels up to this much longer.
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// The share of packets that get lost, from 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Bytes per second that each node can send; without limit by default.
    #[arg(long)]
    bandwidth: Option<NonZeroU64>,
    /// Pause between the starts of two nodes.
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    stagger: Duration,
    /// Number of tag changes that are measured.
    #[arg(long, default_value_t = 10)]
    changes: usize,
    /// Time for which the idle network is watched.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// Timeout of each phase.
    #[arg(long, default_value = "120s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Uses UDP on loopback instead of the hub; skips crash and partition.
    #[arg(long)]
    udp: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Runs groups under faults, and checks that their promises hold.
    Groups(group_runs::Options),
    /// Runs replicated collections under faults, and checks what they hold, answer and tell.
    Collections(collection_runs::Options),
    /// Measures what many readers of one collection cost its leader.
    Readers(reader_runs::Options),
    /// Takes part in a run of a group, as standard input says.
    #[command(hide = true)]
    Member,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match options.command {
        Some(Command::Groups(options)) => return group_runs::run(options).await,
        Some(Command::Collections(options)) => return collection_runs::run(options).await,
        Some(Command::Readers(options)) => return reader_runs::run(options).await,
        Some(Command::Member) => return group_runs::member().await,
        None => {}
    }
    let seed = options.seed.unwrap_or_else(|| rand::rng().random());
    println!("seed {seed}, {} nodes", options.nodes);
    match Run::new(options, seed).phases().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed with seed {seed}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One network and its life.
struct Run {
    options: Options,
    fleet: Fleet,
    /// Decides what happens to whom.
    random: SmallRng,
    nodes: Vec<Network>,
    histories: Vec<History>,
    gone: Vec<PeerId>,
}

impl Run {
    fn new(options: Options, seed: u64) -> Self {
        let conditions = Conditions {
            latency: options.latency,
            jitter: options.jitter,
            loss: options.loss,
            bandwidth: options.bandwidth,
        };
        Self {
            fleet: Fleet::new(seed, conditions),
            random: SmallRng::seed_from_u64(seed),
            options,
            nodes: Vec::new(),
            histories: Vec::new(),
            gone: Vec::new(),
        }
    }

    async fn phases(mut self) -> anyhow::Result<()> {
        self.join().await?;
        self.changes().await?;
        self.idle().await;
        self.departure().await?;
        if !self.options.udp {
            self.crash().await?;
            self.partition().await?;
        }
        self.verdict()
    }

    /// All nodes start; the first is everybody's bootstrap peer.
    async fn join(&mut self) -> anyhow::Result<()> {
        let count = usize::from(self.options.nodes);
        let started = Instant::now();
        let (fleet, options) = (&self.fleet, &self.options);
        let starts = (0..count).map(|n| async move {
            // The schedule of the starts.
            tokio::time::sleep(options.stagger * u32::try_from(n).unwrap_or(u32::MAX)).await;
            let node = start(fleet, options.udp, n).await?;
            let history = History::of(&node);
            anyhow::Ok((node, history))
        });
        let started_nodes = futures::future::try_join_all(starts).await?;
        (self.nodes, self.histories) = started_nodes.into_iter().unzip();
        println!("started         after {}", Millis(started.elapsed()));
        let known = self.settled().await?;
        println!(
            "all know all    {} after the last start; a node: {known}",
            Millis(known.max())
        );
        // What follows on the heels of the last entry belongs to the join.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let bytes: Vec<u64> = self.nodes.iter().map(|node| self.sent(node)).collect();
        println!(
            "join traffic    {} a node, most {}",
            bytes_mean(&bytes),
            bytes_max(&bytes)
        );
        Ok(())
    }

    /// Random nodes change their tags, one after the other.
    async fn changes(&mut self) -> anyhow::Result<()> {
        let mut samples = Vec::new();
        for change in 0..self.options.changes {
            let owner = &self.nodes[self.random.random_range(0..self.nodes.len())];
            let (id, tag) = (owner.local().id(), format!("change {change}"));
            owner.discovery().add_tags(tag.as_str());
            let seen = each_until(&self.nodes, self.options.patience, move |catalog| {
                let entry = catalog.get(&id);
                entry.is_some_and(|entry| entry.tags().contains(&tag.as_str().into()))
            });
            samples.push(seen.await?);
        }
        let slowest: Spread = samples.iter().map(Spread::max).collect();
        println!(
            "tag change      {}",
            samples.into_iter().collect::<Spread>()
        );
        println!("  to the last   {slowest}");
        Ok(())
    }

    /// Nothing happens.
    async fn idle(&self) {
        if self.options.idle.is_zero() {
            return;
        }
        let before: Vec<u64> = self.nodes.iter().map(|node| self.sent(node)).collect();
        tokio::time::sleep(self.options.idle).await;
        let seconds = self.options.idle.as_secs().max(1);
        let rates: Vec<u64> = self
            .nodes
            .iter()
            .zip(before)
            .map(|(node, before)| (self.sent(node) - before) / seconds)
            .collect();
        println!(
            "idle traffic    {}/s a node, most {}/s",
            bytes_mean(&rates),
            bytes_max(&rates)
        );
    }

    /// A random node leaves in an orderly way.
    async fn departure(&mut self) -> anyhow::Result<()> {
        let leaving = self.take_random();
        let id = leaving.local().id();
        let seen = each_until(&self.nodes, self.options.patience, move |c| {
            c.get(&id).is_none()
        });
        let (seen, _) = futures::join!(seen, leaving.shutdown());
        println!("departure       {}", seen?);
        Ok(())
    }

    /// A random node falls silent.
    async fn crash(&mut self) -> anyhow::Result<()> {
        let crashed = self.take_random();
        let id = crashed.local().id();
        self.fleet.hub().crash(id);
        let seen = each_until(&self.nodes, self.options.patience, move |c| {
            c.get(&id).is_none()
        })
        .await?;
        println!("crash           {seen}");
        Ok(())
    }

    /// A random half is cut off until both halves have given each other up.
    async fn partition(&mut self) -> anyhow::Result<()> {
        let count = self.nodes.len();
        let chosen = index::sample(&mut self.random, count, count / 2).into_vec();
        let ids: Vec<PeerId> = self.nodes.iter().map(|node| node.local().id()).collect();
        let (one, other): (Vec<_>, Vec<_>) = (0..count).partition(|n| chosen.contains(n));
        let [one_ids, other_ids] =
            [&one, &other].map(|side| side.iter().map(|n| ids[*n]).collect::<Vec<_>>());
        self.fleet.hub().partition(&one_ids, &other_ids);
        let separated = |side: &[usize], lost: Vec<PeerId>| {
            let nodes: Vec<&Network> = side.iter().map(|n| &self.nodes[*n]).collect();
            let patience = self.options.patience;
            async move {
                each_until(nodes, patience, move |c| {
                    lost.iter().all(|id| c.get(id).is_none())
                })
                .await
            }
        };
        let (one_side, other_side) = futures::join!(
            separated(&one, other_ids.clone()),
            separated(&other, one_ids.clone())
        );
        let cut = one_side?.max().max(other_side?.max());
        println!(
            "partition       halves have given each other up after {}",
            Millis(cut)
        );
        self.fleet.hub().heal();
        let (healed, outcome) = timed(self.settled()).await;
        outcome?;
        println!("healed          after {}", Millis(healed));
        Ok(())
    }

    /// Checks the invariants at the end.
    fn verdict(self) -> anyhow::Result<()> {
        convergence::check(&self.nodes)?;
        ghosts::check(&self.nodes, &self.gone)?;
        for history in &self.histories {
            history.check()?;
        }
        println!("invariants      hold");
        Ok(())
    }

    /// Waits until all know all.
    async fn settled(&self) -> anyhow::Result<Spread> {
        let count = self.nodes.len();
        let known = each_until(&self.nodes, self.options.patience, move |c| {
            c.len() == count
        });
        Ok(known.await?)
    }

    fn take_random(&mut self) -> Network {
        let n = self.random.random_range(0..self.nodes.len());
        self.histories.remove(n);
        let node = self.nodes.remove(n);
        self.gone.push(node.local().id());
        node
    }

    fn sent(&self, node: &Network) -> u64 {
        if self.options.udp {
            node.local().endpoint().metrics().socket.send_ipv4.get()
        } else {
            self.fleet.hub().traffic(&node.local().id()).bytes
        }
    }
}

/// Starts the n-th node; all but the first bootstrap from the first.
async fn start(fleet: &Fleet, udp: bool, n: usize) -> anyhow::Result<Network> {
    if !udp {
        return Ok(fleet.start(n, if n == 0 { &[] } else { &[0] }).await?);
    }
    let mut discovery = mosaik::discovery::Config::builder()
        .no_dht_bootstrap()
        .with_events_backlog(EVENTS_BACKLOG);
    if n > 0 {
        // Nodes of one process find each other by id.
        discovery = discovery.with_bootstrap(fleet.id(0));
    }
    let builder = Network::builder(fleet.network_id())
        .with_secret_key(fleet.secret(n))
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery);
    let node = builder.build().await?;
    ensure!(node.local().id() == fleet.id(n), "the key decides the id");
    Ok(node)
}

fn bytes_mean(samples: &[u64]) -> String {
    bytes(samples.iter().sum::<u64>() / samples.len().max(1) as u64)
}

fn bytes_max(samples: &[u64]) -> String {
    bytes(samples.iter().copied().max().unwrap_or_default())
}

fn bytes(count: u64) -> String {
    if count < 10_000 {
        format!("{count} B")
    } else {
        format!("{} kB", count / 1000)
    }
}
