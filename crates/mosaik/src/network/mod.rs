//! The composition root: one node of one network, with all its subsystems on one endpoint.

mod builder;
mod declared_functions;
mod declared_streams;
pub mod error;
mod node;

pub use builder::{NetworkBuilder, NetworkConfig};
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

pub use crate::{
    net::{CloseReason, LocalNode, close, close::make_close_reason, link},
    primitives::{NetworkId, PeerId},
};
