//! How groups come into being.

use std::time::{Duration, Instant};

use mosaik::{GroupKey, Strong, Weak, groups::ConsensusConfig};

use super::machines::{Ledger, agreed, join, join_with, nodes, observer, reaches};
use crate::support::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_leads_within_a_second() {
    let nodes = nodes(1).await;
    let start = Instant::now();
    let group = join(&nodes[0], GroupKey::random());
    assert_eq!(group.leader(), None);
    assert!(!group.is_leader() && group.committed() == 0 && group.bonds().is_empty());
    within(5, group.when().online()).await;
    assert!(group.is_leader());
    println!("lone node online after {:?}", start.elapsed());
    assert_eq!(within(5, group.execute(7)).await.unwrap(), 1);
    let result = within(5, group.query((), Strong)).await.unwrap();
    assert_eq!(
        (result.state_position(), result.into()),
        (1.into(), vec![7])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_form_one_group() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let start = Instant::now();
    let groups: Vec<_> = nodes.iter().map(|node| join(node, key)).collect();
    assert_eq!(groups[0].id(), groups[2].id());
    for group in &groups {
        within(10, group.when().online()).await;
    }
    println!("three nodes online after {:?}", start.elapsed());
    agreed(&groups).await;
    for group in &groups {
        while group.bonds().len() < 2 {
            within(5, group.bonds().changed()).await;
        }
    }
    let other = groups[0].bonds().get(&nodes[1].local().id()).unwrap();
    let same = groups[1].bonds().get(&nodes[0].local().id()).unwrap();
    assert_eq!(other.id(), same.id());
    assert_eq!(*other.peer().id(), nodes[1].local().id());
    assert!(!other.is_terminated());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_finds_the_leader_and_the_history() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let first = join(&nodes[0], key);
    within(5, first.when().online()).await;
    for n in 0..50 {
        within(5, first.execute(n)).await.unwrap();
    }
    let late = join(&nodes[1], key);
    assert_eq!(
        within(5, late.when().leader_elected()).await,
        nodes[0].local().id()
    );
    within(5, late.when().online()).await;
    reaches(&late, 50).await;
    let state = late.query((), Weak).await.unwrap();
    assert_eq!(state.result, (0..50).collect::<Vec<_>>());
    assert_eq!(within(5, late.execute(50)).await.unwrap(), 51);
    assert!(first.is_leader(), "a join deposes nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_keys_and_settings_are_other_groups() {
    let nodes = nodes(2).await;
    let a = join(&nodes[0], "one".into());
    let b = join(&nodes[1], "two".into());
    assert_ne!(a.id(), b.id());
    within(5, a.when().online()).await;
    within(5, b.when().online()).await;
    assert!(a.is_leader() && b.is_leader());
    assert!(a.bonds().is_empty() && b.bonds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_twice_gives_the_same_group_and_the_last_handle_leaves() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let first = join(&nodes[0], key);
    let second = join(&nodes[0], key);
    within(5, first.when().online()).await;
    within(5, second.execute(1)).await.unwrap();
    assert_eq!(first.committed(), 1);
    let id = *first.id();
    drop(first);
    assert!(nodes[0].discovery().me().groups().contains(&id));
    within(5, second.execute(2)).await.unwrap();
    drop(second);
    assert!(!nodes[0].discovery().me().groups().contains(&id));
    let again = join(&nodes[0], key);
    within(5, again.when().online()).await;
    assert_eq!(again.committed(), 0, "joining anew starts afresh");
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_take_part_and_never_lead() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let watching = join_with(&nodes[0], key, observer(), ConsensusConfig::default());
    // Whoever would lead at all does so by now: another group that was joined later is there.
    let control = join(&nodes[0], GroupKey::random());
    within(5, control.when().online()).await;
    assert_eq!(watching.leader(), None);
    let voting = join(&nodes[1], key);
    within(5, watching.when().online()).await;
    assert!(voting.is_leader());
    assert_eq!(within(5, watching.execute(1)).await.unwrap(), 1);
    let seen = within(5, watching.query((), Strong)).await.unwrap();
    assert_eq!(*seen, [1]);
    drop(voting);
    within(5, watching.when().offline()).await;
    assert_eq!(watching.leader(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_live_side_by_side() {
    let nodes = nodes(3).await;
    let groups: Vec<Vec<_>> = (0..10)
        .map(|n| {
            let key = GroupKey::from(format!("group {n}"));
            nodes.iter().map(|node| join(node, key)).collect()
        })
        .collect();
    for members in &groups {
        for member in members {
            within(15, member.when().online()).await;
        }
    }
    for (n, members) in (0..).zip(&groups) {
        within(5, members[1].execute(n)).await.unwrap();
        reaches(&members[2], 1).await;
        assert_eq!(*members[2].query((), Weak).await.unwrap(), [n]);
    }
}

#[test]
fn nothing_panics_on_odd_settings() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let nodes = nodes(1).await;
        let odd = ConsensusConfig {
            heartbeat_interval: Duration::ZERO,
            heartbeat_jitter: Duration::ZERO,
            max_missed_heartbeats: 0,
            election_timeout: Duration::ZERO,
            election_timeout_jitter: Duration::ZERO,
            bootstrap_delay: Duration::ZERO,
            max_voters: 0,
            min_members: 0,
            ..ConsensusConfig::default()
        };
        let group = join_with(&nodes[0], GroupKey::random(), Ledger::default(), odd);
        within(5, group.when().online()).await;
        within(5, group.execute(1)).await.unwrap();
    });
}
