//! Claims of others about a node's own entry: they must not silence the node.

use std::{collections::BTreeSet, time::Instant};

use mosaik::{
    Network, NetworkId, SecretKey,
    discovery::{self, Event},
    iroh::endpoint::Connection,
};
use tokio::sync::broadcast::error::TryRecvError;

use crate::support::{
    builder,
    intruder::{Intruder, frame},
    member::{Member, SUSPICION, Topic, dated, encoded, now_ms, version},
    metrics::{count, counted},
    node, node_at, random_network, until_catalog, within,
};

fn impossible(id: &NetworkId) -> u64 {
    counted(id, "mosaik.discovery.entries.refused", Some("future_dated"))
}

/// Others go on to learn what the node has to say.
async fn is_heard(target: &Network) {
    let friend = node(*target.network_id()).await;
    let syncing = friend.discovery().sync_with(target.local().addr());
    within(5, syncing).await.unwrap();
    let id = target.local().id();
    target.discovery().add_tags("still here");
    until_catalog(5, &friend, |c| {
        c.get(&id)
            .is_some_and(|entry| entry.tags().contains(&"still here".into()))
    })
    .await;
    friend.shutdown().await;
}

/// Regression: the node signed its entry with the version that was claimed, and every peer refused
/// that from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspicion_at_an_impossible_version_does_not_mute_a_node() {
    count();
    let id = random_network();
    let a = node(id).await;
    let intruder = Intruder::member(id).await;
    let topic = Topic::join(&intruder, &a).await;
    let (me, before) = (a.local().id(), a.discovery().me().version());
    let now = now_ms();
    let last = version(u64::MAX, u64::MAX);
    let far = version(now, now + 60_000);
    let upside_down = version(now + 1000, now);
    for claimed in [last, far, upside_down] {
        topic.broadcast(encoded(&(SUSPICION, me, claimed))).await;
    }
    topic.is_heard_by(&a).await;
    assert_eq!(impossible(&id), 3);
    assert_eq!(
        a.discovery().me().version().started_at(),
        before.started_at()
    );
    is_heard(&a).await;

    // One that is possible is refuted.
    let current = a.discovery().me().version();
    topic.broadcast(encoded(&(SUSPICION, me, current))).await;
    topic.is_heard_by(&a).await;
    assert!(a.discovery().me().version() > current);
    assert_eq!(impossible(&id), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_at_an_impossible_version_does_not_mute_a_node() {
    count();
    let id = random_network();
    let a = node(id).await;
    let member = Member::join(&a).await;
    let (me, before) = (a.local().id(), a.discovery().me().version());
    let claimed = version(u64::MAX, u64::MAX);
    let turn = (0u8, 0u8, 0u8, (1u8, me, claimed));
    member.sync(&turn).await;
    assert_eq!(impossible(&id), 1);
    assert_eq!(a.discovery().me().version(), before);
    is_heard(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_probe_does_not_mute_a_node() {
    count();
    let id = random_network();
    let a = node(id).await;
    let member = Member::join(&a).await;
    let now = now_ms();
    let own = dated(id, &member.intruder.secret, version(now, now));
    assert_eq!(member.push(&own).await, Some(200));
    // What follows on the first was done by the time of the second.
    for _ in 0..2 {
        let alive = (1u8, 0u128, (1u8, version(u64::MAX, u64::MAX)));
        answer_a_probe(&member.pinging, &frame(&alive)).await;
    }
    assert!(impossible(&id) >= 1);
    assert!(a.discovery().me().version() < version(now_ms() + 5000, 0));
    is_heard(&a).await;
}

/// Regression: each of two nodes with the same key raised its version above the other's, without
/// end and as fast as the network carried it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rival_with_the_same_key_drives_no_storm() {
    count();
    let (id, secret) = (random_network(), SecretKey::generate());
    let options = builder(id, discovery::Config::builder());
    let a = options
        .with_secret_key(secret.clone())
        .build()
        .await
        .unwrap();
    let member = Member::join(&a).await;
    let started = Instant::now();
    let mut versions = BTreeSet::from([a.discovery().me().version()]);
    let mut newest = now_ms() + 1000;
    for _ in 0..100 {
        newest += 10;
        let rival = dated(id, &secret, version(newest, newest));
        assert_eq!(member.push(&rival).await, Some(200));
        versions.insert(a.discovery().me().version());
    }
    // After 0, 1, 3, 7, 15 s and so on; besides, the entry is renewed every 7.5 s or more, and when
    // the address is found.
    let elapsed = started.elapsed().as_secs();
    let steps =
        2 + elapsed.checked_ilog2().map_or(0, |log| log as usize + 1) + elapsed as usize / 7;
    assert!(versions.len() <= steps, "{} in {elapsed} s", versions.len());
    assert!(versions.len() > 1, "the first is outgrown");
    let conflicts = counted(&id, "mosaik.discovery.identity.conflicts", None);
    assert_eq!(conflicts, 100);
}

/// Regression: a change after the announced departure was announced, and the node was taken for
/// alive.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_said_goodbye_shows_no_sign_of_life() {
    let id = random_network();
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    let (handle, a_id, b_id) = (a.discovery().clone(), a.local().id(), b.local().id());
    until_catalog(5, &b, |c| c.get(&a_id).is_some()).await;
    until_catalog(5, &a, |c| c.get(&b_id).is_some()).await;
    let mut events = b.discovery().events();
    let mut ended = handle.catalog_watch();
    drop(a);
    until_catalog(5, &b, |c| c.get(&a_id).is_none()).await;
    // The goodbye is still on its way to others.
    let last = handle.me().version();
    handle.add_tags("late");
    assert!(handle.me().tags().contains(&"late".into()));
    assert_eq!(handle.me().version(), last);
    within(5, async { while ended.changed().await.is_ok() {} }).await;
    assert_eq!(
        within(5, events.recv()).await,
        Ok(Event::PeerDeparted(a_id))
    );
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert!(b.discovery().catalog().get(&a_id).is_none());
}

/// Waits until the node probes this member, and answers.
async fn answer_a_probe(connection: &Connection, answer: &[u8]) {
    const PROBE: u8 = 1;
    loop {
        let (mut send, mut recv) = within(10, connection.accept_bi()).await.unwrap();
        let mut question = [0; 5];
        within(5, recv.read_exact(&mut question)).await.unwrap();
        if question[4] == PROBE {
            send.write_all(answer).await.unwrap();
            return;
        }
    }
}
