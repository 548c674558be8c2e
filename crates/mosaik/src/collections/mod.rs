//! Replicated data structures that feel like local ones.

mod adverts;
mod config;
mod element;
mod engine;
mod error;
mod identity;
mod kinds;
mod mismatch;
mod report;
mod state;
mod status;
mod version;
mod when;

pub use config::{CollectionConfig, SyncConfig, SyncStrategy};
pub use element::{Key, OrderedKey, Value};
pub(crate) use engine::Described;
pub use engine::{Event, MutationFuture, Outcome, Watch};
pub use error::{Error, OpenError};
pub use kinds::{
    Batch, BatchOutcome, BoundedPriorityQueue, Cause, Cell, CellChange, CellReader, CellSnapshot,
    CellWriter, Exchange, Expected, Map, MapChange, MapReader, MapSnapshot, MapWriter, Once,
    OnceChange, OnceReader, OnceSnapshot, OnceWriter, OrderedMap, OrderedMapReader,
    OrderedMapSnapshot, OrderedMapWriter, PriorityQueue, PriorityQueueReader,
    PriorityQueueSnapshot, PriorityQueueWriter, QueueChange, Set, SetBatch, SetChange, SetReader,
    SetSnapshot, SetWriter, UnboundedPriorityQueue, Vec, VecChange, VecReader, VecSnapshot,
    VecWriter,
};
pub use mismatch::{Ingredient, Mismatch};
pub use report::{CollectionReport, MismatchReport};
pub use status::Status;
pub use version::Version;
pub use when::When;

/// Id by which nodes find a collection, and the secret of its group.
pub type StoreId = crate::primitives::UniqueId;
