//! Members that come late, and those that bring them up to date.

use std::{
    collections::BTreeMap,
    num::NonZero,
    ops::{Range, RangeInclusive},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mosaik::{
    Bytes, Group, GroupKey, Network, UniqueId, Weak,
    groups::{
        ApplyContext, ConsensusConfig, Cursor, InMemoryLogStore, Index, LogReplaySync, Snapshot,
        SnapshotStateMachine, SnapshotSync, StateMachine, Storage, Term,
    },
    id,
};
use parking_lot::Mutex;

use super::{
    machines::nodes,
    tables::{Manner, Table},
};
use crate::support::{node, node_at, random_network, within};

/// Three members, one of them the leader, and their behaviour.
struct Trio {
    key: GroupKey,
    nodes: Vec<Network>,
    groups: Vec<Group<Table>>,
    manners: Vec<Arc<Manner>>,
    leader: usize,
}

fn join(node: &Network, key: GroupKey, manner: &Arc<Manner>, min_members: usize) -> Group<Table> {
    let consensus = ConsensusConfig::builder()
        .with_min_members(min_members)
        .build()
        .unwrap();
    node.groups()
        .with_key(key)
        .with_consensus_config(consensus)
        .with_state_machine(Table::new(manner))
        .join()
}

impl Trio {
    /// A group that holds this many keys.
    async fn with_keys(keys: u64) -> Self {
        let (key, nodes) = (GroupKey::random(), nodes(3).await);
        let manners: Vec<_> = (0..3).map(|_| Manner::honest()).collect();
        let groups: Vec<_> = nodes
            .iter()
            .zip(&manners)
            .map(|(node, manner)| join(node, key, manner, 3))
            .collect();
        for group in &groups {
            within(10, group.when().online()).await;
        }
        let leader = groups.iter().position(Group::is_leader).unwrap();
        let trio = Self {
            key,
            nodes,
            groups,
            manners,
            leader,
        };
        trio.write(0..keys).await;
        trio
    }

    /// Writes keys, ten at a time, and waits until all members have them.
    async fn write(&self, keys: std::ops::Range<u64>) {
        let keys: Vec<_> = keys.collect();
        for some in keys.chunks(10) {
            let rows = some.iter().map(|key| (*key, format!("text {key}")));
            let done = within(10, self.groups[self.leader].execute_many(rows)).await;
            done.unwrap();
        }
        let end = self.groups[self.leader].committed();
        for group in &self.groups {
            within(10, group.when().committed().reaches(end)).await;
        }
    }

    fn followers(&self) -> [usize; 2] {
        [(self.leader + 1) % 3, (self.leader + 2) % 3]
    }

    /// A fourth member, on a node of its own.
    async fn newcomer(&self) -> (Network, Group<Table>, Arc<Manner>) {
        let manner = Manner::honest();
        let (node, group) = self.newcomer_as(&manner).await;
        (node, group, manner)
    }

    async fn newcomer_as(&self, manner: &Arc<Manner>) -> (Network, Group<Table>) {
        let first = &self.nodes[self.leader];
        let node = node_at(*first.network_id(), first.local().addr()).await;
        let group = join(&node, self.key, manner, 3);
        (node, group)
    }
}

fn texts(keys: u64) -> BTreeMap<u64, String> {
    (0..keys).map(|key| (key, format!("text {key}"))).collect()
}

async fn has(group: &Group<Table>, keys: u64) {
    within(30, group.when().online()).await;
    within(30, group.when().committed().reaches(Index(keys))).await;
    let state = within(5, group.query((), Weak)).await.unwrap();
    assert_eq!(*state, texts(keys));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_a_snapshot_from_all_followers_and_the_rest_from_the_log() {
    let trio = Trio::with_keys(1450).await;
    let (_node, newcomer, manner) = trio.newcomer().await;
    has(&newcomer, 1450).await;
    assert!(manner.applied() < 200, "{} were replayed", manner.applied());
    for follower in trio.followers() {
        assert!(
            trio.manners[follower].encoded() > 0,
            "a follower was not asked"
        );
    }
    let written = newcomer.execute((1450, "text 1450".to_owned()));
    assert_eq!(within(5, written).await.unwrap(), 1451);
    has(&trio.groups[0], 1451).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_killed_in_the_middle_is_replaced() {
    let mut trio = Trio::with_keys(1450).await;
    let [killed, other] = trio.followers();
    trio.manners[killed].allow(1);
    trio.manners[other].allow(1);
    let (_node, newcomer, _) = trio.newcomer().await;
    within(10, trio.manners[killed].asked_for(2)).await;
    let (node, group) = (trio.nodes.remove(killed), trio.groups.remove(killed));
    within(20, node.shutdown()).await;
    drop(group);
    trio.manners[killed].allow(u64::MAX);
    trio.manners[other].allow(u64::MAX);
    has(&newcomer, 1450).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stalls_holds_nobody_up() {
    let trio = Trio::with_keys(1450).await;
    let [stalling, _] = trio.followers();
    trio.manners[stalling].allow(0);
    let (_node, newcomer, _) = trio.newcomer().await;
    has(&newcomer, 1450).await;
    trio.manners[stalling].allow(u64::MAX);
}

/// It was once taken for a founding that had failed, and began anew, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn an_observer_comes_online_however_long_its_first_snapshot_takes() {
    let trio = Trio::with_keys(1450).await;
    // About six seconds, which is longer than anything else takes that it waits for.
    let manner = Manner::observing(4 * 1024);
    let (_node, newcomer) = trio.newcomer_as(&manner).await;
    has(&newcomer, 1450).await;
    assert!(manner.applied() < 200, "{} were replayed", manner.applied());
}

/// To describe a large snapshot takes a while, and each further source once did it as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_observer_has_one_source_describe_a_snapshot_however_long_that_takes() {
    let trio = Trio::with_keys(1450).await;
    for manner in &trio.manners {
        manner.allow(0);
    }
    let (_node, newcomer) = trio.newcomer_as(&Manner::observing(1024 * 1024)).await;
    let asked = |manner: &Arc<Manner>| {
        let manner = manner.clone();
        Box::pin(async move { manner.asked_for(1).await })
    };
    let first = futures::future::select_all(trio.manners.iter().map(asked));
    let (_, first, _) = within(10, first).await;
    let mut others = trio.manners.clone();
    others.remove(first);
    // Longer than a source may be silent otherwise.
    let second = futures::future::select_all(others.iter().map(asked));
    let second = tokio::time::timeout(Duration::from_secs(6), second).await;
    assert!(second.is_err(), "a second source was asked");
    for manner in &trio.manners {
        manner.allow(u64::MAX);
    }
    has(&newcomer, 1450).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_is_not_believed() {
    let trio = Trio::with_keys(1450).await;
    for follower in trio.followers() {
        trio.manners[follower].lies.store(true, Ordering::Relaxed);
    }
    let (_node, newcomer, manner) = trio.newcomer().await;
    has(&newcomer, 1450).await;
    assert!(manner.applied() < 200, "{} were replayed", manner.applied());
    for follower in trio.followers() {
        assert!(trio.manners[follower].encoded() > 0, "nobody lied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_takes_writes_while_a_newcomer_catches_up() {
    let trio = Trio::with_keys(1450).await;
    for manner in &trio.manners {
        manner.allow(0);
    }
    let (_node, newcomer, manner) = trio.newcomer().await;
    within(10, trio.manners[trio.leader].asked_for(1)).await;
    // Everybody goes on, past several snapshots.
    trio.write(1450..2250).await;
    assert_eq!(newcomer.committed(), 0);
    for manner in &trio.manners {
        manner.allow(u64::MAX);
    }
    has(&newcomer, 2250).await;
    assert!(
        manner.applied() < 1000,
        "{} were replayed",
        manner.applied()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rivals_with_snapshots_merge() {
    let network = random_network();
    let (a, b) = (node(network).await, node(network).await);
    let key = GroupKey::random();
    let manner = Manner::honest();
    let small = join(&a, key, &manner, 1);
    let large = join(&b, key, &Manner::honest(), 1);
    for group in [&small, &large] {
        within(5, group.when().online()).await;
    }
    let lost = (7, "what only the loser had".to_owned());
    within(5, small.execute(lost)).await.unwrap();
    for some in (0..450).collect::<Vec<u64>>().chunks(10) {
        let rows = some.iter().map(|key| (*key, format!("text {key}")));
        within(5, large.execute_many(rows)).await.unwrap();
    }
    let reverted = small.when().committed().reverted();
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    within(10, reverted).await;
    has(&small, 450).await;
}

/// A storage that can be looked into, and be told to lie.
#[derive(Clone)]
struct Glass<C: mosaik::groups::Command> {
    store: Arc<Mutex<InMemoryLogStore<C>>>,
    /// Substitute for the written content: read back instead of it, once set.
    lie: Arc<Mutex<Option<C>>>,
}

impl<C: mosaik::groups::Command> Glass<C> {
    fn new() -> Self {
        Self {
            store: Arc::default(),
            lie: Arc::default(),
        }
    }
}

impl<C: mosaik::groups::Command> Storage<C> for Glass<C> {
    fn append(&mut self, command: C, term: Term) -> Index {
        self.store.lock().append(command, term)
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.store.lock().available()
    }

    fn get(&self, index: Index) -> Option<(C, Term)> {
        self.store.lock().get(index)
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, C)> {
        let mut found = self.store.lock().get_range(range);
        if let Some(lie) = &*self.lie.lock() {
            for (.., command) in &mut found {
                command.clone_from(lie);
            }
        }
        found
    }

    fn truncate(&mut self, at: Index) {
        self.store.lock().truncate(at);
    }

    fn last(&self) -> Cursor {
        self.store.lock().last()
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.store.lock().prune_prefix(up_to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_more_than_the_configuration_says() {
    let node = node(random_network()).await;
    let storage = Glass::new();
    let group = node
        .groups()
        .with_key(GroupKey::random())
        .with_state_machine(Table::new(&Manner::honest()))
        .with_log_storage(storage.clone())
        .join();
    within(5, group.when().online()).await;
    for key in 0..1000 {
        within(5, group.execute((key, String::new())))
            .await
            .unwrap();
    }
    // An interval of commands, and the entries before: discarded soon after the last snapshot.
    within(10, async {
        while *storage.available().start() < Index(995) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(storage.last().index(), 1000);
}

/// Counts the bytes of large commands.
#[derive(Default, Clone)]
struct Scale(u64);

impl StateMachine for Scale {
    type Command = Bytes;
    type Query = ();
    type QueryResult = u64;
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        id!("scale")
    }

    fn apply(&mut self, command: Bytes, _: &dyn ApplyContext) {
        self.0 += command.len() as u64;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> Self::StateSync {
        SnapshotSync::default()
    }
}

impl SnapshotStateMachine for Scale {
    type Snapshot = Self;

    fn create_snapshot(&self) -> Self {
        self.clone()
    }

    fn install_snapshot(&mut self, snapshot: Self) {
        *self = snapshot;
    }
}

impl Snapshot for Scale {
    type Item = u64;

    fn len(&self) -> u64 {
        1
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = u64>> {
        let len = usize::try_from(range.end - range.start).ok()?;
        Some(std::iter::repeat_n(self.0, len))
    }

    fn append(&mut self, items: impl IntoIterator<Item = u64>) {
        self.0 += items.into_iter().sum::<u64>();
    }
}

/// The log is cut off long before the number of commands says so, in memory and on the disk.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_more_bytes_than_are_promised() {
    const MEBIBYTE: usize = 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let node = crate::support::builder(random_network(), mosaik::discovery::Config::builder())
        .with_storage(directory.path())
        .build()
        .await
        .unwrap();
    for durable in [false, true] {
        let storage = Glass::new();
        let builder = node
            .groups()
            .with_key(GroupKey::random())
            .with_state_machine(Scale::default())
            .with_log_storage(storage.clone());
        let group = if durable {
            builder.durable().unwrap().join()
        } else {
            builder.join()
        };
        within(10, group.when().online()).await;
        for n in 0..100 {
            let command = Bytes::from(vec![n; MEBIBYTE]);
            within(10, group.execute(command)).await.unwrap();
        }
        // All but 64 MiB, of which there are half before and half behind the last snapshot.
        within(20, async {
            while *storage.available().start() < Index(36) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(storage.last().index(), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_can_not_be_told_where_to_go_on_takes_a_snapshot_too() {
    let trio = Trio::with_keys(1450).await;
    let first = &trio.nodes[trio.leader];
    let node = node_at(*first.network_id(), first.local().addr()).await;
    let (storage, manner) = (Glass::new(), Manner::honest());
    // What it held before is of no use to anybody.
    storage.store.lock().append((0, "old".to_owned()), Term(9));
    let newcomer = node
        .groups()
        .with_key(trio.key)
        .with_state_machine(Table::new(&manner))
        .with_log_storage(storage.clone())
        .join();
    has(&newcomer, 1450).await;
    assert!(manner.applied() < 200, "{} were replayed", manner.applied());
    assert!(storage.last().index() < 200);
    // Past several snapshots, which the log is cut off behind.
    trio.write(1450..2450).await;
    has(&newcomer, 2450).await;
    let written = newcomer.execute((2450, "text 2450".to_owned()));
    assert_eq!(within(5, written).await.unwrap(), 2451);
}

/// Adds up the bytes of large commands.
#[derive(Default)]
struct Heavy(Vec<u8>);

impl StateMachine for Heavy {
    type Command = mosaik::Bytes;
    type Query = ();
    type QueryResult = Vec<u8>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("heavy")
    }

    fn apply(&mut self, command: mosaik::Bytes, _: &dyn ApplyContext) {
        self.0.push(command[0]);
    }

    fn query(&self, (): ()) -> Vec<u8> {
        self.0.clone()
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default().with_batch_size(3.try_into().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_source_has_falsified_is_not_believed() {
    const LEN: usize = 256 * 1024;
    let nodes = nodes(4).await;
    let key = GroupKey::random();
    let join = |node: &Network| {
        let consensus = ConsensusConfig::builder()
            .with_min_members(3)
            .build()
            .unwrap();
        let storage = Glass::new();
        let group = node
            .groups()
            .with_key(key)
            .with_consensus_config(consensus)
            .with_state_machine(Heavy::default())
            .with_log_storage(storage.clone())
            .join();
        (group, storage)
    };
    let (groups, storages): (Vec<_>, Vec<_>) = nodes[..3].iter().map(join).unzip();
    for group in &groups {
        within(10, group.when().online()).await;
    }
    let leader = groups.iter().position(Group::is_leader).unwrap();
    // Only what is older than the last 16 MiB is read from the storage.
    for n in 0..100 {
        let command = mosaik::Bytes::from(vec![n; LEN]);
        within(10, groups[leader].execute(command)).await.unwrap();
    }
    for group in &groups {
        within(10, group.when().committed().reaches(100)).await;
    }
    for follower in [(leader + 1) % 3, (leader + 2) % 3] {
        *storages[follower].lie.lock() = Some(mosaik::Bytes::from(vec![255; LEN]));
    }
    let (newcomer, _) = join(&nodes[3]);
    within(20, newcomer.when().online()).await;
    within(20, newcomer.when().committed().reaches(100)).await;
    let state = within(5, newcomer.query((), Weak)).await.unwrap();
    assert_eq!(*state, (0..100).collect::<Vec<u8>>());
}

#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn a_durable_member_starts_from_its_snapshot_and_the_log_behind_it() {
    use crate::support::builder;

    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let start = async |manner: &Arc<Manner>| {
        let node = builder(network, mosaik::discovery::Config::builder())
            .with_storage(directory.path())
            .build()
            .await
            .unwrap();
        let group = node
            .groups()
            .with_key(key)
            .with_state_machine(Table::new(manner))
            .durable()
            .unwrap()
            .join();
        within(20, group.when().online()).await;
        (node, group)
    };
    let manner = Manner::honest();
    let (first, group) = start(&manner).await;
    let mut keys = 0;
    let write = async |group: &Group<Table>, keys: u64| {
        let row = (keys, format!("text {keys}"));
        within(10, group.execute(row)).await.unwrap();
    };
    // When a second one is written, the first one is done.
    while keys < 650 || manner.encoded() < 2 {
        write(&group, keys).await;
        keys += 1;
    }
    within(20, first.shutdown()).await;
    drop(group);

    for _ in 0..2 {
        let manner = Manner::honest();
        let (node, group) = start(&manner).await;
        has(&group, keys).await;
        assert!(manner.applied() <= keys - 100, "all of it was replayed");
        for _ in 0..7 {
            write(&group, keys).await;
            keys += 1;
        }
        within(20, node.shutdown()).await;
    }
}

/// A state of a single item, which grows.
#[derive(Default, Clone)]
struct Blob(Arc<Vec<u8>>);

impl StateMachine for Blob {
    type Command = u32;
    type Query = ();
    type QueryResult = u64;
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        id!("blob")
    }

    fn apply(&mut self, mebibytes: u32, _: &dyn ApplyContext) {
        let bytes = Arc::make_mut(&mut self.0);
        bytes.resize(bytes.len() + (mebibytes as usize) * 1024 * 1024, 7);
    }

    fn query(&self, (): ()) -> u64 {
        self.0.len() as u64
    }

    fn state_sync(&self) -> Self::StateSync {
        SnapshotSync::default()
            .with_interval(NonZero::new(10).unwrap())
            .with_kept_commands(0)
    }
}

impl SnapshotStateMachine for Blob {
    type Snapshot = Self;

    fn create_snapshot(&self) -> Self {
        self.clone()
    }

    fn install_snapshot(&mut self, snapshot: Self) {
        *self = snapshot;
    }
}

impl Snapshot for Blob {
    type Item = Bytes;

    fn len(&self) -> u64 {
        1
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Bytes>> {
        let len = usize::try_from(range.end - range.start).ok()?;
        Some(std::iter::repeat_n(Bytes::copy_from_slice(&self.0), len))
    }

    fn append(&mut self, items: impl IntoIterator<Item = Bytes>) {
        for item in items {
            self.0 = Arc::new(item.to_vec());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_a_snapshot_that_consists_of_one_large_item() {
    let (key, mut nodes) = (GroupKey::random(), nodes(2).await);
    let join = |node: &Network| {
        let builder = node.groups().with_key(key);
        builder.with_state_machine(Blob::default()).join()
    };
    let newcomer = nodes.pop().unwrap();
    let first = join(&nodes[0]);
    within(10, first.when().online()).await;
    for _ in 0..10 {
        within(10, first.execute(10)).await.unwrap();
    }
    within(10, first.execute(0)).await.unwrap();
    let group = join(&newcomer);
    within(60, group.when().online()).await;
    within(60, group.when().committed().reaches(Index(11))).await;
    let bytes = within(5, group.query((), Weak)).await.unwrap();
    assert_eq!(*bytes, 100 * 1024 * 1024);
}
