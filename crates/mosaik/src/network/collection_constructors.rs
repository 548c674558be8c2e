//! Constructors of all kinds of collections, which name the network.
//!
//! Programs pass `&network` in any form that derefs to it, so the parameter is `&Network` and no
//! trait: `&Arc<Network>`, `&Box<Network>` and guards coerce to the former only.

use super::Network;
use crate::collections_layer::{
    Cell, CellReader, CollectionConfig, Key, Map, MapReader, Once, OnceReader, OpenError,
    OrderedKey, OrderedMap, OrderedMapReader, PriorityQueue, PriorityQueueReader, Set, SetReader,
    StoreId, Value, Vec, VecReader,
};

macro_rules! constructors {
    ($(
        $name:ident<$($param:ident: $bound:ident),+ $(; $cap:ident)?>: $reader:ident;
    )*) => {
        $(
            impl<$($param: $bound,)+ $(const $cap: u64,)?> $name<$($param,)+ $($cap,)? true> {
                /// Opens a writer with the default configuration; the same as
                /// [`writer`](Self::writer).
                ///
                /// # Panics
                ///
                /// Outside a Tokio runtime; and where a handle of other types is open on this node
                /// that has the same store id and type tag.
                pub fn new(network: &Network, store_id: impl Into<StoreId>) -> Self {
                    Self::writer(network, store_id)
                }

                /// Opens a writer; the same as [`writer_with_config`](Self::writer_with_config).
                ///
                /// # Panics
                ///
                /// As [`new`](Self::new).
                pub fn new_with_config(
                    network: &Network,
                    store_id: impl Into<StoreId>,
                    config: impl Into<CollectionConfig>,
                ) -> Self {
                    Self::writer_with_config(network, store_id, config)
                }

                /// Opens a writer with the default configuration. Returns at once; the node joins
                /// in the background.
                ///
                /// # Panics
                ///
                /// As [`new`](Self::new).
                pub fn writer(network: &Network, store_id: impl Into<StoreId>) -> Self {
                    Self::writer_with_config(network, store_id, CollectionConfig::default())
                }

                /// Opens a writer. Returns at once; the node joins in the background.
                ///
                /// # Panics
                ///
                /// As [`new`](Self::new).
                pub fn writer_with_config(
                    network: &Network,
                    store_id: impl Into<StoreId>,
                    config: impl Into<CollectionConfig>,
                ) -> Self {
                    Self::open(network.groups(), store_id.into(), &config.into())
                }

                /// Opens a writer exactly as configured, or says what is in the way; see
                /// [`CollectionConfig::durable`].
                ///
                /// # Errors
                ///
                /// See [`OpenError`].
                ///
                /// # Panics
                ///
                /// Outside a Tokio runtime.
                pub fn try_writer_with_config(
                    network: &Network,
                    store_id: impl Into<StoreId>,
                    config: impl Into<CollectionConfig>,
                ) -> Result<Self, OpenError> {
                    Self::try_open(network.groups(), store_id.into(), &config.into())
                }
            }

            impl<$($param: $bound,)+ $(const $cap: u64,)? const IS_WRITER: bool>
                $name<$($param,)+ $($cap,)? IS_WRITER>
            {
                /// Opens a reader with the default configuration. Returns at once; the node joins
                /// in the background.
                ///
                /// # Panics
                ///
                /// Outside a Tokio runtime; and where a handle of other types is open on this node
                /// that has the same store id and type tag.
                pub fn reader(
                    network: &Network,
                    store_id: impl Into<StoreId>,
                ) -> $reader<$($param,)+ $($cap)?> {
                    Self::reader_with_config(network, store_id, CollectionConfig::default())
                }

                /// Opens a reader. Returns at once; the node joins in the background.
                ///
                /// # Panics
                ///
                /// As [`reader`](Self::reader).
                pub fn reader_with_config(
                    network: &Network,
                    store_id: impl Into<StoreId>,
                    config: impl Into<CollectionConfig>,
                ) -> $reader<$($param,)+ $($cap)?> {
                    $reader::open(network.groups(), store_id.into(), &config.into())
                }

                /// Opens a reader exactly as configured, or says what is in the way; see
                /// [`CollectionConfig::durable`].
                ///
                /// # Errors
                ///
                /// See [`OpenError`].
                ///
                /// # Panics
                ///
                /// Outside a Tokio runtime.
                pub fn try_reader_with_config(
                    network: &Network,
                    store_id: impl Into<StoreId>,
                    config: impl Into<CollectionConfig>,
                ) -> Result<$reader<$($param,)+ $($cap)?>, OpenError> {
                    $reader::try_open(network.groups(), store_id.into(), &config.into())
                }
            }
        )*
    };
}

constructors! {
    Map<K: Key, V: Value>: MapReader;
    OrderedMap<K: OrderedKey, V: Value>: OrderedMapReader;
    Vec<T: Value>: VecReader;
    Set<T: Key>: SetReader;
    Cell<T: Value>: CellReader;
    Once<T: Value>: OnceReader;
    PriorityQueue<P: OrderedKey, K: Key, V: Value; CAP>: PriorityQueueReader;
}
