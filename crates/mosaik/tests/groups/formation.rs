//! Formation of groups.

use std::time::{Duration, Instant};

use mosaik::{
    GroupKey, Strong, UniqueId, Weak,
    groups::{
        ApplyContext, CommandError, ConsensusConfig, JoinError, LeadershipPreference,
        LogReplaySync, StateMachine,
    },
    id,
    tickets::Ticket,
};

use super::machines::{
    Ledger, agreed, formed_of, join, join_with, leader_of, nodes, observer, reaches, until_members,
};
use crate::support::{node, random_network, within};

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
async fn two_that_dial_each_other_at_once_have_one_bond() {
    let network = random_network();
    let nodes = [node(network).await, node(network).await];
    let peers = [nodes[0].local().id(), nodes[1].local().id()];
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder().with_min_members(2);
    let consensus = consensus.build().unwrap();
    // Both list the group before they know each other, so both dial when they meet.
    let join = |node| join_with(node, key, Ledger::default(), consensus.clone());
    let groups: Vec<_> = nodes.iter().map(join).collect();
    let meet = |from: usize, to: usize| {
        let discovery = nodes[from].discovery();
        discovery.sync_with(nodes[to].local().addr())
    };
    let (one, two) = within(5, futures::future::join(meet(0, 1), meet(1, 0))).await;
    assert!(one.is_ok() && two.is_ok());
    for group in &groups {
        within(10, group.when().online()).await;
    }
    loop {
        let bonds = [groups[0].bonds(), groups[1].bonds()];
        let changes = bonds.iter().map(|bonds| Box::pin(bonds.changed()));
        let changed = futures::future::select_all(changes);
        let ends = [bonds[0].get(&peers[1]), bonds[1].get(&peers[0])];
        if let [Some(one), Some(other)] = ends
            && one.id() == other.id()
        {
            break;
        }
        within(5, changed).await;
    }
    assert_eq!((groups[0].bonds().len(), groups[1].bonds().len()), (1, 1));
    for group in &groups {
        within(5, group.execute(1)).await.unwrap();
    }
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

/// A member that asks for company first is not to be founded alone because of an earlier handle.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_handle_raises_the_members_that_a_founding_waits_for() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let waits_for = |members| {
        ConsensusConfig::builder()
            .with_min_members(members)
            .build()
            .unwrap()
    };
    let hasty = join_with(&nodes[0], key, Ledger::default(), waits_for(1));
    let careful = join_with(&nodes[0], key, Ledger::default(), waits_for(2));
    let lowers_nothing = join_with(&nodes[0], key, Ledger::default(), waits_for(1));
    // Whoever founds alone has done so by now: another group that was joined later is there.
    let control = join(&nodes[0], GroupKey::random());
    within(5, control.when().online()).await;
    assert_eq!(hasty.leader(), None);
    let other = join_with(&nodes[1], key, Ledger::default(), waits_for(2));
    for group in [&hasty, &careful, &lowers_nothing, &other] {
        within(10, group.when().online()).await;
    }
    until_members(&other, |members| members.voters.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_joined_with_another_machine_is_an_error() {
    let nodes = nodes(1).await;
    let key = GroupKey::random();
    let group = join(&nodes[0], key);
    let builder = || nodes[0].groups().with_key(key);
    let refused = builder()
        .with_state_machine(Impostor(Ledger::default()))
        .try_join()
        .unwrap_err();
    assert_eq!(refused, JoinError::OtherMachine(*group.id()));
    assert!(
        refused
            .to_string()
            .contains("another type of state machine")
    );
    let joining = || {
        builder()
            .with_state_machine(Impostor(Ledger::default()))
            .join()
    };
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(joining));
    let message = panicked.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(*message, refused.to_string());
    // The group itself is as it was.
    within(5, group.when().online()).await;
    within(5, group.execute(1)).await.unwrap();
}

/// Says that it is a ledger, and is of another type.
struct Impostor(Ledger);

impl StateMachine for Impostor {
    type Command = u64;
    type Query = ();
    type QueryResult = Vec<u64>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        self.0.signature()
    }

    fn apply(&mut self, command: u64, ctx: &dyn ApplyContext) {
        self.0.apply(command, ctx);
    }

    fn query(&self, (): ()) -> Vec<u64> {
        self.0.query(())
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}

/// A member that is not listed is found by nobody, and would found a history of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_can_not_be_advertised_is_an_error() {
    let nodes = nodes(2).await;
    // Tickets fill the entry, except for less than another group needs.
    for size in (0..16).rev().map(|power| 1_usize << power) {
        for n in 0..8_u8 {
            let data = [vec![7; size], vec![n]].concat();
            let ballast = Ticket::new(id!("ballast"), data.into());
            nodes[0].discovery().add_ticket(ballast);
        }
    }
    let key = GroupKey::random();
    let builder = || {
        let builder = nodes[0].groups().with_key(key);
        builder.with_state_machine(Ledger::default())
    };
    let refused = builder().try_join().unwrap_err();
    let JoinError::EntryFull { what, len, max } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((what, max), ("encoded bytes", 256 * 1024));
    assert!(len > max);
    let ended = builder().join();
    let answer = within(5, ended.execute(1)).await;
    assert!(matches!(answer, Err(CommandError::GroupTerminated)));

    // Others don't see it, and it does not stand in its own way.
    let other = join(&nodes[1], key);
    within(5, other.when().is_leader()).await;
    nodes[0].discovery().remove_tickets_of(id!("ballast"));
    let group = builder().try_join().unwrap();
    within(10, group.when().online()).await;
    within(5, group.execute(1)).await.unwrap();
    reaches(&other, 1).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_panics_on_endless_settings() {
    let nodes = nodes(2).await;
    // One at a time, then all together.
    let ever = Duration::MAX;
    let normal = ConsensusConfig::default;
    let settings = [
        ConsensusConfig {
            election_timeout: ever,
            ..normal()
        },
        ConsensusConfig {
            heartbeat_interval: ever,
            ..normal()
        },
        ConsensusConfig {
            heartbeat_jitter: ever,
            ..normal()
        },
        ConsensusConfig {
            max_missed_heartbeats: u32::MAX,
            ..normal()
        },
        ConsensusConfig {
            election_timeout_jitter: ever,
            ..normal()
        },
        ConsensusConfig {
            forward_timeout: ever,
            ..normal()
        },
        ConsensusConfig {
            query_timeout: ever,
            ..normal()
        },
        ConsensusConfig {
            bootstrap_delay: ever,
            ..normal()
        },
        ConsensusConfig {
            max_voters: usize::MAX,
            ..normal()
        },
        ConsensusConfig {
            evict_after: ever,
            ..normal()
        },
        ConsensusConfig {
            reform_after: Some(ever),
            ..normal()
        },
        ConsensusConfig {
            heartbeat_interval: ever,
            heartbeat_jitter: ever,
            max_missed_heartbeats: u32::MAX,
            election_timeout: ever,
            election_timeout_jitter: ever,
            bootstrap_delay: ever,
            forward_timeout: ever,
            query_timeout: ever,
            max_voters: usize::MAX,
            min_members: 1,
            evict_after: ever,
            reform_after: Some(ever),
        },
    ];
    for odd in settings {
        let key = GroupKey::random();
        let group = join_with(&nodes[0], key, Ledger::default(), odd.clone());
        within(10, group.when().online()).await;
        within(5, group.execute(1)).await.unwrap();
        let seen = within(5, group.query((), Strong)).await.unwrap();
        assert_eq!(*seen, [1], "{odd:?}");
        if odd.election_timeout == ever {
            // Were a vote lost on the way, nobody would ever ask for it again.
            continue;
        }
        let reluctant = Ledger {
            preference: LeadershipPreference::Reluctant { factor: u32::MAX },
            ..Ledger::default()
        };
        let other = join_with(&nodes[1], key, reluctant, odd.clone());
        within(10, other.when().online()).await;
        within(5, other.execute(2)).await.unwrap();
        drop(group);
        until_members(&other, |members| members.voters.len() == 1).await;
        assert_eq!(within(5, other.execute(3)).await.unwrap(), 3, "{odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_in_use_is_told() {
    let nodes = nodes(1).await;
    let asked = ConsensusConfig {
        heartbeat_interval: Duration::from_secs(2),
        election_timeout: Duration::from_secs(1),
        max_missed_heartbeats: 0,
        max_voters: 0,
        forward_timeout: Duration::MAX,
        ..ConsensusConfig::default()
    };
    let group = join_with(&nodes[0], GroupKey::random(), Ledger::default(), asked);
    let used = group.config().consensus();
    assert_eq!(used.heartbeat_interval, Duration::from_millis(300));
    assert_eq!((used.max_missed_heartbeats, used.max_voters), (1, 1));
    assert!(used.forward_timeout < Duration::MAX);
    let normal = join(&nodes[0], GroupKey::random());
    assert_eq!(*normal.config().consensus(), ConsensusConfig::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reluctant_member_leads_when_nobody_else_can() {
    let reluctant = |n| Ledger {
        preference: match n {
            0 => LeadershipPreference::Reluctant { factor: 20 },
            _ => LeadershipPreference::Normal,
        },
        ..Ledger::default()
    };
    let (nodes, mut groups) = formed_of((0..3).map(reluctant)).await;
    assert!(!groups[0].is_leader(), "others were there to found");
    assert_eq!(groups[0].membership().voters.len(), 3, "it votes");
    // The leader crashes: the other one is first, by seconds.
    let leader = leader_of(&groups).await;
    nodes[leader].local().endpoint().close().await;
    let _crashed = groups.remove(leader);
    let heir = within(10, groups[0].when().leader_changed()).await;
    assert_eq!(heir, nodes[3 - leader].local().id());
    agreed(&groups).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reluctant_member_leads_alone() {
    let reluctant = Ledger {
        preference: LeadershipPreference::reluctant(),
        ..Ledger::default()
    };
    let machines = [Ledger::default(), reluctant];
    let (_nodes, mut groups) = formed_of(machines.into_iter()).await;
    assert!(groups[0].is_leader());
    drop(groups.remove(0));
    within(10, groups[0].when().is_leader()).await;
    within(5, groups[0].execute(1)).await.unwrap();
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
