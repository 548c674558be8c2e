//! Replicated data structures that feel like local ones.

mod config;
mod element;
mod engine;
mod error;
mod identity;
mod kinds;
mod state;
mod version;
mod when;

pub use config::{CollectionConfig, SyncConfig, SyncStrategy};
pub use element::{Key, OrderedKey, Value};
pub use engine::Outcome;
pub use error::Error;
pub use kinds::{
    BoundedPriorityQueue, Cell, CellReader, CellSnapshot, CellWriter, Exchange, Map, MapReader,
    MapSnapshot, MapWriter, Once, OnceReader, OnceSnapshot, OnceWriter, OrderedMap,
    OrderedMapReader, OrderedMapSnapshot, OrderedMapWriter, PriorityQueue, PriorityQueueReader,
    PriorityQueueSnapshot, PriorityQueueWriter, Set, SetReader, SetSnapshot, SetWriter,
    UnboundedPriorityQueue, Vec, VecReader, VecSnapshot, VecWriter,
};
pub use version::Version;
pub use when::When;

/// What a collection is found by, and the secret of its group.
pub type StoreId = crate::primitives::UniqueId;
