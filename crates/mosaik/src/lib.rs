//! Programs that are given a network name find each other and organise themselves.
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
pub mod declare;
pub mod discovery;
#[path = "functions/mod.rs"]
mod functions_layer;
pub mod groups;
mod net;
pub mod network;
pub mod primitives;
#[path = "streams/mod.rs"]
mod streams_layer;
pub mod tickets;

/// Typed publish/subscribe channels between nodes.
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

/// Remote procedure calls to whoever serves them best, without a coordinator.
// The layer lies below `network`, and what names `Network` above it: here is where both meet.
pub mod functions {
    pub use crate::functions_layer::{
        CallContext, CallError, Caller, Config, ConfigBuilder, ConfigBuilderError, Function,
        FunctionDef, Functions, Handler, caller, handler, status,
    };
    pub use crate::network::{CallerOf, FunctionCaller, FunctionHandler, HandlerOf};
    pub use crate::primitives::FunctionId;
}

pub use futures;
pub use iroh::{self, SecretKey, Signature};

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
    pub use mosaik_macros::{digest_bytes, function_impl, stream_impl};
}

/// For the benchmarks, which measure the raw transport with the same settings.
#[doc(hidden)]
pub mod __bench {
    /// The transport settings of a node.
    pub fn transport_config() -> iroh::endpoint::QuicTransportConfig {
        crate::net::transport_config()
    }
}
