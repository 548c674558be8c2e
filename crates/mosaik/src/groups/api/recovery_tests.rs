use std::{collections::BTreeSet, num::NonZero, path::Path, time::Duration};

use futures::future::join_all;
use iroh::RelayMode;
use tokio::time::timeout;

use crate::{
    discovery,
    groups::{
        ApplyContext, CommandError, ConsensusConfig, Consistency, Group, GroupKey,
        LeadershipPreference, LogReplaySync, StateMachine, model::event::Event,
    },
    network::Network,
    primitives::{Digest, UniqueId},
};

/// The numbers that were added.
#[derive(Default)]
struct Numbers {
    added: BTreeSet<u64>,
    preference: LeadershipPreference,
    /// Limit on the bytes a second that it fetches.
    fetch_rate: Option<NonZero<u64>>,
}

impl StateMachine for Numbers {
    type Command = u64;
    type Query = ();
    type QueryResult = BTreeSet<u64>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("numbers")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        assert!(self.added.insert(command), "{command} is applied twice");
    }

    fn query(&self, (): ()) -> BTreeSet<u64> {
        self.added.clone()
    }

    fn reset(&mut self) -> bool {
        self.added.clear();
        true
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.preference
    }

    fn state_sync(&self) -> Self::StateSync {
        match self.fetch_rate {
            Some(rate) => LogReplaySync::default().with_fetch_rate(rate),
            None => LogReplaySync::default(),
        }
    }
}

async fn within<T>(step: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), step)
        .await
        .expect("in time")
}

async fn node(id: Digest, storage: Option<&Path>) -> Network {
    let builder = Network::builder(id)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery::Config::builder().no_auto_bootstrap());
    let builder = match storage {
        Some(directory) => builder.with_storage(directory),
        None => builder,
    };
    builder.build().await.unwrap()
}

fn join(node: &Network, members: usize, durable: bool) -> Group<Numbers> {
    join_as(node, members, durable, Numbers::default())
}

fn join_as(node: &Network, members: usize, durable: bool, machine: Numbers) -> Group<Numbers> {
    let config = ConsensusConfig::builder().with_min_members(members);
    let builder = node
        .groups()
        .with_key(GroupKey::from_secret("recovery"))
        .with_consensus_config(config.build().unwrap())
        .with_state_machine(machine);
    if durable {
        builder.durable().unwrap().join()
    } else {
        builder.join()
    }
}

/// Executes a command as often as it takes.
async fn execute(group: &Group<Numbers>, command: u64) {
    loop {
        match within(group.execute(command)).await {
            Ok(_) => return,
            Err(CommandError::Offline(_)) => {}
            Err(error) => panic!("{command}: {error}"),
        }
    }
}

async fn crash(group: &Group<Numbers>) {
    // A new instance may execute commands before it is there for others.
    let started = async {
        loop {
            if let Some(node) = group.shared.instance.node()
                && node.failure().borrow().is_none()
            {
                return node;
            }
            tokio::task::yield_now().await;
        }
    };
    let node = within(started).await;
    node.crash().await;
    let mut failure = node.failure();
    within(failure.wait_for(Option::is_some)).await.unwrap();
}

async fn members_go_on_after_a_crash(durable: bool) {
    let id = Digest::random();
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let storage = |n: usize| durable.then(|| directories[n].path());
    let nodes = join_all((0..3).map(|n| node(id, storage(n)))).await;
    for other in &nodes[1..] {
        within(other.discovery().sync_with(nodes[0].local().addr()))
            .await
            .unwrap();
    }
    let groups: Vec<_> = nodes.iter().map(|node| join(node, 3, durable)).collect();
    for group in &groups {
        within(group.when().online()).await;
    }
    let mut command = 0;
    for crashed in [0, 1, 2, 0] {
        for _ in 0..10 {
            execute(&groups[command % 3], command as u64).await;
            command += 1;
        }
        crash(&groups[crashed]).await;
    }
    for group in &groups {
        execute(group, command as u64).await;
        command += 1;
        within(group.when().online()).await;
    }
    let expected: BTreeSet<_> = (0..command as u64).collect();
    for group in &groups {
        within(group.when().committed().reaches(command as u64)).await;
        let content = group.query((), Consistency::Weak).await.unwrap();
        assert_eq!(*content, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_in_memory_go_on_after_consensus_has_crashed() {
    members_go_on_after_a_crash(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_members_go_on_after_consensus_has_crashed() {
    members_go_on_after_a_crash(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_alone_keeps_its_content() {
    let node = node(Digest::random(), None).await;
    let group = join(&node, 1, false);
    for command in 0..3 {
        execute(&group, command).await;
        crash(&group).await;
    }
    execute(&group, 3).await;
    let content = group.query((), Consistency::Strong).await.unwrap();
    assert_eq!(*content, (0..4).collect());
}

/// A lone member with this many numbers, and a node that knows it.
async fn one_with(numbers: u64) -> (Network, Group<Numbers>, Network) {
    let id = Digest::random();
    let (first, second) = (node(id, None).await, node(id, None).await);
    within(second.discovery().sync_with(first.local().addr()))
        .await
        .unwrap();
    let group = join(&first, 1, false);
    within(group.when().online()).await;
    // Each call is one entry, which is transferred as a whole.
    for first in (0..numbers).step_by(2000) {
        let last = numbers.min(first + 2000);
        within(group.execute_many(first..last)).await.unwrap();
    }
    (first, group, second)
}

async fn has_all(group: &Group<Numbers>, numbers: u64) {
    within(group.when().online()).await;
    within(group.when().committed().reaches(numbers)).await;
    let content = group.query((), Consistency::Weak).await.unwrap();
    assert_eq!(*content, (0..numbers).collect());
}

/// Regression: the member waited for ever for a task of the former instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_that_crashes_while_it_fetches_the_log_joins_all_the_same() {
    const NUMBERS: u64 = 20_000;
    let (_first, group, second) = one_with(NUMBERS).await;
    let slow = Numbers {
        fetch_rate: NonZero::new(20_000),
        ..Numbers::default()
    };
    let newcomer = join_as(&second, 1, false, slow);
    let instance = &newcomer.shared.instance;
    let fetching = async {
        let mut changed = newcomer.when().log().changed();
        while instance
            .node()
            .is_none_or(|node| node.last_entry().is_none())
        {
            changed.await;
            changed = newcomer.when().log().changed();
        }
    };
    within(fetching).await;
    assert!(instance.is_catching_up(), "it fetches");
    crash(&newcomer).await;
    has_all(&newcomer, NUMBERS).await;
    execute(&group, NUMBERS).await;
    has_all(&newcomer, NUMBERS + 1).await;
}

/// Regression: the observer kept a source that no task followed any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_crashes_is_fed_again() {
    let (_first, group, second) = one_with(10).await;
    let observing = Numbers {
        preference: LeadershipPreference::Observer,
        ..Numbers::default()
    };
    let observer = join_as(&second, 1, false, observing);
    has_all(&observer, 10).await;
    crash(&observer).await;
    execute(&group, 10).await;
    has_all(&observer, 11).await;
}

async fn three_voters() -> (Vec<Network>, Vec<Group<Numbers>>) {
    let id = Digest::random();
    let nodes = join_all((0..3).map(|_| node(id, None))).await;
    for other in &nodes[1..] {
        within(other.discovery().sync_with(nodes[0].local().addr()))
            .await
            .unwrap();
    }
    let groups: Vec<_> = nodes.iter().map(|node| join(node, 3, false)).collect();
    for group in &groups {
        within(group.when().online()).await;
        let mut changed = group.when().membership_changed();
        while group.membership().voters.len() < 3 {
            within(changed).await;
            changed = group.when().membership_changed();
        }
    }
    (nodes, groups)
}

/// Regression: the crash of a leader made it forget who had asked to leave, and it kept a vote for
/// each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_the_leader_crashes_is_removed() {
    let (_nodes, mut groups) = three_voters().await;
    let leaders = groups
        .iter()
        .map(|group| Box::pin(group.when().is_leader()));
    let ((), leads, _) = within(futures::future::select_all(leaders)).await;
    let leader = groups.remove(leads);
    let leaver = groups.remove(0);
    let mut leaving = Box::pin(leaver.leave());
    tokio::select! {
        () = &mut leaving => {}
        () = crash(&leader) => {}
    }
    within(leaving).await;
    let mut changed = groups[0].when().membership_changed();
    while groups[0].membership().voters.len() > 2 {
        within(changed).await;
        changed = groups[0].when().membership_changed();
    }
}

/// Regression: nobody ran the group any more, and it was there all the same, for its node and for the
/// other members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_worker_panics_ends_on_its_node_and_can_be_joined_again() {
    let (nodes, mut groups) = three_voters().await;
    execute(&groups[0], 0).await;
    let ended = groups.remove(0);
    let offline = ended.when().offline();
    ended.shared.instance.tell_soon(Event::Panic);
    within(offline).await;
    let refused = within(ended.execute(1)).await;
    assert!(
        matches!(refused, Err(CommandError::GroupTerminated)),
        "{refused:?}"
    );
    // The others go on; a call whose leader is lost may not know its fate.
    let mut command = 2;
    within(async {
        while groups[0].execute(command).await.is_err() {
            command += 1;
        }
    })
    .await;
    let again = join(&nodes[0], 3, false);
    within(again.when().online()).await;
    let end = groups[0].committed();
    within(again.when().committed().reaches(end)).await;
    let content = again.query((), Consistency::Weak).await.unwrap();
    let expected = groups[0].query((), Consistency::Weak).await.unwrap();
    assert!(content.contains(&0) && content.contains(&command));
    assert_eq!(*content, *expected);
}

/// Regression: the member waited for the end of a pause in which it had become another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_can_be_abandoned_between_two_crashes() {
    let (_nodes, groups) = three_voters().await;
    execute(&groups[0], 0).await;
    for _ in 0..2 {
        crash(&groups[1]).await;
    }
    assert!(within(groups[1].abandon_history()).await);
    execute(&groups[2], 1).await;
    has_all(&groups[1], 2).await;
}

/// The disk of a leader that neither answers nor fails: the others go on, and know of a leader that
/// takes commands.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_when_its_leaders_disk_hangs_and_the_leader_comes_back() {
    let id = Digest::random();
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = join_all((0..3).map(|n| node(id, Some(directories[n].path())))).await;
    for other in &nodes[1..] {
        within(other.discovery().sync_with(nodes[0].local().addr()))
            .await
            .unwrap();
    }
    let mut groups: Vec<_> = nodes.iter().map(|node| join(node, 3, true)).collect();
    for group in &groups {
        within(group.when().online()).await;
    }
    let leaders = groups
        .iter()
        .map(|group| Box::pin(group.when().is_leader()));
    let ((), leads, _) = within(futures::future::select_all(leaders)).await;
    execute(&groups[leads], 0).await;

    // A callback holds the writer up, as the disk would.
    let store = groups[leads].shared.instance.node_store().unwrap();
    let (thaw, frozen) = std::sync::mpsc::channel::<()>();
    let (freeze, freezing) = tokio::sync::oneshot::channel();
    let hang = Box::new(move |_: Result<(), _>| {
        let _ = freeze.send(());
        let _ = frozen.recv();
    });
    let row = (0, crate::primitives::Bytes::from_static(b"row"));
    let other = store.group(Digest::from("another group"));
    within(other.append([row], hang)).await.unwrap();
    within(freezing).await.unwrap();

    let (node_left, group_left) = (nodes.remove(leads), groups.remove(leads));
    let mut command = 0;
    let mut goes_on = async |group: &Group<Numbers>| {
        // A call whose leader is lost may not know its fate: the next one is another.
        loop {
            command += 1;
            if within(group.execute(command)).await.is_ok() {
                return;
            }
        }
    };
    for n in 0..40 {
        goes_on(&groups[n % 2]).await;
    }
    // The store is given up by now, or will be.
    within(group_left.when().offline()).await;
    goes_on(&groups[0]).await;
    let leaders = groups
        .iter()
        .map(|group| Box::pin(group.when().is_leader()));
    within(futures::future::select_all(leaders)).await;
    drop((thaw, other));
    within(node_left.shutdown()).await;
    drop(group_left);
    let back = node(id, Some(directories[leads].path())).await;
    within(back.discovery().sync_with(nodes[0].local().addr()))
        .await
        .unwrap();
    let back_group = join(&back, 3, true);
    within(back_group.when().online()).await;
    goes_on(&groups[1]).await;
    let end = groups[1].committed();
    within(back_group.when().committed().reaches(end)).await;
    let content = back_group.query((), Consistency::Weak).await.unwrap();
    let expected = groups[1].query((), Consistency::Weak).await.unwrap();
    assert_eq!(*content, *expected);
}
