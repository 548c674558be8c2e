//! Messages between members' consensus instances.

use openraft::{
    alias::{LogIdOf, VoteOf},
    raft::{
        AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    groups::{
        catch_up::wire::Piece,
        log::types::Types,
        model::{lineage::MemberId, member_stream::Gone},
    },
    primitives::{Bytes, encoding},
};

/// A question that is answered at once, on the bond's control stream.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Request {
    /// The leader's heartbeat: an append without entries.
    Heartbeat {
        append: AppendEntriesRequest<Types>,
        /// True if the leader hears of a majority. One that does not is no leader to rely on.
        backed: bool,
    },
    Vote(VoteRequest<Types>),
    /// Would the receiver vote for one whose log ends like this?
    PreVote {
        last: Option<LogIdOf<Types>>,
    },
    Transfer(TransferLeaderRequest<Types>),
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
        matched: LogIdOf<Types>,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Response {
    Heartbeat(StreamAppendResult<Types>),
    Vote(VoteResponse<Types>),
    PreVote {
        granted: bool,
    },
    Transfer(TransferLeaderResponse<Types>),
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
#[serde(bound = "")]
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
#[serde(bound = "")]
pub(crate) struct Sign {
    /// The leader's.
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
#[serde(bound = "")]
pub(crate) struct Layout {
    pub(crate) vote: VoteOf<Types>,
    /// The consensus index up to which the leader has applied.
    pub(crate) committed: u64,
    /// Pieces from the index on that was asked about; `None` when the log begins only later.
    pub(crate) pieces: Option<Vec<Piece>>,
}

/// The answer to a snapshot transfer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SnapshotReply(pub(crate) SnapshotResponse<Types>);

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

pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Bytes, Gone> {
    encoding::try_serialize(message).map_err(|_| Gone)
}

pub(crate) fn decode<T: DeserializeOwned>(frame: &Bytes) -> Result<T, Gone> {
    encoding::deserialize(frame).map_err(|_| Gone)
}
