//! Producers and consumers find each other.

use std::{collections::BTreeSet, panic::AssertUnwindSafe};

use futures::SinkExt;
use mosaik::{
    discovery::Catalog,
    id,
    streams::{StreamDef, producer, status::State},
};

use super::{connected, joined, pair};
use crate::support::{node, random_network, until_catalog, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_datum_reaches_a_consumer_whoever_was_first() {
    let (a, b) = pair().await;
    for producer_first in [true, false] {
        let name = format!("stream {producer_first}");
        let produce = || {
            let builder = a.streams().producer::<String>();
            builder.with_stream_id(name.as_str()).build().unwrap()
        };
        let consume = || {
            let builder = b.streams().consumer::<String>();
            builder.with_stream_id(name.as_str()).build()
        };
        let (mut producer, mut consumer) = if producer_first {
            let producer = produce();
            (producer, consume())
        } else {
            let consumer = consume();
            (produce(), consumer)
        };
        within(3, producer.send("hello".into())).await.unwrap();
        assert_eq!(within(1, consumer.recv()).await.as_deref(), Some("hello"));
        assert_eq!(consumer.stats().datums(), 1);
        let channel = producer.consumers().next().unwrap();
        assert_eq!((channel.stats().datums(), channel.stats().bytes()), (1, 6));
        assert!(channel.stats().uptime().is_some());
        assert_eq!(*channel.consumer_id(), b.local().id());
        assert_eq!(*channel.producer_id(), a.local().id());
        assert_eq!(channel.peer().id(), &b.local().id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_consumer_takes_from_all_producers_and_one_producer_serves_all() {
    let id = random_network();
    let hub = node(id).await;
    let (a, b) = (joined(id, &hub).await, joined(id, &hub).await);
    let mut consumer = hub.streams().consume::<u32>();
    let (mut one, mut two) = (a.streams().produce::<u32>(), b.streams().produce::<u32>());
    within(5, consumer.when().subscribed().minimum_of(2)).await;
    within(3, one.send(1)).await.unwrap();
    within(3, two.send(2)).await.unwrap();
    let received = [
        within(1, consumer.recv()).await.unwrap(),
        within(1, consumer.recv()).await.unwrap(),
    ];
    assert_eq!(BTreeSet::from(received), BTreeSet::from([1, 2]));

    // Two consumers of one node are two subscriptions, and both get everything.
    let mut other = hub.streams().consume::<u32>();
    within(5, one.when().subscribed().minimum_of(2)).await;
    assert_eq!(one.consumers().count(), 2);
    one.send(3).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(3));
    assert_eq!(within(1, other.recv()).await, Some(3));
}

/// The producer answers 401, is told of the consumer, and admits it: within the page's 2 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_does_not_know_its_consumer_learns_of_it() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    let mut producer = a.streams().produce::<u32>();
    let mut consumer = b.streams().consume::<u32>();
    assert!(a.discovery().catalog().get(&b.local().id()).is_none());
    assert!(b.discovery().feed(a.discovery().me()));
    within(2, consumer.when().subscribed()).await;
    within(1, producer.when().online()).await;
    within(1, producer.send(1)).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(1));
    assert!(a.discovery().catalog().get(&b.local().id()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_subscribe_to_itself() {
    let (a, b) = pair().await;
    let own = a.streams().consume::<u8>();
    let (producer, _consumer) =
        connected::<u8>(&a, &b, <u8 as mosaik::Datum>::derived_stream_id()).await;
    assert_eq!(producer.consumers().count(), 1);
    assert_eq!(own.producers().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_configuration_of_a_stream_stays() {
    let a = node(random_network()).await;
    const DEF: StreamDef<String> = StreamDef::with_stream_id(id!("the stream"));
    let first = a
        .streams()
        .producer_of(DEF)
        .with_buffer_size(0)
        .build()
        .unwrap();
    assert!(a.discovery().me().streams().contains(first.stream_id()));
    assert_eq!(*first.stream_id(), id!("the stream"));
    let second = a.streams().producer_of(DEF).with_buffer_size(7).build();
    let Err(producer::BuilderError::AlreadyExists(second)) = second else {
        panic!("{second:?}");
    };
    assert_eq!(second.config().buffer_size, 1);
    let text = format!("{second:?}");
    assert!(
        text.starts_with("Producer<") && text.contains("String"),
        "{text}"
    );

    // The other type's panic names both, and harms nothing.
    let clash = std::panic::catch_unwind(AssertUnwindSafe(|| {
        a.streams()
            .producer::<u64>()
            .with_stream_id(id!("the stream"))
            .build()
    }));
    let panic = clash.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("u64") && message.contains("String"),
        "{message}"
    );
    drop((first, second));
    let retracted = |c: &Catalog| !c.local().streams().contains(&id!("the stream"));
    until_catalog(6, &a, retracted).await;
    let rebuilt = a
        .streams()
        .producer::<u64>()
        .with_stream_id(id!("the stream"))
        .build();
    assert!(
        rebuilt.is_ok(),
        "it can be built anew, also with another type"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_lists_a_consumer_before_that_sees_itself_connected() {
    let (a, b) = pair().await;
    let producer = a.streams().produce::<u16>();
    let consumer = b.streams().consume::<u16>();
    within(5, consumer.when().subscribed()).await;
    let channel = producer.consumers().next().unwrap();
    assert_eq!(channel.state(), State::Connected);
    assert!(producer.is_online());
    assert!(format!("{consumer:?}").contains("1 producers"));
}
