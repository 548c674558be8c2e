//! Configures a producer.

use core::{any::Any, fmt};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::{Handles, LagPolicy, Producer, ProducerConfig, ProducerCore};
use crate::{
    primitives::{Datum, Short, ShortFmtExt, StreamId, names},
    streams_layer::{
        books::{Entry, Producers},
        channel::OnlineWhen,
        definition,
        hub::{DatumType, Hub},
        status::ChannelConditions,
        wire,
    },
    tickets::{LimitError, PeerInfo, TicketValidator},
};

/// Datums kept per consumer, unless configured otherwise.
const DEFAULT_BUFFER_SIZE: usize = 1024;
/// Bytes kept per consumer, unless configured otherwise.
const DEFAULT_BUFFER_BYTES: usize = 16 * 1024 * 1024;

type Predicate = Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>;

/// Configures a producer; made by [`Streams::producer`](crate::streams::Streams::producer).
///
/// # Examples
///
/// ```no_run
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let producer = network
///     .streams()
///     .producer::<String>()
///     .with_stream_id("example/orders")
///     .require(|peer| peer.tags.contains(&"authorized".into()))
///     .online_when(|subscribed| subscribed.minimum_of(2))
///     .build()?;
/// # drop(producer);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens until `build` is called"]
pub struct Builder<'s, D: Datum> {
    hub: &'s Arc<Hub>,
    books: &'s Arc<Producers<Handles, ProducerCore>>,
    stream_id: Option<StreamId>,
    label: Option<String>,
    id_text: Option<String>,
    requirements: Vec<Predicate>,
    ticket_validators: Vec<Arc<dyn TicketValidator>>,
    online_when: OnlineWhen,
    lag_policy: LagPolicy,
    buffer_size: usize,
    buffer_bytes: usize,
    max_consumers: usize,
    schema: Option<String>,
    undelivered: Option<UnboundedSender<D>>,
}

impl<'s, D: Datum> Builder<'s, D> {
    pub(in crate::streams_layer) fn new(
        hub: &'s Arc<Hub>,
        books: &'s Arc<Producers<Handles, ProducerCore>>,
    ) -> Self {
        Self {
            hub,
            books,
            stream_id: None,
            label: None,
            id_text: None,
            requirements: Vec::new(),
            ticket_validators: Vec::new(),
            online_when: Box::new(|subscribed| subscribed.minimum_of(1)),
            lag_policy: LagPolicy::default(),
            buffer_size: DEFAULT_BUFFER_SIZE,
            buffer_bytes: DEFAULT_BUFFER_BYTES,
            max_consumers: usize::MAX,
            schema: None,
            undelivered: None,
        }
    }

    /// Admits only consumers that satisfy this; adds to what was required before.
    ///
    /// Judged when a consumer subscribes, after its round-trip time was measured, and again on
    /// every change of its entry. A consumer that fails is refused or put out with `NotAllowed`
    /// (10 403). A predicate that panics counts as `false`.
    #[must_use]
    pub fn require<F>(mut self, predicate: F) -> Self
    where
        F: Fn(&PeerInfo) -> bool + Send + Sync + 'static,
    {
        self.requirements.push(Box::new(predicate));
        self
    }

    /// Admits only consumers that hold a ticket which this validator accepts; adds to those
    /// required before. Tickets are validated again when they expire.
    #[must_use]
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.ticket_validators.push(Arc::new(validator));
        self
    }

    /// Sets when the producer is online, as a refinement of
    /// [`When::subscribed`](crate::streams::status::When::subscribed). Default: with one consumer.
    #[must_use]
    pub fn online_when<F>(mut self, condition: F) -> Self
    where
        F: Fn(ChannelConditions) -> ChannelConditions + Send + Sync + 'static,
    {
        self.online_when = Box::new(condition);
        self
    }

    /// Sets whether a lagging consumer is disconnected (the default) or its datums are dropped:
    /// short for [`with_lag_policy`](Self::with_lag_policy).
    #[must_use]
    pub const fn disconnect_lagging(mut self, disconnect: bool) -> Self {
        self.lag_policy = if disconnect {
            LagPolicy::Disconnect
        } else {
            LagPolicy::Drop
        };
        self
    }

    /// Sets what happens to a lagging consumer. Default [`LagPolicy::Disconnect`].
    #[must_use]
    pub const fn with_lag_policy(mut self, policy: LagPolicy) -> Self {
        self.lag_policy = policy;
        self
    }

    /// Sets how many datums may be accepted and not yet taken by a consumer. Default 1024; 0
    /// counts as 1.
    #[must_use]
    pub const fn with_buffer_size(mut self, datums: usize) -> Self {
        self.buffer_size = if datums == 0 { 1 } else { datums };
        self
    }

    /// Sets how many bytes of encoded datums may be accepted and not yet taken by a consumer,
    /// beside [`with_buffer_size`](Self::with_buffer_size). Default 16 MiB; 0 counts as 1. A datum is
    /// accepted while there are fewer, so that one of any size passes.
    #[must_use]
    pub const fn with_buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Sets a tag that names what the datums mean, such as `"orders v2"`. A consumer with another
    /// tag is refused with `SchemaMismatch` (10 409), which names both and is logged on both sides;
    /// one without a tag is admitted. Default none. Of a tag above 256 bytes the digest counts.
    #[must_use]
    pub fn with_schema(mut self, tag: impl Into<String>) -> Self {
        self.schema = Some(wire::schema_tag(tag.into()));
        self
    }

    /// Sets the limit on the concurrent subscriptions of all consumers; one node may have 256 of
    /// them. Default unlimited; 0 refuses everyone. Further consumers are refused with `NoCapacity`
    /// (10 509) and keep trying.
    #[must_use]
    pub const fn with_max_consumers(mut self, max: usize) -> Self {
        self.max_consumers = max;
        self
    }

    /// Sets the stream's id: 64 hex digits are decoded, other text is hashed. Default
    /// [`Datum::derived_stream_id`].
    #[must_use]
    pub fn with_stream_id(mut self, id: impl Into<StreamId>) -> Self {
        let (id, text) = names::named(id);
        self.stream_id = Some(id);
        self.id_text = text;
        self
    }

    /// Names the stream for people who look at the network's status; changes nothing else. Default:
    /// the text of [`with_stream_id`](Self::with_stream_id), if that was given one. Cut at 64
    /// characters.
    #[must_use]
    pub fn with_label(mut self, label: impl AsRef<str>) -> Self {
        self.label = names::label(label.as_ref());
        self
    }

    /// Sets who receives the datums that no subscription selected. The channel is unbounded: its
    /// reader must keep up. If it is closed, such datums are dropped with a line in the log.
    #[must_use]
    pub fn with_undelivered_sink(mut self, sink: UnboundedSender<D>) -> Self {
        self.undelivered = Some(sink);
        self
    }

    /// Builds the producer. The local entry lists the stream when this returns, and is announced
    /// at once.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](BuilderError::AlreadyExists) when this node has a producer of the stream:
    /// the error holds another handle of it, and this configuration is dropped.
    /// [`EntryFull`](BuilderError::EntryFull) when the node's entry has no room for another stream,
    /// so that nobody could find it.
    ///
    /// # Panics
    ///
    /// When this node produces the stream with another datum type, and when the `online_when`
    /// closure panics.
    pub fn build(self) -> Result<Producer<D>, BuilderError<D>> {
        match self.enter() {
            Ok(handles) => Ok(Producer::new(handles)),
            Err(Refused::Existing(existing)) => Err(BuilderError::existing(existing)),
            Err(Refused::Full(_, LimitError { what, len, max })) => {
                Err(BuilderError::EntryFull { what, len, max })
            }
        }
    }

    /// Builds the producer; if the node has one of the stream, returns another handle of that.
    ///
    /// When the node's entry has no room for another stream, this is an error in the log, and the
    /// producer has ended: sends fail with [`Closed`](super::Error::Closed).
    ///
    /// # Panics
    ///
    /// As [`build`](Self::build).
    #[track_caller]
    pub fn open(self) -> Producer<D> {
        match self.enter() {
            Ok(handles) => Producer::new(handles),
            Err(Refused::Existing(existing)) => Producer::of_type(existing),
            Err(Refused::Full(ended, error)) => {
                let stream = ended.core().stream().short();
                tracing::error!(%stream, %error, "stream can't be advertised and is not produced");
                Producer::new(ended)
            }
        }
    }

    fn enter(self) -> Result<Arc<Handles>, Refused> {
        let (hub, books) = (self.hub, self.books);
        let stream_id = definition::id_or_derived::<D>(self.stream_id);
        let undelivered = self
            .undelivered
            .map(|sink| Box::new(sink) as Box<dyn Any + Send + Sync>);
        let requirements = self.requirements;
        let config = ProducerConfig {
            stream_id,
            buffer_size: self.buffer_size,
            buffer_bytes: self.buffer_bytes,
            disconnect_lagging: self.lag_policy == LagPolicy::Disconnect,
            lag_policy: self.lag_policy,
            require: Box::new(move |peer| requirements.iter().all(|holds| holds(peer))),
            online_when: self.online_when,
            network_id: *hub.network_id(),
            max_consumers: self.max_consumers,
            ticket_validators: self.ticket_validators,
            schema: self.schema,
        };
        // Made before the books are locked: it runs code of the user.
        let core = ProducerCore::new(
            hub.clone(),
            books.clone(),
            config,
            DatumType::of::<D>(),
            self.label.or(self.id_text),
            undelivered,
        );
        enter(&core, books)
    }
}

/// Enters a producer in the books, and starts it.
fn enter(
    core: &Arc<ProducerCore>,
    books: &Producers<Handles, ProducerCore>,
) -> Result<Arc<Handles>, Refused> {
    match books.enter(*core.stream(), || Handles::new(core.clone())) {
        Entry::New(handles) => {
            core.start();
            Ok(handles)
        }
        Entry::Closed(handles) => {
            core.close();
            Ok(handles)
        }
        Entry::Existing(existing) => Err(Refused::Existing(existing)),
        Entry::Full(handles, error) => {
            core.close();
            Err(Refused::Full(handles, error))
        }
    }
}

impl<D: Datum> fmt::Debug for Builder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("stream_id", &self.stream_id.map(Short))
            .field("buffer_size", &self.buffer_size)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("lag_policy", &self.lag_policy)
            .field("max_consumers", &self.max_consumers)
            .finish_non_exhaustive()
    }
}

/// Reasons for which no new producer was entered.
enum Refused {
    Existing(Arc<Handles>),
    Full(Arc<Handles>, LimitError),
}

/// Errors of building a producer.
#[derive(thiserror::Error)]
pub enum BuilderError<D: Datum> {
    /// The node has a producer of this stream, with the configuration that it was built with.
    #[error("Producer for this stream id already exists")]
    AlreadyExists(Producer<D>),
    /// The stream can't be advertised: the node's catalog entry holds 1024 streams, and 256 KiB in
    /// all. Others must go first.
    #[error("the local entry has no room: {len} {what}, at most {max} allowed")]
    EntryFull {
        /// The resource that would exceed its limit.
        what: &'static str,
        /// The amount with the addition.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl<D: Datum> BuilderError<D> {
    #[track_caller]
    fn existing(handles: Arc<Handles>) -> Self {
        Self::AlreadyExists(Producer::of_type(handles))
    }
}

impl<D: Datum> fmt::Debug for BuilderError<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists(producer) => {
                f.debug_tuple("AlreadyExists").field(producer).finish()
            }
            Self::EntryFull { what, len, max } => f
                .debug_struct("EntryFull")
                .field("what", what)
                .field("len", len)
                .field("max", max)
                .finish(),
        }
    }
}
