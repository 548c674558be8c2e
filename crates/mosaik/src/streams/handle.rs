//! The handle through which streams are opened.

use core::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    Config, Consumer, Producer, StreamDef, StreamReport,
    acceptor::StreamsAcceptor,
    books::{Consumers, Producers},
    consumer::{self, ConsumerCore},
    describe,
    hub::Hub,
    producer::{self, Handles, ProducerCore},
};
use crate::{
    discovery::Discovery,
    net::Router,
    primitives::{Datum, Scope, ShortFmtExt},
    streams_layer::wire::STREAMS_ALPN,
};

/// Opens producers and consumers on this node.
///
/// # Examples
///
/// ```no_run
/// use futures::SinkExt;
/// use mosaik::Network;
///
/// # async fn example() -> anyhow::Result<()> {
/// let (one, two) = (Network::new("example").await?, Network::new("example").await?);
/// one.discovery().sync_with(two.local().addr()).await?;
///
/// let mut producer = one.streams().produce::<String>();
/// let mut consumer = two.streams().consume::<String>();
/// producer.send("to whom it may concern".into()).await?;
/// assert_eq!(consumer.recv().await.as_deref(), Some("to whom it may concern"));
/// # Ok(())
/// # }
/// ```
pub struct Streams {
    hub: Arc<Hub>,
    producers: Arc<Producers<Handles, ProducerCore>>,
    consumers: Arc<Consumers<ConsumerCore>>,
}

/// Describes the streams of a node, also after its [`Streams`] are gone.
#[derive(Clone)]
pub(crate) struct StreamReports {
    hub: Arc<Hub>,
    producers: Arc<Producers<Handles, ProducerCore>>,
    consumers: Arc<Consumers<ConsumerCore>>,
}

impl StreamReports {
    pub(crate) fn all(&self) -> Vec<StreamReport> {
        let producers = self.producers.all();
        let produced = producers.iter().map(|core| describe::producer(core));
        let consumers = self.consumers.all();
        let consumed_streams = consumers.iter().map(|core| *core.stream()).collect();
        let known = self.hub.discovery.catalog().producers_of(&consumed_streams);
        let consumed = consumers
            .iter()
            .map(|core| describe::consumer(core, &known));
        let mut all: Vec<_> = produced.chain(consumed).collect();
        all.sort_by_key(|report| (report.stream, report.side as u8));
        all
    }
}

impl Streams {
    /// Installs the protocol.
    pub(crate) fn start(
        config: Config,
        discovery: &Discovery,
        router: &Router,
        scope: &Scope,
    ) -> Self {
        let hub = Hub::new(config, discovery.clone(), scope.child());
        let producers = Producers::new(discovery.clone());
        router.install(
            STREAMS_ALPN,
            StreamsAcceptor::new(hub.clone(), producers.clone()),
        );
        Self {
            hub,
            producers,
            consumers: Arc::new(Consumers::new()),
        }
    }

    /// A producer with every default; if this node has one of this stream already, another handle
    /// of it, whose configuration stays.
    ///
    /// When the node's entry has no room for another stream, this is an error in the log, and the
    /// producer has ended: sends fail with [`Closed`](producer::Error::Closed). Use
    /// [`producer`](Self::producer) and [`build`](producer::Builder::build) for an error.
    ///
    /// # Panics
    ///
    /// When the stream is produced on this node with another datum type.
    #[track_caller]
    pub fn produce<D: Datum>(&self) -> Producer<D> {
        self.producer().open()
    }

    /// Starts to configure a producer.
    pub fn producer<D: Datum>(&self) -> producer::Builder<'_, D> {
        producer::Builder::new(&self.hub, &self.producers)
    }

    /// Starts to configure a producer of a defined stream.
    pub fn producer_of<D: Datum>(&self, def: StreamDef<D>) -> producer::Builder<'_, D> {
        match def.stream_id {
            Some(id) => self.producer().with_stream_id(id),
            None => self.producer(),
        }
    }

    /// A consumer with every default, independent of all others.
    pub fn consume<D: Datum>(&self) -> Consumer<D> {
        self.consumer().build()
    }

    /// Starts to configure a consumer.
    pub fn consumer<D: Datum>(&self) -> consumer::Builder<'_, D> {
        consumer::Builder::new(&self.hub, &self.consumers)
    }

    /// Starts to configure a consumer of a defined stream.
    pub fn consumer_of<D: Datum>(&self, def: StreamDef<D>) -> consumer::Builder<'_, D> {
        match def.stream_id {
            Some(id) => self.consumer().with_stream_id(id),
            None => self.consumer(),
        }
    }

    /// Source of reports about the streams of this node.
    pub(crate) fn reports(&self) -> StreamReports {
        StreamReports {
            hub: self.hub.clone(),
            producers: self.producers.clone(),
            consumers: self.consumers.clone(),
        }
    }

    /// Ends all streams: what was accepted is sent, subscriptions are closed with 204, consumers end
    /// once they are read out.
    ///
    /// Starts at once; the future waits, for a bounded time, until the peers have it and were told.
    pub(crate) fn close(&self) -> BoxFuture<'static, ()> {
        let hub = self.hub.clone();
        for handles in self.producers.close() {
            handles.core().close();
        }
        for consumer in self.consumers.close() {
            consumer.close();
        }
        Box::pin(async move { hub.closed().await })
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("network", &self.hub.network_id().short())
            .field("producers", &self.producers.len())
            .field("consumers", &self.consumers.len())
            .finish()
    }
}
