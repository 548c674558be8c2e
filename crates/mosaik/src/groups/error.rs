//! Errors of commands, queries and bonds.

use core::fmt;

use crate::{
    groups::StateMachine,
    net::link::LinkError,
    primitives::{GroupId, PeerId, ShortFmtExt, encoding::EncodeError},
};

/// Error of submitting commands. A variant that can be retried hands the commands back.
///
/// | error | were they applied? | to do |
/// |---|---|---|
/// | [`Offline`](Self::Offline) | no, and they never will be | call again |
/// | [`Unknown`](Self::Unknown) | perhaps, or they still will be, once | look at the state, or call again if the commands are idempotent |
/// | [`Undecodable`](Self::Undecodable) | no, and they never will be; the others of the call were | mend the encoding |
/// | [`Encoding`](Self::Encoding), [`NoCommands`](Self::NoCommands) | no | mend the call |
/// | [`GroupTerminated`](Self::GroupTerminated) | perhaps, where others go on | join again |
///
/// # Ambiguity
///
/// A leader that was lost, or slow to answer, after it had received the commands may have passed
/// them on. No protocol can avoid that; such a call ends as `Unknown`. So does the rare call of a
/// member that was brought up to date by a snapshot, or that repeats it to a leader, so late that the
/// group has forgotten the outcome: it remembers the latest commands of 2048 members. Until then a
/// repeated command is recognised: a call that had its commands applied while its leader was lost
/// ends with their positions.
pub enum CommandError<M: StateMachine> {
    /// The commands were not applied, and never will be: no leader accepted them in time. Temporary;
    /// all commands of the call, in order.
    Offline(Vec<M::Command>),
    /// The commands may have been applied, or may still be, once: a leader may have had them when
    /// `forward_timeout` was over. All commands of the call, in order.
    Unknown(Vec<M::Command>),
    /// These commands were encoded, but can't be decoded, and were passed over on every member. The
    /// other commands of the call were applied.
    Undecodable(Vec<M::Command>),
    /// The call had no commands.
    NoCommands,
    /// This node is no longer a member, for good.
    GroupTerminated,
    /// A command has no encoding, or the call's commands are together too large (32 MiB).
    Encoding(Vec<M::Command>, EncodeError),
}

impl<M: StateMachine> CommandError<M> {
    /// The commands that come back, in order; none where the error has none.
    pub fn into_inner(self) -> Vec<M::Command> {
        match self {
            Self::Offline(commands)
            | Self::Unknown(commands)
            | Self::Undecodable(commands)
            | Self::Encoding(commands, _) => commands,
            Self::NoCommands | Self::GroupTerminated => Vec::new(),
        }
    }

    /// Returns whether the same call may simply be made again: nothing of it was applied, or will
    /// be, and the reason is temporary.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Offline(_))
    }
}

/// Error of a query. A variant that can be retried hands the query back.
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
            Self::Unknown(commands) => write!(f, "Unknown({} commands)", commands.len()),
            Self::Undecodable(commands) => write!(f, "Undecodable({} commands)", commands.len()),
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
            Self::Unknown(_) => {
                f.write_str("Commands were sent, and whether they are applied is unknown")
            }
            Self::Undecodable(commands) => {
                write!(
                    f,
                    "{} commands were not decodable and were not applied",
                    commands.len()
                )
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
