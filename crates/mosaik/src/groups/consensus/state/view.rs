//! View of a member on its group's consensus.

use std::collections::BTreeSet;

use crate::groups::{Membership, model::lineage::MemberId};

/// State of the group's consensus, as seen by this member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) term: u64,
    pub(crate) leader: Option<MemberId>,
    /// This member leads, as far as it knows.
    pub(crate) leading: bool,
    /// The last term in which this member has stood for election, as far as it remembers; 0 for
    /// none.
    pub(crate) stood: u64,
    /// Members with a vote, in the latest membership.
    pub(crate) voters: BTreeSet<MemberId>,
    /// Members without.
    pub(crate) learners: BTreeSet<MemberId>,
    /// True if that membership is committed, so that another change may be made.
    pub(crate) settled: bool,
    /// True if it is a transition between two memberships, which must be brought to its end.
    pub(crate) joint: bool,
    /// The voters of that membership; during a transition, of both.
    pub(crate) configs: Vec<BTreeSet<MemberId>>,
    /// The consensus index of that membership.
    pub(crate) membership: Option<u64>,
}

impl View {
    /// Membership of the group, once it is committed.
    pub(crate) fn membership(&self) -> Option<Membership> {
        let peers =
            |members: &BTreeSet<MemberId>| members.iter().filter_map(MemberId::peer).collect();
        (self.settled && !self.joint).then(|| Membership {
            voters: peers(&self.voters),
            learners: peers(&self.learners),
        })
    }

    pub(crate) fn contains(&self, member: &MemberId) -> bool {
        self.voters.contains(member) || self.learners.contains(member)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.voters.iter().chain(&self.learners)
    }
}
