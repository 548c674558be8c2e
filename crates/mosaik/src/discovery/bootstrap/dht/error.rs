//! Errors of the DHT.

/// Errors of opening a [`Client`](super::Client).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// None of the nodes to start from has an address; the machine may be offline.
    #[error("no DHT node to start from could be resolved")]
    NoNodes,
    /// The client's socket could not be bound.
    #[error("the DHT socket could not be bound")]
    Bind(#[source] std::io::Error),
}

/// Errors of reading a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No DHT node answered in time.
    #[error("no DHT node answered")]
    NoAnswer,
    /// The slot holds something that is not a record.
    #[error("invalid record: {0}")]
    Invalid(&'static str),
}

/// Errors of writing a slot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Another node has written it meanwhile.
    #[error("the slot was written by another node")]
    Taken,
    /// Its sequence number can't be increased any more.
    #[error("the slot is at the end of its sequence numbers")]
    Exhausted,
    /// The packet could not be made.
    #[error("the record does not fit a packet")]
    Packet,
    /// The DHT did not take it.
    #[error("the DHT did not store the record: {0}")]
    Query(String),
    /// It took too long.
    #[error("no DHT node answered")]
    NoAnswer,
}
