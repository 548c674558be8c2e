//! What can go wrong with a command, a query or a bond.

use core::fmt;

use crate::{
    groups::StateMachine,
    net::link::LinkError,
    primitives::{PeerId, encoding::EncodeError},
};

/// Why commands were not carried out. What can be retried hands the commands back.
///
/// # Ambiguity
///
/// `Offline` normally means that the commands have no effect. There is one exception that no
/// protocol can avoid: a leader that was lost, or slow to answer, after it had received the commands
/// may have passed them on, and they may still be carried out later, once. And a member that fell so
/// far behind that it was brought up to date by a snapshot learns that its commands in there were
/// carried out, but not where: they come back as `Offline`, too. Commands for which that matters
/// should be idempotent or carry an id of their own.
pub enum CommandError<M: StateMachine> {
    /// No leader accepted the commands in time. Temporary; all commands of the call, in order.
    Offline(Vec<M::Command>),
    /// The call had no commands.
    NoCommands,
    /// This node is no longer a member, for good.
    GroupTerminated,
    /// A command has no encoding, or the call's commands are together too large (32 MiB).
    Encoding(Vec<M::Command>, EncodeError),
}

/// Why a query has no answer. What can be retried hands the query back.
pub enum QueryError<M: StateMachine> {
    /// The answer could not be confirmed in time, or this member can't answer now. Temporary.
    Offline(M::Query),
    /// This node is no longer a member, for good.
    GroupTerminated,
    /// The query has no encoding. Queries are answered by the member that is asked and are not
    /// encoded, so this is not returned at present.
    Encoding(M::Query, EncodeError),
}

impl<M: StateMachine> fmt::Debug for CommandError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(commands) => write!(f, "Offline({} commands)", commands.len()),
            Self::NoCommands => f.write_str("NoCommands"),
            Self::GroupTerminated => f.write_str("GroupTerminated"),
            Self::Encoding(commands, error) => {
                write!(f, "Encoding({} commands, {error:?})", commands.len())
            }
        }
    }
}

impl<M: StateMachine> fmt::Display for CommandError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => {
                f.write_str("Group is temporarily offline and cannot process commands")
            }
            Self::NoCommands => f.write_str("No commands provided"),
            Self::GroupTerminated => f.write_str("Group is terminated"),
            Self::Encoding(_, error) => write!(f, "Command encoding error: {error}"),
        }
    }
}

impl<M: StateMachine> core::error::Error for CommandError<M> {}

impl<M: StateMachine> fmt::Debug for QueryError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => f.write_str("Offline(1 query)"),
            Self::GroupTerminated => f.write_str("GroupTerminated"),
            Self::Encoding(_, error) => write!(f, "Encoding(1 query, {error:?})"),
        }
    }
}

impl<M: StateMachine> fmt::Display for QueryError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => {
                f.write_str("Group is temporarily offline and cannot process queries")
            }
            Self::GroupTerminated => f.write_str("Group is terminated"),
            Self::Encoding(_, error) => write!(f, "Query encoding error: {error}"),
        }
    }
}

impl<M: StateMachine> core::error::Error for QueryError<M> {}

/// Why a bond could not be made. Seen in diagnostics only.
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
    /// A bond with this peer stands already.
    #[error("already bonded with {0}")]
    AlreadyBonded(PeerId),
    /// The peer did not know this node, and could not be told of it.
    #[error("the peer's catalog could not be synced")]
    Discovery(#[source] crate::discovery::Error),
}

impl<E: Into<LinkError>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}
