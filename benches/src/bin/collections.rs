//! Costs of a collection: a `Map` on three nodes in this process over loopback sockets, and beside
//! latencies the round trip of a raw QUIC stream.
//!
//! ```text
//! cargo run --release -p mosaik-bench --bin collections [PART...]
//! ```
//!
//! Parts: `online`, `throughput`, `durable`, `content`, `joining`, `changes`, `expiry`; all without
//! any.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mosaik::{
    Digest, Network, NetworkId,
    collections::{CollectionConfig, Event, Map, Set},
    discovery,
    futures::{StreamExt, stream::FuturesUnordered},
    iroh::{EndpointAddr, RelayMode},
};
use mosaik_bench::{Ping, median, memory, ms, node, percentile, three_nodes, us, within};
use tokio::time::{MissedTickBehavior, interval, timeout};

const RUN: Duration = Duration::from_secs(3);
const IN_FLIGHT: usize = 256;
const BATCH: u64 = 1_000;
const ENTRIES: u64 = 1_000_000;
const READS: u64 = 5_000_000;
const MIB: u64 = 1024 * 1024;

type Key = [u8; 16];
type Value = Vec<u8>;
type Entries = Map<Key, Value>;

const WATCHES: u64 = 100_000;

#[tokio::main]
async fn main() -> Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if let [role, network, addr] = named.as_slice()
        && role == "reader"
    {
        return reader(network.parse()?, serde_json::from_str(addr)?).await;
    }
    match named.first().map(String::as_str) {
        Some("memory") => return memory_of_content().await,
        Some("watches") => return memory_of_watches().await,
        _ => {}
    }
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    if wanted("online") {
        online().await?;
    }
    if wanted("throughput") {
        let nodes = three_nodes().await?;
        throughput("in memory", &nodes, CollectionConfig::default()).await?;
    }
    if wanted("durable") {
        durable().await?;
    }
    if wanted("content") {
        content().await?;
    }
    if wanted("changes") {
        changes().await?;
        many_watches().await?;
    }
    if wanted("expiry") {
        expiry().await?;
    }
    if wanted("joining") {
        joining().await?;
    }
    Ok(())
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    // Spread, as keys of users are.
    key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

fn value(number: u64) -> Value {
    let mut value = vec![7; 100];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// A map on each node, all online; the first handle is of the node that leads.
async fn formed(nodes: &[Network], config: CollectionConfig) -> Result<Vec<Entries>> {
    let config = config.with_min_writers(nodes.len());
    let id = Digest::random();
    let open = |node| Map::writer_with_config(node, id, config.clone());
    let maps: Vec<Entries> = nodes.iter().map(open).collect();
    for map in &maps {
        within(map.when().online()).await?;
    }
    Ok(maps)
}

/// Time until a collection can be used.
async fn online() -> Result<()> {
    let lone = node(Digest::random(), None).await?;
    let started = Instant::now();
    let map = Entries::writer(&lone, "lone");
    within(map.when().online()).await?;
    println!(
        "a lone writer is online after {:.0} ms",
        ms(started.elapsed())
    );
    let nodes = three_nodes().await?;
    let running = Set::<u8>::writer(&nodes[0], "running");
    within(running.when().online()).await?;
    let started = Instant::now();
    let reader = Set::<u8>::reader(&nodes[1], "running");
    within(reader.when().online()).await?;
    println!(
        "a reader of a running collection is online after {:.0} ms",
        ms(started.elapsed())
    );
    Ok(())
}

/// Throughput of insertions.
async fn throughput(name: &str, nodes: &[Network], config: CollectionConfig) -> Result<()> {
    let maps = formed(nodes, config).await?;
    for (place, map) in ["first", "second"].iter().zip(&maps) {
        let rate = rate(IN_FLIGHT, 1, |n| map.insert(key(n % ENTRIES), value(n))).await?;
        println!("{name}, {IN_FLIGHT} insertions in flight, {place} node: {rate:.0}/s");
        let rate = rate_of_batches(map).await?;
        println!("{name}, extend by {BATCH}, 4 in flight, {place} node: {rate:.0}/s");
    }
    Ok(())
}

async fn rate_of_batches(map: &Entries) -> Result<f64> {
    rate(4, BATCH, |n| {
        let first = n % ENTRIES;
        map.extend((first..first + BATCH).map(|n| (key(n), value(n))))
    })
    .await
}

/// Operations a second; each call makes `size` of them, and is given the number of the first.
async fn rate<T, E, F>(in_flight: usize, size: u64, call: impl Fn(u64) -> F) -> Result<f64>
where
    F: Future<Output = std::result::Result<T, E>>,
    E: std::fmt::Debug,
{
    let mut calls = FuturesUnordered::new();
    let mut number = 0;
    let mut submit = |calls: &mut FuturesUnordered<F>| {
        calls.push(call(number));
        number += size;
    };
    for _ in 0..in_flight {
        submit(&mut calls);
    }
    let (started, mut done) = (Instant::now(), 0u64);
    while started.elapsed() < RUN {
        let ended = calls.next().await.context("calls are under way")?;
        ended.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        done += size;
        submit(&mut calls);
    }
    let elapsed = started.elapsed().as_secs_f64();
    while calls.next().await.is_some() {}
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(done as f64 / elapsed)
}

/// Throughput of durable collections.
async fn durable() -> Result<()> {
    let work = tempfile::tempdir()?;
    let id = Digest::random();
    let mut nodes: Vec<Network> = Vec::new();
    for n in 0..3 {
        let mut discovery = discovery::Config::builder().no_dht_bootstrap();
        if let Some(first) = nodes.first() {
            discovery = discovery.with_bootstrap(first.local().addr());
        }
        let node = Network::builder(id)
            .with_relay_mode(RelayMode::Disabled)
            .with_addresses(["127.0.0.1:0".parse()?])
            .with_discovery(discovery)
            .with_storage(work.path().join(n.to_string()))
            .build()
            .await?;
        nodes.push(node);
    }
    throughput("durable", &nodes, CollectionConfig::default().durable()).await
}

/// Content of a million entries: memory, reads, snapshots.
async fn content() -> Result<()> {
    // In a process of its own: what earlier parts have freed would count as room.
    own_process("memory")?;
    let lone = node(Digest::random(), None).await?;
    let map = Entries::writer(&lone, "content");
    within(map.when().online()).await?;
    fill(&map).await?;
    let snapshot = map.snapshot();
    let started = Instant::now();
    let mut found = 0;
    for n in 0..READS {
        let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ENTRIES;
        found += u64::from(map.get(&key(spread)).is_some());
    }
    anyhow::ensure!(found == READS, "all are there");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = READS as f64 / started.elapsed().as_secs_f64();
    println!("get, one thread: {rate:.0}/s");
    let started = Instant::now();
    let mut snapshots = Vec::new();
    for _ in 0..1000 {
        snapshots.push(map.snapshot());
    }
    println!("a snapshot: {:.2} us", us(started.elapsed()) / 1000.0);
    drop((snapshots, snapshot));
    Ok(())
}

/// Memory of a million entries with their log, while a snapshot is alive.
async fn memory_of_content() -> Result<()> {
    let lone = node(Digest::random(), None).await?;
    let map = Entries::writer(&lone, "content");
    within(map.when().online()).await?;
    let before = memory("VmRSS")?;
    fill(&map).await?;
    let snapshot = map.snapshot();
    println!(
        "{ENTRIES} entries of 16 + 100 bytes take {} MiB with their log, a snapshot alive",
        memory("VmRSS")?.saturating_sub(before) / MIB
    );
    drop(snapshot);
    Ok(())
}

/// Memory of watches that nothing happens to.
async fn memory_of_watches() -> Result<()> {
    let lone = node(Digest::random(), None).await?;
    let map = Entries::writer(&lone, "watches");
    within(map.when().online()).await?;
    let before = memory("VmRSS")?;
    let mut watches = Vec::with_capacity(usize::try_from(WATCHES)?);
    for n in 0..WATCHES {
        watches.push(map.watch_key(key(n)));
    }
    println!(
        "{WATCHES} idle watches of single keys: {} bytes each",
        memory("VmRSS")?.saturating_sub(before) / WATCHES
    );
    Ok(())
}

/// Runs a part in a process of its own, which prints its figures.
fn own_process(part: &str) -> Result<()> {
    let status = Command::new(std::env::current_exe()?).arg(part).status()?;
    anyhow::ensure!(status.success(), "{part}: {status}");
    Ok(())
}

async fn fill(map: &Entries) -> Result<()> {
    for first in (0..ENTRIES).step_by(10_000) {
        map.extend((first..first + 10_000).map(|n| (key(n), value(n))))
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(())
}

/// Latency of a change to a watch on another node: of one now and then, and of one after
/// the other. The pings are as far apart.
async fn changes() -> Result<()> {
    let nodes = three_nodes().await?;
    let maps = formed(&nodes, CollectionConfig::default()).await?;
    let mut raw = Ping::new().await?;
    for (name, pause) in [
        ("now and then", Duration::from_millis(5)),
        ("one after the other", Duration::ZERO),
    ] {
        let (mut pings, mut told) = (Vec::new(), Vec::new());
        for n in 0..1000 {
            tokio::time::sleep(pause).await;
            let started = Instant::now();
            raw.ping().await?;
            pings.push(started.elapsed());
            let mut watch = maps[1].watch_key(key(n));
            tokio::time::sleep(pause).await;
            let started = Instant::now();
            let inserted = maps[0].insert(key(n), value(n));
            within(watch.recv()).await?.context("the watch goes on")?;
            told.push(started.elapsed());
            inserted.await.map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        let (ping, told) = (median(pings), median(told));
        println!(
            "a change is told on another node, {name}: p50 {:.1} us = {:.2} x ping of {:.1} us",
            us(told),
            told.as_secs_f64() / ping.as_secs_f64(),
            us(ping)
        );
    }
    Ok(())
}

/// Cost of idle watches.
async fn many_watches() -> Result<()> {
    own_process("watches")?;
    let nodes = three_nodes().await?;
    let maps = formed(&nodes, CollectionConfig::default()).await?;
    let insert = |n: u64| maps[0].insert(key(n % 10_000), value(n));
    let mut without = Vec::new();
    let mut with = Vec::new();
    for _ in 0..3 {
        without.push(rate(IN_FLIGHT, 1, insert).await?);
        let mut watches = Vec::with_capacity(usize::try_from(WATCHES)?);
        for n in 0..WATCHES {
            watches.push(maps[0].watch_key(key(ENTRIES + n)));
        }
        with.push(rate(IN_FLIGHT, 1, insert).await?);
    }
    without.sort_unstable_by(f64::total_cmp);
    with.sort_unstable_by(f64::total_cmp);
    println!(
        "{WATCHES} watches of single keys: insertions {:.0}/s without them, {:.0}/s with them ({:+.1} %)",
        without[1],
        with[1],
        (with[1] / without[1] - 1.0) * 100.0
    );
    Ok(())
}

/// Entries that expire, at a steady rate.
async fn expiry() -> Result<()> {
    const PER_SECOND: u64 = 10_000;
    const SECONDS: u64 = 10;
    let ttl = Duration::from_secs(2);
    let nodes = three_nodes().await?;
    let maps = formed(&nodes, CollectionConfig::default()).await?;
    let mut watch = maps[1].watch();
    let counting = tokio::task::spawn(async move {
        let mut expired = 0;
        let mut late = Vec::new();
        let mut begun = std::collections::HashMap::new();
        while expired < PER_SECOND * SECONDS {
            let event = timeout(Duration::from_secs(30), watch.recv()).await;
            match event
                .context("entries expire")?
                .context("the watch goes on")?
            {
                Event::Changed { changes, .. } => {
                    for change in changes.iter() {
                        if change.is_removed() {
                            expired += 1;
                            let begin: Option<Instant> = begun.remove(change.key());
                            late.extend(begin.map(|begin| begin.elapsed().saturating_sub(ttl)));
                        } else {
                            begun.insert(*change.key(), Instant::now());
                        }
                    }
                }
                event => anyhow::bail!("the watch was too slow: {event:?}"),
            }
        }
        late.sort_unstable();
        anyhow::Ok(late)
    });
    let started = Instant::now();
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = FuturesUnordered::new();
    for n in 0..PER_SECOND * SECONDS {
        if n % (PER_SECOND / 100) == 0 {
            ticks.tick().await;
        }
        calls.push(maps[0].insert_with_ttl(key(n), value(n), ttl));
    }
    while let Some(ended) = calls.next().await {
        ended.map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    let inserted = started.elapsed();
    let late = counting.await??;
    println!(
        "{PER_SECOND} expiring entries a second for {:.1} s: told {:.0} ms after their time (median), {:.0} ms (p99)",
        inserted.as_secs_f64(),
        ms(percentile(&late, 0.5)),
        ms(percentile(&late, 0.99))
    );
    Ok(())
}

/// A reader, a process of its own, joins while insertions go on.
async fn joining() -> Result<()> {
    let id: NetworkId = Digest::random();
    let first = node(id, None).await?;
    let second = node(id, Some(first.local().addr())).await?;
    let config = CollectionConfig::default().with_min_writers(2);
    let maps =
        [&first, &second].map(|node| Entries::writer_with_config(node, "joining", config.clone()));
    for map in &maps {
        within(map.when().online()).await?;
    }
    fill(&maps[0]).await?;
    let alone = steady(&maps[0], Duration::from_secs(8)).await?;
    let addr = serde_json::to_string(&first.local().addr())?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["reader", &id.to_string(), &addr])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().context("piped")?);
    let told = tokio::task::spawn_blocking(move || {
        let lines: std::io::Result<Vec<_>> = output.lines().collect();
        lines
    });
    let meanwhile = steady(&maps[0], Duration::from_secs(8)).await?;
    for line in told.await?? {
        println!("{line}");
    }
    child.wait()?;
    println!(
        "10,000 insertions a second: p99 {:.2} ms alone, {:.2} ms while the reader joins",
        ms(percentile(&alone, 0.99)),
        ms(percentile(&meanwhile, 0.99))
    );
    Ok(())
}

/// Inserts at a steady rate; how long each insertion took.
async fn steady(map: &Entries, period: Duration) -> Result<Vec<Duration>> {
    let mut ticks = interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = FuturesUnordered::new();
    let mut times = Vec::new();
    let (started, mut number) = (Instant::now(), 0);
    while started.elapsed() < period {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                for _ in 0..50 {
                    let (begin, call) = (Instant::now(), map.insert(key(number % ENTRIES), value(number)));
                    calls.push(async move { call.await.map(|_| begin.elapsed()) });
                    number += 1;
                }
            }
            Some(ended) = calls.next() => {
                times.push(ended.map_err(|error| anyhow::anyhow!("{error}"))?);
            }
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// The process that joins.
async fn reader(network: NetworkId, addr: EndpointAddr) -> Result<()> {
    let node = node(network, Some(addr)).await?;
    let started = Instant::now();
    let config = CollectionConfig::default().with_min_writers(2);
    let map = Entries::reader_with_config(&node, "joining", config);
    timeout(Duration::from_secs(60), map.when().online())
        .await
        .context("in sync within a minute")?;
    println!(
        "a reader of {} entries is in sync after {:.1} s; {} MiB in its process, {} MiB at most",
        map.len(),
        started.elapsed().as_secs_f64(),
        memory("VmRSS")? / MIB,
        memory("VmHWM")? / MIB
    );
    Ok(())
}
