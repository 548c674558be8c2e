//! Errors of building a network.

use iroh::endpoint::{BindError, InvalidSocketAddr};

pub use crate::net::CloseReason;
use crate::{discovery, functions_layer, groups, net::EndpointError, streams_layer as streams};

/// Errors of building a [`Network`](crate::Network).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The builder was given no network id.
    #[error("Missing network ID")]
    MissingNetworkId,
    /// A socket could not be bound.
    #[error("Bind error: {0}")]
    Bind(#[from] BindError),
    /// An address to bind is not valid.
    #[error("Invalid address: {0}")]
    InvalidAddress(#[from] InvalidSocketAddr),
    /// The configuration of discovery is not valid.
    #[error("Discovery config error: {0}")]
    DiscoveryConfig(#[from] discovery::ConfigBuilderError),
    /// The configuration of streams is not valid.
    #[error("Streams config error: {0}")]
    StreamsConfig(#[from] streams::ConfigBuilderError),
    /// The configuration of functions is not valid.
    #[error("Functions config error: {0}")]
    FunctionsConfig(#[from] functions_layer::ConfigBuilderError),
    /// The configuration of groups is not valid.
    #[error("Groups config error: {0}")]
    GroupsConfig(#[from] groups::ConfigBuilderError),
    /// The node's storage can't be used.
    #[error("Storage error: {0}")]
    Storage(#[from] groups::StoreError),
    /// The exporter could not be started.
    #[cfg(feature = "prometheus")]
    #[error("Prometheus exporter error: {0}")]
    Prometheus(String),
}

impl From<EndpointError> for Error {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Bind(error) => Self::Bind(error),
            EndpointError::InvalidAddress(error) => Self::InvalidAddress(error),
        }
    }
}
