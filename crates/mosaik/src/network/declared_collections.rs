//! Collections that are opened from a [`Network`]: declarations as types and as values.
//!
//! These items belong to [`collections`](crate::collections) and are found there. They live here
//! because they name the network, which the layer of collections lies below.

use core::{fmt, marker::PhantomData};

use super::Network;
use crate::collections_layer::{
    Cell, CellReader, CellWriter, CollectionConfig, Key, Map, MapReader, MapWriter, Once,
    OnceReader, OnceWriter, OpenError, OrderedKey, OrderedMap, OrderedMapReader, OrderedMapWriter,
    PriorityQueue, PriorityQueueReader, PriorityQueueWriter, Set, SetReader, SetWriter, StoreId,
    Value, Vec, VecReader, VecWriter,
};

/// A kind of collection that definitions can open; every kind is one, and a type of your own can
/// be.
pub trait CollectionFromDef {
    /// The handle that reads.
    type Reader;
    /// The handle that reads and changes.
    type Writer;

    /// Opens a reader with the default configuration.
    fn reader(network: &Network, store_id: StoreId) -> Self::Reader {
        Self::reader_with_config(network, store_id, CollectionConfig::default())
    }

    /// Opens a writer with the default configuration.
    fn writer(network: &Network, store_id: StoreId) -> Self::Writer {
        Self::writer_with_config(network, store_id, CollectionConfig::default())
    }

    /// Opens a reader.
    fn reader_with_config(
        network: &Network,
        store_id: StoreId,
        config: CollectionConfig,
    ) -> Self::Reader;

    /// Opens a writer.
    fn writer_with_config(
        network: &Network,
        store_id: StoreId,
        config: CollectionConfig,
    ) -> Self::Writer;

    /// Opens a reader exactly as configured, or says what is in the way. Provided for types of your
    /// own: opens it [as ever](Self::reader_with_config).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    fn try_reader_with_config(
        network: &Network,
        store_id: StoreId,
        config: CollectionConfig,
    ) -> Result<Self::Reader, OpenError> {
        Ok(Self::reader_with_config(network, store_id, config))
    }

    /// Opens a writer exactly as configured, or says what is in the way. Provided for types of your
    /// own: opens it [as ever](Self::writer_with_config).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    fn try_writer_with_config(
        network: &Network,
        store_id: StoreId,
        config: CollectionConfig,
    ) -> Result<Self::Writer, OpenError> {
        Ok(Self::writer_with_config(network, store_id, config))
    }
}

macro_rules! from_definitions {
    ($(
        $name:ident<$($param:ident: $bound:ident),+ $(; $cap:ident)?>: $reader:ident, $writer:ident;
    )*) => {
        $(
            impl<$($param: $bound,)+ $(const $cap: u64,)? const IS_WRITER: bool> CollectionFromDef
                for $name<$($param,)+ $($cap,)? IS_WRITER>
            {
                type Reader = $reader<$($param,)+ $($cap)?>;
                type Writer = $writer<$($param,)+ $($cap)?>;

                fn reader_with_config(
                    network: &Network,
                    store_id: StoreId,
                    config: CollectionConfig,
                ) -> Self::Reader {
                    Self::Reader::reader_with_config(network, store_id, config)
                }

                fn writer_with_config(
                    network: &Network,
                    store_id: StoreId,
                    config: CollectionConfig,
                ) -> Self::Writer {
                    Self::Writer::writer_with_config(network, store_id, config)
                }

                fn try_reader_with_config(
                    network: &Network,
                    store_id: StoreId,
                    config: CollectionConfig,
                ) -> Result<Self::Reader, OpenError> {
                    Self::Reader::try_reader_with_config(network, store_id, config)
                }

                fn try_writer_with_config(
                    network: &Network,
                    store_id: StoreId,
                    config: CollectionConfig,
                ) -> Result<Self::Writer, OpenError> {
                    Self::Writer::try_writer_with_config(network, store_id, config)
                }
            }
        )*
    };
}

from_definitions! {
    Map<K: Key, V: Value>: MapReader, MapWriter;
    OrderedMap<K: OrderedKey, V: Value>: OrderedMapReader, OrderedMapWriter;
    Vec<T: Value>: VecReader, VecWriter;
    Set<T: Key>: SetReader, SetWriter;
    Cell<T: Value>: CellReader, CellWriter;
    Once<T: Value>: OnceReader, OnceWriter;
    PriorityQueue<P: OrderedKey, K: Key, V: Value; CAP>: PriorityQueueReader, PriorityQueueWriter;
}

macro_rules! definition {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        pub struct $name<C: CollectionFromDef> {
            /// Id by which nodes find the collection.
            pub store_id: StoreId,
            /// Makes the configuration at each opening.
            config: Option<fn() -> CollectionConfig>,
            kind: PhantomData<fn() -> C>,
        }

        impl<C: CollectionFromDef> $name<C> {
            /// Defines a collection with the default configuration.
            pub const fn new(store_id: StoreId) -> Self {
                Self {
                    store_id,
                    config: None,
                    kind: PhantomData,
                }
            }

            /// Chooses the configuration, which is made anew at each opening.
            #[must_use]
            pub const fn with_config(mut self, config: fn() -> CollectionConfig) -> Self {
                self.config = Some(config);
                self
            }

            fn make_config(&self) -> CollectionConfig {
                self.config.map_or_else(CollectionConfig::default, |config| config())
            }
        }

        impl<C: CollectionFromDef> Clone for $name<C> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<C: CollectionFromDef> Copy for $name<C> {}

        impl<C: CollectionFromDef> fmt::Debug for $name<C> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("store_id", &self.store_id)
                    .field("kind", &core::any::type_name::<C>())
                    .finish()
            }
        }
    };
}

definition!(
    /// A collection as a value, usable in `const` items.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use mosaik::{
    ///     Network,
    ///     collections::{CollectionDef, Map, ReaderDef},
    ///     unique_id,
    /// };
    ///
    /// const PRICES: CollectionDef<Map<String, u64>> = CollectionDef::new(unique_id!("prices"));
    /// const READ_PRICES: ReaderDef<Map<String, u64>> = PRICES.as_reader();
    ///
    /// fn open(network: &Network) {
    ///     let writer = PRICES.writer(network);
    ///     let reader = READ_PRICES.open(network);
    /// #   drop((writer, reader));
    /// }
    /// ```
    CollectionDef
);
definition!(
    /// The reading side of a collection as a value, usable in `const` items.
    ReaderDef
);
definition!(
    /// The writing side of a collection as a value, usable in `const` items.
    WriterDef
);

impl<C: CollectionFromDef> CollectionDef<C> {
    /// The collection that a reader is defined for.
    pub const fn from_reader(reader_def: &ReaderDef<C>) -> Self {
        Self {
            store_id: reader_def.store_id,
            config: reader_def.config,
            kind: PhantomData,
        }
    }

    /// The collection that a writer is defined for.
    pub const fn from_writer(writer_def: &WriterDef<C>) -> Self {
        Self {
            store_id: writer_def.store_id,
            config: writer_def.config,
            kind: PhantomData,
        }
    }

    /// The reading side.
    pub const fn as_reader(&self) -> ReaderDef<C> {
        ReaderDef {
            store_id: self.store_id,
            config: self.config,
            kind: PhantomData,
        }
    }

    /// The writing side.
    pub const fn as_writer(&self) -> WriterDef<C> {
        WriterDef {
            store_id: self.store_id,
            config: self.config,
            kind: PhantomData,
        }
    }

    /// Opens a reader on this node.
    pub fn reader(&self, network: &Network) -> C::Reader {
        C::reader_with_config(network, self.store_id, self.make_config())
    }

    /// Opens a writer on this node.
    pub fn writer(&self, network: &Network) -> C::Writer {
        C::writer_with_config(network, self.store_id, self.make_config())
    }

    /// Opens a reader on this node exactly as configured, or says what is in the way.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn try_reader(&self, network: &Network) -> Result<C::Reader, OpenError> {
        C::try_reader_with_config(network, self.store_id, self.make_config())
    }

    /// Opens a writer on this node exactly as configured, or says what is in the way.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn try_writer(&self, network: &Network) -> Result<C::Writer, OpenError> {
        C::try_writer_with_config(network, self.store_id, self.make_config())
    }
}

impl<C: CollectionFromDef> ReaderDef<C> {
    /// Opens a reader on this node.
    pub fn open(&self, network: &Network) -> C::Reader {
        C::reader_with_config(network, self.store_id, self.make_config())
    }

    /// Opens a reader on this node exactly as configured, or says what is in the way.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn try_open(&self, network: &Network) -> Result<C::Reader, OpenError> {
        C::try_reader_with_config(network, self.store_id, self.make_config())
    }
}

impl<C: CollectionFromDef> WriterDef<C> {
    /// Opens a writer on this node.
    pub fn open(&self, network: &Network) -> C::Writer {
        C::writer_with_config(network, self.store_id, self.make_config())
    }

    /// Opens a writer on this node exactly as configured, or says what is in the way.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn try_open(&self, network: &Network) -> Result<C::Writer, OpenError> {
        C::try_writer_with_config(network, self.store_id, self.make_config())
    }
}

/// A declaration that readers can be opened from; implemented by
/// [`collection!`](crate::collection).
pub trait CollectionReader {
    /// The handle.
    type Reader;

    /// Opens a reader on this node.
    fn reader(network: &Network) -> Self::Reader;

    /// Opens a reader when called, and resolves with it once it is online.
    fn online_reader(
        network: &Network,
    ) -> impl Future<Output = Self::Reader> + Send + Sync + 'static;

    /// Opens a reader on this node exactly as configured, or says what is in the way. Provided for
    /// types of your own: opens it [as ever](Self::reader).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    fn try_reader(network: &Network) -> Result<Self::Reader, OpenError> {
        Ok(Self::reader(network))
    }
}

/// A declaration that writers can be opened from; implemented by
/// [`collection!`](crate::collection).
pub trait CollectionWriter {
    /// The handle.
    type Writer;

    /// Opens a writer on this node.
    fn writer(network: &Network) -> Self::Writer;

    /// Opens a writer when called, and resolves with it once it is online.
    fn online_writer(
        network: &Network,
    ) -> impl Future<Output = Self::Writer> + Send + Sync + 'static;

    /// Opens a writer on this node exactly as configured, or says what is in the way. Provided for
    /// types of your own: opens it [as ever](Self::writer).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    fn try_writer(network: &Network) -> Result<Self::Writer, OpenError> {
        Ok(Self::writer(network))
    }
}

/// The reader of a declaration.
pub type ReaderOf<C> = <C as CollectionReader>::Reader;
/// The writer of a declaration.
pub type WriterOf<C> = <C as CollectionWriter>::Writer;
