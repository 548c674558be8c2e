//! Programs that are given a network name find each other and organise themselves.
//!
//! A [`Network`] is one node of a network. Nodes of one name find each other through the DHT,
//! through the address of any one of them, or on the local segment; there is no broker, no registry
//! and no list of connections. A node says what it offers and what it wants, and is connected with
//! every node that matches, for as long as both are there.
//!
//! | | what it is | begin with |
//! |---|---|---|
//! | [`discovery`] | a signed catalog of all peers, on every node | [`Network::discovery`] |
//! | [`streams`] | typed publish/subscribe; no history | [`Network::streams`] |
//! | [`functions`] | typed calls to the handler that serves them best | [`Network::functions`] |
//! | [`groups`] | replicated state machines under Raft | [`Network::groups`] |
//! | [`collections`] | replicated maps, sequences, sets, cells and queues on groups | [`collections::Map`] |
//! | [`status`] | what nodes tell about themselves, and findings | [`Network::status_of`] |
//! | [`tickets`] | credentials in the catalog that gate all of these | [`tickets::Jwt`] |
//! | [`declare`] | one line that gives a stream or function its name, types, id and requirements | [`stream!`], [`function!`] |
//!
//! # Examples
//!
//! Two nodes in one process; on two machines it is the same, except that the second is told the
//! first one's address or waits for the DHT.
//!
//! ```no_run
//! use futures::SinkExt;
//! use mosaik::{Network, discovery};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let one = Network::new("weather").await?;
//! let two = Network::builder("weather")
//!     .with_discovery(discovery::Config::builder().with_bootstrap(one.local().addr()))
//!     .build()
//!     .await?;
//!
//! let mut readings = two.streams().consume::<f32>();
//! let mut sensor = one.streams().produce::<f32>();
//! sensor.send(21.5).await?; // waits for the first consumer
//! assert_eq!(readings.recv().await, Some(21.5));
//! # Ok(())
//! # }
//! ```
//!
//! # What holds everywhere
//!
//! - **Defaults are right for most.** A name is a complete configuration: random identity, any free
//!   port on all interfaces, relays and the DHT on, multicast DNS off. Nothing waits for them: a node
//!   is ready within milliseconds, also without internet.
//! - **Everything needs a Tokio runtime** with time and I/O enabled; opening a handle outside of one
//!   panics.
//! - **Everything is bounded**: frames, entries, queues and waits have limits, which are documented
//!   where they are set. Data that can be sent again comes back with the error.
//! - **Handles end quietly.** Dropping a handle ends what it stands for, in the background; a handle
//!   that outlives its network answers that it has ended.
//! - **Clocks** of nodes may differ by 10 s ([`max_time_drift`](discovery::Config::max_time_drift)).
//!
//! Logs go through `tracing`, metrics through the `metrics` facade. The book, in `book/` of the
//! repository, has a chapter for each part, with wire formats, close codes and metrics.
//!
//! # Features
//!
//! All on by default except `otel`; the rest works without them.
//!
//! | feature | effect |
//! |---|---|
//! | `dht` | nodes find each other through the Mainline DHT |
//! | `mdns` | `NetworkBuilder::with_mdns_discovery`: and on the local segment |
//! | `otel` | `otel::Exporter`: sends traces to an OpenTelemetry collector |
//! | `prometheus` | `NetworkBuilder::with_prometheus_addr`: serves metrics over HTTP |
//! | `storage` | `NetworkBuilder::with_storage` and `GroupBuilder::durable` |
#![cfg_attr(
    test,
    allow(
        clippy::cloned_ref_to_slice_refs,
        clippy::disallowed_methods,
        clippy::duration_suboptimal_units,
        clippy::large_stack_arrays,
        clippy::op_ref,
        reason = "tests spawn what they need, and spell operators out to try each of them"
    )
)]

#[cfg(any(test, feature = "unstable-fuzz"))]
#[doc(hidden)]
#[path = "fuzz.rs"]
pub mod __fuzz;
#[path = "collections/mod.rs"]
mod collections_layer;
pub mod declare;
pub mod discovery;
#[path = "functions/mod.rs"]
mod functions_layer;
pub mod groups;
mod net;
pub mod network;
#[cfg(feature = "otel")]
pub mod otel;
pub mod primitives;
pub mod status;
#[path = "streams/mod.rs"]
mod streams_layer;
pub mod tickets;

/// Typed publish/subscribe channels between nodes.
///
/// A **producer** publishes datums of one type under a stream id. Any number of **consumers** on
/// other nodes find it in the catalog, subscribe by themselves and receive what is sent from then
/// on. Open them with [`Streams`](streams::Streams), or declare the stream with
/// [`stream!`](crate::stream) and open it with [`StreamProducer`] and [`StreamConsumer`].
///
/// - **No history, at most once, in order** per producer and subscription. There is no
///   acknowledgement; what is in flight when a connection ends is lost, and the consumer is told
///   how much that was, by [`Consumer::events`](streams::Consumer::events). Datums that were
///   accepted before an orderly end are delivered.
/// - **Back-pressure.** `send` waits while the producer is offline (by default: without a consumer)
///   and while a consumer has no room. One that holds up others for a second is disconnected, unless
///   the [`LagPolicy`](streams::producer::LagPolicy) says otherwise.
/// - **Who is connected** is decided on both sides, by predicates over catalog entries and by
///   tickets, and decided again whenever an entry changes.
/// - **Broken subscriptions** are made again by the consumer for as long as the producer offers the
///   stream: at first as its [`backoff`](streams::backoff) says (by default after about half a
///   second, growing, for five minutes), then when an entry changes, and at intervals of up to a
///   minute.
// The layer itself lies below `network`; the few items that name a `Network` lie above, in it.
pub mod streams {
    #[doc(inline)]
    pub use crate::network::{
        ConsumerDef, ConsumerOf, ProducerDef, ProducerOf, StreamConsumer, StreamProducer,
    };
    #[doc(inline)]
    pub use crate::streams_layer::{
        Config, ConfigBuilder, ConfigBuilderError, Consumer, Criteria, Producer, StreamDef,
        StreamId, Streams, backoff, consumer, producer, status,
    };
}

/// Remote procedure calls to the handler that serves them best, without a coordinator.
///
/// A **handler** serves a function under an id and is advertised in its node's entry. A **caller**
/// names only the function: it knows the handlers from the catalog, calls the nearest, spreads calls
/// over near-equal ones by load, and moves on when one fails. Open them with
/// [`Functions`](functions::Functions), or declare the function with [`function!`](crate::function)
/// and open it with [`FunctionHandler`] and [`FunctionCaller`].
///
/// - **A call never runs twice by itself.** Until the request may have started it fails over freely;
///   after that only if the function is declared idempotent. Otherwise a lost handler is
///   [`CallError::Transport`](functions::CallError::Transport).
/// - **One budget**, 30 s by default, covers waiting for a handler, connecting, running, the reply
///   and further attempts. It travels with the call; dropping the call's future cancels it there.
/// - **Streaming replies** with `serve_stream` and `call_stream`; there the budget covers the way to
///   the first answer.
/// - A node never calls itself.
// The layer lies below `network`, and what names `Network` above it: here is where both meet.
pub mod functions {
    pub use crate::functions_layer::{
        CallContext, CallError, Caller, Config, ConfigBuilder, ConfigBuilderError, Function,
        FunctionDef, Functions, Handler, caller, handler, status,
    };
    pub use crate::network::{CallerOf, FunctionCaller, FunctionHandler, HandlerOf};
    pub use crate::primitives::FunctionId;
}

/// Replicated data structures that feel like local ones.
///
/// Every collection is one replicated group: all members hold the whole content and read their own
/// copy, and mutations take effect everywhere in one order. [`Map`](collections::Map),
/// [`OrderedMap`](collections::OrderedMap), [`Vec`](collections::Vec), [`Set`](collections::Set),
/// [`Cell`](collections::Cell), [`Once`](collections::Once) and
/// [`PriorityQueue`](collections::PriorityQueue) are opened as writers or as readers, by a
/// constructor, a [`CollectionDef`](collections::CollectionDef), or a type that
/// [`collection!`](crate::collection) declares.
///
/// - **Reads** are local, synchronous and never fail; also offline, they show the last known
///   content. `snapshot()` freezes it at no cost.
/// - **Mutations** are submitted when they are called, and resolve with a
///   [`Version`](collections::Version) when they are committed and applied here: the caller reads
///   its own writes. Elsewhere, `when().reaches(version)` waits for them, and `sync()` for all that
///   was acknowledged. Up to 64 MiB, and 262 144 calls, may wait on a node; what comes on top is
///   [`Offline`](collections::Error::Offline) at once.
/// - **Changes** are told by a [`Watch`](collections::Watch): of everything, of a key, of a range; each
///   begins exactly after a snapshot.
/// - **Entries expire** where they are given a time to live, and **batches** with expectations take
///   effect as one: [`Map`](collections::Map), [`OrderedMap`](collections::OrderedMap),
///   [`Set`](collections::Set).
/// - **Writers** vote and may lead; **readers** only follow, and delay nobody. A lone writer works
///   alone.
/// - **Two handles share content** if network, kind, store id, element types, synchronisation,
///   limits and tickets are equal; see [`CollectionConfig`].
// The layer lies below `network`, and what names `Network` above it: here is where both meet.
pub mod collections {
    #[doc(inline)]
    pub use crate::collections_layer::{
        Batch, BatchOutcome, BoundedPriorityQueue, Cause, Cell, CellChange, CellReader,
        CellSnapshot, CellWriter, CollectionConfig, Error, Event, Exchange, Expected, Ingredient,
        Key, Map, MapChange, MapReader, MapSnapshot, MapWriter, Mismatch, MutationFuture, Once,
        OnceChange, OnceReader, OnceSnapshot, OnceWriter, OpenError, OrderedKey, OrderedMap,
        OrderedMapReader, OrderedMapSnapshot, OrderedMapWriter, Outcome, PriorityQueue,
        PriorityQueueReader, PriorityQueueSnapshot, PriorityQueueWriter, QueueChange, Set,
        SetBatch, SetChange, SetReader, SetSnapshot, SetWriter, Status, StoreId, SyncConfig,
        SyncStrategy, UnboundedPriorityQueue, Value, Vec, VecChange, VecReader, VecSnapshot,
        VecWriter, Version, Watch, When,
    };
    #[doc(inline)]
    pub use crate::groups::WriteKey;
    #[doc(inline)]
    pub use crate::network::{
        CollectionDef, CollectionFromDef, CollectionReader, CollectionWriter, ReaderDef, ReaderOf,
        WriterDef, WriterOf,
    };
}

pub use futures;
pub use iroh::{self, SecretKey, Signature};

pub use collections::{
    CollectionConfig, CollectionReader, CollectionWriter, ReaderOf, StoreId, WriterOf,
};
pub use functions::{
    CallContext, CallerOf, Function, FunctionCaller, FunctionHandler, FunctionId, HandlerOf,
};
pub use groups::{
    Consistency,
    Consistency::{Strong, Weak},
    Group, GroupId, GroupKey, LeadershipPreference,
};
pub use network::{Network, NetworkId, PeerId};
pub use primitives::{Bytes, BytesMut, Datum, Digest, Tag, UniqueId};
pub use streams::{ConsumerOf, Criteria, ProducerOf, StreamConsumer, StreamId, StreamProducer};
pub use tickets::Ticket;

/// Turns a string literal into a [`Digest`] at compile time.
///
/// Exactly 64 hex digits are decoded; anything else is hashed with BLAKE3. Equal to
/// `Digest::from("text")`, and usable in `const` and `static` items.
#[macro_export]
macro_rules! id {
    ($text:literal) => {
        $crate::primitives::Digest::from_bytes($crate::__macros::digest_bytes!($text))
    };
}

/// The same as [`id!`].
#[macro_export]
macro_rules! unique_id {
    ($text:literal) => {
        $crate::id!($text)
    };
}

/// The same as [`id!`], for tags.
#[macro_export]
macro_rules! tag {
    ($text:literal) => {
        $crate::id!($text)
    };
}

#[doc(hidden)]
pub mod __macros {
    pub use mosaik_macros::{collection_impl, digest_bytes, function_impl, stream_impl};
}

/// For the benchmarks, which measure the raw transport with the same settings.
#[doc(hidden)]
pub mod __bench {
    /// The transport settings of a node, as they are between members of its network.
    pub fn transport_config() -> iroh::endpoint::QuicTransportConfig {
        crate::net::proven_transport_config()
    }
}
