//! Peers that know a group's key, and keep a member waiting.

use futures::FutureExt;
use mosaik::{
    Digest, Group, Network,
    groups::{Bonds, ConsensusConfig},
};

use super::machines::{Ledger, join_with};
use crate::support::{
    bonded::{Bonded, introduced_in_vain},
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
