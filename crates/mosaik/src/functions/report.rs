//! Reports of a node's functions, for its status. They cross the network as
//! [records](crate::primitives::record).

use serde::{Deserialize, Serialize};

use crate::primitives::{FunctionId, record::codes, text};

/// One handler or caller on a node.
///
/// All counts are totals since it was opened. A rate is the difference of two reports, divided by
/// that of their times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionReport {
    /// The function, with what its tickets add to the id.
    pub function: FunctionId,
    /// Name that the program gave it.
    #[serde(with = "text::optional")]
    pub label: Option<String>,
    /// Short names of the types of request and response.
    #[serde(with = "text::one")]
    pub types: String,
    /// Side of the function that this is.
    pub side: FunctionSide,
    /// Calls that were answered, with a value or with an application error.
    pub answered: u64,
    /// Calls that were admitted and not answered; or calls that ended without an answer.
    pub failed: u64,
    /// Calls that were refused, on a handler.
    pub refused: u64,
    /// Of those, the ones whose entry or tickets did not suffice.
    pub not_allowed: u64,
    /// Calls that run now.
    pub running: u64,
    /// Calls that may run at once, on a handler; `None` without a limit.
    pub max_running: Option<u64>,
    /// Attempts at handlers, on a caller; more than calls where they had to move on.
    pub attempts: u64,
    /// Handlers that a caller may call.
    pub eligible: u64,
    /// Peers in the caller's catalog that serve the function, with or without the tickets that it
    /// requires.
    pub handlers_known: u64,
    /// Time since a call was last refused, on a handler.
    #[serde(default)]
    pub refused_ago_ms: Option<u64>,
    /// Time since a call was last not allowed, on a handler.
    #[serde(default)]
    pub not_allowed_ago_ms: Option<u64>,
}

codes! {
    /// Side of a function.
    pub enum FunctionSide {
        /// Another one.
        Unknown = "unknown",
        /// It serves.
        Handler = "handler",
        /// It calls.
        Caller = "caller",
    }
}
