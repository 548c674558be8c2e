//! The transport's bounds: who is accepted, and what waits for how long.

mod bindings;
mod ends;
mod many_addresses;

use std::time::{Duration, Instant};

use futures::future::join_all;
use mosaik::{
    Network, NetworkId, discovery,
    network::{
        close::{DifferentNetwork, ProtocolViolation, UnexpectedClose},
        link::{LinkError, OpenError},
    },
};

use crate::support::{
    intruder::{ANNOUNCE_ALPN, Intruder, SYNC_ALPN, closing, end_of, frame, hello, say, welcome},
    metrics::{count, counted},
    node, random_network, until_catalog, within,
};

const REFUSED: &str = "mosaik.network.connections.refused";
const ACTIVE: &str = "mosaik.network.connections.active";
const OPENED: &str = "mosaik.network.connections.opened";

async fn target() -> (Network, NetworkId) {
    count();
    let id = random_network();
    (node(id).await, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_few_connections_that_prove_nothing() {
    let (a, id) = target().await;
    let intruder = Intruder::new().await;
    let mute = join_all((0..20).map(|_| intruder.connect(&a, SYNC_ALPN))).await;
    let first = futures::future::select_all(mute.iter().map(|c| Box::pin(closing(c)))).await;
    assert_eq!(ProtocolViolation, first.0);
    within(3, async {
        while counted(&id, REFUSED, Some("too_many")) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(counted(&id, REFUSED, Some("too_many")), 4);
    assert_eq!(
        counted(&id, REFUSED, Some("silent")),
        0,
        "the others may wait"
    );
}

/// Regression: half a thousand connections on which nothing was said kept everybody else out.
#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_keep_nobody_out() {
    const STRANGERS: usize = 40;
    const EACH: usize = 16;
    let (a, id) = target().await;
    let strangers = join_all((0..STRANGERS).map(|_| Intruder::new())).await;
    let silent = strangers.iter().map(|stranger| {
        // Some may be refused.
        let connect = |_| stranger.endpoint.connect(a.local().addr(), SYNC_ALPN);
        join_all((0..EACH).map(connect))
    });
    let held = within(60, join_all(silent)).await;
    let friend = node(id).await;
    let joined = Instant::now();
    within(3, friend.discovery().sync_with(a.local().addr()))
        .await
        .unwrap();
    until_catalog(3, &a, |c| c.get(&friend.local().id()).is_some()).await;
    eprintln!("joined in {:?}", joined.elapsed());
    let refused = counted(&id, REFUSED, None);
    assert!(refused > 0 && counted(&id, ACTIVE, None) > 0, "{refused}");
    drop(held);
}

/// Regression: a peer that connected was handed to the gossip protocol, without a proof.
#[tokio::test(flavor = "multi_thread")]
async fn gossip_has_the_network_proven_too() {
    let (a, id) = target().await;
    let stranger = Intruder::new().await;
    let connection = stranger.connect(&a, ANNOUNCE_ALPN).await;
    let _streams = say(&connection, &frame(&(1u16, [7u8; 32]))).await;
    assert_eq!(DifferentNetwork, closing(&connection).await);
    assert_eq!(counted(&id, REFUSED, Some("different_network")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_gossip_are_bounded_and_counted() {
    let (a, id) = target().await;
    let member = Intruder::new().await;
    let mut held = Vec::new();
    for n in 1..=8 {
        held.push(member.join(&a, ANNOUNCE_ALPN).await);
        assert_eq!(counted(&id, OPENED, None), n);
        assert_eq!(counted(&id, ACTIVE, None), n);
    }
    let one_more = member.connect(&a, ANNOUNCE_ALPN).await;
    let _welcome = hello(&one_more, &id).await;
    assert_eq!(ProtocolViolation, closing(&one_more).await);
    assert_eq!(counted(&id, REFUSED, Some("too_many")), 1);
    for connection in held {
        connection.close(0u8.into(), b"");
    }
    within(5, async {
        while counted(&id, ACTIVE, None) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    member.join(&a, ANNOUNCE_ALPN).await;
}

/// Regression: opening a link to such a peer never ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_allows_no_stream_is_an_error_with_a_name() {
    let (a, id) = target().await;
    let stingy = Intruder::stingy().await;
    let accepting = async {
        let connection = stingy.endpoint.accept().await.unwrap().await.unwrap();
        connection.set_max_concurrent_bi_streams(0u8.into());
        welcome(&connection, &id).await;
        std::future::pending::<()>().await;
        drop(connection);
    };
    let error = tokio::select! {
        () = accepting => unreachable!(),
        outcome = within(9, a.discovery().sync_with(stingy.addr())) => outcome.unwrap_err(),
    };
    assert!(
        matches!(
            error,
            discovery::Error::Link(LinkError::Open(OpenError::TooManyStreams))
        ),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_in_place_of_a_message_has_its_code() {
    let (a, _) = target().await;
    let peer = Intruder::new().await;
    let connection = peer.join(&a, SYNC_ALPN).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.finish().unwrap();
    let code = end_of(&mut recv)
        .await
        .map(|code| u32::try_from(code).unwrap());
    let expected = mosaik::iroh::endpoint::ApplicationClose::from(UnexpectedClose).error_code;
    assert_eq!(code.map(Into::into), Some(expected));
}

/// Regression: strangers could have a node hold 32 MiB for each of their connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_room_for_a_handshake_only() {
    let (a, id) = target().await;
    let stranger = Intruder::new().await;
    let connection = stranger.connect(&a, SYNC_ALPN).await;
    let mut accepted = 0;
    let flood = async {
        let part = [7; 1024];
        // A message that never ends: the target waits for the rest.
        let _first = say(&connection, &frame(&vec![0u8; 900])[..500]).await;
        while let Ok((mut send, _recv)) = connection.open_bi().await {
            while accepted < 4 << 20 && send.write_all(&part).await.is_ok() {
                accepted += part.len();
            }
        }
    };
    // What is not accepted is not accepted later either.
    let _ = tokio::time::timeout(Duration::from_secs(1), flood).await;
    assert!(accepted <= 32 << 10, "{accepted} bytes");

    let connection = stranger.connect(&a, SYNC_ALPN).await;
    let first = connection.open_bi().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(300), connection.open_bi()).await;
    assert!(second.is_err(), "a second stream before the proof");
    let uni = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
    assert!(uni.is_err(), "a stream that nobody reads");
    drop(first);

    let intruder = Intruder::new().await;
    let member = intruder.join(&a, SYNC_ALPN).await;
    for _ in 0..100 {
        let (mut send, _) = within(5, member.open_bi()).await.unwrap();
        within(5, send.write_all(&[0; 1 << 16])).await.unwrap();
    }
    assert_eq!(a.network_id(), &id);
}
