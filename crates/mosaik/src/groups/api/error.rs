//! Errors of commands and queries.

use core::fmt;

use crate::{groups::StateMachine, primitives::encoding::EncodeError};

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
