//! Writing rights under a write key: this member's own, and those of its peers.

use std::sync::{Arc, atomic::Ordering};

use super::core::Instance;
use crate::{
    groups::{
        WriteKey,
        bond::{
            access::{self, Access},
            core::BondCore,
        },
        model::{
            lineage::MemberId,
            member_info::{LineageStanding, MemberInfo, Willingness},
        },
    },
    primitives::{PeerId, ShortFmtExt},
};

impl Instance {
    pub(crate) fn write_key(&self) -> Option<WriteKey> {
        *self.write_key.lock()
    }

    /// Another handle of this node has brought a write key. The first one stays.
    pub(super) fn learn_write_key(&self, key: WriteKey) {
        let known = *self.write_key.lock().get_or_insert(key);
        if known != key {
            tracing::error!(
                group = %self.id().short(),
                "two handles on this node have different write keys: the first one is used"
            );
        }
    }

    /// True of a peer that has not proven the write key that this member has.
    pub(crate) fn is_guest(&self, bond: &BondCore) -> bool {
        bond.access != Access::Proven && self.write_key().is_some()
    }

    /// The bonds of peers that are no guests.
    pub(crate) fn trusted_bonds(&self) -> Vec<Arc<BondCore>> {
        let mut bonds = self.bonds.all();
        if self.write_key().is_some() {
            bonds.retain(|bond| bond.access == Access::Proven);
        }
        bonds
    }

    /// Info of a peer, as far as it may be believed: a guest neither votes nor leads. It may
    /// observe.
    pub(crate) fn standing_of(&self, bond: &BondCore) -> MemberInfo {
        let mut standing = bond.standing();
        if self.is_guest(bond) && standing.willingness.votes() {
            standing.willingness = Willingness::Never;
        }
        standing
    }

    /// Returns whether a member has a bond with this one, and is no guest.
    pub(crate) fn is_trusted(&self, member: &MemberId) -> bool {
        let bond = self.bonds.of_member(member);
        bond.is_some_and(|bond| !self.is_guest(&bond))
    }

    /// Standings of the peers, as far as a founding has to mind them: a guest's history counts only
    /// while somebody may write it.
    pub(crate) fn standings_for_founding(&self) -> Vec<MemberInfo> {
        let bonds = self.bonds.all();
        bonds
            .iter()
            .map(|bond| {
                let told = bond.standing();
                let mut standing = self.standing_of(bond);
                if self.is_guest(bond) && !access::is_written(&told) {
                    standing.lineage = None;
                }
                standing
            })
            .collect()
    }

    /// True of a leader, by its bond, under which commands of this member pass.
    pub(super) fn may_write_under(&self, leader: &BondCore) -> bool {
        leader.access != Access::Unverified || self.write_key().is_some()
    }

    /// True while this member lacks the right to write: others have a write key, and it has none or
    /// another one.
    ///
    /// Under a leader, that leader decides; without one, what the others claim, which settles only
    /// after a while: see [`settle_right`](Self::settle_right).
    pub(crate) fn is_write_refused(&self) -> bool {
        let has_leader = self.status.leader().is_some();
        (has_leader || self.refusal_settled.load(Ordering::Relaxed)) && self.lacks_right()
    }

    /// Notes whether this member has lacked the right to write for so long that it isn't for want of
    /// bonds. Called by the worker from time to time.
    pub(crate) fn settle_right(&self, settled: bool) {
        self.refusal_settled.store(settled, Ordering::Relaxed);
    }

    /// As [`is_write_refused`](Self::is_write_refused), by what is known right now: as long as this is
    /// so the member begins no history and votes for none.
    pub(crate) fn lacks_right(&self) -> bool {
        let bonds = self.bonds.all();
        let leader = self.status.leader();
        if self.write_key().is_some() {
            // A leader that this member follows has the key as well.
            return leader.is_none() && access::is_contested(&witnesses(&bonds));
        }
        let leaders = leader.and_then(|leader| self.bonds.get(&leader));
        if leaders.is_some_and(|bond| !self.may_write_under(&bond)) {
            return true;
        }
        let mut keyed = bonds.iter().filter(|b| b.access == Access::Unverified);
        match self.node() {
            Some(node) if leader.is_some() || node.votes() => {
                let own = node.lineage();
                keyed.any(|bond| access::is_rival(&bond.standing(), &own))
            }
            // With the content of others, or with none.
            _ => keyed.next().is_some(),
        }
    }

    /// Peers that would write as this member does, and have another write key or, where only one of the
    /// two has one, none.
    pub(crate) fn peers_with_another_key(&self) -> Vec<PeerId> {
        let has_key = self.write_key().is_some();
        if !has_key && self.observes() {
            return Vec::new();
        }
        let differs = |bond: &&Arc<BondCore>| {
            let differs = bond.access == Access::Unverified || self.is_guest(bond);
            differs && bond.standing().willingness != Willingness::Observer
        };
        let bonds = self.bonds.all();
        bonds.iter().filter(differs).map(|bond| bond.peer).collect()
    }

    /// True of a history, told of by a bonded peer, that holders of a write key write while this
    /// member has none: it wins over this member's own.
    pub(crate) fn is_outranked_by(&self, rival: &LineageStanding) -> bool {
        let own = self.node().map(|node| node.lineage());
        let has_key = self.write_key().is_some();
        let is_theirs = |bond: &Arc<BondCore>| {
            let told = bond.standing();
            let theirs = told.lineage.as_ref().is_some_and(|l| l.id == rival.id);
            theirs && own.is_some_and(|own| access::is_rival(&told, &own))
        };
        let bonds = self.bonds.all();
        let mut keyed = bonds.iter().filter(|b| b.access == Access::Unverified);
        !has_key && keyed.any(is_theirs)
    }
}

fn witnesses(bonds: &[Arc<BondCore>]) -> Vec<(Access, MemberInfo)> {
    let witness = |bond: &Arc<BondCore>| (bond.access, bond.standing());
    bonds.iter().map(witness).collect()
}
