//! The state machine that a group replicates.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    groups::{Cursor, LogReplaySync, StateSync, Term},
    primitives::{Datum, Digest, GroupId, NetworkId, UniqueId},
};

/// A deterministic machine that every member of a group holds a copy of.
///
/// All members apply the same commands in the same order. Nothing else may influence the state:
/// no clock, no randomness, no iteration order that differs between processes.
///
/// # Panics
///
/// A panic in [`apply`](StateMachine::apply) ends the group on that node, and only there: the
/// state that it leaves behind can't be trusted. A panic in [`query`](StateMachine::query) is the
/// caller's of [`Group::query`](crate::Group::query).
///
/// # Examples
///
/// ```
/// use mosaik::groups::{ApplyContext, LogReplaySync, StateMachine};
///
/// #[derive(Default)]
/// struct Counter(i64);
///
/// impl StateMachine for Counter {
///     type Command = i64;
///     type Query = ();
///     type QueryResult = i64;
///     type StateSync = LogReplaySync<Self>;
///
///     fn signature(&self) -> mosaik::UniqueId {
///         mosaik::id!("counter.v1")
///     }
///
///     fn apply(&mut self, command: i64, _: &dyn ApplyContext) {
///         self.0 += command;
///     }
///
///     fn query(&self, (): ()) -> i64 {
///         self.0
///     }
///
///     fn state_sync(&self) -> Self::StateSync {
///         LogReplaySync::default()
///     }
/// }
/// ```
pub trait StateMachine: Sized + Send + Sync + 'static {
    /// Command: a change of the state.
    type Command: Command;
    /// Query about the state.
    type Query: Query;
    /// Result of a query.
    type QueryResult: QueryResult;
    /// Strategy that brings a newcomer to the current state.
    type StateSync: StateSync<Machine = Self>;

    /// Identifies the machine's type and everything in its configuration that members must agree
    /// on. Part of the group id; read when the group is joined.
    fn signature(&self) -> UniqueId;

    /// Carries out one command. Called once for every command of the log, in order, on every
    /// member; a slow one holds up the group's next commands on this node, and its queries.
    fn apply(&mut self, command: Self::Command, ctx: &dyn ApplyContext);

    /// Carries out commands that were proposed together, in order. Default: one by one. What the
    /// batches are is part of the log, and so the same on every member.
    fn apply_batch(
        &mut self,
        commands: impl IntoIterator<Item = Self::Command>,
        ctx: &dyn ApplyContext,
    ) {
        for command in commands {
            self.apply(command, ctx);
        }
    }

    /// Answers a query. Runs beside other queries, never beside `apply`, which waits for it, in the
    /// task that asks.
    fn query(&self, query: Self::Query) -> Self::QueryResult;

    /// Returns the strategy that brings a newcomer to the current state. Read when the group is
    /// joined.
    fn state_sync(&self) -> Self::StateSync;

    /// Returns the member's preference about leading. Each member's own affair; read when the group
    /// is joined. Default: [`LeadershipPreference::Normal`].
    fn leadership_preference(&self) -> LeadershipPreference {
        LeadershipPreference::Normal
    }

    /// Goes back to the state before the first command, and returns `true`; or returns `false` and
    /// changes nothing, which is the default.
    ///
    /// Called when the history that this member holds has lost against a rival one (two groups
    /// that were founded apart have met), before the winner's history is applied from the start.
    /// A machine that can't be reset stays offline then, and answers no query.
    fn reset(&mut self) -> bool {
        false
    }
}

/// Bounds on the commands of a [`StateMachine`]; every datum that can be shared and cloned is one.
pub trait Command: Datum + Sync + Clone {}
impl<T: Datum + Sync + Clone> Command for T {}

/// Bounds on the queries of a [`StateMachine`].
pub trait Query: Datum + Sync + Clone {}
impl<T: Datum + Sync + Clone> Query for T {}

/// Bounds on the query results of a [`StateMachine`].
pub trait QueryResult: Datum + Sync + Clone {}
impl<T: Datum + Sync + Clone> QueryResult for T {}

/// A value that commands, queries and results can be made of.
pub trait StateMachineMessage:
    Clone + Send + Sync + Serialize + DeserializeOwned + 'static
{
}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> StateMachineMessage for T {}

/// Position in the history of the commands being applied. The same on every member.
///
/// Command *k* (from 0) of a batch has the index `committed().index() + k + 1`.
pub trait ApplyContext {
    /// The position before the first command of this batch.
    fn committed(&self) -> Cursor;
    /// The position of this batch's last command.
    fn log_position(&self) -> Cursor;
    /// The term in which these commands were accepted.
    fn current_term(&self) -> Term;
    /// The group.
    fn group_id(&self) -> &GroupId;
    /// The network.
    fn network_id(&self) -> &NetworkId;
}

/// Preference of a member about leading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeadershipPreference {
    /// Votes and may lead.
    #[default]
    Normal,
    /// Votes and may lead, but waits `factor` times as long before it stands for election or
    /// founds a group. Zero counts as one.
    Reluctant {
        /// Factor for the timeouts.
        factor: u32,
    },
    /// Follows, answers and forwards, but never votes, leads or counts, and does not belong to the
    /// [`Membership`](crate::groups::Membership). An observer has bonds with a few of the others,
    /// four by itself, and gets what is committed from the nearest of them, a member or another
    /// observer: hundreds of them cost the leader hardly more than a few.
    Observer,
}

impl LeadershipPreference {
    /// Reluctant by a factor of three.
    pub const fn reluctant() -> Self {
        Self::Reluctant { factor: 3 }
    }

    pub(crate) fn factor(self) -> u32 {
        match self {
            Self::Reluctant { factor } => factor.max(1),
            Self::Normal | Self::Observer => 1,
        }
    }

    pub(crate) fn is_observer(self) -> bool {
        self == Self::Observer
    }
}

/// A machine that does nothing: for groups that only elect a leader and know their members.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct NoOp;

impl StateMachine for NoOp {
    type Command = ();
    type Query = ();
    type QueryResult = ();
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        Digest::from("mosaik.groups.noop.v1")
    }

    fn apply(&mut self, (): (), _: &dyn ApplyContext) {}

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }

    fn reset(&mut self) -> bool {
        true
    }
}
