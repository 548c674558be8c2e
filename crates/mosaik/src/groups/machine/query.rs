//! Options and results of queries.

use core::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

use crate::groups::{Index, StateMachine};

/// Freshness that the answer to a query must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// From the local machine as it is, without any network traffic. May be stale.
    Weak,
    /// Linearizable: reflects every command whose `execute` resolved anywhere before the call.
    /// Costs one round trip from the leader to a majority, and from other members one more to the
    /// leader; where the asking member and the leader are a majority, that one is enough.
    Strong,
}

/// The answer to a query, and the position of the state that it was made from.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "M::QueryResult: Serialize",
    deserialize = "M::QueryResult: serde::de::DeserializeOwned"
))]
pub struct QueryResultAt<M: StateMachine> {
    /// The answer.
    pub result: M::QueryResult,
    /// Number of commands that had been applied when it was made.
    pub at_position: Index,
}

impl<M: StateMachine> QueryResultAt<M> {
    /// The answer alone.
    pub fn into(self) -> M::QueryResult {
        self.result
    }

    /// The answer.
    pub const fn result(&self) -> &M::QueryResult {
        &self.result
    }

    /// Number of commands that had been applied when it was made.
    pub const fn state_position(&self) -> Index {
        self.at_position
    }
}

impl<M: StateMachine> Clone for QueryResultAt<M> {
    fn clone(&self) -> Self {
        Self {
            result: self.result.clone(),
            at_position: self.at_position,
        }
    }
}

impl<M: StateMachine> Deref for QueryResultAt<M> {
    type Target = M::QueryResult;

    fn deref(&self) -> &M::QueryResult {
        &self.result
    }
}

impl<M: StateMachine> fmt::Debug for QueryResultAt<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryResultAt")
            .field("at_position", &self.at_position)
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> fmt::Display for QueryResultAt<M>
where
    M::QueryResult: fmt::Display,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.result.fmt(f)
    }
}

impl<M: StateMachine> PartialEq<M::QueryResult> for QueryResultAt<M>
where
    M::QueryResult: PartialEq,
{
    fn eq(&self, other: &M::QueryResult) -> bool {
        self.result == *other
    }
}

/// Another name of [`QueryResultAt`].
pub type CommittedQueryResult<M> = QueryResultAt<M>;
