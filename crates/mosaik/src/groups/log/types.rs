//! The one configuration of types that all groups share.

use core::fmt;

use openraft::{
    OptionalSend, RaftTypeConfig,
    alias::LogIdOf,
    impls::{BoxedErrorSource, InlineBatch, leader_id_std::LeaderId},
    raft::responder::Responder,
};
use serde::{Deserialize, Serialize};

use crate::{groups::model::lineage::MemberId, primitives::Bytes};

/// Names the types of the consensus library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Batch;
    type R = ();
    type NodeId = MemberId;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId<u64, MemberId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Batch, MemberId, ()>;
    type Entry = openraft::impls::Entry<
        <Self::LeaderId as openraft::vote::RaftLeaderId>::Committed,
        Self::Payload,
    >;
    type AsyncRuntime = openraft_rt_tokio::TokioRuntime;
    type Responder<T>
        = OnCompletion<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// Content of a log entry: consecutive commands of one member, and their origin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Member that submitted the commands, as it was when it joined.
    pub(crate) origin: MemberId,
    /// Its sequence number of the first command.
    pub(crate) first: u64,
    /// Number of commands.
    pub(crate) count: u32,
    /// The commands, see [`commands`](crate::groups::machine::commands).
    pub(crate) row: Bytes,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}+{}", self.origin, self.first, self.count)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({self}, {} B)", self.row.len())
    }
}

/// Runs a function with the fate of a proposal.
pub(crate) struct OnCompletion<T>(Box<dyn FnOnce(T) + Send>);

impl<T> OnCompletion<T> {
    pub(crate) fn new(then: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(then))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for OnCompletion<T> {
    fn on_commit(&mut self, _: LogIdOf<Types>) {}

    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// The term in which an entry was proposed.
pub(crate) fn term_of(id: &LogIdOf<Types>) -> u64 {
    id.committed_leader_id().term
}
