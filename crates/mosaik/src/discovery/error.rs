//! Errors of discovery.

use crate::{
    net::{
        close::DifferentNetwork,
        link::{LinkError, OpenError, RecvError, SendError},
    },
    primitives::{NetworkId, PeerId, ShortFmtExt},
    tickets::LimitError,
};

/// A failure of a discovery operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry can only be signed with the key of the peer that it describes.
    #[error("the secret key of {} can't sign the entry of {}", .0.short(), .1.short())]
    InvalidSecretKey(PeerId, PeerId),
    /// The peer belongs to another network.
    #[error("the peer is not in network {}", .local_network.short())]
    DifferentNetwork {
        /// This node's network.
        local_network: NetworkId,
        /// Network of the peer, as reported; all zeros when the peer proved only that it is another
        /// one, since a network id is never disclosed to strangers.
        remote_network: NetworkId,
    },
    /// The signature does not belong to the entry.
    #[error("invalid signature")]
    InvalidSignature,
    /// The gossip topic could not be joined.
    #[error("joining the gossip topic failed")]
    GossipJoin(#[from] iroh_gossip::api::ApiError),
    /// An entry keeps the peer id that it was made for: current, attempted.
    #[error("the entry of {} can't become one of {}", .0.short(), .1.short())]
    PeerIdChanged(PeerId, PeerId),
    /// The peer could not be reached or the exchange broke off.
    #[error("exchange with the peer failed")]
    Link(#[from] LinkError),
    /// This node's entry has no room for the change, and stays as it is.
    #[error("this node's entry is full, {what}: {len}, at most {max} allowed")]
    EntryFull {
        /// The resource that would exceed its limit.
        what: &'static str,
        /// The amount with the addition.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Something else failed.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// The network was shut down.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// A peer that belongs elsewhere is an error of its own.
    pub(super) fn name_network(self, local_network: &NetworkId) -> Self {
        match &self {
            Self::Link(link) if link.close_reason().is_some_and(|r| r == DifferentNetwork) => {
                Self::DifferentNetwork {
                    local_network: *local_network,
                    remote_network: NetworkId::zero(),
                }
            }
            _ => self,
        }
    }
}

impl From<LimitError> for Error {
    fn from(LimitError { what, len, max }: LimitError) -> Self {
        Self::EntryFull { what, len, max }
    }
}

macro_rules! from_link_parts {
    ($($part:ident),*) => {$(
        impl From<$part> for Error {
            fn from(error: $part) -> Self {
                if error.is_cancelled() { Self::Cancelled } else { Self::Link(error.into()) }
            }
        }
    )*};
}

from_link_parts!(OpenError, RecvError, SendError);
