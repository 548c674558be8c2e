//! Errors of joining and of bonds.

use crate::{
    net::link::LinkError,
    primitives::{GroupId, PeerId, ShortFmtExt},
};

/// Failures to join a group, from
/// [`GroupBuilder::try_join`](crate::groups::GroupBuilder::try_join).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The group can't be advertised: the node's catalog entry holds 1024 groups, and 256 KiB in
    /// all. Others must go first.
    #[error("the local entry has no room: {len} {what}, at most {max} allowed")]
    EntryFull {
        /// The resource that would exceed its limit.
        what: &'static str,
        /// The amount with the addition.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A durable member was asked for, and this node has joined the group in memory already. Join as
    /// durable first, or drop the other handles before.
    #[error("group {} is joined on this node in memory, and can't be made durable", .0.short())]
    NotDurable(GroupId),
    /// This node has joined the group with another type of machine.
    #[error("group {} is joined on this node with another type of state machine", .0.short())]
    OtherMachine(GroupId),
}

/// Error of making a bond. Seen in diagnostics only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This node is no longer a member.
    #[error("the group is terminated")]
    GroupTerminated,
    /// The peer could not prove that it knows the group's key.
    #[error("the peer's proof of the group key is wrong")]
    InvalidGroupKeyProof,
    /// The peer does not carry the tickets that the group requires.
    #[error("the peer lacks a valid ticket")]
    Unauthorized,
    /// The link to the peer failed.
    #[error("the link failed")]
    Link(#[source] LinkError),
    /// There is a bond with this peer already.
    #[error("already bonded with {0}")]
    AlreadyBonded(PeerId),
    /// The peer did not know this node, and this node's entry could not be delivered to it.
    #[error("the peer's catalog could not be synced")]
    Discovery(#[source] crate::discovery::Error),
}

impl<E: Into<LinkError>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}
