//! Membership of a group.

use std::collections::BTreeSet;

use crate::primitives::PeerId;

/// Membership of a group, as one of its members knows it; from
/// [`Group::membership`](crate::Group::membership).
///
/// Only memberships that are committed are told: a quorum is a majority of these voters, whether
/// they can be reached or not. Empty while a member belongs to no history, as before the first
/// leader. A node that has come back empty and stands beside its former self counts once. Observers
/// follow the group and don't belong to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Membership {
    /// Members with a vote, `max_voters` at most.
    pub voters: BTreeSet<PeerId>,
    /// Members that replicate without a vote: newcomers and stand-ins.
    pub learners: BTreeSet<PeerId>,
}

impl Membership {
    /// Returns whether a peer belongs to the group, with or without a vote.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.voters.contains(peer) || self.learners.contains(peer)
    }
}
