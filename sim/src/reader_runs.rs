//! `mosaik-sim readers`: what many readers of one collection cost its leader.

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use futures::future::try_join_all;
use mosaik::{
    Network,
    collections::{Map, MapReader, MapWriter, Version},
};
use mosaik_sim::{
    Conditions, Fleet, bound,
    stats::{Millis, Spread},
};
use rand::Rng;
use tokio::{runtime::Runtime, time::timeout};

type Prices = Map<u64, Vec<u8>>;
type PricesWriter = MapWriter<u64, Vec<u8>>;
type PricesReader = MapReader<u64, Vec<u8>>;

const NAME: &str = "prices";
/// The leader's node has threads of this name, and nobody else.
const LEADER_THREADS: &str = "leader";
/// Time limit for all to be online, or up to date.
const PATIENCE: Duration = Duration::from_secs(120);

/// Options of the measurement.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// Number of readers.
    #[arg(short, long, default_value_t = 200)]
    readers: usize,
    /// Number of writers, the leader among them.
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    writers: u16,
    /// Writes a second, by the leader.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Size of a value in bytes.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Time for which the idle collection is watched, and then written to.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// Pause before that, in which bonds settle.
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    settle: Duration,
    /// Seed of the identities. Random by default.
    #[arg(short, long)]
    seed: Option<u64>,
}

/// Measures, and prints what was found.
pub(crate) async fn run(options: Options) -> ExitCode {
    let seed = options.seed.unwrap_or_else(|| rand::rng().random());
    let leader = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(LEADER_THREADS)
        .enable_all()
        .build();
    let measured = match leader {
        Ok(leader) => {
            let measured = measure(options, seed, &leader).await;
            leader.shutdown_background();
            measured
        }
        Err(error) => Err(error.into()),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed with seed {seed}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: Options, seed: u64, leaders: &Runtime) -> anyhow::Result<()> {
    let fleet = Arc::new(Fleet::new(seed, Conditions::default()));
    let starting = fleet.clone();
    // What a node starts runs where it was started.
    let leader = leaders.spawn(async move {
        let node = starting.start(0, &[]).await?;
        let writer = Prices::writer(&node, NAME);
        timeout(bound(PATIENCE), writer.when().online()).await?;
        anyhow::Ok((node, writer))
    });
    let (leader_node, leader) = leader.await??;
    let leader = Arc::new(leader);
    let writers = usize::from(options.writers);
    let mut others = Vec::new();
    for n in 1..writers {
        let node = fleet.start(n, &[0]).await?;
        let writer: PricesWriter = Prices::writer(&node, NAME);
        timeout(bound(PATIENCE), writer.when().online()).await?;
        others.push((node, writer));
    }
    let begun = Instant::now();
    let starts = (writers..writers + options.readers).map(|n| fleet.start(n, &[0]));
    let nodes: Vec<Network> = try_join_all(starts).await?;
    let readers: Vec<PricesReader> = nodes
        .iter()
        .map(|node| Prices::reader(node, NAME))
        .collect();
    let online = readers.iter().map(|reader| async {
        let online = reader.when().online();
        timeout(bound(PATIENCE), online).await?;
        anyhow::Ok(begun.elapsed())
    });
    let online: Spread = try_join_all(online)
        .await
        .context("some readers are not online")?
        .into_iter()
        .collect();
    println!(
        "seed {seed}: {writers} writers, {} readers, all online after {}",
        options.readers,
        Millis(begun.elapsed())
    );
    println!("readers online: {online}");
    tokio::time::sleep(options.settle).await;

    let idle = Cpu::now()?;
    tokio::time::sleep(options.length).await;
    let idle = idle.since()?;
    let busy = Cpu::now()?;
    let writing = leader.clone();
    let written = leaders.spawn(async move { write(&writing, options).await });
    let (count, last) = written.await??;
    let busy = busy.since()?;
    let reached = Instant::now();
    let up_to_date = readers.iter().map(|reader| async {
        timeout(bound(PATIENCE), reader.when().reaches(last)).await?;
        anyhow::Ok(reached.elapsed())
    });
    let lag: Spread = try_join_all(up_to_date)
        .await
        .context("some readers lack writes")?
        .into_iter()
        .collect();
    let per_write = busy.leader.saturating_sub(idle.leader) / count;
    println!(
        "leader: idle {} of a core, writing {}; {} us a write, {} us with what it costs idle",
        Percent(idle.leader, idle.time),
        Percent(busy.leader, busy.time),
        per_write.as_micros(),
        (busy.leader / count).as_micros()
    );
    println!(
        "all together: idle {} of a core, writing {}",
        Percent(idle.all, idle.time),
        Percent(busy.all, busy.time)
    );
    println!("{count} writes; readers have the last one after: {lag}");
    let online = readers.iter().filter(|reader| reader.status().is_online);
    println!("readers online at the end: {}", online.count());
    drop((readers, others, leader, leader_node, nodes));
    Ok(())
}

/// Writes at a steady rate, one write after the other; returns how many, and the last version.
async fn write(writer: &PricesWriter, options: Options) -> anyhow::Result<(u32, Version)> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / options.rate);
    let until = Instant::now() + options.length;
    let mut count = 0;
    let mut last = None;
    while Instant::now() < until {
        pace.tick().await;
        let value = vec![7; options.size];
        last = Some(writer.insert(u64::from(count % 1000), value).await?);
        count += 1;
    }
    Ok((count, last.context("nothing was written")?))
}

/// Processor time, of the leader's threads and of all.
struct Cpu {
    at: Instant,
    leader: Duration,
    all: Duration,
}

/// Processor time used in a while.
struct Used {
    time: Duration,
    leader: Duration,
    all: Duration,
}

impl Cpu {
    fn now() -> anyhow::Result<Self> {
        let (mut leader, mut all) = (Duration::ZERO, Duration::ZERO);
        for task in fs::read_dir("/proc/self/task").context("needs Linux")? {
            let path = task?.path();
            let read = |name| fs::read_to_string(path.join(name));
            let (Ok(name), Ok(times)) = (read("comm"), read("schedstat")) else {
                // It has just ended.
                continue;
            };
            let time = times.split_whitespace().next().context("no time")?;
            let time = Duration::from_nanos(time.parse()?);
            all += time;
            if name.trim() == LEADER_THREADS {
                leader += time;
            }
        }
        Ok(Self {
            at: Instant::now(),
            leader,
            all,
        })
    }

    fn since(&self) -> anyhow::Result<Used> {
        let now = Self::now()?;
        Ok(Used {
            time: now.at - self.at,
            leader: now.leader.saturating_sub(self.leader),
            all: now.all.saturating_sub(self.all),
        })
    }
}

/// A share of a core.
struct Percent(Duration, Duration);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} %",
            100.0 * self.0.as_secs_f64() / self.1.as_secs_f64()
        )
    }
}
