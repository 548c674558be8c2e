//! Streams that are opened from a [`Network`]: declarations as types and as values.
//!
//! These items belong to [`streams`](crate::streams) and are found there. They live here because
//! they name the network, which the layer of streams lies below.

use core::{
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
};

use super::Network;
use crate::{
    primitives::{Datum, StreamId},
    streams_layer::{consumer, producer},
};

/// A declaration that producers can be opened from; implemented by
/// [`stream!`](crate::stream).
pub trait StreamProducer {
    /// The handle.
    type Producer;

    /// Opens the producer on this node, or another handle of it.
    fn producer(network: &Network) -> Self::Producer;

    /// Opens the producer when called, and resolves with it once it is online.
    fn online_producer(
        network: &Network,
    ) -> impl Future<Output = Self::Producer> + Send + Sync + 'static;
}

/// A declaration that consumers can be opened from; implemented by
/// [`stream!`](crate::stream).
pub trait StreamConsumer {
    /// The handle.
    type Consumer;

    /// Opens a new consumer on this node.
    fn consumer(network: &Network) -> Self::Consumer;

    /// Opens a new consumer when called, and resolves with it once it is online.
    fn online_consumer(
        network: &Network,
    ) -> impl Future<Output = Self::Consumer> + Send + Sync + 'static;
}

/// The producer of a declaration.
pub type ProducerOf<S> = <S as StreamProducer>::Producer;
/// The consumer of a declaration.
pub type ConsumerOf<S> = <S as StreamConsumer>::Consumer;

macro_rules! definition {
    ($(#[$meta:meta])* $name:ident, $side:ident, $text:literal) => {
        $(#[$meta])*
        pub struct $name<T: Datum> {
            /// The stream; `None` derives the id from the datum type.
            pub stream_id: Option<StreamId>,
            datum: PhantomData<fn(&T)>,
        }

        impl<T: Datum> $name<T> {
            /// Defines this side of a stream.
            pub const fn new(stream_id: Option<StreamId>) -> Self {
                Self { stream_id, datum: PhantomData }
            }

            #[doc = concat!("Starts to configure a ", $text, " on this node.")]
            pub fn open<'s>(&self, network: &'s Network) -> $side::Builder<'s, T> {
                let builder = network.streams().$side::<T>();
                match self.stream_id {
                    Some(id) => builder.with_stream_id(id),
                    None => builder,
                }
            }
        }

        impl<T: Datum> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T: Datum> Copy for $name<T> {}

        impl<T: Datum> PartialEq for $name<T> {
            fn eq(&self, other: &Self) -> bool {
                self.stream_id == other.stream_id
            }
        }

        impl<T: Datum> Eq for $name<T> {}

        impl<T: Datum> Hash for $name<T> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.stream_id.hash(state);
            }
        }

        impl<T: Datum> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("stream_id", &self.stream_id)
                    .field("datum", &core::any::type_name::<T>())
                    .finish()
            }
        }
    };
}

definition!(
    /// The producing side of a stream as a value, usable in `const` items.
    ProducerDef, producer, "producer"
);
definition!(
    /// The consuming side of a stream as a value, usable in `const` items.
    ConsumerDef, consumer, "consumer"
);
