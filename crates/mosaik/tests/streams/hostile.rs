//! Peers that don't play by the rules.

use futures::SinkExt;
use mosaik::iroh::{
    Endpoint, RelayMode,
    endpoint::{Connection, presets},
};

use super::{connected, pair};
use crate::support::{node, random_network, within};

const STREAMS_ALPN: &[u8] = b"/mosaik/streams/1.0";

async fn intruder(target: &mosaik::Network) -> (Endpoint, Connection) {
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .bind()
        .await
        .unwrap();
    let connection = within(5, endpoint.connect(target.local().addr(), STREAMS_ALPN)).await;
    (endpoint, connection.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_harms_nobody() {
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<u64>(&a, &b, "garbage").await;
    for garbage in [&[0xff; 4096][..], &[0; 4096], b"GET / HTTP/1.1\r\n\r\n"] {
        let (_endpoint, connection) = intruder(&a).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        // May fail when it is refused before it is complete.
        let _ = send.write_all(garbage).await;
        let _ = send.finish();
        within(10, connection.closed()).await;
    }
    producer.send(1).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let a = node(random_network()).await;
    let (_endpoint, connection) = intruder(&a).await;
    within(10, connection.closed()).await;
}

/// The schema of a stream changed in one program only.
#[tokio::test(flavor = "multi_thread")]
async fn datums_of_another_type_end_the_subscription_once() {
    let (a, b) = pair().await;
    let producer = a
        .streams()
        .producer::<u64>()
        .with_stream_id("typed")
        .build();
    let mut producer = producer.unwrap();
    let mut mistaken = b
        .streams()
        .consumer::<(String, String)>()
        .with_stream_id("typed")
        .build();
    within(5, producer.when().online()).await;
    let channel = mistaken.producers().next().unwrap();
    producer.send(u64::MAX).await.unwrap();
    within(2, channel.disconnected()).await;
    within(2, producer.when().offline()).await;
    assert_eq!(mistaken.producers().count(), 0);
    assert!(mistaken.try_recv().is_err());

    let mut right = b
        .streams()
        .consumer::<u64>()
        .with_stream_id("typed")
        .build();
    within(5, producer.send(5)).await.unwrap();
    assert_eq!(within(2, right.recv()).await, Some(5));
    assert_eq!(mistaken.producers().count(), 0, "not in a loop");
}
