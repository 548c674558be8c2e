use std::{collections::BTreeSet, path::Path, time::Duration};

use futures::future::join_all;
use iroh::RelayMode;
use tokio::time::timeout;

use crate::{
    discovery,
    groups::{
        ApplyContext, CommandError, ConsensusConfig, Consistency, Group, GroupKey, LogReplaySync,
        StateMachine,
    },
    network::Network,
    primitives::{Digest, UniqueId},
};

/// The numbers that were added.
#[derive(Default)]
struct Numbers(BTreeSet<u64>);

impl StateMachine for Numbers {
    type Command = u64;
    type Query = ();
    type QueryResult = BTreeSet<u64>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        UniqueId::from("numbers")
    }

    fn apply(&mut self, command: u64, _: &dyn ApplyContext) {
        assert!(self.0.insert(command), "{command} is applied twice");
    }

    fn query(&self, (): ()) -> BTreeSet<u64> {
        self.0.clone()
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
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
    let config = ConsensusConfig::builder().with_min_members(members);
    let builder = node
        .groups()
        .with_key(GroupKey::from_secret("recovery"))
        .with_consensus_config(config.build().unwrap())
        .with_state_machine(Numbers::default());
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
            if let Some(node) = group.shared.instance.node() {
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
async fn a_member_that_is_alone_keeps_its_content_until_it_crashes_for_the_sixth_time() {
    let node = node(Digest::random(), None).await;
    let group = join(&node, 1, false);
    for command in 0..6 {
        execute(&group, command).await;
        crash(&group).await;
    }
    let ended =
        async { while !matches!(group.execute(6).await, Err(CommandError::GroupTerminated)) {} };
    within(ended).await;
}
