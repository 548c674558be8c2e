//! Configures a consumer.

use core::{fmt, marker::PhantomData};
use std::sync::Arc;

use super::{Consumer, ConsumerConfig, ConsumerCore};
use crate::{
    primitives::{BackoffFactory, Datum, Short, StreamId, backoff::Backoff, names},
    streams_layer::{
        Criteria, books::Consumers, channel::OnlineWhen, config::factory, definition, hub::Hub,
        status::ChannelConditions, wire,
    },
    tickets::{PeerInfo, TicketValidator},
};

/// Default limit on the bytes received and not yet taken.
const DEFAULT_RECEIVE_BUFFER_BYTES: usize = 64 * 1024 * 1024;

type Predicate = Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>;

/// Configures a consumer; made by [`Streams::consumer`](crate::streams::Streams::consumer).
///
/// # Examples
///
/// ```no_run
/// # fn example(network: mosaik::Network) {
/// let consumer = network
///     .streams()
///     .consumer::<String>()
///     .with_stream_id("example/orders")
///     .require(|peer| peer.tags.contains(&"primary".into()))
///     .build();
/// # drop(consumer);
/// # }
/// ```
#[must_use = "nothing happens until `build` is called"]
pub struct Builder<'s, D: Datum> {
    hub: &'s Arc<Hub>,
    books: &'s Consumers<ConsumerCore>,
    stream_id: Option<StreamId>,
    label: Option<String>,
    id_text: Option<String>,
    criteria: Criteria,
    requirements: Vec<Predicate>,
    ticket_validators: Vec<Arc<dyn TicketValidator>>,
    online_when: OnlineWhen,
    backoff: BackoffFactory,
    receive_buffer_bytes: usize,
    schema: Option<String>,
    datum: PhantomData<fn(D)>,
}

impl<'s, D: Datum> Builder<'s, D> {
    pub(in crate::streams_layer) fn new(
        hub: &'s Arc<Hub>,
        books: &'s Consumers<ConsumerCore>,
    ) -> Self {
        Self {
            stream_id: None,
            label: None,
            id_text: None,
            criteria: Criteria::default(),
            requirements: Vec::new(),
            ticket_validators: Vec::new(),
            online_when: Box::new(|subscribed| subscribed.minimum_of(0)),
            backoff: hub.config.backoff.clone(),
            receive_buffer_bytes: DEFAULT_RECEIVE_BUFFER_BYTES,
            schema: None,
            hub,
            books,
            datum: PhantomData,
        }
    }

    /// Subscribes only to producers that satisfy this; adds to what was required before.
    ///
    /// Judged after the producer's round-trip time was measured, and again on every change of its
    /// entry: the subscription is made or ended accordingly. A predicate that panics counts as
    /// `false`.
    #[must_use]
    pub fn require<F>(mut self, predicate: F) -> Self
    where
        F: Fn(&PeerInfo) -> bool + Send + Sync + 'static,
    {
        self.requirements.push(Box::new(predicate));
        self
    }

    /// Subscribes only to producers that hold a ticket which this validator accepts; adds to those
    /// required before. Tickets are validated again when they expire.
    #[must_use]
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.ticket_validators.push(Arc::new(validator));
        self
    }

    /// Sets when the consumer is online, as a refinement of
    /// [`When::subscribed`](crate::streams::status::When::subscribed). Default: at once, also with
    /// no producer.
    #[must_use]
    pub fn online_when<F>(mut self, condition: F) -> Self
    where
        F: Fn(ChannelConditions) -> ChannelConditions + Send + Sync + 'static,
    {
        self.online_when = Box::new(condition);
        self
    }

    /// Sets which datums are asked for. Default all.
    #[must_use]
    pub const fn with_criteria(mut self, criteria: Criteria) -> Self {
        // `Criteria` has no destructor to run here.
        let Criteria {} = criteria;
        self.criteria = Criteria {};
        self
    }

    /// Sets how a subscription is made again after a failure; each producer gets a fresh copy.
    /// Default: that of [`Config`](crate::streams::Config).
    #[must_use]
    pub fn with_backoff<B: Backoff + Clone + Send + Sync + 'static>(mut self, backoff: B) -> Self {
        self.backoff = factory(backoff);
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

    /// Sets how much may be received and not yet taken, in bytes: encoded datums and the memory
    /// that they take as values, and what producers were told that they may send. Default 64 MiB.
    ///
    /// When it is reached, producers are told to send nothing more; of each one datum of any size,
    /// or several that are together at most 64 KiB, may still come. What they do then is their
    /// [`LagPolicy`](crate::streams::producer::LagPolicy). A producer that disconnected this consumer
    /// because it lagged is subscribed to again once the buffer is half empty.
    ///
    /// A producer sends no more at once than its share of half of this. Small values make the
    /// consumer slow over long distances.
    #[must_use]
    pub const fn with_receive_buffer_bytes(mut self, bytes: usize) -> Self {
        self.receive_buffer_bytes = if bytes == 0 { 1 } else { bytes };
        self
    }

    /// Sets a tag that names what the datums mean, such as `"orders v2"`. A producer with another tag
    /// refuses this consumer with `SchemaMismatch` (10 409), which names both and is logged on both
    /// sides; one without a tag admits it. Default none. Of a tag above 256 bytes the digest counts.
    #[must_use]
    pub fn with_schema(mut self, tag: impl Into<String>) -> Self {
        self.schema = Some(wire::schema_tag(tag.into()));
        self
    }

    /// Builds the consumer, which starts to look for producers at once.
    ///
    /// # Panics
    ///
    /// When the `online_when` closure panics.
    pub fn build(self) -> Consumer<D> {
        let requirements = self.requirements;
        let requires_nothing = requirements.is_empty();
        let config = ConsumerConfig {
            stream_id: definition::id_or_derived::<D>(self.stream_id),
            criteria: self.criteria,
            require: Box::new(move |peer| requirements.iter().all(|holds| holds(peer))),
            backoff: self.backoff,
            online_when: self.online_when,
            ticket_validators: self.ticket_validators,
            receive_buffer_bytes: self.receive_buffer_bytes,
            schema: self.schema,
        };
        let name = self.label.or(self.id_text);
        Consumer::start(self.hub.clone(), self.books, config, name, requires_nothing)
    }
}

impl<D: Datum> fmt::Debug for Builder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("stream_id", &self.stream_id.map(Short))
            .field("criteria", &self.criteria)
            .finish_non_exhaustive()
    }
}
