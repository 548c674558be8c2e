//! Askers that break the rules, or ask without end: each is turned away, and harms nobody.

use mosaik::{
    Network, NetworkId,
    iroh::endpoint::{Connection, RecvStream, SendStream},
};

use super::{asked, joined};
use crate::support::{
    intruder::{Intruder, end_of, frame, header, say},
    metrics::{count, counted},
    node, random_network, within,
};

const ALPN: &[u8] = b"/mosaik/status/1";
const STREAMS: u8 = 2;
const PROTOCOL_VIOLATION: Option<u64> = Some(400);
const TOO_MANY_REQUESTS: Option<u64> = Some(12_429);

async fn target() -> (Network, NetworkId, Intruder, Connection) {
    count();
    let id = random_network();
    let target = node(id).await;
    let intruder = Intruder::new().await;
    let connection = intruder.join(&target, ALPN).await;
    (target, id, intruder, connection)
}

/// Others are answered as before.
async fn is_undisturbed(target: &Network) {
    let friend = joined(*target.network_id(), target).await;
    assert_eq!(asked(&friend, target).await.node.peer, target.local().id());
    friend.shutdown().await;
}

/// Asks on an open stream; the sequence number and the rest of the answer.
async fn page(send: &mut SendStream, recv: &mut RecvStream, question: &[u8]) -> Option<Vec<u8>> {
    send.write_all(question).await.ok()?;
    let mut len = [0; 4];
    within(10, recv.read_exact(&mut len)).await.ok()?;
    let len = u32::from_le_bytes(len);
    if len & (1 << 31) != 0 {
        return None;
    }
    let mut answer = vec![0; len as usize];
    within(10, recv.read_exact(&mut answer)).await.ok()?;
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_a_violation() {
    let (target, id, _intruder, connection) = target().await;
    let mut endless = frame(&());
    endless[..4].copy_from_slice(&header(65));
    endless.extend([0; 65]);
    let overlong = [&header(11)[..], &[0xff; 11]].concat();
    for nonsense in [endless, overlong] {
        let (_send, mut recv) = say(&connection, &nonsense).await;
        assert_eq!(end_of(&mut recv).await, PROTOCOL_VIOLATION);
    }
    assert_eq!(counted(&id, "mosaik.network.links.violated", None), 2);
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_of_later_versions_are_empty() {
    let (target, _, _intruder, connection) = target().await;
    let (mut send, mut recv) = say(&connection, &[]).await;
    // With a field that this version does not know.
    let later = frame(&(99u8, 0u32, 7u64));
    let answer = page(&mut send, &mut recv, &later).await.unwrap();
    assert_eq!(
        answer,
        [0, 0, 0, 0],
        "nothing available, nothing left off, no items"
    );
    let beyond = page(&mut send, &mut recv, &frame(&(STREAMS, u32::MAX)))
        .await
        .unwrap();
    assert_eq!(beyond.last(), Some(&0), "no items");
    drop((send, recv));
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_few_streams_at_a_time() {
    let (target, id, _intruder, connection) = target().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let (mut send, mut recv) = say(&connection, &[]).await;
        assert!(
            page(&mut send, &mut recv, &frame(&(STREAMS, 0u32)))
                .await
                .is_some()
        );
        open.push((send, recv));
    }
    let (_send, mut recv) = say(&connection, &frame(&(STREAMS, 0u32))).await;
    assert_eq!(end_of(&mut recv).await, TOO_MANY_REQUESTS);
    assert_eq!(counted(&id, "mosaik.status.requests.refused", None), 1);
    is_undisturbed(&target).await;
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_without_end_is_turned_away() {
    let (target, _, _intruder, connection) = target().await;
    let _streams: Vec<_> = (0..1000)
        .map(|n: u32| {
            let producer = target.streams().producer::<u8>();
            producer.with_stream_id(n.to_string().as_str()).open()
        })
        .collect();
    let question = frame(&(STREAMS, 0u32));
    let mut bytes = 0;
    within(30, async {
        loop {
            let (mut send, mut recv) = say(&connection, &[]).await;
            let before = bytes;
            while let Some(answer) = page(&mut send, &mut recv, &question).await {
                bytes += answer.len();
            }
            if bytes == before {
                return;
            }
        }
    })
    .await;
    // As much as it may take at once, and what it has earned meanwhile.
    assert!((1 << 22..20 << 20).contains(&bytes), "{bytes}");
    is_undisturbed(&target).await;
    target.shutdown().await;
}
