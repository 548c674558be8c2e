//! The kinds of collections: thin faces of the engine.
#![allow(
    clippy::type_complexity,
    reason = "errors hand all arguments back, as the callers wrote them"
)]

mod cell;
mod keyed;
mod map;
mod ordered_map;
mod queue;
mod sequence;
mod set;
mod sides;

use core::fmt;

pub use cell::{
    Cell, CellChange, CellReader, CellSnapshot, CellWriter, Once, OnceChange, OnceReader,
    OnceSnapshot, OnceWriter,
};
pub use keyed::{Batch, BatchOutcome, Expected, MapChange, SetBatch, SetChange};
pub use map::{Exchange, Map, MapReader, MapSnapshot, MapWriter};
pub use ordered_map::{OrderedMap, OrderedMapReader, OrderedMapSnapshot, OrderedMapWriter};
pub use queue::{
    BoundedPriorityQueue, PriorityQueue, PriorityQueueReader, PriorityQueueSnapshot,
    PriorityQueueWriter, QueueChange, UnboundedPriorityQueue,
};
pub use sequence::{Vec, VecChange, VecReader, VecSnapshot, VecWriter};
pub use set::{Set, SetReader, SetSnapshot, SetWriter};
pub use sides::Cause;

use super::engine::{Kind, Live};

/// Common methods of every kind: constructors, the waiter, the version, the group, and `Debug`.
macro_rules! constructors {
    (
        $name:ident<$($param:ident: $bound:ident),+ $(; const $cap:ident)?>,
        [$($type:ident),+],
        $kind:ty,
        $reader:ty
    ) => {
        impl<$($param: $bound,)+ $(const $cap: u64,)?> $name<$($param,)+ $($cap,)? true> {
            /// Opens a writer with the default configuration; the same as [`writer`](Self::writer).
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime; and where a handle of other types is open on this node that
            /// has the same store id and type tag.
            pub fn new(network: impl AsRef<Groups>, store_id: impl Into<StoreId>) -> Self {
                Self::writer(network, store_id)
            }

            /// Opens a writer; the same as [`writer_with_config`](Self::writer_with_config).
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime; and where a handle of other types is open on this node that
            /// has the same store id and type tag.
            pub fn new_with_config(
                network: impl AsRef<Groups>,
                store_id: impl Into<StoreId>,
                config: impl Into<CollectionConfig>,
            ) -> Self {
                Self::writer_with_config(network, store_id, config)
            }

            /// Opens a writer with the default configuration. Returns at once; the node joins in
            /// the background.
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime; and where a handle of other types is open on this node that
            /// has the same store id and type tag.
            pub fn writer(network: impl AsRef<Groups>, store_id: impl Into<StoreId>) -> Self {
                Self::writer_with_config(network, store_id, CollectionConfig::default())
            }

            /// Opens a writer. Returns at once; the node joins in the background.
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime; and where a handle of other types is open on this node that
            /// has the same store id and type tag.
            pub fn writer_with_config(
                network: impl AsRef<Groups>,
                store_id: impl Into<StoreId>,
                config: impl Into<CollectionConfig>,
            ) -> Self {
                let types = [$(core::any::type_name::<$type>()),+ $(, &$cap.to_string())?];
                Self(Handle::open(
                    network.as_ref(),
                    store_id.into(),
                    &types,
                    None::<u64>$(.or(Some($cap)))?,
                    &config.into(),
                    Role::Writer,
                ))
            }
        }

        impl<$($param: $bound,)+ $(const $cap: u64,)? const IS_WRITER: bool>
            $name<$($param,)+ $($cap,)? IS_WRITER>
        {
            /// Opens a reader with the default configuration. Returns at once; the node joins in
            /// the background.
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime; and where a handle of other types is open on this node that
            /// has the same store id and type tag.
            pub fn reader(network: impl AsRef<Groups>, store_id: impl Into<StoreId>) -> $reader {
                Self::reader_with_config(network, store_id, CollectionConfig::default())
            }

            /// Opens a reader. Returns at once; the node joins in the background.
            ///
            /// # Panics
            ///
            /// Outside a Tokio runtime; and where a handle of other types is open on this node that
            /// has the same store id and type tag.
            pub fn reader_with_config(
                network: impl AsRef<Groups>,
                store_id: impl Into<StoreId>,
                config: impl Into<CollectionConfig>,
            ) -> $reader {
                let types = [$(core::any::type_name::<$type>()),+ $(, &$cap.to_string())?];
                $name(Handle::open(
                    network.as_ref(),
                    store_id.into(),
                    &types,
                    None::<u64>$(.or(Some($cap)))?,
                    &config.into(),
                    Role::Reader,
                ))
            }

            /// Waits for conditions: being online, versions.
            pub const fn when(&self) -> &When {
                self.0.when()
            }

            /// The version of the local state; 0 before anything was committed.
            pub fn version(&self) -> Version {
                self.0.version()
            }

            /// The collection's group. Equal on all nodes whose handles share their content.
            pub fn group_id(&self) -> &GroupId {
                self.0.group_id()
            }

            /// Status of the collection, as this node knows it: leader and members, whether it is
            /// in sync and has the tickets.
            pub fn status(&self) -> Status {
                self.0.status()
            }

            /// Waits until the local state reflects all that was acknowledged anywhere before this
            /// call, and resolves with its version: reads are linearizable then.
            ///
            /// # Errors
            ///
            /// [`Error::Offline`] when that could not be confirmed in time (2 s);
            /// [`Error::NetworkDown`].
            pub fn sync(
                &self,
            ) -> impl Future<Output = Result<Version, Error<()>>>
            + Send
            + Sync
            + 'static
            + use<$($param,)+ $($cap,)? IS_WRITER> {
                self.0.sync()
            }
        }

        impl<$($param: $bound,)+ $(const $cap: u64,)? const IS_WRITER: bool> fmt::Debug
            for $name<$($param,)+ $($cap,)? IS_WRITER>
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_as(stringify!($name), f)
            }
        }
    };
}
use constructors;

fn debug_snapshot<K: Kind>(name: &str, live: &Live<K>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name)
        .field("version", &live.version)
        .field("entries", &K::len(&live.state))
        .finish()
}
