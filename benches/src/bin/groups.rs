//! Costs of a group: three nodes in this process over loopback sockets, and beside each figure the
//! round trip of a raw QUIC stream.

use std::time::{Duration, Instant};

use anyhow::Context;
use mosaik::{
    Group, GroupKey, Network, Strong, UniqueId,
    futures::{StreamExt, stream::FuturesUnordered},
    groups::{ApplyContext, ConsensusConfig, LogReplaySync, StateMachine},
    id,
};
use mosaik_bench::{Ping, cpu_time, median, ms, three_nodes, us, within};

/// Rounds of each kind of call, and calls in each.
const ROUNDS: usize = 10;
const CALLS: usize = 500;
const IN_FLIGHT: usize = 256;
const BATCH: u64 = 1_000;
const RUN: Duration = Duration::from_secs(3);
const IDLE_GROUPS: usize = 100;
const IDLE: Duration = Duration::from_secs(10);

/// Adds up.
#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    type Command = u64;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("bench.counter")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        self.0 = self.0.wrapping_add(command);
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}

/// Measures everything, or only the parts that are named as arguments.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let nodes = three_nodes().await?;
    if wanted("latency") {
        latency(&nodes).await?;
    }
    if wanted("throughput") {
        flood(&nodes).await?;
    }
    if wanted("failover") {
        hand_over(&nodes).await?;
        crash(&nodes).await?;
    }
    drop(nodes);
    if wanted("idle") {
        idle().await?;
    }
    Ok(())
}

/// Latency of one call, after a group has formed. Rounds of each kind take turns, so that what the
/// machine does besides meets all of them.
async fn latency(nodes: &[Network]) -> anyhow::Result<()> {
    let started = Instant::now();
    let groups = join(nodes, GroupKey::random(), 3)?;
    within(groups[0].when().leader_elected()).await?;
    let elected = started.elapsed();
    for group in &groups {
        within(group.when().online()).await?;
    }
    println!(
        "first leader {:.0} ms, all online {:.0} ms after joining",
        ms(elected),
        ms(started.elapsed())
    );
    let leader = position_of_leader(&groups)?;
    let members = [&groups[leader], &groups[(leader + 1) % 3]];

    let mut raw = Ping::new().await?;
    let mut pings = Vec::new();
    let mut executes = [Vec::new(), Vec::new()];
    let mut reads = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        round(&mut pings, async || raw.ping().await).await?;
        for (place, group) in members.iter().enumerate() {
            round(&mut executes[place], async || {
                group.execute(1).await.context("execute")?;
                Ok(())
            })
            .await?;
            round(&mut reads[place], async || {
                group.query((), Strong).await.context("query")?;
                Ok(())
            })
            .await?;
        }
    }
    let ping = median(pings);
    println!("raw QUIC stream ping        p50 {:>7.1} us", us(ping));
    for ((name, executes), reads) in ["leader", "follower"].iter().zip(executes).zip(reads) {
        report(&format!("execute, {name}"), median(executes), ping);
        report(&format!("strong read, {name}"), median(reads), ping);
    }
    Ok(())
}

/// Throughput of commands per second.
async fn flood(nodes: &[Network]) -> anyhow::Result<()> {
    let groups = formed(nodes).await?;
    let leader = position_of_leader(&groups)?;
    let follower = (leader + 1) % 3;
    for (name, member) in [("leader", leader), ("follower", follower)] {
        let rate = throughput(&groups[member], IN_FLIGHT, 1).await?;
        println!("{IN_FLIGHT} single commands in flight, {name}: {rate:.0}/s");
        let rate = throughput(&groups[member], 4, BATCH).await?;
        println!("batches of {BATCH}, 4 in flight, {name}: {rate:.0}/s");
    }
    Ok(())
}

/// Pause of writes when the leader leaves in order.
async fn hand_over(nodes: &[Network]) -> anyhow::Result<()> {
    let mut groups = formed(nodes).await?;
    let leader = position_of_leader(&groups)?;
    let heirs: Vec<_> = (0..3).filter(|i| *i != leader).collect();
    let changed = groups[heirs[0]].when().leader_changed();
    let started = Instant::now();
    let leaving = groups.remove(leader);
    drop(leaving);
    within(changed).await?;
    let survivor = &groups[0];
    within(async { while survivor.execute(1).await.is_err() {} }).await?;
    println!(
        "leader leaves: writes go on after {:.0} ms",
        ms(started.elapsed())
    );
    Ok(())
}

/// Pause of writes when the leader crashes.
async fn crash(nodes: &[Network]) -> anyhow::Result<()> {
    let groups = formed(nodes).await?;
    let leader = position_of_leader(&groups)?;
    let started = Instant::now();
    nodes[leader].local().endpoint().close().await;
    let survivor = &groups[(leader + 1) % 3];
    within(async { while survivor.execute(1).await.is_err() {} }).await?;
    println!(
        "leader dies: writes go on after {:.0} ms",
        ms(started.elapsed())
    );
    Ok(())
}

/// Cost of a hundred idle groups.
async fn idle() -> anyhow::Result<()> {
    let nodes = three_nodes().await?;
    let mut all = Vec::new();
    for _ in 0..IDLE_GROUPS {
        all.extend(join(&nodes, GroupKey::random(), 3)?);
    }
    for group in &all {
        within(group.when().online()).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, started) = (cpu_time(), Instant::now());
    tokio::time::sleep(IDLE).await;
    let used = cpu_time().saturating_sub(cpu);
    let share = used.as_secs_f64() / started.elapsed().as_secs_f64() / 3.0;
    println!(
        "{IDLE_GROUPS} idle groups on 3 nodes: {:.1} % of a core per node",
        share * 100.0
    );
    Ok(())
}

async fn throughput(group: &Group<Counter>, in_flight: usize, batch: u64) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut calls = FuturesUnordered::new();
    let mut done = 0u64;
    let submit = || group.execute_many((0..batch).map(|_| 1));
    for _ in 0..in_flight {
        calls.push(submit());
    }
    while started.elapsed() < RUN {
        calls.next().await.context("calls are under way")??;
        done += batch;
        calls.push(submit());
    }
    let elapsed = started.elapsed().as_secs_f64();
    while calls.next().await.is_some() {}
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    Ok(done as f64 / elapsed)
}

/// Adds the times of some calls.
async fn round(
    times: &mut Vec<Duration>,
    mut call: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for _ in 0..CALLS / 10 {
        call().await?;
    }
    for _ in 0..CALLS {
        let started = Instant::now();
        call().await?;
        times.push(started.elapsed());
    }
    Ok(())
}

fn join(nodes: &[Network], key: GroupKey, min: usize) -> anyhow::Result<Vec<Group<Counter>>> {
    let consensus = ConsensusConfig::builder().with_min_members(min).build()?;
    let joined = nodes.iter().map(|node| {
        node.groups()
            .with_key(key)
            .with_consensus_config(consensus.clone())
            .with_state_machine(Counter::default())
            .join()
    });
    Ok(joined.collect())
}

/// A group with a member on each node, online.
async fn formed(nodes: &[Network]) -> anyhow::Result<Vec<Group<Counter>>> {
    let groups = join(nodes, GroupKey::random(), nodes.len())?;
    for group in &groups {
        within(group.when().online()).await?;
    }
    Ok(groups)
}

fn position_of_leader(groups: &[Group<Counter>]) -> anyhow::Result<usize> {
    groups
        .iter()
        .position(Group::is_leader)
        .context("somebody leads")
}

fn report(what: &str, p50: Duration, ping: Duration) {
    println!(
        "{what:<27} p50 {:>7.1} us = {:.2} x ping",
        us(p50),
        p50.as_secs_f64() / ping.as_secs_f64()
    );
}
