//! Groups that go on without the majority that they have lost.

use std::time::Duration;

use futures::future::{join, join_all};
use mosaik::{
    Group, GroupKey, LeadershipPreference, Network, Weak,
    groups::{CommandError, ConsensusConfig, StateMachine},
};

use super::machines::{Ledger, agreed, formed, join_with, leader_of, nodes, observer, reaches};
use crate::support::within;

/// Closes the endpoint of a node, as a crash does.
async fn crash(node: &Network) {
    node.local().endpoint().close().await;
}

async fn has(group: &Group<Ledger>, expected: &[u64]) {
    reaches(group, expected.len() as u64).await;
    assert_eq!(*group.query((), Weak).await.unwrap(), expected);
}

/// Members that join with these settings, all of them there from the start.
async fn group_of(
    count: usize,
    machine: impl Fn(usize) -> Ledger,
    reform_after: Option<Duration>,
) -> (Vec<Network>, Vec<Group<Ledger>>) {
    let nodes = nodes(count).await;
    let key = GroupKey::random();
    // Observers don't count.
    let voters = (0..count)
        .filter(|n| machine(*n).leadership_preference() != LeadershipPreference::Observer);
    let consensus = ConsensusConfig::builder()
        .with_min_members(voters.count())
        .with_reform_after(reform_after)
        .build()
        .unwrap();
    let join = |(n, node): (usize, &Network)| join_with(node, key, machine(n), consensus.clone());
    let groups: Vec<_> = nodes.iter().enumerate().map(join).collect();
    for group in &groups {
        within(20, group.when().online()).await;
    }
    agreed(&groups).await;
    (nodes, groups)
}

/// Entries that the leader had in its log when the others died are in the new history once, and
/// their callers are told the truth.
#[tokio::test(flavor = "multi_thread")]
async fn commands_under_way_are_applied_once_after_a_reform() {
    for _ in 0..3 {
        let (nodes, groups) = formed(3).await;
        within(5, groups[0].execute_many([1, 2])).await.unwrap();
        let leader = leader_of(&groups).await;
        let survivor = &groups[leader];
        for n in (0..3).filter(|n| *n != leader) {
            crash(&nodes[n]).await;
        }
        let pending = survivor.execute(3);
        within(10, survivor.when().offline()).await;
        assert!(within(10, survivor.reform()).await);
        within(10, survivor.when().online()).await;
        let done = within(10, pending).await;
        let last = within(5, survivor.execute(4)).await.unwrap();
        match done {
            Ok(index) => {
                assert_eq!((index.0, last.0), (3, 4));
                has(survivor, &[1, 2, 3, 4]).await;
            }
            // The leader had ceased to be one before the command came.
            Err(CommandError::Offline(_)) => has(survivor, &[1, 2, 4]).await,
            Err(CommandError::Unknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A command that came while the new history was being set up lay there until its time was over.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_command_after_a_reform_is_taken() {
    let nodes = nodes(2).await;
    let consensus = ConsensusConfig::builder().with_min_members(2);
    let consensus = consensus.build().unwrap();
    let join_on = |node, key| join_with(node, key, Ledger::default(), consensus.clone());
    let keys: Vec<_> = (0..16).map(|_| GroupKey::random()).collect();
    let groups: Vec<_> = keys
        .iter()
        .map(|key| [0, 1].map(|n| join_on(&nodes[n], *key)))
        .collect();
    for members in &groups {
        for group in members {
            within(20, group.when().online()).await;
        }
        agreed(members).await;
    }
    crash(&nodes[1]).await;
    let reformed = groups.iter().map(|[survivor, _]| async {
        within(20, survivor.when().offline()).await;
        let first = async {
            survivor.when().online().await;
            survivor.execute(1).await
        };
        let (is_reformed, first) = within(20, join(survivor.reform(), first)).await;
        assert!(is_reformed);
        first.unwrap();
    });
    join_all(reformed).await;
}

/// A survivor follows the one that reforms, and keeps its state: these machines can't be reset.
#[tokio::test(flavor = "multi_thread")]
async fn the_others_follow_who_reforms() {
    let stubborn = |_| Ledger {
        keeps_state: true,
        ..Ledger::default()
    };
    let (nodes, groups) = group_of(5, stubborn, None).await;
    within(5, groups[0].execute_many([1, 2])).await.unwrap();
    for group in &groups {
        reaches(group, 2).await;
    }
    for node in &nodes[2..] {
        crash(node).await;
    }
    let survivors = &groups[..2];
    let ahead = usize::from(survivors[1].log_position() > survivors[0].log_position());
    // As long as one of them still believes in the leader that is lost, neither does it.
    let reformed = async {
        while !survivors[ahead].reform().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(20, reformed).await;
    let mut done = vec![1, 2];
    let mut next = 3;
    for survivor in survivors {
        let executed = async {
            loop {
                let number = next;
                next += 1;
                if survivor.execute(number).await.is_ok() {
                    return number;
                }
            }
        };
        done.push(within(20, executed).await);
    }
    let last = survivors[0].committed().max(survivors[1].committed());
    for survivor in survivors {
        reaches(survivor, last.0).await;
        let mut all: Vec<u64> = within(5, survivor.query((), Weak)).await.unwrap().into();
        assert_eq!(all[..2], [1, 2]);
        assert!(done.iter().all(|n| all.contains(n)), "{done:?} in {all:?}");
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "nothing is applied twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn survivors_reform_by_themselves_if_told_so() {
    let reform_after = Some(Duration::from_secs(2));
    let machine = |_| Ledger {
        keeps_state: true,
        ..Ledger::default()
    };
    let (nodes, groups) = group_of(5, machine, reform_after).await;
    let mut expected = Vec::new();
    for n in 0..20 {
        within(5, groups[n % 5].execute(n as u64)).await.unwrap();
        expected.push(n as u64);
    }
    let leader = leader_of(&groups).await;
    // Not the leader, and whoever comes first.
    let survivors: Vec<_> = (0..5).filter(|n| *n != leader).take(2).collect();
    // They are watched from before on: soon they are online again.
    let offline = join_all(survivors.iter().map(|n| groups[*n].when().offline()));
    let others = (0..5).filter(|n| !survivors.contains(n));
    let crashes = join_all(others.map(|n| crash(&nodes[n])));
    within(20, join(offline, crashes)).await;
    let mut left = groups;
    let mut n = 0;
    left.retain(|_| {
        n += 1;
        survivors.contains(&(n - 1))
    });
    for survivor in &left {
        within(20, survivor.when().online()).await;
    }
    agreed(&left).await;
    // Both serve one history, which has all that was acknowledged.
    within(5, left[0].execute(100)).await.unwrap();
    within(5, left[1].execute(101)).await.unwrap();
    expected.extend([100, 101]);
    for survivor in &left {
        has(survivor, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_does_not_reform() {
    let machine = |n| {
        if n == 2 {
            observer()
        } else {
            Ledger::default()
        }
    };
    let (nodes, groups) = group_of(3, machine, None).await;
    within(5, groups[0].execute(1)).await.unwrap();
    reaches(&groups[2], 1).await;
    crash(&nodes[0]).await;
    crash(&nodes[1]).await;
    within(10, groups[2].when().offline()).await;
    assert!(!within(10, groups[2].reform()).await);
    has(&groups[2], &[1]).await;
}
