//! Members that leave while the group forms, and what is left of its majority.

use std::time::Duration;

use mosaik::GroupKey;

use super::machines::{agreed, formed, join, leader_of, nodes};
use crate::support::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_while_the_group_forms_takes_no_majority_along() {
    let mut nodes = nodes(4).await;
    let key = GroupKey::random();
    let first = join(&nodes[0], key);
    within(5, first.when().online()).await;
    let second = join(&nodes[1], key);
    within(5, second.when().leader_elected()).await;
    let third = join(&nodes[2], key);
    within(5, third.when().leader_elected()).await;
    drop(nodes.remove(0));
    drop(first);
    let groups = [second, third];
    agreed(&groups).await;
    for group in &groups {
        within(5, group.when().online()).await;
        within(5, group.execute(1)).await.unwrap();
    }
    // The three nodes that are left had the first one as their bootstrap peer; they know each other.
    let fourth = join(&nodes[2], key);
    within(10, fourth.when().online()).await;
    within(5, fourth.execute(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_leave_at_once_take_no_majority_along() {
    for leads in [true, false] {
        let nodes = nodes(4).await;
        let key = GroupKey::random();
        let mut groups = vec![join(&nodes[0], key)];
        within(5, groups[0].when().online()).await;
        for node in &nodes[1..] {
            let group = join(node, key);
            within(5, group.when().leader_elected()).await;
            groups.push(group);
        }
        // With the leader, or without it; promotions are still under way.
        let leavers = if leads { 0..2 } else { 1..3 };
        drop(groups.drain(leavers));
        agreed(&groups).await;
        for group in &groups {
            within(5, group.when().online()).await;
            within(5, group.execute(1)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_leaves_two_voters_under_load() {
    let (_nodes, mut groups) = formed(2).await;
    let leader = groups.remove(leader_of(&groups).await);
    let follower = groups.remove(0);
    let load = async {
        let loops = (0..64).map(|n| {
            let follower = &follower;
            async move {
                loop {
                    // Refusals are part of a change of leader.
                    if follower.execute(n).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        });
        futures::future::join_all(loops).await;
    };
    let change = async {
        while follower.committed() < 500 {
            within(5, follower.when().committed().advanced()).await;
        }
        drop(leader);
        within(5, follower.when().is_leader()).await;
        within(5, follower.when().online()).await;
        within(5, follower.execute(1)).await.unwrap();
    };
    tokio::select! {
        _ = load => {}
        () = change => {}
    }
}
