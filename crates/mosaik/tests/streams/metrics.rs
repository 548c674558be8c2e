//! Every metric of streams counts what it says, and gauges go back.

use futures::SinkExt;
use mosaik::{NetworkId, id};

use super::{eventually, joined, pair};
use crate::support::{
    bound,
    intruder::{Intruder, STREAMS_ALPN, end_of, frame, say},
    metrics::{count, counted},
    within,
};

const TEXT: &str = "test";
/// With its length in front.
const TEXT_BYTES: u64 = 5;

/// The value of a metric of streams.
fn value(network: &NetworkId, name: &str) -> u64 {
    counted(network, &format!("mosaik.streams.{name}"), None)
}

/// Waits until a metric has a value. Counters may be a moment behind what is seen elsewhere.
async fn reaches(network: &NetworkId, name: &str, expected: u64) {
    let reached = async {
        while value(network, name) != expected {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    let outcome = tokio::time::timeout(bound(5), reached).await;
    assert!(outcome.is_ok(), "{name} is {}", value(network, name));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_counted_once_per_side_and_gauges_go_back() {
    count();
    let (a, b) = pair().await;
    let network = *a.network_id();
    let c = joined(network, &a).await;
    let producer = a.streams().producer::<String>();
    let producer = producer
        .with_stream_id(id!("counted"))
        .with_max_consumers(1);
    let mut producer = producer.build().unwrap();
    let consume = |node: &mosaik::Network| {
        let consumer = node.streams().consumer::<String>();
        consumer.with_stream_id(id!("counted")).build()
    };
    let mut first = consume(&b);
    within(5, first.when().subscribed()).await;
    for gauge in [
        "producers.active",
        "producer.consumers",
        "consumers.active",
        "consumer.producers",
        "producer.consumers.accepted",
        "connections.accepted",
    ] {
        reaches(&network, gauge, 1).await;
    }
    assert_eq!(value(&network, "producer.consumers.rejected"), 0);

    let second = consume(&c);
    eventually(5, || value(&network, "producer.consumers.rejected") > 0).await;
    assert_eq!(value(&network, "consumers.active"), 2);
    assert_eq!(value(&network, "producer.consumers.accepted"), 1);
    drop(second);
    reaches(&network, "consumers.active", 1).await;

    assert_eq!(value(&network, "connections.rejected"), 0);
    let stranger = Intruder::new().await;
    let connection = stranger.join(&a, STREAMS_ALPN).await;
    let (_send, mut recv) = say(&connection, b"x").await;
    assert_eq!(end_of(&mut recv).await, Some(401));
    reaches(&network, "connections.rejected", 1).await;
    let entry = mosaik::discovery::PeerEntry::new(network, stranger.addr());
    assert!(a.discovery().feed(entry.sign(&stranger.secret).unwrap()));
    let (nothing, credit) = (id!("produced by nobody"), 1u64);
    let request = frame(&(nothing, mosaik::Criteria {}, credit, None::<String>));
    let (_send, mut recv) = say(&connection, &request).await;
    assert_eq!(end_of(&mut recv).await, Some(10_404));
    reaches(&network, "connections.rejected", 2).await;
    assert_eq!(value(&network, "producer.consumers.accepted"), 1);

    for _ in 0..3 {
        producer.send(TEXT.to_owned()).await.unwrap();
    }
    for taken in 1..=3 {
        within(2, first.recv()).await.unwrap();
        assert_eq!(value(&network, "producer.items.sent"), 3.max(taken));
        reaches(&network, "consumer.items.received", taken).await;
        reaches(&network, "consumer.bytes.received", taken * TEXT_BYTES).await;
    }
    assert_eq!(value(&network, "producer.bytes.sent"), 3 * TEXT_BYTES);
    assert_eq!(value(&network, "datums.total"), 6, "once per side");
    assert_eq!(value(&network, "bytes.total"), 6 * TEXT_BYTES);
    assert_eq!(value(&network, "producer.items.dropped"), 0);

    drop(first);
    for gauge in [
        "producer.consumers",
        "consumers.active",
        "consumer.producers",
    ] {
        reaches(&network, gauge, 0).await;
    }
    assert_eq!(value(&network, "producer.consumers.cut"), 0, "it left");
    drop(producer);
    reaches(&network, "producers.active", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_that_are_put_out_are_counted_by_reason() {
    count();
    let (a, b) = pair().await;
    let network = *a.network_id();
    b.discovery().add_tags("authorized");
    let producer = a.streams().producer::<u8>();
    let producer = producer.require(|peer| peer.tags().contains(&"authorized".into()));
    let producer = producer.build().unwrap();
    let _consumer = b.streams().consume::<u8>();
    within(5, producer.when().online()).await;
    b.discovery().remove_tags("authorized");
    within(5, producer.when().offline()).await;
    let cut = |reason| {
        counted(
            &network,
            "mosaik.streams.producer.consumers.cut",
            Some(reason),
        )
    };
    assert_eq!(cut("not_allowed"), 1);
    assert_eq!(cut("too_slow"), 0);
    assert_eq!(cut("protocol_violation"), 0);
}
