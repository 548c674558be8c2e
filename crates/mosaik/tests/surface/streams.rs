//! The page of streams, as programs write it.

use std::time::Duration;

use mosaik::{
    Bytes, ConsumerOf, Criteria, Datum, Digest, Network, PeerId, ProducerOf, StreamConsumer,
    StreamId, StreamProducer,
    discovery::PeerEntry,
    futures::{Sink, SinkExt, Stream, StreamExt},
    id,
    network::Error as NetworkError,
    primitives::{BackoffFactory, encoding::EncodeError},
    streams::{
        self, Config, ConfigBuilder, ConfigBuilderError, Consumer, Producer, StreamDef, Streams,
        backoff::{Backoff, ExponentialBackoff, ExponentialBackoffBuilder},
        consumer::{self, ConsumerConfig},
        producer::{self, BuilderError, Error, ProducerConfig},
        status::{ActiveChannelsMap, ChannelConditions, ChannelInfo, State, Stats, When},
    },
};
use tokio::sync::mpsc::error::TryRecvError;

use super::{shared, spawnable};

/// A policy of the program's own.
#[derive(Clone)]
struct Steady;

impl Backoff for Steady {
    fn reset(&mut self) {}

    fn next_backoff(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

#[test]
fn policies() {
    let policy = ExponentialBackoff {
        initial_interval: Duration::from_millis(10),
        multiplier: 2.0,
        randomization_factor: 0.0,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let mut copy = policy.clone();
    assert_eq!(copy.next_backoff(), Some(Duration::from_millis(10)));
    assert_eq!(copy.next_backoff(), Some(Duration::from_millis(20)));
    copy.reset();
    assert_eq!(copy.next_backoff(), Some(Duration::from_millis(10)));
    let default = ExponentialBackoff::default();
    assert_eq!(default.initial_interval, Duration::from_millis(500));
    assert_eq!(default.multiplier, 1.5);
    assert_eq!(default.randomization_factor, 0.5);
    assert_eq!(default.max_interval, Duration::from_secs(60));
    assert_eq!(default.max_elapsed_time, Some(Duration::from_secs(300)));
    let built = ExponentialBackoffBuilder::default()
        .with_initial_interval(Duration::from_secs(1))
        .with_multiplier(1.0)
        .with_randomization_factor(0.0)
        .with_max_interval(Duration::from_secs(1))
        .with_max_elapsed_time(None)
        .build();
    let config: Config = Config::builder().with_backoff(built).build().unwrap();
    let factory: BackoffFactory = config.backoff;
    assert_eq!(factory().next_backoff(), Some(Duration::from_secs(1)));
    let builder: ConfigBuilder = ConfigBuilder::default().with_backoff(Steady);
    let _ = Network::builder("x").with_streams(builder.clone());
    // Exhaustive, as users match it.
    let _ = |error: ConfigBuilderError| match error {
        ConfigBuilderError::UninitializedField(field) => field.len(),
        ConfigBuilderError::ValidationError(text) => text.len(),
    };
    let error: fn(ConfigBuilderError) -> NetworkError = NetworkError::StreamsConfig;
    assert_eq!(
        error(ConfigBuilderError::ValidationError("bad".into())).to_string(),
        "Streams config error: bad"
    );
}

#[test]
fn names_and_bounds() {
    fn debug<T: std::fmt::Debug>() {}
    fn display<T: std::fmt::Display>() {}
    shared::<Streams>();
    shared::<When>();
    shared::<ChannelInfo>();
    shared::<BuilderError<u8>>();
    shared::<Error<u8>>();
    debug::<ChannelConditions>();
    debug::<ActiveChannelsMap>();
    debug::<Config>();
    display::<Stats>();
    let _: Option<(ProducerConfig, ConsumerConfig, streams::ProducerDef<u8>)> = None;
    let _: Option<(streams::ConsumerDef<u8>, StreamDef<u8>, EncodeError)> = None;
    let _: [State; 3] = [State::Connecting, State::Connected, State::Terminated];
    assert!(Criteria::default().matches(&1u8) && Criteria {}.matches(&"x".to_owned()));
    const DEF: StreamDef<u8> = StreamDef::with_stream_id(id!("x"));
    assert_eq!(DEF.stream_id, Some(id!("x")));
    assert_eq!(StreamDef::<u8>::default(), StreamDef::new());
    // Exhaustive, as users match it.
    let _ = |error: BuilderError<u8>| match error {
        BuilderError::AlreadyExists(producer) => Some(producer),
        BuilderError::EntryFull {
            what: _,
            len: _,
            max: _,
        } => None,
    };
    let _ = |error: Error<u8>| match error {
        Error::Closed(item) => item,
        Error::Full(item) | Error::Offline(item) | Error::Encoding(item, _) => Some(item),
    };
    for (error, text) in [
        (Error::Closed(Some(1)), "Producer is closed"),
        (Error::Full(1), "Producer is busy"),
        (Error::Offline(1), "Producer is temporarily offline"),
        (
            Error::Encoding(1, EncodeError::SerdeSerCustom),
            "Datum serialization error",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

/// Implemented by hand, as the traits allow.
struct Ticks;

impl StreamProducer for Ticks {
    type Producer = Producer<u64>;

    fn producer(network: &Network) -> Self::Producer {
        network.streams().produce()
    }

    fn online_producer(
        network: &Network,
    ) -> impl Future<Output = Self::Producer> + Send + Sync + 'static {
        let producer = Self::producer(network);
        async move {
            producer.when().online().await;
            producer
        }
    }
}

impl StreamConsumer for Ticks {
    type Consumer = Consumer<u64>;

    fn consumer(network: &Network) -> Self::Consumer {
        network.streams().consume()
    }

    fn online_consumer(
        network: &Network,
    ) -> impl Future<Output = Self::Consumer> + Send + Sync + 'static {
        let consumer = Self::consumer(network);
        async move {
            consumer.when().online().await;
            consumer
        }
    }
}

#[expect(dead_code, reason = "checked by compiling")]
async fn everything_of_a_producer(network: &Network) -> Result<(), Box<dyn std::error::Error>> {
    let (undelivered, _lost) = tokio::sync::mpsc::unbounded_channel::<String>();
    let builder: producer::Builder<'_, String> = network.streams().producer::<String>();
    let mut producer: Producer<String> = builder
        .require(|peer| peer.tags.contains(&"authorized".into()))
        .require(|peer| peer.tags().contains(&"authorized".into()))
        .require(|peer| peer.rtt_below(Duration::from_millis(100)) && peer.rtt().is_some())
        .online_when(|c| c.minimum_of(2).with_tags(["a", "b"]))
        .disconnect_lagging(false)
        .with_buffer_size(16)
        .with_max_consumers(4)
        .with_stream_id("name")
        .with_undelivered_sink(undelivered)
        .build()?;
    let id: &StreamId = producer.stream_id();
    assert_eq!(id, Digest::from("name"));
    let config: &ProducerConfig = producer.config();
    let _: (usize, bool, usize) = (
        config.buffer_size,
        config.disconnect_lagging,
        config.max_consumers,
    );
    let _: (Digest, Digest, usize) = (
        config.stream_id,
        config.network_id,
        config.ticket_validators.len(),
    );
    let conditions: ChannelConditions = producer.when().subscribed();
    let _ = (config.online_when)(conditions);
    producer.send("one".into()).await?;
    producer.feed("two".into()).await?;
    producer.flush().await?;
    match producer.try_send("three".into()) {
        Ok(()) => {}
        Err(Error::Offline(item) | Error::Full(item)) => drop(item),
        Err(error) => return Err(error.into()),
    }
    for channel in producer.consumers() {
        let _: (&StreamId, &Criteria) = (channel.stream_id(), channel.criteria());
        let _: (&PeerId, &PeerId) = (channel.producer_id(), channel.consumer_id());
        let _: (&PeerEntry, State) = (channel.peer(), channel.state());
        let _: State = *channel.state_watcher().borrow();
        let stats: &Stats = channel.stats();
        let _: (usize, usize, Option<Duration>) = (stats.datums(), stats.bytes(), stats.uptime());
        if channel.is_connected() {
            spawnable(channel.disconnected()).await;
        }
    }
    producer.close().await?;
    // What a handle lists outlives it.
    let mut channels = producer.consumers();
    drop(producer);
    let _: Option<ChannelInfo> = channels.next();
    Ok(())
}

#[expect(dead_code, reason = "checked by compiling")]
async fn everything_of_a_consumer(network: &Network) {
    let builder: consumer::Builder<'_, String> = network.streams().consumer::<String>();
    let mut consumer: Consumer<String> = builder
        .require(|peer| peer.tags.contains(&"primary".into()))
        .online_when(|c| {
            c.minimum_of(1)
                .with_predicate(|peer| !peer.tags().is_empty())
        })
        .with_criteria(Criteria {})
        .with_backoff(ExponentialBackoff::default())
        .with_stream_id(id!("name"))
        .build();
    let _: Option<String> = consumer.recv().await;
    let _: Option<String> = consumer.next().await;
    match consumer.try_recv() {
        Ok(text) => drop::<String>(text),
        Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
    }
    let config: &ConsumerConfig = consumer.config();
    let _: (&StreamId, &Criteria) = (&config.stream_id, &config.criteria);
    let _ = ((config.backoff)(), config.ticket_validators.len());
    let _: &Stats = consumer.stats();
    let _: usize = consumer.producers().count();
    let when: When = consumer.when().clone();
    spawnable(when.online()).await;
    spawnable(when.offline()).await;
    let mut condition = when.subscribed().minimum_of(2).with_tags("a").unmet();
    (&mut condition).await;
    assert!(condition == false && true == when.unsubscribed());
    assert_eq!(when.is_online(), consumer.is_online());
    fn both<T: Stream<Item = String>>(_: &T) {}
    both(&consumer);
    let mut channels = consumer.producers();
    drop(consumer);
    let _: Option<ChannelInfo> = channels.next();
    fn sink<T: Sink<u64, Error = Error<u64>>>(_: &T) {}
    sink(&<Ticks as StreamProducer>::producer(network));
    let _: (ProducerOf<Ticks>, ConsumerOf<Ticks>) =
        (Ticks::producer(network), Ticks::consumer(network));
}

/// A datum whose encoding is the program's own is used end to end.
struct Line(String);

impl Datum for Line {
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::string::FromUtf8Error;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        Ok(Bytes::from(self.0.clone()))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        String::from_utf8(bytes.to_vec()).map(Self)
    }
}

#[test]
fn datums() {
    let line = Line("x".into());
    assert_eq!(Line::decode(&line.encode().unwrap()).unwrap().0, "x");
    assert_eq!(
        Line::derived_stream_id(),
        Digest::from(std::any::type_name::<Line>())
    );
}
