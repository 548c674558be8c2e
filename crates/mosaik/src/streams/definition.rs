//! A stream as a value: its datum type and its id.

use core::{
    any::type_name,
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
};

use crate::primitives::{Datum, StreamId, names};

/// A stream's datum type and id, usable in `const` items.
///
/// # Examples
///
/// ```
/// use mosaik::{id, streams::StreamDef};
///
/// const ORDERS: StreamDef<String> = StreamDef::with_stream_id(id!("example/orders"));
/// assert_eq!(ORDERS.stream_id, Some("example/orders".into()));
/// ```
pub struct StreamDef<T: Datum> {
    /// The id; `None` derives it from the datum type.
    pub stream_id: Option<StreamId>,
    datum: PhantomData<fn(&T)>,
}

impl<T: Datum> StreamDef<T> {
    /// A stream whose id is derived from its datum type.
    pub const fn new() -> Self {
        Self {
            stream_id: None,
            datum: PhantomData,
        }
    }

    /// A stream with an explicit id.
    pub const fn with_stream_id(id: StreamId) -> Self {
        Self {
            stream_id: Some(id),
            datum: PhantomData,
        }
    }
}

/// The id of a stream, derived from its datum type if there is none.
pub(super) fn id_or_derived<D: Datum>(id: Option<StreamId>) -> StreamId {
    id.unwrap_or_else(|| {
        if names::is_std_type(type_name::<D>()) {
            tracing::warn!(
                datum = type_name::<D>(),
                "the id of a stream is derived from a type that others use as well: give it one \
                 with `with_stream_id`"
            );
        }
        D::derived_stream_id()
    })
}

impl<T: Datum> Clone for StreamDef<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Datum> Copy for StreamDef<T> {}

impl<T: Datum> Default for StreamDef<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Datum> PartialEq for StreamDef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.stream_id == other.stream_id
    }
}

impl<T: Datum> Eq for StreamDef<T> {}

impl<T: Datum> Hash for StreamDef<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.stream_id.hash(state);
    }
}

impl<T: Datum> fmt::Debug for StreamDef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamDef")
            .field("stream_id", &self.stream_id)
            .field("datum", &core::any::type_name::<T>())
            .finish()
    }
}
