//! Events by which a consumer learns of the datums that it does not get.

use std::{string::FromUtf8Error, time::Duration};

use futures::SinkExt;
use mosaik::{
    Bytes, Datum, Network, NetworkId,
    streams::{
        self, Consumer, Producer,
        consumer::{Event, UndecodableReason},
        producer::LagPolicy,
    },
};
use tokio::{sync::broadcast, time::timeout};

use super::{connected, joined, pair};
use crate::support::{
    builder,
    metrics::{count, counted, until_counted},
    node, random_network, within,
};

const DATUM_BYTES: usize = 16 * 1024;

/// A producer of large numbered datums, one consumer that is read, and one that is not.
async fn race(policy: LagPolicy) -> ([Network; 3], Producer<Numbered>, [Consumer<Numbered>; 2]) {
    let id = random_network();
    let a = node(id).await;
    let nodes = [joined(id, &a).await, joined(id, &a).await, a];
    let producer = nodes[2].streams().producer().with_lag_policy(policy);
    let producer = producer.with_buffer_size(8).build().unwrap();
    let consume = |node: &Network| {
        let consumer = node.streams().consumer();
        consumer.with_receive_buffer_bytes(DATUM_BYTES).build()
    };
    let consumers = [consume(&nodes[0]), consume(&nodes[1])];
    within(5, producer.when().subscribed().minimum_of(2)).await;
    (nodes, producer, consumers)
}

type Numbered = (u64, Vec<u8>);

/// Number of datums that a consumer was told to have missed.
fn told(events: &mut broadcast::Receiver<Event>, from: &Network) -> u64 {
    let mut told = 0;
    while let Ok(event) = events.try_recv() {
        let Event::Lagged { producer, lost } = event else {
            panic!("{event:?}");
        };
        assert_eq!(producer, from.local().id());
        told += lost.unwrap();
    }
    told
}

/// Each policy that has gaps tells of them, to the datum.
async fn gaps_are_told(policy: LagPolicy) {
    let (nodes, producer, [mut fast, mut slow]) = race(policy).await;
    let mut events = slow.events();
    let mut sender = producer.clone();
    let sending = tokio::spawn(async move {
        for n in 0.. {
            let sent = sender.send((n, vec![0; DATUM_BYTES])).await;
            if sent.is_err() {
                return;
            }
        }
    });
    let fast_reads = async { while fast.recv().await.is_some() {} };
    assert!(timeout(Duration::from_secs(2), fast_reads).await.is_err());
    let (mut next, mut lost) = (0, 0);
    within(20, async {
        // On the way there may be several gaps, as the test itself is a slow reader.
        while lost == 0 || next < 100 {
            tokio::select! {
                _ = fast.recv() => {}
                datum = slow.recv() => {
                    let (number, _) = datum.unwrap();
                    assert!(number >= next, "in order");
                    lost += number - next;
                    next = number + 1;
                }
            }
        }
    })
    .await;
    sending.abort();
    // Another gap may have been told of whose other end is on its way.
    let mut heard = told(&mut events, &nodes[2]);
    while heard > lost {
        let number = within(5, slow.recv()).await.unwrap().0;
        lost += number - next;
        next = number + 1;
    }
    assert_eq!(heard, lost);
    heard += told(&mut events, &nodes[2]);
    assert_eq!(slow.stats().lost(), heard);
    assert_eq!(slow.producers().next().unwrap().stats().lost(), heard);
    assert_eq!(fast.stats().lost(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_cut_is_told_what_it_missed() {
    gaps_are_told(LagPolicy::Disconnect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_from_which_datums_were_withheld_is_told_what_it_missed() {
    gaps_are_told(LagPolicy::Drop).await;
}

/// Not every text can be decoded.
#[derive(Debug, PartialEq)]
struct Picky(Vec<u8>);

impl Datum for Picky {
    type EncodeError = std::convert::Infallible;
    type DecodeError = FromUtf8Error;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        Ok(self.0.clone().into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, FromUtf8Error> {
        assert!(bytes != b"panic", "a panic in the user's code");
        String::from_utf8(bytes.to_vec()).map(|text| Self(text.into_bytes()))
    }
}

async fn next(events: &mut broadcast::Receiver<Event>, from: &Network) -> UndecodableReason {
    match within(5, events.recv()).await.unwrap() {
        Event::Undecodable { producer, reason } => {
            assert_eq!(producer, from.local().id());
            reason
        }
        other => panic!("{other:?}"),
    }
}

/// Regression: one such datum cost a minute of all others.
#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_datum_costs_that_datum() {
    count();
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<Picky>(&a, &b, "picky").await;
    let mut events = consumer.events();
    let channel = consumer.producers().next().unwrap();
    for datum in [&b"one"[..], b"\xff", b"two", b"panic", b"three"] {
        producer.send(Picky(datum.to_vec())).await.unwrap();
    }
    for datum in [&b"one"[..], b"two", b"three"] {
        assert_eq!(within(5, consumer.recv()).await.unwrap().0, datum);
    }
    let reason = next(&mut events, &a).await;
    assert!(matches!(&reason, UndecodableReason::Malformed(text) if text.contains("utf-8")));
    assert_eq!(next(&mut events, &a).await, UndecodableReason::Panicked);
    assert!(channel.is_connected());
    assert_eq!(
        (consumer.stats().undecodable(), consumer.stats().datums()),
        (2, 3)
    );
    assert_eq!(
        (channel.stats().undecodable(), channel.stats().lost()),
        (2, 0)
    );
    let counted = |name| counted(a.network_id(), name, None);
    assert_eq!(counted("mosaik.streams.consumer.items.undecodable"), 2);
    assert_eq!(counted("mosaik.network.links.violated"), 0);
}

/// A node that takes datums of up to this many bytes.
async fn modest(id: NetworkId, max: usize) -> Network {
    let streams = streams::Config::builder().with_max_datum_bytes(max);
    let builder = builder(id, mosaik::discovery::Config::builder());
    builder.with_streams(streams).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datum_above_the_limit_of_its_consumer_costs_that_datum() {
    const LARGE: usize = 3 << 20;
    let id = random_network();
    let (a, b) = (node(id).await, modest(id, 1000).await);
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    let (mut producer, mut consumer) = connected::<Picky>(&a, &b, "modest").await;
    let mut events = consumer.events();
    for size in [1000, 1001, 10, LARGE, 1000] {
        producer.send(Picky(vec![b'x'; size])).await.unwrap();
    }
    for size in [1000, 10, 1000] {
        assert_eq!(within(5, consumer.recv()).await.unwrap().0.len(), size);
    }
    for len in [1001, LARGE] {
        let reason = next(&mut events, &a).await;
        assert_eq!(reason, UndecodableReason::TooLarge { len, max: 1000 });
    }
    assert!(producer.is_online());
}

/// Swapped fields of one type decode without an error.
#[tokio::test(flavor = "multi_thread")]
async fn different_schemas_refuse_each_other() {
    count();
    let (a, b) = pair().await;
    let producer = a
        .streams()
        .producer::<(u64, u64)>()
        .with_stream_id("prices");
    let mut producer = producer.with_schema("bid, ask").build().unwrap();
    let consume = |schema: Option<&str>| {
        let consumer = b
            .streams()
            .consumer::<(u64, u64)>()
            .with_stream_id("prices");
        match schema {
            Some(schema) => consumer.with_schema(schema).build(),
            None => consumer.build(),
        }
    };
    let swapped = consume(Some("ask, bid"));
    let rejected = "mosaik.streams.producer.consumers.rejected";
    until_counted(5, a.network_id(), rejected, |count| count > 0).await;
    super::deserted(&swapped).await;
    assert!(!producer.is_online());
    for schema in [Some("bid, ask"), None] {
        let mut same = consume(schema);
        within(5, same.when().subscribed()).await;
        within(1, producer.send((1, 2))).await.unwrap();
        assert_eq!(within(5, same.recv()).await, Some((1, 2)));
    }
    assert_eq!(swapped.producers().filter(|p| p.is_connected()).count(), 0);
    assert_eq!(producer.config().schema.as_deref(), Some("bid, ask"));
}
