//! Messages between members about pieces.

use openraft::alias::{LogIdOf, VoteOf};
use serde::{Deserialize, Serialize};

use crate::{
    groups::log::{
        format::{self, SnapshotMeta},
        types::{Types, term_of},
    },
    primitives::Bytes,
};

/// A piece is cut when it is at least this large.
pub(crate) const PIECE_BYTES: usize = 128 * 1024;
/// A larger piece is neither sent nor accepted; it consists of one item or log entry.
pub(crate) const MAX_PIECE_BYTES: usize = 1024 * 1024 * 1024;
/// A piece travels in frames of this size, and one with the rest. Small ones, so that a receiver on a slow
/// line sees that something comes.
pub(crate) const FRAME_BYTES: usize = 64 * 1024;
/// Pieces that one snapshot may consist of.
pub(crate) const MAX_PIECES: usize = 1 << 20;
/// Pieces that are asked for at a time.
pub(crate) const RUN_PIECES: usize = 8;

/// A unit of transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Number of items or log entries in it.
    pub(crate) units: u64,
    pub(crate) bytes: u32,
    /// BLAKE3 of its bytes.
    pub(crate) digest: [u8; 32],
}

impl Piece {
    /// Describes bytes; `None` when they are too many.
    pub(crate) fn of(units: u64, bytes: &[u8]) -> Option<Self> {
        Some(Self {
            units,
            bytes: u32::try_from(bytes.len())
                .ok()
                .filter(|_| bytes.len() <= MAX_PIECE_BYTES)?,
            digest: blake3::hash(bytes).into(),
        })
    }

    /// Returns whether these are its bytes.
    pub(crate) fn matches(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes as usize && blake3::hash(bytes) == self.digest
    }
}

/// Names a snapshot of one history: by the last log entry that it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// Wholes that pieces are parts of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Whole {
    /// The log; units are its entries by consensus index.
    Log,
    /// A snapshot; units are its items.
    Snapshot(SnapshotId),
}

/// Requests of a member that lacks something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Keep this snapshot for as long as this stream is open. Not answered.
    Hold(SnapshotId),
    /// Layout of the committed log from this index on, in pieces. Asked of the leader.
    Layout { from: u64 },
    /// Pieces that lie side by side: from this unit on, each until before its end.
    Pieces {
        of: Whole,
        from: u64,
        ends: Vec<u64>,
    },
}

/// Precedes the pieces that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// They follow, each in frames of [`FRAME_BYTES`] at most.
    Coming,
    /// They are not, or no longer, here.
    Missing,
}

/// Pieces as they follow from a first unit on; `None` for what no honest member would announce.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) of: Whole,
    pub(crate) from: u64,
    pub(crate) pieces: Vec<Piece>,
    /// The unit after each piece.
    pub(crate) ends: Vec<u64>,
}

impl Plan {
    pub(crate) fn new(of: Whole, from: u64, pieces: Vec<Piece>) -> Option<Self> {
        if pieces.len() > MAX_PIECES {
            return None;
        }
        let mut ends = Vec::with_capacity(pieces.len());
        let mut end = from;
        for piece in &pieces {
            if piece.units == 0 || piece.bytes as usize > MAX_PIECE_BYTES {
                return None;
            }
            end = end.checked_add(piece.units)?;
            ends.push(end);
        }
        Some(Self {
            of,
            from,
            pieces,
            ends,
        })
    }

    /// The first unit of a piece.
    pub(crate) fn begin(&self, piece: usize) -> u64 {
        piece
            .checked_sub(1)
            .map_or(self.from, |before| self.ends[before])
    }

    /// Identifies all that the pieces will yield.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for piece in &self.pieces {
            hasher.update(&piece.units.to_le_bytes());
            hasher.update(&piece.digest);
        }
        hasher.finalize().into()
    }
}

/// The frames in which a piece travels.
pub(crate) fn frames(mut piece: Bytes) -> impl Iterator<Item = Bytes> {
    core::iter::from_fn(move || {
        let len = piece.len().min(FRAME_BYTES);
        (len > 0).then(|| piece.split_to(len))
    })
}

/// Returns whether a request for pieces is one that an honest member would make.
pub(crate) fn in_bounds(from: u64, ends: &[u64]) -> bool {
    let begins = core::iter::once(&from).chain(ends);
    !ends.is_empty() && ends.len() <= RUN_PIECES && begins.zip(ends).all(|(begin, end)| begin < end)
}

/// A piece that was fetched and found to be right.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) piece: Piece,
    pub(crate) bytes: Bytes,
}

/// The first frame of a snapshot transfer: which one it is. A [`Manifest`] follows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotHeader {
    #[serde(with = "format::vote")]
    pub(crate) vote: VoteOf<Types>,
    pub(crate) meta: SnapshotMeta,
    /// The group's own bookkeeping.
    pub(crate) head: Bytes,
}

impl SnapshotHeader {
    /// The snapshot's name; `None` for one of nothing.
    pub(crate) fn id(&self) -> Option<SnapshotId> {
        self.meta.last_log_id.as_ref().map(snapshot_id)
    }
}

pub(crate) fn snapshot_id(last: &LogIdOf<Types>) -> SnapshotId {
    SnapshotId {
        term: term_of(last),
        index: last.index(),
    }
}

/// The pieces of a snapshot, which the receiver fetches from the members that have them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest(pub(crate) Vec<Piece>);

/// Ends a snapshot transfer in place of a reply: the sender has discarded the log behind the
/// snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overrun {
    /// Size of the log entries that came since the snapshot.
    pub(crate) log_bytes: u64,
    /// Size up to which the sender keeps them.
    pub(crate) limit_bytes: u64,
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
