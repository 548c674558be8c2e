//! What groups count.

use std::time::Duration;

use mosaik::{GroupKey, NetworkId};

use super::machines::{join, reaches};
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

    drop((small, large));
    reads(&network, "mosaik.groups.active", |groups| groups == 0).await;
    reads(&network, "mosaik.groups.bonds.active", |bonds| bonds == 0).await;
    reads(&network, "mosaik.groups.raft.committee.size", |count| {
        count == 0
    })
    .await;
}
