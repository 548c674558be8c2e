//! The kinds of collections: thin faces of the engine.
#![allow(
    clippy::type_complexity,
    reason = "errors hand all arguments back, as the callers wrote them"
)]

mod cell;
mod keyed;
mod map;
mod ordered_map;
mod pieces;
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

/// Common parts of every kind: the way to open it, the waiter, the version, the group, and `Debug`.
///
/// The constructors that programs call name the network, and live in its layer.
macro_rules! handles {
    (
        $name:ident<$($param:ident: $bound:ident),+ $(; const $cap:ident)?>,
        [$($type:ident),+],
        $kind:ty
    ) => {
        impl<$($param: $bound,)+ $(const $cap: u64,)? const IS_WRITER: bool>
            $name<$($param,)+ $($cap,)? IS_WRITER>
        {
            /// Opens a handle; what can't be had of its configuration is logged.
            pub(crate) fn open(
                groups: &Groups,
                store_id: StoreId,
                config: &CollectionConfig,
            ) -> Self {
                Self(Self::opening(groups, store_id, config, Handle::open))
            }

            /// Opens a handle as configured, or not at all.
            pub(crate) fn try_open(
                groups: &Groups,
                store_id: StoreId,
                config: &CollectionConfig,
            ) -> Result<Self, OpenError> {
                Self::opening(groups, store_id, config, Handle::try_open).map(Self)
            }

            fn opening<R>(
                groups: &Groups,
                store_id: StoreId,
                config: &CollectionConfig,
                open: impl FnOnce(Opening<'_>) -> R,
            ) -> R {
                let types = [$(core::any::type_name::<$type>()),+ $(, &$cap.to_string())?];
                open(Opening {
                    groups,
                    store_id,
                    types: &types,
                    capacity: None::<u64>$(.or(Some($cap)))?,
                    config,
                    is_writer: IS_WRITER,
                })
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

            /// Gives up the content and the history that this node holds, and takes part anew, with
            /// nothing: the operator's way out when a durable member holds a history that lives
            /// nowhere else, or that the others have replaced. What only it held is lost, also on its
            /// disk. Returns whether there was a history to give up.
            ///
            /// Nodes with the content in memory give way by themselves when two histories of a
            /// collection meet; durable ones never do, and say so in their log.
            ///
            /// # Cancel safety
            ///
            /// Nothing happens before the first poll; once begun it is carried out, also when the
            /// future is dropped.
            pub fn abandon_history(
                &self,
            ) -> impl Future<Output = bool>
            + Send
            + Sync
            + 'static
            + use<$($param,)+ $($cap,)? IS_WRITER> {
                self.0.abandon_history()
            }
        }

        impl<$($param: $bound,)+ $(const $cap: u64)?> $name<$($param,)+ $($cap,)? true> {
            /// Founds a new history from this writer's log and content: the way out when a majority
            /// of the writers is lost for good. The others follow within some seconds. What only the
            /// lost had is gone. To be called on any survivor, and on the next one where it answers
            /// `false`: where a writer that this one has a bond with has entries that it lacks, that
            /// one is named in the log, and nothing is done.
            ///
            /// Returns whether it was done. Not while a leader with a majority is known, here or to
            /// a node that this one has a bond with.
            ///
            /// **Availability over consistency**: if the lost majority still lives, both sides go on,
            /// and the mutations of one side are discarded when they meet. An operator's decision, to
            /// be made on one node.
            ///
            /// # Cancel safety
            ///
            /// Nothing happens before the first poll; once begun it is carried out, also when the
            /// future is dropped.
            pub fn reform(
                &self,
            ) -> impl Future<Output = bool> + Send + Sync + 'static + use<$($param,)+ $($cap)?> {
                self.0.reform()
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
use handles;

fn debug_snapshot<K: Kind>(name: &str, live: &Live<K>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name)
        .field("version", &live.version)
        .field("entries", &K::len(&live.state))
        .finish()
}
