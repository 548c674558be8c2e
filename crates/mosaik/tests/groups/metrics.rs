//! Metrics of groups.

use std::time::Duration;

use mosaik::{GroupKey, NetworkId, groups::ConsensusConfig};

use super::machines::{Ledger, formed, join, join_with, reaches};
use crate::support::{
    metrics::{count, counted},
    node, random_network, within,
};

/// Waits until a metric of a network has a value.
#[track_caller]
fn reads(
    network: &NetworkId,
    name: &str,
    accepted: impl Fn(u64) -> bool,
) -> impl Future<Output = ()> {
    within(10, async move {
        while !accepted(counted(network, name, None)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn members_commands_and_what_was_given_up_are_counted() {
    count();
    let network = random_network();
    let (a, b) = (node(network).await, node(network).await);
    let key = GroupKey::random();
    let (small, large) = (join(&a, key), join(&b, key));
    for group in [&small, &large] {
        within(5, group.when().online()).await;
    }
    reads(&network, "mosaik.groups.active", |groups| groups == 2).await;
    reads(&network, "mosaik.groups.raft.elections", |count| count >= 2).await;
    within(5, small.execute_many([1, 2])).await.unwrap();
    within(5, large.execute_many([7, 8, 9])).await.unwrap();
    assert_eq!(
        counted(&network, "mosaik.groups.raft.commands.discarded", None),
        0
    );

    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    reaches(&small, 3).await;
    reads(&network, "mosaik.groups.raft.commands.discarded", |count| {
        count == 2
    })
    .await;
    reads(&network, "mosaik.groups.bonds.active", |bonds| bonds >= 1).await;
    reads(&network, "mosaik.groups.raft.committee.voters", |count| {
        count == 2
    })
    .await;
    reads(&network, "mosaik.groups.raft.committee.size", |count| {
        count == 2
    })
    .await;
    reads(&network, "mosaik.groups.raft.committed", |index| index == 3).await;
    reads(&network, "mosaik.groups.raft.leader.changes", |count| {
        count >= 3
    })
    .await;
    for direction in ["sent", "received"] {
        for what in ["messages", "bytes"] {
            let name = format!("mosaik.groups.bonds.{what}.{direction}");
            reads(&network, &name, |count| count > 0).await;
        }
    }

    // Another joining of the same group counts for itself, while the last one still leaves.
    drop(small);
    let picky = Ledger {
        dislikes: Some(13),
        ..Ledger::default()
    };
    let small = join_with(&a, key, picky, ConsensusConfig::default());
    reads(&network, "mosaik.groups.active", |groups| groups == 2).await;
    within(10, small.when().online()).await;
    reaches(&small, 3).await;
    reads(&network, "mosaik.groups.raft.committed", |index| index == 3).await;
    reads(&network, "mosaik.groups.raft.committee.voters", |count| {
        count == 2
    })
    .await;
    reads(&network, "mosaik.groups.bonds.active", |bonds| bonds == 2).await;

    // A group that has ended is not active any more, whoever still has a handle.
    within(5, large.execute(13)).await.unwrap();
    reads(&network, "mosaik.groups.active", |groups| groups == 1).await;

    drop((small, large));
    reads(&network, "mosaik.groups.active", |groups| groups == 0).await;
    reads(&network, "mosaik.groups.bonds.active", |bonds| bonds == 0).await;
    reads(&network, "mosaik.groups.raft.committee.size", |count| {
        count == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_and_its_end_are_told() {
    count();
    let (nodes, mut groups) = formed(2).await;
    let network = nodes[0].network_id();
    let halted = "mosaik.groups.raft.halted";
    assert_eq!(counted(network, halted, None), 0);
    // Without a word: one of two is no majority.
    nodes[1].local().endpoint().close().await;
    drop(groups.pop());
    reads(network, halted, |halted| halted == 1).await;
    assert!(within(5, groups[0].reform()).await);
    reads(network, halted, |halted| halted == 0).await;
}
