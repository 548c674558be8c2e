//! What others say about a node's own entry: it must not silence the node.

use mosaik::{Network, NetworkId, iroh::endpoint::Connection};

use crate::support::{
    intruder::{Intruder, frame},
    member::{Member, SUSPICION, Topic, dated, encoded, now_ms, version},
    metrics::{count, counted},
    node, random_network, until_catalog, within,
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
    let intruder = Intruder::new().await;
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
