//! Machines and storages that fail on one member, or keep it waiting.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "storage")]
use mosaik::{Digest, Network, SecretKey, discovery};
use mosaik::{
    Group, GroupKey, UniqueId, Weak,
    groups::{
        ApplyContext, CommandError, ConsensusConfig, Cursor, InMemoryLogStore, Index,
        LogReplaySync, QueryError, StateMachine, Storage, Term,
    },
    id,
};
use serde::{Deserialize, Serialize};

use super::machines::{Ledger, agreed, formed_of, join, nodes, reaches, until_members};
#[cfg(feature = "storage")]
use crate::support::{bonded::Bonded, builder, random_network};
use crate::support::{eventually, within};

/// State of a group when one of three members, and only that, has failed.
async fn has_failed_alone(
    mut groups: Vec<Group<Ledger>>,
    failing: usize,
    applied: u64,
) -> Vec<Group<Ledger>> {
    let failed = groups.remove(failing);
    within(10, failed.when().offline()).await;
    let refused = within(5, failed.execute(7)).await;
    assert!(matches!(refused, Err(CommandError::GroupTerminated)));
    assert!(failed.leader().is_none() && failed.membership().voters.is_empty());
    while !failed.bonds().is_empty() {
        within(5, failed.bonds().changed()).await;
    }
    // In memory, it is gone for good: the others go on as a group of two.
    for group in &groups {
        reaches(group, applied).await;
        until_members(group, |members| members.voters.len() == 2).await;
    }
    agreed(&groups).await;
    assert_eq!(within(5, groups[1].execute(8)).await.unwrap(), applied + 1);
    groups
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_panics_ends_the_group_on_that_node_only() {
    let picky = |n| Ledger {
        dislikes: (n == 1).then_some(13),
        ..Ledger::default()
    };
    let (nodes, groups) = formed_of((0..3).map(picky)).await;
    within(5, groups[0].execute(1)).await.unwrap();
    within(10, groups[0].execute(13)).await.unwrap();
    let groups = has_failed_alone(groups, 1, 2).await;
    assert!(!nodes[1].discovery().me().groups().contains(groups[0].id()));
    // It may come back, with a machine that can take the command.
    let back = join(&nodes[1], *groups[0].config().key());
    reaches(&back, 3).await;
    until_members(&groups[0], |members| members.voters.len() == 3).await;
}

/// Panics while it is told to.
#[derive(Clone, Default)]
struct Fragile {
    store: Arc<parking_lot::Mutex<InMemoryLogStore<u64>>>,
    broken: Arc<AtomicBool>,
}

impl Fragile {
    fn enter(&self) {
        assert!(!self.broken.load(Ordering::Relaxed), "told to panic");
    }
}

impl Storage<u64> for Fragile {
    fn append(&mut self, command: u64, term: Term) -> Index {
        self.enter();
        self.store.lock().append(command, term)
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.store.lock().available()
    }

    fn get(&self, index: Index) -> Option<(u64, Term)> {
        self.enter();
        self.store.lock().get(index)
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, u64)> {
        self.enter();
        self.store.lock().get_range(range)
    }

    fn truncate(&mut self, at: Index) {
        self.enter();
        self.store.lock().truncate(at);
    }

    fn last(&self) -> Cursor {
        self.store.lock().last()
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.enter();
        self.store.lock().prune_prefix(up_to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_panics_ends_the_group_on_that_node_only() {
    for leads in [true, false] {
        let nodes = nodes(3).await;
        let key = GroupKey::random();
        let consensus = ConsensusConfig::builder()
            .with_min_members(3)
            .build()
            .unwrap();
        let storages = [(); 3].map(|()| Fragile::default());
        let groups: Vec<_> = nodes
            .iter()
            .zip(&storages)
            .map(|(node, storage)| {
                node.groups()
                    .with_key(key)
                    .with_consensus_config(consensus.clone())
                    .with_state_machine(Ledger::default())
                    .with_log_storage(storage.clone())
                    .join()
            })
            .collect();
        for group in &groups {
            within(10, group.when().online()).await;
        }
        agreed(&groups).await;
        within(5, groups[0].execute(1)).await.unwrap();
        let is_wanted = |group: &Group<Ledger>| group.is_leader() == leads;
        let failing = groups.iter().position(is_wanted).unwrap();
        storages[failing].broken.store(true, Ordering::Relaxed);
        let caller = (failing + 1) % 3;
        let index = within(10, groups[caller].execute(2)).await.unwrap();
        assert_eq!(index, 2);
        has_failed_alone(groups, failing, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_fails_from_the_start_ends_the_group() {
    let nodes = nodes(1).await;
    let storage = Fragile::default();
    storage.broken.store(true, Ordering::Relaxed);
    let group = nodes[0]
        .groups()
        .with_key(GroupKey::random())
        .with_state_machine(Ledger::default())
        .with_log_storage(storage)
        .join();
    let id = *group.id();
    within(10, async {
        while !matches!(
            group.query((), Weak).await,
            Err(QueryError::GroupTerminated)
        ) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(!nodes[0].discovery().me().groups().contains(&id));
}

/// A number below 100: decoding refuses any other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct Small(u64);

impl From<Small> for u64 {
    fn from(small: Small) -> Self {
        small.0
    }
}

impl TryFrom<u64> for Small {
    type Error = String;

    fn try_from(value: u64) -> Result<Self, String> {
        (value < 100)
            .then_some(Self(value))
            .ok_or_else(|| format!("{value} is not small"))
    }
}

/// Adds small numbers, when it may.
#[derive(Default)]
struct Sum {
    total: u64,
    /// While set, commands wait.
    held: Arc<AtomicBool>,
    /// Set once a command waits.
    waits: Arc<AtomicBool>,
}

impl StateMachine for Sum {
    type Command = Small;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("sum")
    }

    fn apply(&mut self, command: Small, _: &dyn ApplyContext) {
        tokio::task::block_in_place(|| {
            // Ends by itself when the test has long failed.
            for _ in 0..60_000 {
                if !self.held.load(Ordering::Relaxed) {
                    break;
                }
                self.waits.store(true, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        self.total += command.0;
    }

    fn query(&self, (): ()) -> u64 {
        self.total
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_can_decode_is_passed_over_and_told_to_its_caller() {
    let nodes = nodes(1).await;
    let group = nodes[0]
        .groups()
        .with_key(GroupKey::random())
        .with_state_machine(Sum::default())
        .join();
    within(5, group.when().online()).await;
    match within(5, group.execute_many([1, 100].map(Small))).await {
        Err(error @ CommandError::Undecodable(_)) => {
            assert!(!error.is_retryable());
            let commands = error.into_inner();
            assert!(matches!(commands[..], [Small(100)]), "{commands:?}");
        }
        other => panic!("{other:?}"),
    }
    // It has taken a position, and no effect.
    assert_eq!(within(5, group.execute(Small(2))).await.unwrap(), 3);
    assert_eq!(*group.query((), Weak).await.unwrap(), 3);
}

/// Applied twice before: once by the old instance, which nobody waited for, and once by the new one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_applied_when_a_group_is_reformed_is_applied_once() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(3)
        .build()
        .unwrap();
    let gate = Arc::new(AtomicBool::new(false));
    let waits = Arc::new(AtomicBool::new(false));
    let mut groups = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        let (held, waits) = match n {
            0 => (gate.clone(), waits.clone()),
            _ => Default::default(),
        };
        groups.push(
            node.groups()
                .with_key(key)
                .with_consensus_config(consensus.clone())
                .with_state_machine(Sum {
                    held,
                    waits,
                    total: 0,
                })
                .join(),
        );
    }
    for group in &groups {
        within(10, group.when().online()).await;
    }
    let survivor = &groups[0];
    gate.store(true, Ordering::Relaxed);
    // From another member: the survivor may lead, and would wait for its own machine.
    let fed = within(5, groups[1].feed(Small(1))).await.unwrap();
    assert_eq!(fed, 1);
    let applied = groups[1].when().committed().reaches(1u64);
    within(10, applied).await;
    // The two others are a majority: the survivor may have it later.
    eventually(10, || waits.load(Ordering::Relaxed)).await;
    let offline = survivor.when().offline();
    for node in &nodes[1..] {
        node.local().endpoint().close().await;
    }
    within(20, offline).await;
    let reforming = survivor.reform();
    let opening = async {
        // Long enough for the old instance to be told to end: what is tested is that this waits.
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.store(false, Ordering::Relaxed);
    };
    let (reformed, ()) = within(20, async { tokio::join!(reforming, opening) }).await;
    assert!(reformed);
    within(10, survivor.when().online()).await;
    within(10, survivor.when().committed().reaches(1u64)).await;
    assert_eq!(*survivor.query((), Weak).await.unwrap(), 1);
}

/// Others took it for a member without any history, and founded one.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_founds_while_a_durable_member_replays_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let held = Arc::new(AtomicBool::new(false));
    // The newcomer would be the one to found, and its vote would do.
    let consensus = ConsensusConfig::builder()
        .with_max_voters(1)
        .build()
        .unwrap();
    let mut secrets = [(); 2].map(|()| SecretKey::generate());
    secrets.sort_unstable_by_key(SecretKey::public);
    let [smaller, greater] = secrets;
    let start = || {
        let builder = builder(network, discovery::Config::builder());
        let builder = builder.with_secret_key(greater.clone());
        builder.with_storage(directory.path()).build()
    };
    let join = |node: &Network, held: &Arc<AtomicBool>| {
        let machine = Sum {
            held: held.clone(),
            ..Sum::default()
        };
        let builder = node
            .groups()
            .with_key(key)
            .with_consensus_config(consensus.clone());
        builder
            .durable()
            .map(|b| b.with_state_machine(machine).join())
    };
    let node = start().await.unwrap();
    let group = join(&node, &held).unwrap();
    within(10, group.when().online()).await;
    within(5, group.execute(Small(7))).await.unwrap();
    within(20, node.shutdown()).await;
    drop(group);

    held.store(true, Ordering::Relaxed);
    let node = start().await.unwrap();
    let group = join(&node, &held).unwrap();
    let discovery = discovery::Config::builder().with_bootstrap(node.local().addr());
    let other = builder(network, discovery).with_secret_key(smaller);
    let other = other.build().await.unwrap();
    let builder = other
        .groups()
        .with_key(key)
        .with_consensus_config(consensus.clone());
    let newcomer = builder.with_state_machine(Sum::default()).join();
    while newcomer.bonds().is_empty() {
        within(10, newcomer.bonds().changed()).await;
    }
    // Several times as long as a founding takes.
    let founding = tokio::time::timeout(Duration::from_secs(1), newcomer.when().leader_elected());
    let founding = founding.await;
    held.store(false, Ordering::Relaxed);
    assert!(founding.is_err(), "founded while the other one starts");
    for group in [&group, &newcomer] {
        within(10, group.when().online()).await;
        within(10, group.when().committed().reaches(1u64)).await;
        assert_eq!(*group.query((), Weak).await.unwrap(), 7);
    }
}

/// Regression: its peers did not count it among the voters that were there, and went on without it.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn a_durable_member_that_replays_its_log_says_which_history_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), Digest::random());
    let held = Arc::new(AtomicBool::new(false));
    let start = async || {
        let builder = builder(network, discovery::Config::builder());
        let builder = builder.with_storage(directory.path());
        let node = builder.build().await.unwrap();
        let machine = Sum {
            held: held.clone(),
            ..Sum::default()
        };
        let durable = node.groups().with_key(key).durable().unwrap();
        let group = durable.with_state_machine(machine).join();
        (node, group)
    };
    let history = async |node: &Network, group: &Group<Sum>| {
        let peer = Bonded::introduced(node, *group.id(), key, None, |standing| {
            standing.catching_up = true;
        });
        peer.await.theirs.lineage
    };
    let (node, group) = start().await;
    within(10, group.when().online()).await;
    within(5, group.execute(Small(7))).await.unwrap();
    let before = history(&node, &group).await.unwrap();
    assert!(before.alive);
    within(20, node.shutdown()).await;
    drop(group);

    held.store(true, Ordering::Relaxed);
    let (node, group) = start().await;
    let kept = history(&node, &group).await;
    held.store(false, Ordering::Relaxed);
    let kept = kept.expect("it has a history");
    assert_eq!((kept.id, kept.alive), (before.id, false));
    within(10, group.when().online()).await;
    within(10, group.when().committed().reaches(1u64)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_falls_behind_is_offline_until_it_has_caught_up() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(3)
        .build()
        .unwrap();
    let gates = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let groups: Vec<_> = nodes
        .iter()
        .zip(&gates)
        .map(|(node, gate)| {
            let machine = Sum {
                held: gate.clone(),
                ..Sum::default()
            };
            node.groups()
                .with_key(key)
                .with_consensus_config(consensus.clone())
                .with_state_machine(machine)
                .join()
        })
        .collect();
    for group in &groups {
        within(10, group.when().online()).await;
    }
    let leader = groups.iter().position(Group::is_leader).unwrap();
    let slow = (leader + 1) % 3;
    let offline = groups[slow].when().offline();
    gates[slow].store(true, Ordering::Relaxed);
    within(5, groups[leader].execute(Small(1))).await.unwrap();
    within(10, offline).await;
    assert_eq!(groups[slow].leader(), Some(nodes[leader].local().id()));
    assert_eq!(groups[slow].committed(), 0);
    // The others don't wait for it.
    within(5, groups[leader].execute(Small(2))).await.unwrap();
    let online = groups[slow].when().online();
    gates[slow].store(false, Ordering::Relaxed);
    within(10, online).await;
    // It is where it knew the leader to be; what was committed since then comes with the next beat.
    assert!(groups[slow].committed() >= 1);
    reaches(&groups[slow], 2).await;
}
