//! Leaders that go away.

use std::time::Instant;

use mosaik::{Weak, groups::CommandError};

use super::machines::{Ledger, agreed, formed, join_with, leader_of, reaches};
use crate::support::{bound, within};

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_leaders_handle_hands_over() {
    let (_nodes, mut groups) = formed(3).await;
    for n in 0..10 {
        within(5, groups[0].execute(n)).await.unwrap();
    }
    let leader = groups.remove(leader_of(&groups).await);
    let changes: Vec<_> = groups
        .iter()
        .map(|group| group.when().leader_changed())
        .collect();
    let start = Instant::now();
    drop(leader);
    let mut seen = Vec::new();
    for change in changes {
        seen.push(within(10, change).await);
    }
    println!("handed over after {:?}", start.elapsed());
    assert_eq!(seen[0], seen[1]);
    assert_eq!(within(5, groups[0].execute(10)).await.unwrap(), 11);
    println!("writes went on after {:?}", start.elapsed());
    assert!(start.elapsed() < bound(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_waits_until_the_others_go_on_without_this_node() {
    let (nodes, mut groups) = formed(3).await;
    within(5, groups[0].execute(1)).await.unwrap();
    let leader = leader_of(&groups).await;
    let leaver = groups.remove(leader);
    let (id, peer) = (*leaver.id(), nodes[leader].local().id());
    let again = join_with(
        &nodes[leader],
        *leaver.config().key(),
        Ledger::default(),
        leaver.config().consensus().clone(),
    );
    within(5, leaver.leave()).await;
    assert!(!nodes[leader].discovery().me().groups().contains(&id));
    assert!(
        matches!(again.execute(2).await, Err(CommandError::GroupTerminated)),
        "the other handle has ended too"
    );
    for group in &groups {
        while group.bonds().contains_peer(&peer) {
            within(5, group.bonds().changed()).await;
        }
    }
    agreed(&groups).await;
    // Two of two are left: with the leader gone unnoticed, this one could not leave in order.
    let last = groups.remove(0);
    within(5, groups.remove(0).leave()).await;
    within(5, last.when().is_leader()).await;
    assert_eq!(within(5, last.execute(3)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_leaders_network_hands_over() {
    let (mut nodes, mut groups) = formed(3).await;
    within(5, groups[0].execute(1)).await.unwrap();
    let leader = leader_of(&groups).await;
    drop(nodes.remove(leader));
    let gone = groups.remove(leader);
    agreed(&groups).await;
    assert_eq!(within(5, groups[0].execute(2)).await.unwrap(), 2);
    reaches(&groups[1], 2).await;
    assert_eq!(*groups[1].query((), Weak).await.unwrap(), [1, 2]);
    assert!(gone.leader().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shrinks_with_those_who_leave() {
    let (_nodes, mut groups) = formed(3).await;
    within(5, groups[0].execute(1)).await.unwrap();
    while groups.len() > 1 {
        let leader = leader_of(&groups).await;
        drop(groups.remove(leader));
        agreed(&groups).await;
        within(10, groups[0].execute(2)).await.unwrap();
    }
    within(10, groups[0].when().is_leader()).await;
    assert_eq!(groups[0].committed(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_leader_is_replaced_and_a_lone_survivor_halts() {
    let (mut nodes, mut groups) = formed(3).await;
    within(5, groups[0].execute(1)).await.unwrap();
    // The endpoint vanishes without a word.
    let leader = leader_of(&groups).await;
    let start = Instant::now();
    nodes[leader].local().endpoint().close().await;
    let _dead = (nodes.remove(leader), groups.remove(leader));
    loop {
        if within(5, groups[0].execute(2)).await.is_ok() {
            break;
        }
    }
    println!("writes went on after {:?}", start.elapsed());
    agreed(&groups).await;
    nodes[0].local().endpoint().close().await;
    let survivor = &groups[1];
    within(10, survivor.when().offline()).await;
    let refused = within(10, survivor.execute(3)).await;
    assert!(
        matches!(refused, Err(CommandError::Offline(_))),
        "{refused:?}"
    );
    assert_eq!(survivor.leader(), None);
}
