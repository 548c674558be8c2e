//! The composition root: one node of one network, with all its subsystems on one endpoint.
//!
//! [`Network::new`] starts a node with every default, [`Network::builder`] one that is configured;
//! both resolve within milliseconds and wait for no relay and no DHT. The subsystems are reached
//! through it: [`Network::discovery`], [`Network::streams`], [`Network::functions`],
//! [`Network::groups`].
//!
//! | option of [`NetworkBuilder`] | default |
//! |---|---|
//! | `with_relay_mode` | the public relays |
//! | `with_addresses` | a random port on all interfaces |
//! | `with_external_addresses` | those that the node finds out itself |
//! | `with_secret_key` | a random identity, or that of the storage |
//! | `with_mdns_discovery` | off |
//! | `with_discovery`, `with_streams`, `with_functions`, `with_groups` | the defaults of these |
//! | `with_storage` | nothing survives the node |
//! | `with_prometheus_addr` | metrics are not served |
//!
//! [`Network::shutdown`] leaves in order and waits, for some seconds at most; dropping a network
//! does the same in the background. [`close`] has the codes with which streams and connections end.

mod builder;
pub mod close;
mod collection_constructors;
mod declared_collections;
mod declared_functions;
mod declared_streams;
pub mod error;
#[cfg(feature = "prometheus")]
mod exporter;
mod node;
mod shutdown;

pub use builder::{NetworkBuilder, NetworkConfig};
#[doc(hidden)]
pub use declared_collections::{
    CollectionDef, CollectionFromDef, CollectionReader, CollectionWriter, ReaderDef, ReaderOf,
    WriterDef, WriterOf,
};
pub use declared_functions::{CallerOf, FunctionCaller, FunctionHandler, HandlerOf};
#[doc(hidden)]
pub use declared_streams::{
    ConsumerDef, ConsumerOf, ProducerDef, ProducerOf, StreamConsumer, StreamProducer,
};
pub use error::Error;
#[doc(no_inline)]
pub use error::Error as NetworkError;
pub use iroh::RelayMode;
pub use node::Network;
pub use shutdown::LeftBehind;

pub use crate::{
    net::{CloseReason, LocalNode, close::make_close_reason, link},
    primitives::{NetworkId, PeerId},
};
