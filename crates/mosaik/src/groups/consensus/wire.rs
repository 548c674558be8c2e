//! Messages between members' consensus instances.
//!
//! Votes, ids of entries and entries are the consensus library's in memory, and
//! [our own](crate::groups::log::format) when they are encoded.

use openraft::{
    alias::{EntryOf, LogIdOf, VoteOf},
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendError, StreamAppendResult,
        TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    groups::{
        catch_up::wire::Piece,
        log::{format, types::Types},
        model::{lineage::MemberId, member_stream::Gone},
    },
    primitives::{Bytes, encoding},
};

/// A question that is answered at once, on the bond's control stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The leader's heartbeat: an append without entries.
    Heartbeat {
        append: AppendEntries,
        /// True if the leader hears of a majority. One that does not is no leader to rely on.
        backed: bool,
    },
    Vote(RequestVote),
    /// Would the receiver vote for one whose log ends like this?
    PreVote {
        #[serde(with = "format::optional_log_id")]
        last: Option<LogIdOf<Types>>,
    },
    Transfer(TransferLeader),
    /// Has the receiver given no vote after the one for the asking leader, in this term?
    Confirm {
        term: u64,
    },
    /// Request for the index that must be applied for a read that sees everything acknowledged so
    /// far. The sender has given no vote after the one for the receiver, in this term.
    ReadIndex {
        term: Option<u64>,
    },
    /// The receiver has acknowledged this entry to the sender, who leads, and lacks it now.
    SetBack {
        #[serde(with = "format::log_id")]
        matched: LogIdOf<Types>,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Heartbeat(AppendReply),
    Vote(VoteReply),
    PreVote {
        granted: bool,
    },
    Transfer(TransferReply),
    /// This member confirms.
    Confirmed(MemberId),
    /// Everything before this consensus index.
    ReadIndex {
        next: u64,
    },
    /// It is true, and this member takes part no more.
    SetBack,
    /// This member can't answer: it stops, or does not lead.
    Refused,
}

/// The leader's log from an entry on (dissertation, figure 3.1).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppendEntries {
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
    /// The entry before.
    #[serde(with = "format::optional_log_id")]
    pub(crate) previous: Option<LogIdOf<Types>>,
    #[serde(with = "format::entries")]
    pub(crate) entries: Vec<EntryOf<Types>>,
    #[serde(with = "format::optional_log_id")]
    pub(crate) commit: Option<LogIdOf<Types>>,
}

/// The answer to [`AppendEntries`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum AppendReply {
    /// The log agrees with the leader's up to this entry, which is stored.
    Stored(#[serde(with = "format::optional_log_id")] Option<LogIdOf<Types>>),
    Refused(AppendRefusal),
}

/// Reason for which entries were not stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum AppendRefusal {
    /// The log does not have this entry.
    Conflict(#[serde(with = "format::log_id")] LogIdOf<Types>),
    HigherVote(#[serde(with = "format::vote")] VoteOf<Types>),
}

/// A candidate's request for a vote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestVote {
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
    /// The last entry of the candidate's log.
    #[serde(with = "format::optional_log_id")]
    pub(crate) last: Option<LogIdOf<Types>>,
    /// True if the leader hands over to the candidate.
    pub(crate) transfer: bool,
}

/// The answer to [`RequestVote`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VoteReply {
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
    pub(crate) granted: bool,
    /// The last entry of the voter's log.
    #[serde(with = "format::optional_log_id")]
    pub(crate) last: Option<LogIdOf<Types>>,
}

/// A leader hands over to a member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TransferLeader {
    #[serde(with = "format::vote")]
    pub(crate) from: VoteOf<Types>,
    pub(crate) to: MemberId,
    /// The last entry of the leader's log.
    #[serde(with = "format::optional_log_id")]
    pub(crate) last: Option<LogIdOf<Types>>,
}

/// The answer to [`TransferLeader`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum TransferReply {
    Accepted,
    Refused(TransferRefusal),
}

/// Reason for which a member does not take over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum TransferRefusal {
    VoteChanged {
        #[serde(with = "format::vote")]
        expected: VoteOf<Types>,
        #[serde(with = "format::vote")]
        actual: VoteOf<Types>,
    },
    LogNotFlushed {
        #[serde(with = "format::optional_log_id")]
        expected: Option<LogIdOf<Types>>,
        #[serde(with = "format::optional_log_id")]
        actual: Option<LogIdOf<Types>>,
    },
}

/// Asks a source to be fed with its log; the first frame of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Follow {
    /// The consensus index of the first entry that the observer lacks.
    pub(crate) from: u64,
    /// True if the observer prefers to begin with a snapshot, also where the log would do.
    pub(crate) snapshot: bool,
}

/// Message of a source to an observer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Fed {
    Sign(Sign),
    /// A part of a batch. All of them make a vector of entries that the source has applied, in order,
    /// under the leader that was named last.
    Part {
        bytes: Bytes,
        is_last: bool,
    },
}

/// Knowledge of a source about the leader and about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sign {
    /// The leader's.
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
    /// Time since the leader was heard of, in milliseconds; `None` if it was not.
    pub(crate) age_ms: Option<u32>,
    /// The consensus index up to which the leader has committed, as far as is known.
    pub(crate) commit: Option<u64>,
    /// Path of the log: a member, and observers, the source last.
    pub(crate) path: Vec<MemberId>,
}

/// An observer has taken a batch in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The consensus index of the first entry that it lacks now.
    pub(crate) next: u64,
}

/// Layout of the rest of the leader's log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Layout {
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
    /// The consensus index up to which the leader has applied.
    pub(crate) committed: u64,
    /// Pieces from the index on that was asked about; `None` when the log begins only later.
    pub(crate) pieces: Option<Vec<Piece>>,
}

/// The answer to a snapshot transfer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotReply {
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
}

/// Commands that a member asks the leader to put into the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Forward {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) row: Bytes,
    /// A leader may have had them before.
    pub(crate) again: bool,
}

/// The commands are in the leader's log, were overtaken there, or can't be told from a repetition.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) first: u64,
    pub(crate) count: u32,
    /// The number and the index of the first that is new there.
    pub(crate) new: Option<(u64, u64)>,
    /// They may have been applied before, and are not put into the log.
    pub(crate) forgotten: bool,
}

impl From<AppendEntriesRequest<Types>> for AppendEntries {
    fn from(request: AppendEntriesRequest<Types>) -> Self {
        Self {
            vote: request.vote,
            previous: request.prev_log_id,
            entries: request.entries,
            commit: request.leader_commit,
        }
    }
}

impl From<AppendEntries> for AppendEntriesRequest<Types> {
    fn from(append: AppendEntries) -> Self {
        Self {
            vote: append.vote,
            prev_log_id: append.previous,
            entries: append.entries,
            leader_commit: append.commit,
        }
    }
}

impl From<StreamAppendResult<Types>> for AppendReply {
    fn from(result: StreamAppendResult<Types>) -> Self {
        match result {
            Ok(stored) => Self::Stored(stored),
            Err(StreamAppendError::Conflict(id)) => Self::Refused(AppendRefusal::Conflict(id)),
            Err(StreamAppendError::HigherVote(vote)) => {
                Self::Refused(AppendRefusal::HigherVote(vote))
            }
        }
    }
}

impl From<AppendReply> for StreamAppendResult<Types> {
    fn from(reply: AppendReply) -> Self {
        match reply {
            AppendReply::Stored(stored) => Ok(stored),
            AppendReply::Refused(AppendRefusal::Conflict(id)) => {
                Err(StreamAppendError::Conflict(id))
            }
            AppendReply::Refused(AppendRefusal::HigherVote(vote)) => {
                Err(StreamAppendError::HigherVote(vote))
            }
        }
    }
}

impl From<VoteRequest<Types>> for RequestVote {
    fn from(request: VoteRequest<Types>) -> Self {
        Self {
            vote: request.vote,
            last: request.last_log_id,
            transfer: request.leadership_transfer,
        }
    }
}

impl From<RequestVote> for VoteRequest<Types> {
    fn from(request: RequestVote) -> Self {
        Self {
            leadership_transfer: request.transfer,
            ..Self::new(request.vote, request.last)
        }
    }
}

impl From<VoteResponse<Types>> for VoteReply {
    fn from(response: VoteResponse<Types>) -> Self {
        Self {
            vote: response.vote,
            granted: response.vote_granted,
            last: response.last_log_id,
        }
    }
}

impl From<VoteReply> for VoteResponse<Types> {
    fn from(reply: VoteReply) -> Self {
        Self::new(reply.vote, reply.last, reply.granted)
    }
}

impl From<TransferLeaderRequest<Types>> for TransferLeader {
    fn from(request: TransferLeaderRequest<Types>) -> Self {
        Self {
            from: *request.from_leader(),
            to: *request.to_node_id(),
            last: request.last_log_id().copied(),
        }
    }
}

impl From<TransferLeader> for TransferLeaderRequest<Types> {
    fn from(transfer: TransferLeader) -> Self {
        Self::new(transfer.from, transfer.to, transfer.last)
    }
}

impl From<TransferLeaderResponse<Types>> for TransferReply {
    fn from(response: TransferLeaderResponse<Types>) -> Self {
        match response {
            Ok(()) => Self::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Self::Refused(TransferRefusal::VoteChanged { expected, actual })
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Self::Refused(TransferRefusal::LogNotFlushed { expected, actual })
            }
        }
    }
}

impl From<TransferReply> for TransferLeaderResponse<Types> {
    fn from(reply: TransferReply) -> Self {
        match reply {
            TransferReply::Accepted => Ok(()),
            TransferReply::Refused(TransferRefusal::VoteChanged { expected, actual }) => {
                Err(TransferLeaderError::VoteChanged { expected, actual })
            }
            TransferReply::Refused(TransferRefusal::LogNotFlushed { expected, actual }) => {
                Err(TransferLeaderError::LogNotFlushed { expected, actual })
            }
        }
    }
}

impl From<SnapshotResponse<Types>> for SnapshotReply {
    fn from(response: SnapshotResponse<Types>) -> Self {
        Self {
            vote: response.vote,
        }
    }
}

impl From<SnapshotReply> for SnapshotResponse<Types> {
    fn from(reply: SnapshotReply) -> Self {
        Self::new(reply.vote)
    }
}

/// Highest term that is believed of anybody. Terms count elections, so no group comes near it; and a
/// candidate adds one to the highest that it has seen.
const MAX_TERM: u64 = 1 << 62;

/// Returns whether a vote may have come about by elections.
pub(crate) fn is_in_bounds(vote: &VoteOf<Types>) -> bool {
    vote.leader_id.term <= MAX_TERM
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Bytes, Gone> {
    encoding::try_serialize(message).map_err(|_| Gone)
}

pub(crate) fn decode<T: DeserializeOwned>(frame: &Bytes) -> Result<T, Gone> {
    encoding::deserialize(frame).map_err(|_| Gone)
}

#[cfg(test)]
#[path = "recorded/wire_tests.rs"]
mod tests;
