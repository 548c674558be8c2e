//! Peers that know a group's key, and keep a member waiting.

use std::time::Duration;

use futures::FutureExt;
use mosaik::{
    Digest, Group, Network,
    groups::{Bonds, ConsensusConfig},
};

use super::machines::{Ledger, join_with};
use crate::support::{
    bonded::{Bonded, Lineage, Point, introduced_in_vain, refused},
    intruder::Intruder,
    node, random_network, within,
};

/// A lone member, in whose group silent bonds stand for longer than a test takes.
async fn patient() -> (Network, Group<Ledger>, Digest) {
    let node = node(random_network()).await;
    let key = Digest::random();
    let consensus = ConsensusConfig::builder().with_max_missed_heartbeats(10_000);
    let consensus = consensus.build().unwrap();
    let group = join_with(&node, key.into(), Ledger::default(), consensus);
    within(10, group.when().online()).await;
    (node, group, key)
}

async fn until_empty(bonds: &Bonds<Ledger>) {
    while !bonds.is_empty() {
        within(10, bonds.changed()).await;
    }
}

/// Regression: nobody read from such a bond, and it stood for as long as others kept the peer alive.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_off_behind_its_introduction_has_no_bond() {
    let (node, group, key) = patient().await;
    let bonds = group.bonds();
    let mut made = Box::pin(bonds.changed());
    assert!(made.as_mut().now_or_never().is_none());
    let _peer = introduced_in_vain(&node, (*group.id(), key)).await;
    within(10, made).await;
    until_empty(&bonds).await;
}

/// Regression: the member waited for ever to tell the peer that it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_fails_does_not_wait_for_a_peer_that_takes_nothing() {
    let (node, group, key) = patient().await;
    let narrow = Intruder::with_window(512).await;
    let secrets = (*group.id(), key);
    let peer = Bonded::by(narrow, &node, secrets, None, |standing| {
        standing.catching_up = true;
    });
    let mut peer = peer.await;
    let bonds = group.bonds();
    assert_eq!(bonds.len(), 1);
    peer.ask_in_vain(200).await;
    assert!(within(10, group.execute(u64::MAX)).await.is_err());
    within(10, group.when().offline()).await;
    until_empty(&bonds).await;
}

/// Regression: it was taken for whatever member it named, also for one of another peer.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_introduces_itself_as_anothers_member_is_refused() {
    let (node, group, key) = patient().await;
    let others = *node.local().id().as_bytes();
    let code = refused(&node, (*group.id(), key), |standing| {
        standing.member.peer = others;
    });
    assert!(code.await.is_some());
    assert!(group.bonds().is_empty());
    // Under its own name it is admitted.
    Bonded::with(&node, *group.id(), key, None).await;
}

/// Regression: who got nothing of a history for as long as a founder waits for a leader gave it up as a
/// founding that had failed, and began again as another member.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_fetches_in_vain_remains_the_same_member() {
    // One a tenth of a second, of twenty: longer than a founder waits.
    const ATTEMPTS: usize = 12;
    let node = node(random_network()).await;
    let key = Digest::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(2)
        .with_max_missed_heartbeats(10_000)
        .with_election_timeout(Duration::from_millis(100))
        .with_election_timeout_jitter(Duration::from_millis(50));
    let consensus = consensus.build().unwrap();
    let group = join_with(&node, key.into(), Ledger::default(), consensus);
    let history = Lineage {
        id: Digest::random(),
        parent: None,
        committed: 1_000_000,
        last: Some(Point {
            term: 1,
            index: 1_000_001,
        }),
        alive: true,
        leading: true,
    };
    let peer = Bonded::introduced(&node, *group.id(), key, None, |standing| {
        standing.lineage = Some(history);
    });
    let peer = peer.await;
    let fetching = peer.break_off_fetches(ATTEMPTS).await;
    assert_eq!(fetching, [peer.theirs.member; ATTEMPTS]);
}
