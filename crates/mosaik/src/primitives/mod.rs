//! The vocabulary that every other module speaks: identifiers, the datum codec, conditions,
//! formatting and the ownership of background tasks.
//!
//! Nothing here knows about the network. Identifier types of all subsystems live here, so that a
//! catalog entry can list streams and groups without importing the modules that own them.

pub mod backoff;
pub mod datum;
mod digest;
pub mod encoding;
mod figures;
mod format;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod ids;
pub(crate) mod names;
mod one_or_many;
mod quota;
mod reach;
pub(crate) mod record;
mod scope;
pub(crate) mod text;
mod trace;
#[cfg(test)]
pub(crate) mod vectors;
mod waiting;
pub(crate) mod wire;

pub use backoff::BackoffFactory;
pub use bytes::{self, Bytes, BytesMut};
pub use datum::{Datum, Encoded};
pub use digest::Digest;
pub(crate) use figures::{LastTime, Tally};
pub use format::{
    Abbreviated, FmtIter, Pretty, PrettyFmtExt, Redacted, RedactedFmtExt, Short, ShortFmtExt,
};
pub use ids::{
    FunctionId, GroupId, NetworkId, PeerId, StoreId, StreamId, Tag, TicketClass, UniqueId,
};
#[doc(hidden)]
pub use one_or_many::{IntoIterOrSingle, Variant};
pub(crate) use quota::{Quota, Share};
pub(crate) use reach::Reach;
pub(crate) use scope::Scope;
pub(crate) use trace::TraceParent;
pub(crate) use waiting::{Condition, ConditionSource, Opaque, Signal, Tagged, WakerSlot};
