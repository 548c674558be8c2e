//! Many groups between the same nodes.

use mosaik::{
    Group, GroupKey,
    futures::{FutureExt, future::join_all},
    groups::ConsensusConfig,
};

use super::machines::{Ledger, join_with, nodes};
use crate::support::{bound, within};

/// With default timing. Beyond what a machine can beat for, leaders are lost and elected all the time:
/// on two busy cores, in a debug build, that begins below a hundred.
const GROUPS: usize = 30;

/// All form, accept commands of every member, and go on without one of the nodes.
#[tokio::test(flavor = "multi_thread")]
async fn many_groups_between_three_nodes_work() {
    let mut nodes = nodes(3).await;
    let consensus = ConsensusConfig::builder()
        .with_min_members(3)
        .build()
        .unwrap();
    let mut groups: Vec<[Group<Ledger>; 3]> = (0..GROUPS)
        .map(|_| {
            let key = GroupKey::random();
            [0, 1, 2].map(|n| join_with(&nodes[n], key, Ledger::default(), consensus.clone()))
        })
        .collect();
    are_online(&groups, "after joining").await;
    execute(&groups, 1).await;
    within(20, nodes.remove(2).shutdown()).await;
    let mut left = Vec::new();
    for [one, two, _gone] in groups.drain(..) {
        left.push([one, two]);
    }
    execute(&left, 3).await;
    are_online(&left, "without the third").await;
}

async fn execute<const N: usize>(groups: &[[Group<Ledger>; N]], before: u64) {
    let executing = groups.iter().flatten().map(|group| async move {
        // A call may be told that its leader is gone.
        while group.execute(before).await.is_err() {}
    });
    within(60, join_all(executing)).await;
}

async fn are_online<const N: usize>(groups: &[[Group<Ledger>; N]], when: &str) {
    let all = join_all(groups.iter().flatten().map(|group| group.when().online()));
    if tokio::time::timeout(bound(60), all).await.is_err() {
        let missing: Vec<_> = groups
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, group)| group.when().online().now_or_never().is_none())
            .map(|(n, group)| {
                let bonds = group.bonds().iter().count();
                (n / N, n % N, group.leader(), group.membership(), bonds)
            })
            .collect();
        panic!("{} not online {when}: {missing:#?}", missing.len());
    }
}
