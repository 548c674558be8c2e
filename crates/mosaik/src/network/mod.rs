//! The composition root: one node of one network, with all its subsystems on one endpoint.

mod builder;
pub mod error;
#[cfg(feature = "prometheus")]
mod exporter;
mod node;

pub use builder::{NetworkBuilder, NetworkConfig};
pub use error::Error;
#[doc(no_inline)]
pub use error::Error as NetworkError;
pub use iroh::RelayMode;
pub use node::Network;

pub use crate::{
    net::{CloseReason, LocalNode, close, close::make_close_reason, link},
    primitives::{NetworkId, PeerId},
};
