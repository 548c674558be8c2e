//! Cost of joining a group that holds a lot: three members, each a process of its own, keep a
//! million keys and go on taking writes while a fourth process joins.
//!
//! ```text
//! cargo run --release -p mosaik-bench --bin catch_up [KEYS] [BYTES PER VALUE] [WRITES PER SECOND]
//! ```

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    ops::Range,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream::FuturesUnordered};
use mosaik::{
    Bytes, Digest, Group, GroupKey, NetworkId, PeerId, UniqueId, Weak,
    groups::{
        ApplyContext, ConsensusConfig, LogReplaySync, Snapshot, SnapshotStateMachine, SnapshotSync,
        StateMachine,
    },
    id,
    iroh::EndpointAddr,
};
use mosaik_bench::{cpu_time, memory, node, percentile};
use tokio::{
    io::{AsyncBufReadExt, Lines, Stdin},
    time::{MissedTickBehavior, interval, timeout},
};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 256;
const WRITES_PER_SECOND: u64 = 1_000;
const BASELINE: Duration = Duration::from_secs(10);
const BATCH: u64 = 1_000;
const MIB: u64 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(120);

/// Keys that lie side by side in one shard.
const SHARD: u64 = 256;

/// A map that is frozen by counting references, one per shard.
#[derive(Clone, Default)]
struct Shards(Vec<Arc<BTreeMap<u64, Bytes>>>);

impl Shards {
    fn insert(&mut self, key: u64, value: Bytes) {
        let shard = usize::try_from(key / SHARD).expect("a small key");
        if shard >= self.0.len() {
            self.0.resize_with(shard + 1, Arc::default);
        }
        Arc::make_mut(&mut self.0[shard]).insert(key, value);
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|shard| shard.len() as u64).sum()
    }

    /// All items but the first `skipped`.
    fn iter_from(&self, mut skipped: u64) -> impl Iterator<Item = (u64, Bytes)> {
        let whole = self.0.iter().take_while(|shard| {
            let len = shard.len() as u64;
            let passed = skipped >= len;
            skipped -= if passed { len } else { 0 };
            passed
        });
        let whole = whole.count();
        let items = self.0[whole..].iter().flat_map(|shard| shard.iter());
        let rest = usize::try_from(skipped).expect("less than a shard");
        items.skip(rest).map(|(key, value)| (*key, value.clone()))
    }
}

struct Table<const SNAPSHOTS: bool>(Shards);

macro_rules! machine {
    ($snapshots:literal, $sync:ident) => {
        impl StateMachine for Table<$snapshots> {
            type Command = (u64, Bytes);
            type Query = ();
            type QueryResult = u64;
            type StateSync = $sync<Self>;

            fn signature(&self) -> UniqueId {
                id!("bench.table")
            }

            fn apply(&mut self, (key, value): (u64, Bytes), _: &dyn ApplyContext) {
                self.0.insert(key, value);
            }

            fn query(&self, (): ()) -> u64 {
                self.0.len()
            }

            fn state_sync(&self) -> Self::StateSync {
                $sync::default()
            }
        }
    };
}

machine!(true, SnapshotSync);
machine!(false, LogReplaySync);

impl SnapshotStateMachine for Table<true> {
    type Snapshot = Frozen;

    fn create_snapshot(&self) -> Frozen {
        Frozen(self.0.clone())
    }

    fn install_snapshot(&mut self, snapshot: Frozen) {
        self.0 = snapshot.0;
    }
}

#[derive(Clone, Default)]
struct Frozen(Shards);

impl Snapshot for Frozen {
    type Item = (u64, Bytes);

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = (u64, Bytes)>> {
        let taken = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
        (range.end <= self.len()).then(|| self.0.iter_from(range.start).take(taken))
    }

    fn append(&mut self, items: impl IntoIterator<Item = (u64, Bytes)>) {
        for (key, value) in items {
            self.0.insert(key, value);
        }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "member") {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        return runtime.block_on(member(&arguments[1..]));
    }
    let number = |place: usize, default: u64| match arguments.get(place) {
        Some(text) => text.parse::<u64>().context("a number"),
        None => Ok(default),
    };
    let load = Load {
        keys: number(0, KEYS)?,
        value_bytes: usize::try_from(number(1, VALUE_BYTES as u64)?)?,
        writes_per_second: number(2, WRITES_PER_SECOND)?.max(1),
    };
    println!(
        "{} keys of {} B, {} writes/s meanwhile",
        load.keys, load.value_bytes, load.writes_per_second
    );
    for strategy in ["snapshot", "replay"] {
        run(strategy, load)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    keys: u64,
    value_bytes: usize,
    writes_per_second: u64,
}

/// One group, and one that joins it.
fn run(strategy: &str, load: Load) -> Result<()> {
    let (network, key) = (Digest::random(), Digest::random());
    let mut members: Vec<Member> = Vec::new();
    for _ in 0..3 {
        let bootstrap = members.first().map(|first| first.address.as_str());
        members.push(Member::start(strategy, network, key, bootstrap)?);
    }
    for member in &mut members {
        member.say("join 3")?;
    }
    for member in &mut members {
        member.expect("online")?;
    }
    let mut leader = None;
    for (place, member) in members.iter_mut().enumerate() {
        member.say("leads")?;
        if member.answer()? == "true" {
            leader = Some(place);
        }
    }
    let leader = leader.context("somebody leads")?;
    let begin = Instant::now();
    members[leader].say(&format!("load {} {}", load.keys, load.value_bytes))?;
    let loaded = members[leader].expect("loaded")?;
    println!(
        "{strategy}: loaded in {:.1} s, leader's RSS {loaded} MB",
        begin.elapsed().as_secs_f64()
    );
    let measure = format!("measure {} {}", load.writes_per_second, load.value_bytes);
    members[leader].say(&measure)?;
    std::thread::sleep(BASELINE);
    members[leader].say("stop")?;
    println!("{strategy}: writes before  {}", members[leader].answer()?);

    let first = members[0].address.clone();
    let mut newcomer = Member::start(strategy, network, key, Some(&first))?;
    members[leader].say(&measure)?;
    newcomer.say("join 3")?;
    let online = newcomer.expect("online")?;
    members[leader].say("stop")?;
    println!("{strategy}: writes during  {}", members[leader].answer()?);
    println!("{strategy}: newcomer {online}");
    newcomer.say("keys")?;
    let keys = newcomer.answer()?;
    if keys != load.keys.to_string() {
        bail!("the newcomer has {keys} keys");
    }
    Ok(())
}

/// A process that takes orders.
struct Member {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: String,
}

impl Member {
    fn start(
        strategy: &str,
        network: NetworkId,
        key: Digest,
        bootstrap: Option<&str>,
    ) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["member", strategy])
            .args([network.to_string(), key.to_string()])
            .args(bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("piped")?;
        let answers = BufReader::new(child.stdout.take().context("piped")?);
        let mut member = Self {
            child,
            orders,
            answers,
            address: String::new(),
        };
        member.address = member.expect("address")?;
        Ok(member)
    }

    fn say(&mut self, order: &str) -> Result<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("a member has ended");
        }
        Ok(line.trim().to_owned())
    }

    fn expect(&mut self, word: &str) -> Result<String> {
        let line = self.answer()?;
        let rest = line.strip_prefix(word);
        Ok(rest.with_context(|| format!("{line}?"))?.trim().to_owned())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A member's process.
async fn member(arguments: &[String]) -> Result<()> {
    match arguments.first().map(String::as_str) {
        Some("snapshot") => {
            serve::<Table<true>>(&arguments[1..], || Table(Shards::default())).await
        }
        Some("replay") => serve::<Table<false>>(&arguments[1..], || Table(Shards::default())).await,
        _ => bail!("which strategy?"),
    }
}

async fn serve<M>(arguments: &[String], machine: fn() -> M) -> Result<()>
where
    M: StateMachine<Command = (u64, Bytes), Query = (), QueryResult = u64>,
{
    let [network, key, bootstrap @ ..] = arguments else {
        bail!("which network?");
    };
    let bootstrap = bootstrap.first().map(|text| address(text)).transpose()?;
    let node = node(Digest::from(network.as_str()), bootstrap).await?;
    let addr = node.local().addr();
    let ip = addr.ip_addrs().next().context("an address")?;
    println!("address {}@{ip}", addr.id);
    let key = GroupKey::from(Digest::from(key.as_str()));
    let mut lines = lines();
    let mut joined: Option<Group<M>> = None;
    while let Some(line) = lines.next_line().await? {
        let words: Vec<_> = line.split(' ').collect();
        match (words.as_slice(), &joined) {
            (["join", min_members], None) => {
                let consensus = ConsensusConfig::builder()
                    .with_min_members(min_members.parse()?)
                    .build()?;
                let (before, cpu, begin) = (memory("VmRSS")? / MIB, cpu_time(), Instant::now());
                let group = node
                    .groups()
                    .with_key(key)
                    .with_consensus_config(consensus)
                    .with_state_machine(machine())
                    .join();
                timeout(PATIENCE, group.when().online()).await?;
                println!(
                    "online after {:.2} s, {:.1} s of processor time; memory {before} MB before, {} MB after, {} MB at most",
                    begin.elapsed().as_secs_f64(),
                    cpu_time().saturating_sub(cpu).as_secs_f64(),
                    memory("VmRSS")? / MIB,
                    memory("VmHWM")? / MIB,
                );
                joined = Some(group);
            }
            (["leads"], Some(group)) => println!("{}", group.is_leader()),
            (["keys"], Some(group)) => println!("{}", *group.query((), Weak).await?),
            (["load", keys, bytes], Some(group)) => {
                load(group, keys.parse()?, bytes.parse()?).await?;
                println!("loaded {}", memory("VmRSS")? / MIB);
            }
            (["measure", rate, bytes], Some(group)) => {
                measure(group, rate.parse()?, bytes.parse()?, &mut lines).await?;
            }
            _ => bail!("what is {line}?"),
        }
    }
    Ok(())
}

async fn load<M>(group: &Group<M>, keys: u64, bytes: usize) -> Result<()>
where
    M: StateMachine<Command = (u64, Bytes)>,
{
    let mut next = 0;
    while next < keys {
        let end = (next + BATCH).min(keys);
        let rows = (next..end).map(|key| (key, value(key, bytes)));
        group.execute_many(rows).await?;
        next = end;
    }
    Ok(())
}

/// Writes at a steady pace until told to stop, and prints how long each write took, counted from
/// when it was due. No write waits for the one before it.
async fn measure<M>(
    group: &Group<M>,
    rate: u64,
    bytes: usize,
    lines: &mut Lines<tokio::io::BufReader<Stdin>>,
) -> Result<()>
where
    M: StateMachine<Command = (u64, Bytes)>,
{
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut times = Vec::new();
    let mut writes = FuturesUnordered::new();
    let mut next = 0;
    loop {
        tokio::select! {
            due = ticks.tick() => {
                let write = group.execute((next % 1000, value(next, bytes)));
                writes.push(async move { write.await.map(|_| due.elapsed()) });
                next += 1;
            }
            Some(took) = writes.next() => times.push(took?),
            _ = lines.next_line() => break,
        }
    }
    while let Some(took) = writes.next().await {
        times.push(took?);
    }
    times.sort_unstable();
    let us = |share| percentile(&times, share).as_secs_f64() * 1e6;
    println!(
        "{} in all, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, max {:.0} us",
        times.len(),
        us(0.5),
        us(0.99),
        us(0.999),
        us(1.0)
    );
    Ok(())
}

fn value(key: u64, bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    let len = bytes.min(8);
    value[..len].copy_from_slice(&key.to_le_bytes()[..len]);
    value.into()
}

fn lines() -> Lines<tokio::io::BufReader<Stdin>> {
    tokio::io::BufReader::new(tokio::io::stdin()).lines()
}

fn address(text: &str) -> Result<EndpointAddr> {
    let (id, ip) = text.split_once('@').context("an address")?;
    Ok(EndpointAddr::new(id.parse::<PeerId>()?).with_ip_addr(ip.parse()?))
}
