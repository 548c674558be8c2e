//! Identity of members and histories.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    groups::Cursor,
    primitives::{Digest, PeerId, Short},
};

/// A member: a peer together with its log store.
///
/// A node that comes back with an empty log gets another incarnation and is another member: what
/// the old one had acknowledged or voted for no longer counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct MemberId {
    /// The peer id's bytes. Kept raw: making a public key of them costs a point decompression.
    peer: [u8; 32],
    incarnation: u64,
}

impl MemberId {
    /// A member with a fresh log store.
    pub(crate) fn fresh(peer: PeerId) -> Self {
        Self {
            peer: *peer.as_bytes(),
            incarnation: rand::random(),
        }
    }

    pub(crate) fn is_of(&self, peer: &PeerId) -> bool {
        self.peer == *peer.as_bytes()
    }

    /// Returns whether both are of one peer.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.peer == other.peer
    }

    /// The peer; `None` for bytes that are no public key.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        PeerId::from_bytes(&self.peer).ok()
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:04x}", Short(&self.peer), self.incarnation & 0xffff)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names one history: random for each founding. Members of different lineages never exchange
/// consensus messages.
pub(crate) type Lineage = Digest;

/// Position of an entry in the log of a history.
///
/// Of two logs of one history, the one with the greater last entry has everything that the other
/// has and that was ever committed (the dissertation, section 3.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogPoint {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// Branching point of a history, in an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) lineage: Lineage,
    /// The last entry that the new history has from the old one.
    pub(crate) last: Option<LogPoint>,
    /// Position of the last command of these.
    pub(crate) position: Cursor,
}
