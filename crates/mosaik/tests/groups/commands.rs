//! Commands and queries, from leaders and followers.

use std::{collections::BTreeSet, time::Duration};

use mosaik::{
    GroupKey, Strong, Weak,
    groups::{CommandError, ConsensusConfig, Index, QueryError},
};
use tokio::task::JoinSet;

use super::machines::{Ledger, formed, join, join_with, leader_of, nodes, reaches};
use crate::support::within;

#[tokio::test(flavor = "multi_thread")]
async fn every_member_may_call_and_all_apply_the_same() {
    let (_nodes, groups) = formed(3).await;
    let mut calls = JoinSet::new();
    for n in 0..300u64 {
        calls.spawn(groups[(n % 3) as usize].execute(n));
    }
    let mut indices = BTreeSet::new();
    while let Some(index) = within(20, calls.join_next()).await {
        indices.insert(index.unwrap().unwrap().0);
    }
    assert_eq!(indices, (1..=300).collect());
    for group in &groups {
        reaches(group, 300).await;
    }
    let first = groups[0].query((), Weak).await.unwrap().into();
    for group in &groups[1..] {
        assert_eq!(*group.query((), Weak).await.unwrap(), first);
    }
    for (i, group) in groups.iter().enumerate() {
        let own: Vec<_> = first.iter().filter(|n| **n % 3 == i as u64).collect();
        assert!(own.is_sorted(), "calls of one handle keep their order");
        assert_eq!(group.log_position(), Index(300));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_contiguous_and_feeds_get_an_index() {
    let (_nodes, groups) = formed(2).await;
    let leader = leader_of(&groups).await;
    let follower = &groups[1 - leader];
    let range = within(5, follower.execute_many(0..1000)).await.unwrap();
    assert_eq!(range, Index(1)..=Index(1000));
    assert!(follower.committed() >= *range.end());
    assert_eq!(within(5, follower.feed(1000)).await.unwrap(), 1001);
    let fed = within(5, groups[leader].feed_many([1001, 1002]))
        .await
        .unwrap();
    assert_eq!(fed, Index(1002)..=Index(1003));
    within(5, groups[0].when().committed().reaches(fed)).await;
    let empty = follower.execute_many([]).await;
    assert!(matches!(empty, Err(CommandError::NoCommands)));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_handle_take_effect_in_call_order() {
    let (_nodes, groups) = formed(3).await;
    let follower = &groups[(leader_of(&groups).await + 1) % 3];
    let mut calls: Vec<_> = (0..200u64).map(|n| (n, follower.execute(n))).collect();
    // However they are polled, if at all.
    calls.reverse();
    calls.retain(|(n, _)| n % 3 != 0);
    for (n, call) in calls {
        assert_eq!(within(5, call).await.unwrap(), n + 1);
    }
    reaches(follower, 200).await;
    assert_eq!(
        *follower.query((), Weak).await.unwrap(),
        (0..200).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_learn_of_a_commit_long_before_the_next_beat() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(3)
        .with_heartbeat_interval(Duration::from_secs(20))
        .with_election_timeout(Duration::from_secs(80))
        .build()
        .unwrap();
    let groups: Vec<_> = nodes
        .iter()
        .map(|node| join_with(node, key, Ledger::default(), consensus.clone()))
        .collect();
    for group in &groups {
        within(10, group.when().leader_elected()).await;
    }
    let leader = leader_of(&groups).await;
    for n in 1..=100u64 {
        within(5, groups[leader].execute(n)).await.unwrap();
        if n % 10 == 0 {
            for group in &groups {
                within(5, group.when().committed().reaches(n)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strong_queries_see_what_others_were_told() {
    let (_nodes, groups) = formed(3).await;
    for n in 0..100u64 {
        let writer = &groups[(n % 3) as usize];
        let reader = &groups[((n + 1) % 3) as usize];
        within(5, writer.execute(n)).await.unwrap();
        let seen = within(5, reader.query((), Strong)).await.unwrap();
        assert_eq!(seen.last(), Some(&n));
        assert!(seen.at_position > n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_leader_calls_are_refused_at_once() {
    let nodes = nodes(1).await;
    let group = join(&nodes[0], GroupKey::random());
    match group.execute_many([1, 2]).await {
        Err(CommandError::Offline(commands)) => assert_eq!(commands, [1, 2]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        group.query((), Strong).await,
        Err(QueryError::Offline(()))
    ));
    within(5, group.when().leader_changed()).await;
    within(5, group.execute(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_resolves_when_the_network_ends() {
    let mut nodes = nodes(1).await;
    let group = join(&nodes[0], GroupKey::random());
    within(5, group.when().online()).await;
    let offline = group.when().offline();
    drop(nodes.pop());
    within(5, offline).await;
    assert!(matches!(
        within(5, group.execute(1)).await,
        Err(CommandError::GroupTerminated)
    ));
    assert!(matches!(
        within(5, group.query((), Weak)).await,
        Err(QueryError::GroupTerminated)
    ));
    assert_eq!(group.leader(), None);
    assert!(group.bonds().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_machine_ends_the_group_on_every_node_that_applies_it() {
    let nodes = nodes(1).await;
    let group = join(&nodes[0], GroupKey::random());
    within(5, group.when().online()).await;
    let call = group.execute(u64::MAX);
    assert!(matches!(
        within(5, call).await,
        Err(CommandError::GroupTerminated)
    ));
    within(5, group.when().offline()).await;
    assert!(!nodes[0].discovery().me().groups().contains(group.id()));
}
