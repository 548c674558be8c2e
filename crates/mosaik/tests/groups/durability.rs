//! Members that survive their nodes.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use mosaik::{
    Digest, Group, GroupKey, Network, NetworkId, Strong, UniqueId, Weak, discovery, futures,
    groups::{
        ApplyContext, CommandError, ConsensusConfig, Cursor, InMemoryLogStore, Index, JoinError,
        LeadershipPreference, LogReplaySync, NoStorage, QueryError, StateMachine, Storage,
        StoreError, Term,
    },
    id,
    iroh::EndpointAddr,
    network::Error,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::machines::{Ledger, agreed, leader_of, reaches, until_members};
use crate::support::{builder, logged, random_network, within};

/// A node that keeps its part of groups in a directory.
pub(super) async fn start(
    network: NetworkId,
    directory: &Path,
    bootstrap: Option<EndpointAddr>,
) -> Result<Network, Error> {
    let mut discovery = discovery::Config::builder();
    if let Some(bootstrap) = bootstrap {
        discovery = discovery.with_bootstrap(bootstrap);
    }
    builder(network, discovery)
        .with_storage(directory)
        .build()
        .await
}

pub(super) fn join(node: &Network, key: GroupKey, min_members: usize) -> Group<Ledger> {
    let consensus = ConsensusConfig::builder()
        .with_min_members(min_members)
        .build()
        .unwrap();
    join_with(node, key, consensus)
}

/// Keeps what is on disk only for a short while, unless something forbids to give it up.
fn join_hastily(node: &Network, key: GroupKey) -> Group<Ledger> {
    let consensus = ConsensusConfig::builder()
        .with_evict_after(Duration::from_millis(500))
        .build()
        .unwrap();
    join_with(node, key, consensus)
}

fn join_with(node: &Network, key: GroupKey, consensus: ConsensusConfig) -> Group<Ledger> {
    node.groups()
        .with_key(key)
        .with_consensus_config(consensus)
        .with_state_machine(Ledger::default())
        .durable()
        .unwrap()
        .join()
}

/// Three durable members, one directory each.
pub(super) async fn trio(
    network: NetworkId,
    key: GroupKey,
    directory: &Path,
) -> (Vec<Network>, Vec<Group<Ledger>>) {
    let mut nodes: Vec<Network> = Vec::new();
    for name in ["a", "b", "c"] {
        let bootstrap = nodes.first().map(|first| first.local().addr());
        let node = start(network, &directory.join(name), bootstrap).await;
        nodes.push(node.unwrap());
    }
    let groups: Vec<_> = nodes.iter().map(|node| join(node, key, 3)).collect();
    for group in &groups {
        within(20, group.when().online()).await;
    }
    agreed(&groups).await;
    (nodes, groups)
}

/// Applies nothing before it may, or the test has long failed.
struct Gated {
    preference: LeadershipPreference,
    /// Commands that were to be applied, and whether they may be.
    gate: watch::Sender<(u64, bool)>,
}

impl StateMachine for Gated {
    type Command = u64;
    type Query = ();
    type QueryResult = ();
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("gated")
    }

    fn apply(&mut self, _: u64, _: &dyn ApplyContext) {
        self.gate.send_modify(|(asked, _)| *asked += 1);
        for _ in 0..60_000 {
            if self.gate.borrow().1 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.preference
    }
}

/// It was told to an instance that did not exist yet: the member stayed an observer inside, and nobody
/// was ever elected.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handle_that_comes_while_an_observer_takes_its_log_up_makes_a_member_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (gate, mut asked) = watch::channel((0, true));
    let join = |node: &Network, preference| {
        let gate = gate.clone();
        let groups = node.groups().with_key(key);
        let groups = groups.with_state_machine(Gated { preference, gate });
        groups.durable().unwrap().join()
    };
    let node = start(network, directory.path(), None).await.unwrap();
    let group = join(&node, LeadershipPreference::Normal);
    within(10, group.when().online()).await;
    within(5, group.execute(1)).await.unwrap();
    within(20, node.shutdown()).await;
    drop(group);

    gate.send_replace((0, false));
    let node = start(network, directory.path(), None).await.unwrap();
    let _observer = join(&node, LeadershipPreference::Observer);
    let replaying = asked.wait_for(|(asked, _)| *asked == 1);
    within(10, replaying).await.unwrap();
    let member = join(&node, LeadershipPreference::Normal);
    gate.send_modify(|(_, open)| *open = true);
    within(10, member.when().online()).await;
    within(5, member.execute(2)).await.unwrap();
}

pub(super) async fn shut_down(nodes: Vec<Network>) {
    let ending = nodes.into_iter().map(Network::shutdown);
    within(20, futures::future::join_all(ending)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_member_comes_back_with_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let node = start(network, directory.path(), None).await.unwrap();
    let id = node.local().id();
    let group = join(&node, key, 1);
    within(10, group.when().online()).await;
    for n in 0..20 {
        within(5, group.execute(n)).await.unwrap();
    }
    node.shutdown().await;

    let node = start(network, directory.path(), None).await.unwrap();
    assert_eq!(node.local().id(), id, "the identity is kept");
    let group = join(&node, key, 1);
    within(10, group.when().online()).await;
    assert_eq!(group.committed(), 20);
    assert_eq!(group.log_position().index(), 20);
    let all = within(5, group.query((), Strong)).await.unwrap().into();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    assert_eq!(within(5, group.execute(20)).await.unwrap(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_group_comes_back_with_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (nodes, groups) = trio(network, key, directory.path()).await;
    for n in 0..30 {
        within(5, groups[n % 3].execute(n as u64)).await.unwrap();
    }
    shut_down(nodes).await;
    drop(groups);

    let begin = Instant::now();
    let (_nodes, groups) = trio(network, key, directory.path()).await;
    println!("back after {:?}", begin.elapsed());
    for group in &groups {
        let all = within(5, group.query((), Strong)).await.unwrap();
        assert_eq!(*all, (0..30).collect::<Vec<_>>());
    }
    // Every member's commands are new ones, although it is the same member.
    for (n, group) in groups.iter().enumerate() {
        assert_eq!(within(5, group.execute(100)).await.unwrap(), 31 + n as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_catches_up_as_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (mut nodes, mut groups) = trio(network, key, directory.path()).await;
    within(5, groups[0].execute(1)).await.unwrap();
    let away = leader_of(&groups).await;
    let name = ["a", "b", "c"][away];
    let (node, group) = (nodes.remove(away), groups.remove(away));
    let id = node.local().id();
    within(20, node.shutdown()).await;
    drop(group);
    agreed(&groups).await;
    assert_eq!(within(5, groups[0].execute(2)).await.unwrap(), 2);

    let bootstrap = nodes[0].local().addr();
    let node = start(network, &directory.path().join(name), Some(bootstrap))
        .await
        .unwrap();
    assert_eq!(node.local().id(), id);
    let group = join(&node, key, 3);
    reaches(&group, 2).await;
    assert_eq!(*group.query((), Weak).await.unwrap(), [1, 2]);
    within(10, group.when().online()).await;
    assert_eq!(within(5, group.execute(3)).await.unwrap(), 3);
    // Only with its vote can the group go on without another one.
    groups.push(group);
    nodes.push(node);
    let leader = leader_of(&groups).await;
    drop((groups.remove(leader), nodes.remove(leader)));
    agreed(&groups).await;
    assert_eq!(within(10, groups[1].execute(4)).await.unwrap(), 4);
}

/// Copies a directory of files.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_removed_is_admitted_again_as_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (mut nodes, mut groups) = trio(network, key, directory.path()).await;
    within(5, groups[0].execute(1)).await.unwrap();
    let (node, group) = (nodes.remove(2), groups.remove(2));
    let id = node.local().id();
    within(20, node.shutdown()).await;
    drop(group);
    assert!(groups[0].membership().voters.contains(&id), "it stays one");
    // It leaves, but forgets that: as if it had crashed in between.
    let (place, kept) = (directory.path().join("c"), directory.path().join("kept"));
    copy(&place, &kept);
    let bootstrap = nodes[0].local().addr();
    let node = start(network, &place, Some(bootstrap.clone()))
        .await
        .unwrap();
    let group = join(&node, key, 3);
    within(10, group.when().online()).await;
    group.leave().await;
    within(20, node.shutdown()).await;
    for group in &groups {
        until_members(group, |members| !members.contains(&id)).await;
    }
    std::fs::remove_dir_all(&place).unwrap();
    copy(&kept, &place);
    let node = start(network, &place, Some(bootstrap)).await.unwrap();
    let group = join(&node, key, 3);
    for member in [&groups[0], &groups[1], &group] {
        until_members(member, |members| members.voters.contains(&id)).await;
    }
    within(10, group.when().online()).await;
    assert_eq!(within(5, group.execute(2)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_evicted_is_admitted_again_as_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let consensus = ConsensusConfig::builder()
        .with_min_members(3)
        .with_evict_after(Duration::from_millis(300))
        .build()
        .unwrap();
    let join = |node: &Network| {
        let builder = node.groups().with_key(key);
        let builder = builder.with_consensus_config(consensus.clone());
        let builder = builder.with_state_machine(Ledger::default());
        builder.durable().unwrap().join()
    };
    let mut nodes: Vec<Network> = Vec::new();
    for name in ["a", "b", "c"] {
        let bootstrap = nodes.first().map(|first| first.local().addr());
        let node = start(network, &directory.path().join(name), bootstrap).await;
        nodes.push(node.unwrap());
    }
    let mut groups: Vec<_> = nodes.iter().map(&join).collect();
    for group in &groups {
        within(20, group.when().online()).await;
    }
    within(5, groups[0].execute(1)).await.unwrap();
    let (node, group) = (nodes.remove(2), groups.remove(2));
    let id = node.local().id();
    within(20, node.shutdown()).await;
    drop(group);
    for group in &groups {
        until_members(group, |members| !members.contains(&id)).await;
    }
    let bootstrap = nodes[0].local().addr();
    let place = directory.path().join("c");
    let node = start(network, &place, Some(bootstrap)).await.unwrap();
    let group = join(&node);
    until_members(&groups[0], |members| members.voters.contains(&id)).await;
    within(10, group.when().online()).await;
    reaches(&group, 1).await;
    assert_eq!(within(5, group.execute(2)).await.unwrap(), 2);
}

/// Tells the child process of the test below which part it has.
const CHILD_MEMBER: &str = "MOSAIK_TEST_GROUP_MEMBER";
/// The size of a file that the child can't exceed, in blocks of 512 or 1024 bytes.
const FILE_BLOCKS: u32 = 6 * 1024;

/// A process that can't write a file beyond so many blocks: that is an error, as on a full disk.
#[cfg(unix)]
fn limited(blocks: u32, part: &(&Path, &EndpointAddr)) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut child = Command::new("sh");
    child
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "groups::durability::child_member"])
        .arg("--nocapture")
        .env(CHILD_MEMBER, serde_json::to_string(part).unwrap())
        .stdout(Stdio::piped());
    child
}

/// The member of [`a_member_with_a_full_disk_comes_back_when_there_is_room`] that runs out of disk.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test by itself: the process that another one starts"]
async fn child_member() {
    let part = std::env::var(CHILD_MEMBER).expect("set by the test that starts this process");
    let (directory, addr): (std::path::PathBuf, EndpointAddr) =
        serde_json::from_str(&part).unwrap();
    let (network, key) = full_group();
    let node = match start(network, &directory, Some(addr)).await {
        Ok(node) => node,
        Err(error) => return println!("said: {error}"),
    };
    let group = join(&node, key, 3);
    // Until the store fails. It may lack a leader before that, as all are busy.
    let mut ended = Box::pin(async {
        while !matches!(group.execute(0).await, Err(CommandError::GroupTerminated)) {
            tokio::task::yield_now().await;
        }
    });
    // Where there was no room from the start, it ends before it has caught up.
    let came_online = within(60, async {
        tokio::select! {
            () = group.when().online() => true,
            () = &mut ended => false,
        }
    })
    .await;
    if came_online {
        println!("said: online");
        within(120, ended).await;
    }
    within(10, group.when().offline()).await;
    println!("said: ended");
}

fn full_group() -> (NetworkId, GroupKey) {
    (Digest::from("full"), GroupKey::from_secret("full"))
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_full_disk_comes_back_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = full_group();
    let first = start(network, &directory.path().join("a"), None)
        .await
        .unwrap();
    let addr = first.local().addr();
    let second = start(network, &directory.path().join("b"), Some(addr.clone()))
        .await
        .unwrap();
    let groups = [join(&first, key, 3), join(&second, key, 3)];
    let place = directory.path().join("c");
    let mut child = limited(FILE_BLOCKS, &(&place, &addr)).spawn().unwrap();
    let (lines, mut said) = tokio::sync::mpsc::channel(8);
    let out = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            if let Some((_, word)) = line.split_once("said: ") {
                lines.blocking_send(word.to_owned()).unwrap_or_default();
            }
        }
    });
    assert_eq!(within(30, said.recv()).await.as_deref(), Some("online"));
    // Who is online need not vote yet, nor be known to do so by all.
    until_members(&groups[0], |members| members.voters.len() == 3).await;
    let id = *groups[0]
        .membership()
        .voters
        .iter()
        .find(|id| **id != first.local().id() && **id != second.local().id())
        .unwrap();
    let mut written = 0;
    let ended = loop {
        match within(20, groups[0].execute_many(0..20_000)).await {
            Ok(_) => written += 20_000,
            // Whoever runs out of disk may lead: what was under way is given back then.
            Err(CommandError::GroupTerminated) => panic!("it ended here as well"),
            Err(_) => {}
        }
        if let Ok(word) = said.try_recv() {
            break word;
        }
        assert!(written < 4_000_000, "the disk is never full");
    };
    assert_eq!(ended, "ended");
    child.wait().unwrap();
    reading.join().unwrap();
    assert!(
        groups[0].membership().voters.contains(&id),
        "it stays a member"
    );

    // Started again while the disk is full, it says why it can't run, or runs until it can't write.
    for _ in 0..2 {
        let mut again = limited(FILE_BLOCKS, &(&place, &addr));
        let again = tokio::task::spawn_blocking(move || again.output().unwrap());
        let again = within(120, again).await.unwrap();
        let said = String::from_utf8_lossy(&again.stdout).into_owned();
        assert!(again.status.success(), "{said}");
        assert!(
            said.contains("said: ended") || said.contains("path"),
            "{said}"
        );
    }

    let third = start(network, &place, Some(addr)).await.unwrap();
    assert_eq!(third.local().id(), id);
    let group = join(&third, key, 3);
    within(30, group.when().online()).await;
    within(30, group.when().committed().reaches(Index(written))).await;
    // Its vote counts again: the group goes on without another member.
    within(20, second.shutdown()).await;
    let going_on = within(20, async {
        // An election may take longer than a call waits for a leader.
        while let Err(error) = group.execute(1).await {
            assert!(!matches!(error, CommandError::GroupTerminated), "{error}");
        }
    });
    going_on.await;
}

/// The files that a node has begun while there was no room are no obstacle later.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_begun_on_a_full_disk_is_of_use_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let (network, place) = (full_group().0, directory.path().join("new"));
    let other = start(network, &directory.path().join("other"), None)
        .await
        .unwrap();
    let addr = other.local().addr();
    for blocks in [0, 1, 16, 200] {
        let mut child = limited(blocks, &(&place, &addr));
        let child = tokio::task::spawn_blocking(move || child.output().unwrap());
        let child = within(60, child).await.unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(
            child.status.success() && said.contains("said: "),
            "{blocks}: {said}"
        );
        assert!(!said.contains("said: online"), "{blocks}: {said}");
    }
    let node = start(network, &place, Some(addr)).await.unwrap();
    let group = join(&node, GroupKey::random(), 1);
    within(10, group.when().online()).await;
    within(5, group.execute(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let node = start(network, directory.path(), None).await.unwrap();
    let group = join(&node, key, 1);
    within(10, group.when().online()).await;
    within(5, group.execute(1)).await.unwrap();
    drop(group);
    // At once, or after a restart.
    let group = join(&node, key, 1);
    within(10, group.when().online()).await;
    assert_eq!(group.committed(), 0);
    within(5, group.execute(2)).await.unwrap();
    node.shutdown().await;
    let node = start(network, directory.path(), None).await.unwrap();
    let group = join(&node, key, 1);
    within(10, group.when().online()).await;
    assert_eq!(*within(5, group.query((), Strong)).await.unwrap(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_comes_back_wins_against_one_founded_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (nodes, groups) = trio(network, key, directory.path()).await;
    for n in 0..10 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    shut_down(nodes).await;
    drop(groups);

    // A newcomer is there first, and founds a group of its own, with the same settings.
    let newcomer = start(network, &directory.path().join("d"), None)
        .await
        .unwrap();
    let hasty = newcomer
        .groups()
        .with_key(key)
        .with_state_machine(Ledger::default())
        .join();
    within(10, hasty.when().online()).await;
    within(5, hasty.execute(99)).await.unwrap();
    let mut nodes: Vec<Network> = vec![newcomer];
    let mut groups = vec![hasty];
    for name in ["a", "b", "c"] {
        let bootstrap = nodes[0].local().addr();
        let node = start(network, &directory.path().join(name), Some(bootstrap))
            .await
            .unwrap();
        let group = join(&node, key, 3);
        // Everybody has met the hasty one before the next member is there.
        while !group.bonds().contains_peer(&nodes[0].local().id()) {
            within(10, group.bonds().changed()).await;
        }
        groups.push(group);
        nodes.push(node);
    }
    reaches(&groups[0], 10).await;
    agreed(&groups).await;
    let all = within(10, groups[0].query((), Strong)).await.unwrap();
    assert_eq!(*all, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_histories_give_way_only_when_their_operator_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (nodes, groups) = trio(network, key, directory.path()).await;
    for n in 0..10 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    for group in &groups {
        reaches(group, 10).await;
    }
    shut_down(nodes).await;
    drop(groups);

    let newcomer = start(network, &directory.path().join("d"), None)
        .await
        .unwrap();
    let rival = join_hastily(&newcomer, key);
    within(10, rival.when().online()).await;
    within(5, rival.execute(99)).await.unwrap();

    // One member alone has no majority, and its patience is over.
    let bootstrap = newcomer.local().addr();
    let first = start(
        network,
        &directory.path().join("a"),
        Some(bootstrap.clone()),
    )
    .await
    .unwrap();
    let kept = join_hastily(&first, key);
    reaches(&kept, 0).await;
    while kept.bonds().is_empty() {
        within(10, kept.bonds().changed()).await;
    }
    // Longer than the rival must be seen, and this one be without a majority, to win.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(kept.log_position().index(), 10, "nothing is given up");
    assert_eq!(rival.committed(), 1);

    // With the second one it has a majority, and more commands; still nobody gives way.
    let second = start(network, &directory.path().join("b"), Some(bootstrap))
        .await
        .unwrap();
    let groups = [kept, join_hastily(&second, key), rival];
    for group in &groups[..2] {
        reaches(group, 10).await;
        within(10, group.when().online()).await;
    }
    // As above.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(groups[2].committed(), 1);
    assert!(groups[2].is_leader(), "a group of its own");

    assert!(within(10, groups[2].abandon_history()).await);
    for group in &groups {
        reaches(group, 10).await;
        within(10, group.when().online()).await;
    }
    agreed(&groups).await;
    let all = within(10, groups[2].query((), Strong)).await.unwrap();
    assert_eq!(*all, (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reformed_group_is_still_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (mut nodes, mut groups) = trio(network, key, directory.path()).await;
    for n in 0..10 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    reaches(&groups[2], 10).await;
    // The first two vanish.
    for node in &nodes[..2] {
        node.local().endpoint().close().await;
    }
    let (node, group) = (nodes.remove(2), groups.remove(2));
    within(10, group.when().offline()).await;
    assert!(within(10, group.reform()).await);
    within(10, group.when().online()).await;
    assert_eq!(within(5, group.execute(10)).await.unwrap(), 11);
    shut_down(nodes).await;
    drop(groups);
    within(20, node.shutdown()).await;
    drop(group);

    let node = start(network, &directory.path().join("c"), None)
        .await
        .unwrap();
    let group = join(&node, key, 3);
    within(10, group.when().online()).await;
    let all = within(5, group.query((), Strong)).await.unwrap();
    assert_eq!(*all, (0..11).collect::<Vec<_>>());
    assert_eq!(within(5, group.execute(11)).await.unwrap(), 12);

    // A member of the old history is back from its disk, has nothing more, and follows.
    let bootstrap = node.local().addr();
    let back = start(network, &directory.path().join("a"), Some(bootstrap))
        .await
        .unwrap();
    let groups = [group, join(&back, key, 3)];
    within(20, groups[1].when().online()).await;
    agreed(&groups).await;
    reaches(&groups[1], 12).await;
    assert_eq!(within(5, groups[1].execute(12)).await.unwrap(), 13);
    let all = within(5, groups[1].query((), Strong)).await.unwrap();
    assert_eq!(*all, (0..13).collect::<Vec<_>>());
}

/// An election alone, in which no command came, does not keep anybody from following.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_nothing_but_elections_more_follows_who_has_reformed() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let place = |name: &str| directory.path().join(name);
    let (mut nodes, groups) = trio(network, key, directory.path()).await;
    for n in 0..10 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    reaches(&groups[2], 10).await;
    // The third one is away, and the others elect once more.
    within(20, nodes.remove(2).shutdown()).await;
    shut_down(nodes).await;
    drop(groups);
    let one = start(network, &place("a"), None).await.unwrap();
    let bootstrap = one.local().addr();
    let two = start(network, &place("b"), Some(bootstrap)).await.unwrap();
    let groups = [join(&one, key, 3), join(&two, key, 3)];
    agreed(&groups).await;
    for group in &groups {
        within(10, group.when().online()).await;
        reaches(group, 10).await;
        assert_eq!(within(5, group.query((), Strong)).await.unwrap().len(), 10);
    }
    shut_down(vec![one, two]).await;
    drop(groups);

    let node = start(network, &place("c"), None).await.unwrap();
    let group = join(&node, key, 3);
    within(10, async {
        while !group.reform().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    within(10, group.when().online()).await;
    assert_eq!(within(5, group.execute(10)).await.unwrap(), 11);

    let bootstrap = node.local().addr();
    let back = start(network, &place("a"), Some(bootstrap)).await.unwrap();
    let groups = [group, join(&back, key, 3)];
    reaches(&groups[1], 11).await;
    within(20, groups[1].when().online()).await;
    agreed(&groups).await;
    assert_eq!(within(5, groups[1].execute(11)).await.unwrap(), 12);
    for group in &groups {
        let all = within(5, group.query((), Strong)).await.unwrap();
        assert_eq!(*all, (0..12).collect::<Vec<_>>());
    }
}

/// Regression: a restart that took longer than `evict_after`, as that of a large store does, cost the
/// member its vote: who restarted the next one as soon as it was back was left without a majority.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_was_stopped_keeps_its_vote() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let consensus = ConsensusConfig::builder()
        .with_min_members(3)
        .with_evict_after(Duration::from_millis(500))
        .build()
        .unwrap();
    let mut nodes: Vec<Network> = Vec::new();
    for name in ["a", "b", "c"] {
        let bootstrap = nodes.first().map(|first| first.local().addr());
        let node = start(network, &directory.path().join(name), bootstrap).await;
        nodes.push(node.unwrap());
    }
    let mut groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, key, consensus.clone()))
        .collect();
    for group in &groups {
        within(20, group.when().online()).await;
        until_members(group, |members| members.voters.len() == 3).await;
    }
    let stopped = nodes.pop().unwrap();
    let id = stopped.local().id();
    within(20, stopped.shutdown()).await;
    drop(groups.pop());
    // Several times as long as an unreachable member is kept, and less than twenty times.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for group in &groups {
        assert!(group.membership().voters.contains(&id), "its vote is kept");
    }
    within(5, groups[0].execute(1)).await.unwrap();
}

/// Regression: a history named its parent alone. Who was away while the group was reformed twice took
/// the last history for a foreign one, and stayed offline for good.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_while_the_group_was_reformed_twice_follows() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let place = |name: &str| directory.path().join(name);
    let (mut nodes, mut groups) = trio(network, key, directory.path()).await;
    for n in 0..10 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    for group in &groups {
        reaches(group, 10).await;
    }
    let (node, group) = (nodes.remove(2), groups.remove(2));
    // One stops in order, the other one crashes.
    nodes[1].local().endpoint().close().await;
    shut_down(nodes).await;
    drop(groups);
    let reform = async |next: u64| {
        within(20, async {
            while !group.reform().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        within(10, group.when().online()).await;
        assert_eq!(within(5, group.execute(next)).await.unwrap(), next + 1);
    };
    reform(10).await;
    let bootstrap = node.local().addr();
    let helper = start(network, &place("d"), Some(bootstrap.clone()))
        .await
        .unwrap();
    let helping = join(&helper, key, 3);
    let voter = helper.local().id();
    until_members(&group, |members| members.voters.contains(&voter)).await;
    helper.local().endpoint().close().await;
    within(10, group.when().offline()).await;
    reform(11).await;
    drop((helper, helping));

    let back = start(network, &place("a"), Some(bootstrap)).await.unwrap();
    let groups = [group, join(&back, key, 3)];
    within(20, groups[1].when().online()).await;
    agreed(&groups).await;
    assert_eq!(within(5, groups[1].execute(12)).await.unwrap(), 13);
    for group in &groups {
        let all = within(5, group.query((), Strong)).await.unwrap();
        assert_eq!(*all, (0..13).collect::<Vec<_>>());
    }
}

/// Takes a picture of a directory when it is told where to begin.
struct Camera {
    store: InMemoryLogStore<u64>,
    from: PathBuf,
    to: PathBuf,
}

impl Storage<u64> for Camera {
    fn append(&mut self, command: u64, term: Term) -> Index {
        self.store.append(command, term)
    }

    fn available(&self) -> RangeInclusive<Index> {
        self.store.available()
    }

    fn get(&self, index: Index) -> Option<(u64, Term)> {
        self.store.get(index)
    }

    fn get_range(&self, range: &RangeInclusive<Index>) -> Vec<(Term, Index, u64)> {
        self.store.get_range(range)
    }

    fn truncate(&mut self, at: Index) {
        self.store.truncate(at);
    }

    fn last(&self) -> Cursor {
        self.store.last()
    }

    fn prune_prefix(&mut self, up_to: Index) {
        self.store.prune_prefix(up_to);
    }

    fn reset_to(&mut self, position: Cursor) {
        if !self.to.exists() {
            copy(&self.from, &self.to);
        }
        self.store.reset_to(position);
    }
}

/// A first start that was killed when the history had a name, and no entry, was once no member of
/// anything until its operator gave that up.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_killed_while_it_founded_founds_again() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (first, picture) = (directory.path().join("a"), directory.path().join("b"));
    let node = start(network, &first, None).await.unwrap();
    let camera = Camera {
        store: InMemoryLogStore::default(),
        from: first.clone(),
        to: picture.clone(),
    };
    let group = node
        .groups()
        .with_key(key)
        .with_state_machine(Ledger::default())
        .with_log_storage(camera)
        .durable()
        .unwrap()
        .join();
    within(10, group.when().online()).await;
    within(10, node.shutdown()).await;
    drop(group);

    let node = start(network, &picture, None).await.unwrap();
    let group = join(&node, key, 1);
    within(20, group.when().online()).await;
    assert_eq!(within(5, group.execute(1)).await.unwrap(), 1);
    within(10, node.shutdown()).await;
    drop(group);
    let node = start(network, &picture, None).await.unwrap();
    reaches(&join(&node, key, 1), 1).await;
}

/// A node that has joined in memory has nothing of the group to keep on disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_durable_handle_beside_one_in_memory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let node = start(network, directory.path(), None).await.unwrap();
    let in_memory = || {
        let builder = node.groups().with_key(key);
        builder.with_state_machine(Ledger::default())
    };
    let first = in_memory().join();
    let refused = in_memory().durable().unwrap().try_join().unwrap_err();
    assert_eq!(refused, JoinError::NotDurable(*first.id()));
    let (joined, logged) = logged(|| in_memory().durable().unwrap().join());
    assert!(
        logged.contains("ERROR") && logged.contains("in memory"),
        "{logged}"
    );
    assert_eq!(joined.id(), first.id());
    within(10, joined.when().online()).await;
    within(10, first.execute(1)).await.unwrap();
    drop((first, joined));

    // The other way round both are what they want to be.
    let durable = in_memory().durable().unwrap().try_join().unwrap();
    let second = in_memory().try_join().unwrap();
    within(10, second.when().online()).await;
    within(10, durable.execute(2)).await.unwrap();
    within(10, node.shutdown()).await;
    drop((durable, second));
    let node = start(network, directory.path(), None).await.unwrap();
    let group = join(&node, key, 1);
    reaches(&group, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_can_not_be_used_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let network = random_network();
    let plain = builder(network, discovery::Config::builder())
        .build()
        .await
        .unwrap();
    let refused = plain.groups().with_key(GroupKey::random()).durable();
    assert_eq!(refused.unwrap_err(), NoStorage);

    let node = start(network, directory.path(), None).await.unwrap();
    let error = start(network, directory.path(), None).await.err().unwrap();
    assert!(
        matches!(error, Error::Storage(StoreError::Locked { .. })),
        "{error}"
    );
    node.shutdown().await;
    let stranger = builder(network, discovery::Config::builder())
        .with_secret_key(mosaik::SecretKey::generate())
        .with_storage(directory.path())
        .build()
        .await;
    let error = stranger.err().unwrap();
    assert!(
        matches!(error, Error::Storage(StoreError::Owner { .. })),
        "{error}"
    );
    start(network, directory.path(), None).await.unwrap();
}

/// Tells the child process of the test below where to work.
const CHILD_DIRECTORY: &str = "MOSAIK_TEST_GROUP_CHILD";
const IN_FLIGHT: usize = 32;

/// The process that [`nothing_acknowledged_is_lost_when_all_are_killed`] starts and kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test by itself: the process that another one starts and kills"]
async fn child_group() {
    let directory = std::env::var_os(CHILD_DIRECTORY);
    let directory = directory.expect("set by the test that starts this process");
    let (network, key) = killed_group();
    let (_nodes, groups) = trio(network, key, Path::new(&directory)).await;
    let done = groups[0].query((), Strong).await.unwrap();
    let mut next = done.iter().max().map_or(0, |max| max + 1);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < IN_FLIGHT {
            let command = next;
            next += 1;
            let member = usize::try_from(command).unwrap() % groups.len();
            let execution = groups[member].execute(command);
            running.push(async move { (command, execution.await) });
        }
        match running.next().await {
            Some((command, Ok(_))) => {
                let mut out = std::io::stdout().lock();
                let line = format!("#{command}\n");
                out.write_all(line.as_bytes())
                    .and_then(|()| out.flush())
                    .unwrap_or_default();
            }
            Some((_, Err(CommandError::Offline(_) | CommandError::Unknown(_)))) => {}
            Some((command, Err(error))) => panic!("{command}: {error}"),
            None => return,
        }
    }
}

fn killed_group() -> (NetworkId, GroupKey) {
    (Digest::from("killed"), GroupKey::from_secret("killed"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_all_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for lines in [40, 700, 300] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "groups::durability::child_group"])
            .arg("--nocapture")
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut count = 0;
        for line in out.lines() {
            let Ok(line) = line else { break };
            // The last line may be cut off, which makes another number of it.
            let Some((_, number)) = line.split_once('#') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                break;
            };
            count += 1;
            if count <= lines {
                acknowledged.insert(number);
            }
            if count == lines {
                child.kill().unwrap();
            }
        }
        assert!(count >= lines, "the child has ended by itself");
        child.wait().unwrap();
    }
    let (network, key) = killed_group();
    let (_nodes, groups) = trio(network, key, directory.path()).await;
    for group in &groups {
        let all = within(10, group.query((), Strong)).await.unwrap();
        let distinct: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len(), "something took effect twice");
        let lost: Vec<_> = acknowledged.difference(&distinct).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_directory_was_set_back_stays_out_and_disturbs_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (mut nodes, mut groups) = trio(network, key, directory.path()).await;
    let back = (leader_of(&groups).await + 1) % 3;
    let name = ["a", "b", "c"][back];
    let (place, kept) = (directory.path().join(name), directory.path().join("kept"));
    for n in 0..100 {
        within(5, groups[back].execute(n)).await.unwrap();
    }
    let (node, group) = (nodes.remove(back), groups.remove(back));
    let id = node.local().id();
    within(20, node.shutdown()).await;
    drop(group);
    copy(&place, &kept);

    // It goes on, and acknowledges more.
    let bootstrap = nodes[0].local().addr();
    let node = start(network, &place, Some(bootstrap.clone()))
        .await
        .unwrap();
    let group = join(&node, key, 3);
    within(20, group.when().online()).await;
    for n in 100..200 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    reaches(&group, 200).await;
    within(20, node.shutdown()).await;
    drop(group);

    std::fs::remove_dir_all(&place).unwrap();
    copy(&kept, &place);
    for _ in 0..2 {
        let node = start(network, &place, Some(bootstrap.clone()))
            .await
            .unwrap();
        assert_eq!(node.local().id(), id);
        let group = join(&node, key, 3);
        // It learns that from the leader; from then on it knows it by itself.
        let ended = within(20, async {
            loop {
                match group.execute(999).await {
                    Err(CommandError::GroupTerminated) => return,
                    Ok(_) => panic!("it takes part"),
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        ended.await;
        within(20, node.shutdown()).await;
    }
    // Its operator gives it up: it comes back as a new member.
    let node = start(network, &place, Some(bootstrap)).await.unwrap();
    let group = join(&node, key, 3);
    assert!(within(20, group.abandon_history()).await);
    assert!(!within(5, group.abandon_history()).await, "nothing is left");
    let group = join(&node, key, 3);
    within(20, group.when().online()).await;
    reaches(&group, 200).await;
    until_members(&groups[0], |members| members.voters.len() == 3).await;
    for group in &groups {
        within(5, group.execute(200)).await.unwrap();
        let all = within(5, group.query((), Strong)).await.unwrap();
        assert_eq!(all[..200], (0..200).collect::<Vec<_>>());
    }
}

/// A number of at least `LEAST`: decoding refuses any other.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct AtLeast<const LEAST: u64>(u64);

impl<const LEAST: u64> From<AtLeast<LEAST>> for u64 {
    fn from(number: AtLeast<LEAST>) -> Self {
        number.0
    }
}

impl<const LEAST: u64> TryFrom<u64> for AtLeast<LEAST> {
    type Error = String;

    fn try_from(value: u64) -> Result<Self, String> {
        (value >= LEAST)
            .then_some(Self(value))
            .ok_or_else(|| format!("{value} is too small"))
    }
}

/// One program's idea of a machine; others have another idea of it.
#[derive(Default)]
struct Total<const LEAST: u64>(u64);

impl<const LEAST: u64> StateMachine for Total<LEAST> {
    type Command = AtLeast<LEAST>;
    type Query = ();
    type QueryResult = u64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("total")
    }

    fn apply(&mut self, command: AtLeast<LEAST>, _: &dyn ApplyContext) {
        self.0 += command.0;
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn state_sync(&self) -> Self::StateSync {
        // The same group, whatever the commands are called.
        LogReplaySync::default()
    }
}

fn total<const LEAST: u64>(node: &Network, key: GroupKey) -> Group<Total<LEAST>> {
    node.groups()
        .with_key(key)
        .with_state_machine(Total::<LEAST>::default())
        .durable()
        .unwrap()
        .join()
}

async fn ends<M: StateMachine<Query = ()>>(group: &Group<M>) {
    within(10, async {
        while !matches!(
            group.query((), Weak).await,
            Err(QueryError::GroupTerminated)
        ) {
            // The end has no event of its own.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A log of a single command was passed over, and the group went on from nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_can_not_decode_the_only_command_of_its_log_ends_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let node = start(network, directory.path(), None).await.unwrap();
    let group = total::<0>(&node, key);
    within(10, group.when().online()).await;
    within(5, group.execute(AtLeast(7))).await.unwrap();
    node.shutdown().await;
    let node = start(network, directory.path(), None).await.unwrap();
    ends(&total::<100>(&node, key)).await;
    node.shutdown().await;
    // Nothing is lost for the one that wrote it.
    let node = start(network, directory.path(), None).await.unwrap();
    let group = total::<0>(&node, key);
    within(10, group.when().online()).await;
    assert_eq!(*within(5, group.query((), Strong)).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_can_decode_no_command_of_its_log_ends_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let node = start(network, directory.path(), None).await.unwrap();
    let group = total::<0>(&node, key);
    let id = *group.id();
    within(10, group.when().online()).await;
    for number in [1, 2, 30] {
        within(5, group.execute(AtLeast(number))).await.unwrap();
    }
    node.shutdown().await;

    let node = start(network, directory.path(), None).await.unwrap();
    let group = total::<100>(&node, key);
    assert_eq!(*group.id(), id, "it is not the same group");
    ends(&group).await;
    node.shutdown().await;

    // One that can read some of them goes on without the others.
    let node = start(network, directory.path(), None).await.unwrap();
    let group = total::<2>(&node, key);
    within(10, group.when().online()).await;
    assert_eq!(*within(5, group.query((), Strong)).await.unwrap(), 32);
    node.shutdown().await;

    // Nothing is lost for the one that wrote them.
    let node = start(network, directory.path(), None).await.unwrap();
    let group = total::<0>(&node, key);
    within(10, group.when().online()).await;
    assert_eq!(*within(5, group.query((), Strong)).await.unwrap(), 33);
}
