//! Groups that meet, members that come and go.

use std::time::Duration;

use mosaik::{
    Group, GroupKey, Network, SecretKey, Weak, discovery,
    futures::FutureExt,
    groups::{CommandError, ConsensusConfig, QueryError},
    network::close::GracefulShutdown,
};

use super::machines::{
    Ledger, agreed, formed, join, join_with, leader_of, nodes, observer, reaches, until_members,
};
use crate::support::{builder, logged, node, node_at, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn rivals_merge_into_the_one_with_more_commands() {
    let network = random_network();
    let (a, b) = (node(network).await, node(network).await);
    let key = GroupKey::random();
    let (small, large) = (join(&a, key), join(&b, key));
    within(5, small.when().online()).await;
    within(5, large.when().online()).await;
    within(5, small.execute_many([1, 2])).await.unwrap();
    within(5, large.execute_many([7, 8, 9])).await.unwrap();
    let reverted = small.when().committed().reverted();
    let discarded = small.when().discarded();
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    within(10, reverted).await;
    assert_eq!(within(5, discarded).await, 2);
    let groups = [small, large];
    assert_eq!(agreed(&groups).await, b.local().id());
    within(10, groups[0].when().online()).await;
    reaches(&groups[0], 3).await;
    assert_eq!(*groups[0].query((), Weak).await.unwrap(), [7, 8, 9]);
    assert_eq!(within(5, groups[0].execute(10)).await.unwrap(), 4);
}

/// Commands at a steady rate, without an end.
async fn load(group: &Group<Ledger>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(4));
    for n in 0.. {
        ticks.tick().await;
        // Those of a history that is given up are not answered.
        let _ = tokio::time::timeout(Duration::from_millis(100), group.feed(n)).await;
    }
}

/// Regression: each leader compared what it was told, which was some hundred milliseconds old, with
/// all that it had. Under equal load each was ahead of the other for as long as that lasted.
#[tokio::test(flavor = "multi_thread")]
async fn rivals_merge_under_equal_load() {
    let network = random_network();
    let (a, b) = (node(network).await, node(network).await);
    let key = GroupKey::random();
    let groups = [join(&a, key), join(&b, key)];
    for group in &groups {
        within(5, group.when().online()).await;
    }
    let merged = async {
        within(5, a.discovery().sync_with(b.local().addr()))
            .await
            .unwrap();
        let discarded = groups
            .each_ref()
            .map(|group| Box::pin(group.when().discarded()));
        within(20, mosaik::futures::future::select_all(discarded))
            .await
            .0
    };
    let discarded = tokio::select! {
        discarded = merged => discarded,
        () = load(&groups[0]) => unreachable!("it has no end"),
        () = load(&groups[1]) => unreachable!("it has no end"),
    };
    assert!(discarded > 0);
    agreed(&groups).await;
    for group in &groups {
        within(10, group.when().online()).await;
        within(10, group.execute(0)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_member_votes_as_soon_as_there_is_room() {
    let nodes = nodes(6).await;
    let key = GroupKey::random();
    let mut groups: Vec<_> = nodes.iter().map(|node| join(node, key)).collect();
    for group in &groups {
        within(15, group.when().online()).await;
    }
    agreed(&groups).await;
    within(5, groups[5].execute(1)).await.unwrap();
    // Five leave one by one; whoever is left carries on.
    while groups.len() > 1 {
        drop(groups.remove(0));
        agreed(&groups).await;
        within(10, groups[0].execute(2)).await.unwrap();
    }
    assert_eq!(groups[0].committed(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_can_not_be_reset_stays_offline_and_silent() {
    let network = random_network();
    let (a, b) = (node(network).await, node(network).await);
    let key = GroupKey::random();
    let stubborn = Ledger {
        keeps_state: true,
        ..Ledger::default()
    };
    let small = join_with(&a, key, stubborn, ConsensusConfig::default());
    let large = join(&b, key);
    within(5, small.when().online()).await;
    within(5, large.when().online()).await;
    within(5, small.execute(1)).await.unwrap();
    within(5, large.execute_many([7, 8])).await.unwrap();
    let offline = small.when().offline();
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    within(10, offline).await;
    within(10, small.when().leader_is(b.local().id())).await;
    reaches(&small, 2).await;
    assert!(matches!(
        small.query((), Weak).await,
        Err(QueryError::Offline(()))
    ));
    // It replicates, and gets no vote: others do, who came later.
    let c = node_at(network, b.local().addr()).await;
    let third = join(&c, key);
    let (silent, voting) = (a.local().id(), c.local().id());
    until_members(&large, |members| members.voters.contains(&voting)).await;
    assert!(large.membership().learners.contains(&silent));
    // Nor does it lead when it is left alone, or begin a history of its own.
    large.leave().await;
    until_members(&third, |members| members.voters.len() == 1).await;
    within(5, third.execute(9)).await.unwrap();
    third.leave().await;
    within(10, async {
        while !small.bonds().is_empty() {
            small.bonds().changed().await;
        }
    })
    .await;
    within(10, async {
        while small.leader().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!small.reform().await);
    assert_eq!(small.leader(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_again_at_once_lets_its_former_self_leave() {
    let (nodes, mut groups) = formed(2).await;
    let key = *groups[0].config().key();
    for round in 0..4 {
        // Of two voters, both are needed to remove one of them.
        drop(groups.remove(round % 2));
        groups.insert(round % 2, join(&nodes[round % 2], key));
        let group = &groups[round % 2];
        within(10, group.when().online()).await;
        until_members(group, |members| members.voters.len() == 2).await;
        within(5, group.execute(round as u64)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn min_members_holds_the_founding_back() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(2)
        .build()
        .unwrap();
    let first = join_with(&nodes[0], key, Ledger::default(), consensus.clone());
    // A group without that condition, joined later, is founded meanwhile.
    let control = join(&nodes[0], GroupKey::random());
    within(5, control.when().online()).await;
    assert_eq!(first.leader(), None);
    let second = join_with(&nodes[1], key, Ledger::default(), consensus);
    within(5, first.when().online()).await;
    within(5, second.when().online()).await;
    // Both vote from the start: what is acknowledged is on both.
    within(5, first.execute(1)).await.unwrap();
    assert_eq!(second.log_position(), mosaik::groups::Index(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_does_not_count_for_min_members() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(2)
        .build()
        .unwrap();
    let first = join_with(&nodes[0], key, Ledger::default(), consensus.clone());
    let watching = join_with(&nodes[1], key, observer(), consensus.clone());
    while first.bonds().is_empty() {
        within(10, first.bonds().changed()).await;
    }
    // Several times as long as a founding takes.
    let founding = tokio::time::timeout(Duration::from_secs(1), first.when().leader_elected());
    assert!(founding.await.is_err(), "founded alone");
    let second = join_with(&nodes[2], key, Ledger::default(), consensus);
    for group in [&first, &second, &watching] {
        within(10, group.when().online()).await;
    }
    until_members(&first, |members| members.voters.len() == 2).await;
}

/// Observations of a dead history made all members forget their observations of the living ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_halted_history_keeps_no_two_others_from_merging() {
    let network = random_network();
    let (a, b, left) = (
        node(network).await,
        node(network).await,
        node(network).await,
    );
    let dead = node_at(network, left.local().addr()).await;
    let key = GroupKey::random();
    let pair = ConsensusConfig::builder()
        .with_min_members(2)
        .build()
        .unwrap();
    let halted = [&left, &dead].map(|node| join_with(node, key, Ledger::default(), pair.clone()));
    let (small, large) = (join(&a, key), join(&b, key));
    for group in halted.iter().chain([&small, &large]) {
        within(10, group.when().online()).await;
    }
    within(5, halted[0].execute_many([1, 2, 3, 4]))
        .await
        .unwrap();
    within(5, small.execute(5)).await.unwrap();
    within(5, large.execute_many([6, 7])).await.unwrap();
    let offline = halted[0].when().offline();
    dead.local().endpoint().close().await;
    within(10, offline).await;
    let reverted = small.when().committed().reverted();
    for (one, other) in [(&a, &left), (&b, &left), (&a, &b)] {
        let syncing = one.discovery().sync_with(other.local().addr());
        within(5, syncing).await.unwrap();
    }
    within(10, reverted).await;
    reaches(&small, 2).await;
    assert_eq!(*small.query((), Weak).await.unwrap(), [6, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_bond_is_made_again_and_nobody_notices() {
    let (nodes, groups) = formed(2).await;
    let bond = groups[0].bonds().get(&nodes[1].local().id()).unwrap();
    let other_end = groups[1].bonds().get(&nodes[0].local().id()).unwrap();
    let (id, ended) = (bond.id(), other_end.terminated());
    within(5, bond.close(GracefulShutdown)).await;
    assert_eq!(within(5, ended).await, GracefulShutdown);
    loop {
        let again = groups[0].bonds().get(&nodes[1].local().id());
        if again.is_some_and(|again| again.id() != id) {
            break;
        }
        within(5, groups[0].bonds().changed()).await;
    }
    for group in &groups {
        within(5, group.when().online()).await;
        within(5, group.execute(1)).await.unwrap();
    }
}

async fn restarted(network: mosaik::NetworkId, secret: SecretKey, peer: &Network) -> Network {
    let discovery = discovery::Config::builder().with_bootstrap(peer.local().addr());
    builder(network, discovery)
        .with_secret_key(secret)
        .build()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_empty_is_a_new_member() {
    let (mut nodes, mut groups) = formed(3).await;
    within(5, groups[0].execute_many([1, 2, 3])).await.unwrap();
    let key = *groups[0].config().key();
    let follower = (leader_of(&groups).await + 1) % 3;
    let (old, _) = (nodes.remove(follower), groups.remove(follower));
    let (network, secret) = (*old.network_id(), old.local().secret_key().clone());
    // It crashes: no goodbye.
    old.local().endpoint().close().await;
    let back = restarted(network, secret, &nodes[0]).await;
    let group = join(&back, key);
    within(10, group.when().online()).await;
    reaches(&group, 3).await;
    assert_eq!(*group.query((), Weak).await.unwrap(), [1, 2, 3]);
    // It takes part fully: the group carries on when the others leave.
    within(5, group.execute(4)).await.unwrap();
    while let Some(leaving) = groups.pop() {
        drop(leaving);
        loop {
            if within(10, group.execute(5)).await.is_ok() {
                break;
            }
        }
    }
    within(10, group.when().is_leader()).await;
    drop((nodes, old));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_a_members_key_does_not_push_it_out() {
    let (nodes, groups) = formed(3).await;
    let leading = leader_of(&groups).await;
    let twin_of = (leading + 1) % 3;
    let (first, other) = (&nodes[twin_of], &groups[leading]);
    let bond = other.bonds().get(&first.local().id()).unwrap();
    let changed = other.when().membership_changed();
    let (network, secret) = (*first.network_id(), first.local().secret_key().clone());
    let second = restarted(network, secret, &nodes[leading]).await;
    let twin = join(&second, *other.config().key());
    // Discovery ends one of the two before long; until then the first keeps its bonds. The second
    // dials at once: after two seconds nothing more happens to them.
    let mut shut_out = [first, &second].map(|node| node.discovery().duplicate());
    let [one, two] = &mut shut_out;
    let is_it = |other: &Option<discovery::Duplicate>| other.as_ref().is_some_and(|o| o.shut_out);
    let ended = within(20, async {
        tokio::select! {
            ended = bond.terminated() => Some(ended),
            _ = one.wait_for(is_it) => None,
            _ = two.wait_for(is_it) => None,
            () = tokio::time::sleep(Duration::from_secs(2)) => None,
        }
    })
    .await;
    // The connection may end before the reason of it is told.
    let is_pushed_out = ended.is_some_and(|ended| ended.error_code.into_inner() == 30_429);
    assert!(!is_pushed_out, "the bond with the first was replaced");
    assert_eq!(changed.now_or_never(), None);
    assert!(twin.bonds().is_empty());
}

/// The second process says whom to blame: nothing else on its machine does.
#[test]
fn a_second_process_with_a_members_key_says_why_it_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ((), log) = logged(|| {
        runtime.block_on(async {
            let (nodes, groups) = formed(2).await;
            let (first, other) = (&nodes[1], &groups[0]);
            let (network, secret) = (*first.network_id(), first.local().secret_key().clone());
            let second = restarted(network, secret, &nodes[0]).await;
            let _twin = join(&second, *other.config().key());
            // Discovery shuts one of the two out before long.
            let mut ended = [first, &second].map(|node| node.discovery().duplicate());
            let [one, two] = &mut ended;
            within(30, async {
                tokio::select! {
                    told = one.wait_for(Option::is_some) => drop(told.unwrap()),
                    told = two.wait_for(Option::is_some) => drop(told.unwrap()),
                }
            })
            .await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        });
    });
    let told = "another process runs with this node's identity, and was in the group first: this one \
                is refused. Give each process a key of its own";
    assert!(log.contains(told), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_member_is_evicted() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_evict_after(Duration::from_millis(300))
        .with_min_members(3)
        .build()
        .unwrap();
    let third = crate::support::node_at(*nodes[0].network_id(), nodes[0].local().addr()).await;
    let mut groups: Vec<_> = [&nodes[0], &nodes[1], &third]
        .iter()
        .map(|node| join_with(node, key, Ledger::default(), consensus.clone()))
        .collect();
    for group in &groups {
        within(10, group.when().online()).await;
    }
    third.local().endpoint().close().await;
    // Three voters, one dead. Once it is evicted, the second may go as well, in order.
    let evicted = third.local().id();
    for group in &groups[..2] {
        until_members(group, |members| !members.contains(&evicted)).await;
        assert_eq!(group.membership().voters.len(), 2);
    }
    let leaver = usize::from(groups[1].is_leader());
    drop(groups.remove(leaver));
    within(10, groups[0].when().is_leader()).await;
    within(10, groups[0].execute(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_group_can_be_reformed() {
    let (nodes, groups) = formed(3).await;
    within(5, groups[0].execute_many([1, 2])).await.unwrap();
    for group in &groups {
        reaches(group, 2).await;
    }
    assert!(!groups[0].reform().await, "not while a leader is known");
    nodes[1].local().endpoint().close().await;
    nodes[2].local().endpoint().close().await;
    within(10, groups[0].when().offline()).await;
    let refused = within(10, groups[0].execute(3)).await;
    assert!(matches!(refused, Err(CommandError::Offline(_))));
    assert!(within(10, groups[0].reform()).await);
    within(10, groups[0].when().online()).await;
    assert_eq!(within(5, groups[0].execute(3)).await.unwrap(), 3);
    assert_eq!(*groups[0].query((), Weak).await.unwrap(), [1, 2, 3]);
}
