//! A peer of the network that speaks the protocol of streams wrongly; it takes a whole node to see
//! what becomes of it.

use std::time::Duration;

use iroh::{RelayMode, endpoint::ApplicationClose};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::*;
use crate::{
    discovery,
    net::{
        Link,
        close::{Cancelled, ProtocolViolation, UnknownPeer},
        link::RecvError,
    },
    primitives::Digest,
    streams::status::State,
};

const ALPN: &[u8] = b"/mosaik/streams/1.0";

#[derive(Serialize)]
struct Subscribe {
    stream_id: StreamId,
    credit: u64,
    schema: Option<String>,
}

#[derive(Deserialize)]
struct Accepted {
    #[expect(dead_code, reason = "drawn at random")]
    run: u64,
    position: u64,
}

async fn node(id: Digest) -> Network {
    Network::builder(id)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .build()
        .await
        .unwrap()
}

async fn pair() -> (Network, Network) {
    let id = Digest::random();
    let (a, b) = (node(id).await, node(id).await);
    a.discovery().sync_with(b.local().addr()).await.unwrap();
    (a, b)
}

async fn open(from: &Network, to: &Network) -> Link {
    from.discovery()
        .links()
        .open(ALPN, to.local().addr())
        .await
        .unwrap()
}

/// The reason that a link is closed with; datums before it are skipped.
async fn closed(link: &mut Link) -> ApplicationClose {
    let end = async {
        loop {
            match link.receiver.recv_bytes().await {
                Ok(_) => {}
                Err(RecvError::Closed(reason)) => return reason,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(Duration::from_secs(8), end)
        .await
        .expect("the link must be closed")
}

#[tokio::test]
async fn a_handshake_must_come_in_time_and_be_one() {
    let (a, b) = pair().await;
    let producer = a.streams().produce::<u32>();
    let mut silent = open(&b, &a).await;
    // A stream is not there for the other side until something is written.
    silent
        .sender
        .send(&Subscribe {
            stream_id: Digest::zero(),
            credit: 0,
            schema: None,
        })
        .await
        .unwrap();
    assert_eq!(closed(&mut silent).await.error_code, 10_404_u32.into());

    let mut large = open(&b, &a).await;
    large.sender.queue_bytes(&[0; 65 * 1024]).unwrap();
    large.sender.flush().await.unwrap();
    assert_eq!(ProtocolViolation, closed(&mut large).await);

    let mut short = open(&b, &a).await;
    short.send(&7_u8).await.unwrap();
    assert_eq!(ProtocolViolation, closed(&mut short).await);

    let mut unfinished = open(&b, &a).await;
    let mut half = crate::Bytes::from_static(&[200, 0, 0, 0, 1, 2]);
    unfinished
        .sender
        .write_framed(core::slice::from_mut(&mut half))
        .await
        .unwrap();
    assert_eq!(Cancelled, closed(&mut unfinished).await, "it may be slow");
    assert_eq!(producer.consumers().count(), 0);
}

#[tokio::test]
async fn a_consumer_says_nothing_but_credit() {
    let (a, b) = pair().await;
    let producer = a.streams().produce::<u32>();
    let mut link = open(&b, &a).await;
    link.send(&Subscribe {
        stream_id: *producer.stream_id(),
        credit: 1,
        schema: None,
    })
    .await
    .unwrap();
    assert_eq!(link.recv::<Accepted>().await.unwrap().position, 0);
    assert!(producer.is_online());
    producer.try_send(1).unwrap();
    producer.try_send(2).unwrap();
    assert_eq!(
        link.recv::<u32>().await.unwrap(),
        1,
        "credit may be overdrawn by a chunk"
    );
    link.send(&u64::MAX).await.unwrap();
    link.send(&u64::MAX).await.unwrap();
    assert_eq!(link.recv::<u32>().await.unwrap(), 2);
    link.send(&"that is no credit").await.unwrap();
    assert_eq!(ProtocolViolation, closed(&mut link).await);
    timeout(Duration::from_secs(1), producer.when().offline())
        .await
        .unwrap();
}

#[tokio::test]
async fn datums_wait_for_credit() {
    let (a, b) = pair().await;
    let producer = a
        .streams()
        .producer::<u32>()
        .with_buffer_size(4)
        .build()
        .unwrap();
    let mut link = open(&b, &a).await;
    link.send(&Subscribe {
        stream_id: *producer.stream_id(),
        credit: 0,
        schema: None,
    })
    .await
    .unwrap();
    link.recv::<Accepted>().await.unwrap();
    let channel = producer.consumers().next().unwrap();
    for n in 0..4 {
        producer.try_send(n).unwrap();
    }
    assert!(producer.try_send(4).is_err());
    let nothing = timeout(Duration::from_millis(200), link.receiver.fill()).await;
    assert!(nothing.is_err());
    assert_eq!(channel.stats().datums(), 0, "counted when sent");
    link.send(&1_u64).await.unwrap();
    for n in 0..4 {
        assert_eq!(link.recv::<u32>().await.unwrap(), n);
    }
    assert_eq!(channel.stats().datums(), 4);
}

#[tokio::test]
async fn a_peer_without_an_entry_is_unknown() {
    let id = Digest::random();
    let (a, stranger) = (node(id).await, node(id).await);
    let producer = a.streams().produce::<u32>();
    let mut link = open(&stranger, &a).await;
    // May fail: the answer doesn't wait for the request.
    let _ = link
        .send(&Subscribe {
            stream_id: *producer.stream_id(),
            credit: 1,
            schema: None,
        })
        .await;
    assert_eq!(UnknownPeer, closed(&mut link).await);
    stranger
        .discovery()
        .sync_with(a.local().addr())
        .await
        .unwrap();
    let mut link = open(&stranger, &a).await;
    link.send(&Subscribe {
        stream_id: *producer.stream_id(),
        credit: 1,
        schema: None,
    })
    .await
    .unwrap();
    link.recv::<Accepted>().await.unwrap();
}

/// Regression: when this node itself gave up a connection, its users took that for the end of the
/// node, and a subscription was over.
#[tokio::test]
async fn a_subscription_survives_the_end_of_its_connection_on_either_side() {
    let (a, b) = pair().await;
    let producer = a.streams().produce::<u32>();
    let mut consumer = b.streams().consume::<u32>();
    for (n, (from, to)) in (0..).zip([(&b, &a), (&a, &b)]) {
        timeout(Duration::from_secs(5), consumer.when().subscribed())
            .await
            .unwrap();
        let channel = consumer.producers().next().unwrap();
        let links = from.discovery().links();
        for connection in links.connections(ALPN, &to.local().id()) {
            links.give_up(&connection);
        }
        timeout(Duration::from_secs(2), consumer.when().unsubscribed())
            .await
            .unwrap();
        assert_eq!(channel.state(), State::Connecting);
        timeout(Duration::from_secs(5), consumer.when().subscribed())
            .await
            .unwrap();
        assert!(channel.is_connected(), "the same subscription");
        timeout(Duration::from_secs(2), producer.when().online())
            .await
            .unwrap();
        producer.try_send(n).unwrap();
        let datum = timeout(Duration::from_secs(2), consumer.recv()).await;
        assert_eq!(datum.unwrap(), Some(n));
    }
}
