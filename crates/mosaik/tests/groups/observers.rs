//! Observers: they are no members, have bonds with a few, and get all that is committed.

use std::time::Duration;

use futures::future::join_all;
use mosaik::{
    Network, Strong,
    groups::{ConsensusConfig, Group, GroupKey},
};

use crate::{
    groups::machines::{Ledger, agreed, join_with, nodes, observer, reaches, until_members},
    support::{bound, within},
};

const MEMBERS: usize = 3;
const OBSERVERS: usize = 9;
/// Bonds that an observer makes by itself.
const BONDS: usize = 4;

fn consensus() -> ConsensusConfig {
    // A command that a busy machine takes long to carry out is none whose fate is unknown.
    let builder = ConsensusConfig::builder()
        .with_min_members(MEMBERS)
        .with_forward_timeout(bound(10));
    builder.build().unwrap()
}

/// Joins the first nodes as members, and the others as observers.
fn joined(nodes: &[Network]) -> Vec<Group<Ledger>> {
    let key = GroupKey::random();
    nodes
        .iter()
        .enumerate()
        .map(|(n, node)| {
            let machine = if n < MEMBERS {
                Ledger::default()
            } else {
                observer()
            };
            join_with(node, key, machine, consensus())
        })
        .collect()
}

fn bonds(groups: &[Group<Ledger>]) -> usize {
    groups.iter().map(|group| group.bonds().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_observers_have_few_bonds_and_get_read_and_submit_everything() {
    let nodes = nodes(MEMBERS + OBSERVERS).await;
    let groups = joined(&nodes);
    for group in &groups {
        within(15, group.when().online()).await;
    }
    agreed(&groups).await;
    let (members, observers) = groups.split_at(MEMBERS);
    until_members(&members[0], |now| now.voters.len() == MEMBERS).await;
    for observer in observers {
        until_members(observer, |now| {
            (now.voters.len(), now.learners.len()) == (MEMBERS, 0)
        })
        .await;
    }

    // Each bond is counted on both sides.
    let most = MEMBERS * (MEMBERS - 1) + 2 * OBSERVERS * BONDS;
    let few = async {
        while bonds(&groups) > most {
            let changes = groups.iter().map(|group| {
                let bonds = group.bonds();
                Box::pin(async move { bonds.changed().await })
            });
            // One that went between the look and the wait is seen by the next look.
            let changed = futures::future::select_all(changes);
            let _ = tokio::time::timeout(Duration::from_millis(200), changed).await;
        }
    };
    let settled = tokio::time::timeout(bound(20), few).await;
    assert!(settled.is_ok(), "{} bonds, {most} at most", bonds(&groups));

    within(5, members[0].execute_many(1..=100)).await.unwrap();
    for observer in observers {
        reaches(observer, 100).await;
    }
    // Each submits, whether it has a bond with the leader or not.
    let submitting = observers.iter().zip(101..).map(|(o, n)| o.execute(n));
    for submitted in within(10, join_all(submitting)).await {
        submitted.unwrap();
    }
    for observer in observers {
        let read = within(5, observer.query((), Strong)).await.unwrap();
        let mut read = read.into();
        read.sort_unstable();
        assert_eq!(read, (1..=100 + OBSERVERS as u64).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_outlive_their_sources() {
    let nodes = nodes(MEMBERS + 4).await;
    let mut groups = joined(&nodes);
    for group in &groups {
        within(15, group.when().online()).await;
    }
    // Observers and a member go, one after the other; everybody else is fed all the same.
    for (n, left) in (1..).zip([6, 5, 2]) {
        drop(groups.remove(left));
        within(10, groups[0].execute(n)).await.unwrap();
        for group in &groups {
            reaches(group, n).await;
            within(10, group.when().online()).await;
        }
    }
    agreed(&groups).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_handle_makes_a_member_of_an_observer() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let alone = ConsensusConfig::default;
    let first = join_with(&nodes[0], key, Ledger::default(), alone());
    within(10, first.when().online()).await;
    let watching = join_with(&nodes[1], key, observer(), alone());
    within(10, watching.when().online()).await;
    until_members(&first, |now| {
        (now.voters.len(), now.learners.len()) == (1, 0)
    })
    .await;
    let voting = join_with(&nodes[1], key, Ledger::default(), alone());
    until_members(&first, |now| now.voters.len() == 2).await;
    within(5, first.execute(7)).await.unwrap();
    reaches(&voting, 1).await;
    within(10, voting.when().online()).await;
    assert_eq!(within(5, watching.execute(8)).await.unwrap(), 2);
}
