//! Identity of members and histories.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    groups::Cursor,
    primitives::{Digest, PeerId, Short},
    tickets::wire::bounded,
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

    /// A member that is always the same.
    #[cfg(any(test, feature = "unstable-fuzz"))]
    pub(crate) const fn sample(byte: u8) -> Self {
        Self {
            peer: [byte; 32],
            incarnation: 0x1234 + byte as u64,
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
pub(crate) struct Branch {
    /// The earlier history.
    pub(crate) lineage: Lineage,
    /// The last entry that the new history has from the old one.
    pub(crate) last: Option<LogPoint>,
    /// Position of the last command of these.
    pub(crate) position: Cursor,
}

/// Branches that are remembered of a history; the oldest are forgotten first.
const MAX_ANCESTORS: usize = 16;

/// The histories that one continues, from its parent to the oldest that is remembered.
///
/// Members that were away while the group was reformed more than once find theirs in it, and keep
/// what they have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ancestry(Vec<Branch>);

impl Ancestry {
    /// The ancestry of a history that branches off from one that has this ancestry.
    pub(crate) fn extended(&self, branch: Branch) -> Self {
        let older = self.0.iter().take(MAX_ANCESTORS - 1).copied();
        Self(std::iter::once(branch).chain(older).collect())
    }

    /// Returns whether a history is among these.
    pub(crate) fn contains(&self, lineage: &Lineage) -> bool {
        self.branch_from(lineage).is_some()
    }

    /// These histories, the latest first.
    pub(crate) fn lineages(&self) -> impl Iterator<Item = Lineage> {
        self.0.iter().map(|branch| branch.lineage)
    }

    /// Points at which the history branched off from an earlier one, directly or by those in between.
    pub(crate) fn branch_from(&self, lineage: &Lineage) -> Option<&Branch> {
        self.0.iter().find(|branch| branch.lineage == *lineage)
    }
}

impl<'de> Deserialize<'de> for Ancestry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounded(deserializer, MAX_ANCESTORS).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::encoding;

    fn branch(n: u8) -> Branch {
        Branch {
            lineage: Digest::from_u8(n),
            last: None,
            position: Cursor::zero(),
        }
    }

    #[test]
    fn the_oldest_ancestors_are_forgotten_first() {
        let mut ancestry = Ancestry::default();
        for n in 0..=MAX_ANCESTORS {
            ancestry = ancestry.extended(branch(u8::try_from(n).unwrap()));
        }
        assert_eq!(ancestry.0.len(), MAX_ANCESTORS);
        assert_eq!(ancestry.branch_from(&Digest::from_u8(0)), None);
        assert_eq!(ancestry.branch_from(&Digest::from_u8(1)), Some(&branch(1)));
    }

    #[test]
    fn a_list_of_ancestors_without_end_is_refused() {
        let ancestry = |count: u8| {
            let branches: Vec<_> = (0..count).map(branch).collect();
            encoding::deserialize::<Ancestry>(&encoding::try_serialize(&branches).unwrap())
        };
        let max = u8::try_from(MAX_ANCESTORS).unwrap();
        assert!(ancestry(max).is_ok() && ancestry(max + 1).is_err());
    }

    /// A single parent was an option before.
    #[test]
    fn one_parent_is_read_as_it_was_written() {
        let of = |parent: Option<Branch>| {
            encoding::deserialize::<Ancestry>(&encoding::try_serialize(&parent).unwrap()).unwrap()
        };
        assert_eq!(of(None), Ancestry::default());
        assert_eq!(of(Some(branch(1))), Ancestry(vec![branch(1)]));
    }
}

#[cfg(test)]
#[path = "lineage_tests.rs"]
mod vectors;
