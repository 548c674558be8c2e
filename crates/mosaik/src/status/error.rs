//! Errors of asking for a status.

use crate::net::link::LinkError;

/// Errors of asking a node for its status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node could not be reached, does not know the protocol, or gave no answer.
    #[error("the node can't be asked")]
    Link(#[source] LinkError),
    /// The node tells nobody about itself, or wants a ticket that this node lacks.
    #[error("the node does not tell this one about itself")]
    NotAllowed,
    /// The node has answered too much lately. Try again in some seconds.
    #[error("the node has been asked too much")]
    TooManyRequests,
    /// The node did not answer in time.
    #[error("the node did not answer in time")]
    TimedOut,
    /// The answer makes no sense.
    #[error("the answer can't be read")]
    Undecodable,
    /// This node shuts down.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Returns whether the same question may be answered later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Link(_) | Self::TooManyRequests | Self::TimedOut)
    }
}
