//! Streams declared as types and values.

use std::{cell::Cell, marker::PhantomPinned};

use futures::{Sink, SinkExt, Stream};
use mosaik::{
    Bytes, ConsumerOf, Datum, Network, ProducerOf, StreamConsumer, StreamProducer, declare, id,
    streams::{
        Config, Consumer, ConsumerDef, Producer, ProducerDef, StreamDef, Streams, backoff,
        producer, status,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::pair;
use crate::support::within;

mosaik::stream!(
    /// With everything.
    pub(crate) Orders = String, "test/orders",
    consumer require: |peer| !peer.tags().contains(&"banned".into()),
    producer require: |peer| peer.rtt().is_some(),
    online_when: |c| c.minimum_of(1),
    max_consumers: 3,
    buffer_size: 16,
    disconnect_lagging: false,
    consumer backoff: backoff::ExponentialBackoff::default(),
    criteria: mosaik::Criteria {},
);
declare::stream!(producer OnlyProducer = u8, "test/one-sided", require: |_| true);
declare::stream!(consumer OnlyConsumer = u8, "test/one-sided");
declare::stream!(lower_case = u16);
declare::stream!(pub Wrapped<T: Serialize + DeserializeOwned + Send + 'static> = Vec<T>);

#[tokio::test(flavor = "multi_thread")]
async fn declared_streams_connect() {
    let (a, b) = pair().await;
    let online = Orders::online_producer(&a);
    let mut consumer: ConsumerOf<Orders> = within(5, Orders::online_consumer(&b)).await;
    let mut producer: ProducerOf<Orders> = within(5, online).await;
    assert_eq!(*producer.stream_id(), id!("test/orders"));
    assert_eq!(consumer.stream_id(), producer.stream_id());
    let config = producer.config();
    assert_eq!((config.max_consumers, config.buffer_size), (3, 16));
    assert_eq!(config.lag_policy, producer::LagPolicy::Drop);
    producer.send("order".into()).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await.as_deref(), Some("order"));
    let again = Orders::producer(&a);
    again.try_send("same stream".into()).unwrap();
    assert!(within(1, consumer.recv()).await.is_some());

    let mut producer = OnlyProducer::producer(&a);
    let mut consumer = OnlyConsumer::consumer(&b);
    within(5, producer.send(1)).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(1));

    let derived = lower_case::producer(&a);
    assert_eq!(*derived.stream_id(), u16::derived_stream_id());
    let generic = Wrapped::<u32>::consumer(&b);
    assert_eq!(*generic.stream_id(), Vec::<u32>::derived_stream_id());
}

const DEF: StreamDef<Unfriendly> = StreamDef::new();
const PRODUCER: ProducerDef<Unfriendly> = ProducerDef::new(Some(id!("by value")));
const CONSUMER: ConsumerDef<Unfriendly> = ConsumerDef::new(Some(id!("by value")));

#[tokio::test(flavor = "multi_thread")]
async fn defined_streams_connect() {
    let (a, b) = pair().await;
    let mut producer = PRODUCER.open(&a).with_buffer_size(2).build().unwrap();
    let mut consumer = CONSUMER.open(&b).build();
    within(5, producer.send(Unfriendly::default()))
        .await
        .ok()
        .unwrap();
    assert!(within(1, consumer.recv()).await.is_some());
    let derived = a.streams().producer_of(DEF).build().unwrap();
    assert_eq!(*derived.stream_id(), Unfriendly::derived_stream_id());
    assert_eq!(
        *b.streams().consumer_of(DEF).build().stream_id(),
        *derived.stream_id()
    );
}

/// A datum that has no other property: neither `Sync`, `Unpin`, `Clone` nor `Debug`.
#[derive(Default)]
struct Unfriendly(Cell<u8>, PhantomPinned);

impl Datum for Unfriendly {
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::convert::Infallible;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        Ok(Bytes::new())
    }

    fn decode(_: &[u8]) -> Result<Self, Self::DecodeError> {
        Ok(Self::default())
    }
}

const fn all<T: Send + Sync + Unpin + 'static>() {}
const fn send_sync<T: Send + Sync + 'static>() {}
fn future<F: Future + Send + Sync + 'static>(_: &F) {}
fn send<F: Send>(_: &F) {}

const _: () = {
    all::<Producer<Unfriendly>>();
    all::<Consumer<Unfriendly>>();
    all::<status::ChannelConditions>();
    send_sync::<producer::BuilderError<Unfriendly>>();
    send_sync::<StreamDef<Unfriendly>>();
    send_sync::<ProducerDef<Unfriendly>>();
    send_sync::<status::When>();
    send_sync::<status::ChannelInfo>();
    send_sync::<status::Stats>();
    send_sync::<Config>();
    send_sync::<Streams>();
};

const fn traits<D: Datum>()
where
    Producer<D>: Sink<D, Error = producer::Error<D>> + Clone + std::fmt::Debug,
    Consumer<D>: Stream<Item = D> + std::fmt::Debug,
    producer::BuilderError<D>: std::error::Error,
{
}

const _: () = traits::<Unfriendly>();

#[allow(dead_code, reason = "checked by compiling")]
fn futures_are_send(network: &Network, consumer: &mut Consumer<Unfriendly>) {
    future(&Orders::online_producer(network));
    future(&Orders::online_consumer(network));
    future(&network.streams().produce::<String>().when().online());
    send(&consumer.recv());
}
