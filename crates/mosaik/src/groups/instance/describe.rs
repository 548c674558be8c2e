//! Describes a member for reports.

use super::Instance;
use crate::{
    groups::model::{
        lineage::MemberId,
        member_info::Willingness,
        report::{BondReport, GroupReport, GroupRole, GroupStorage},
    },
    primitives::PeerId,
};

/// Bonds of one group that are reported.
const MAX_REPORTED_BONDS: usize = 64;
/// Voters and learners that are reported.
const MAX_REPORTED_MEMBERS: usize = 64;
/// Characters of a failure that are reported.
const MAX_FAILURE_CHARS: usize = 256;

impl Instance {
    /// Describes this member.
    pub(crate) fn describe(&self) -> GroupReport {
        let status = self.status();
        let leader = status.leader();
        let standing = self.lineage_standing();
        let view = self.node().map(|node| node.view().borrow().clone());
        let view = view.unwrap_or_default();
        let own = self.member();
        let role = if self.observes() {
            GroupRole::Observer
        } else if leader == Some(self.local()) {
            GroupRole::Leader
        } else if view.voters.contains(&own) {
            GroupRole::Voter
        } else if view.learners.contains(&own) {
            GroupRole::Learner
        } else {
            GroupRole::Joining
        };
        let is_missing = |member: &&MemberId| {
            // An observer has bonds with those that feed it only.
            **member != own
                && role != GroupRole::Observer
                && self.bonds().of_member(member).is_none()
        };
        let (bonds, bonds_left_off) = self.describe_bonds();
        let (voters, voters_left_off) = peers(view.voters.iter());
        let (learners, learners_left_off) = peers(view.learners.iter());
        let ancestry = standing.as_ref().map(|s| s.ancestry.lineages().collect());
        GroupReport {
            group: self.id(),
            label: self.profile().label().map(str::to_owned),
            machine: self.profile().machine().to_owned(),
            lineage: standing.map(|standing| standing.id),
            role,
            online: status.is_online(),
            halted: self.metrics().is_halted(),
            catching_up: self.is_catching_up(),
            leader,
            term: view.term,
            voters,
            learners,
            missing: peers(view.voters.iter().filter(is_missing)).0,
            committed: status.committed().0,
            log: self.commands_held(),
            discarded: *status.watch_discarded().borrow(),
            storage: if self.is_durable() {
                GroupStorage::Durable
            } else {
                GroupStorage::Memory
            },
            failure: self
                .failure_for_others()
                .map(|text| text.chars().take(MAX_FAILURE_CHARS).collect()),
            min_members: self.min_members() as u64,
            max_voters: self.config().consensus().max_voters as u64,
            bonds,
            left_off: bonds_left_off + voters_left_off + learners_left_off,
            joined_ms: u64::try_from(self.joined.elapsed().as_millis()).unwrap_or(u64::MAX),
            clock_ms: self.host.discovery.now_ms(),
            ancestry: ancestry.unwrap_or_default(),
        }
    }

    fn describe_bonds(&self) -> (Vec<BondReport>, u64) {
        let own = self.lineage_standing();
        let all = self.bonds().all();
        let described = all.iter().take(MAX_REPORTED_BONDS).map(|bond| {
            let theirs = bond.standing();
            let is_rival = match (&own, &theirs.lineage) {
                (Some(own), Some(theirs)) => {
                    own.id != theirs.id
                        && !own.ancestry.contains(&theirs.id)
                        && !theirs.ancestry.contains(&own.id)
                }
                _ => false,
            };
            BondReport {
                peer: bond.peer,
                rival: is_rival,
                committed: theirs.lineage.as_ref().map_or(0, |l| l.committed),
                lineage: theirs.lineage.map(|lineage| lineage.id),
                catching_up: theirs.catching_up,
                observes: theirs.willingness == Willingness::Observer,
            }
        });
        let left_off = all.len().saturating_sub(MAX_REPORTED_BONDS);
        (described.collect(), left_off as u64)
    }
}

/// The peers of members that are listed, and the number of the others.
fn peers<'m>(members: impl Iterator<Item = &'m MemberId>) -> (Vec<PeerId>, u64) {
    let mut peers: Vec<_> = members.filter_map(MemberId::peer).collect();
    peers.dedup();
    let left_off = peers.len().saturating_sub(MAX_REPORTED_MEMBERS);
    peers.truncate(MAX_REPORTED_MEMBERS);
    (peers, left_off as u64)
}
