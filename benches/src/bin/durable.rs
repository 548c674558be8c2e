//! Cost of durability: commands per second through a group of three nodes on one machine, in memory
//! and on disk, with the disk's own rate beside it.
//!
//! `durable [--dir DIR] [--seconds N] [--in-flight N]`

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mosaik::{
    Digest, Group, GroupKey, Network, UniqueId, discovery,
    futures::{StreamExt as _, stream::FuturesUnordered},
    groups::{ApplyContext, ConsensusConfig, LogReplaySync, StateMachine},
    iroh::RelayMode,
};

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Command = u64;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        Digest::from("counter")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        self.0 += command;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}

struct Options {
    dir: PathBuf,
    span: Duration,
    in_flight: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut options = Options {
        dir: std::env::temp_dir(),
        span: Duration::from_secs(5),
        in_flight: 256,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().context("every option has a value")?;
        match arg.as_str() {
            "--dir" => options.dir = value.into(),
            "--seconds" => options.span = Duration::from_secs(value.parse()?),
            "--in-flight" => options.in_flight = value.parse()?,
            other => anyhow::bail!("no option is named {other}"),
        }
    }
    println!("raw append of 4 KiB + fdatasync: {}/s", raw_rate(&options)?);
    println!("| three nodes | from | in flight | commands/s | median / 99th percentile, ms |");
    println!("|---|---|---|---|---|");
    for durable in [false, true] {
        for follower in [false, true] {
            for in_flight in [1, options.in_flight] {
                measure(&options, durable, follower, in_flight).await?;
            }
        }
    }
    Ok(())
}

fn raw_rate(options: &Options) -> Result<u64> {
    let mut file = tempfile::tempfile_in(&options.dir)?;
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count)
}

async fn measure(options: &Options, durable: bool, follower: bool, in_flight: usize) -> Result<()> {
    let work = tempfile::tempdir_in(&options.dir)?;
    let (nodes, groups) = form(durable.then(|| work.path())).await?;
    let group = groups
        .iter()
        .find(|group| group.is_leader() != follower)
        .context("nobody leads")?;
    let mut running = FuturesUnordered::new();
    let mut times = Vec::new();
    let begin = Instant::now();
    loop {
        while running.len() < in_flight && begin.elapsed() < options.span {
            let (start, execution) = (Instant::now(), group.execute(1));
            running.push(async move { execution.await.map(|_| start.elapsed()) });
        }
        match running.next().await {
            Some(done) => times.push(done?),
            None => break,
        }
    }
    let span = begin.elapsed();
    times.sort();
    let ms = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "| {} | {} | {in_flight} | {} | {:.2} / {:.2} |",
        if durable { "on disk" } else { "in memory" },
        if follower { "a follower" } else { "the leader" },
        times.len() as u128 * 1000 / span.as_millis(),
        ms(50),
        ms(99),
    );
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}

async fn form(dir: Option<&Path>) -> Result<(Vec<Network>, Vec<Group<Counter>>)> {
    let (network, key) = (Digest::random(), GroupKey::random());
    let mut nodes: Vec<Network> = Vec::new();
    let mut groups = Vec::new();
    for n in 0..3 {
        let mut discovery = discovery::Config::builder().no_dht_bootstrap();
        if let Some(first) = nodes.first() {
            discovery = discovery.with_bootstrap(first.local().addr());
        }
        let mut builder = Network::builder(network)
            .with_relay_mode(RelayMode::Disabled)
            .with_addresses(["127.0.0.1:0".parse()?])
            .with_discovery(discovery);
        if let Some(dir) = dir {
            builder = builder.with_storage(dir.join(n.to_string()));
        }
        nodes.push(builder.build().await?);
    }
    for node in &nodes {
        let consensus = ConsensusConfig::builder().with_min_members(3).build()?;
        let mut builder = node
            .groups()
            .with_key(key)
            .with_consensus_config(consensus)
            .with_state_machine(Counter::default());
        if dir.is_some() {
            builder = builder.durable()?;
        }
        groups.push(builder.join());
    }
    for group in &groups {
        group.when().online().await;
    }
    Ok((nodes, groups))
}
