//! Writing rights under a write key: this member's own, and those of its peers.

use std::sync::Arc;

use super::core::Instance;
use crate::{
    groups::{
        WriteKey,
        bond::{access::Access, core::BondCore},
        model::member_info::{MemberInfo, Willingness},
    },
    primitives::ShortFmtExt,
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

    /// Standings of the peers, as far as a founding has to mind them: guests that another member of
    /// this key is bonded beside can't keep a history from beginning.
    pub(crate) fn standings_for_founding(&self) -> Vec<MemberInfo> {
        let bonds = self.bonds.all();
        bonds
            .iter()
            .map(|bond| {
                let mut standing = self.standing_of(bond);
                if self.is_guest(bond) {
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
    /// Under a leader, that leader decides. Without one, a member with a key looks whether anybody
    /// shares it: alone among members that write without it, or with another, it would only begin a
    /// second content. A member without a key and without a history looks whether there is one.
    pub(crate) fn is_write_refused(&self) -> bool {
        let has_key = self.write_key().is_some();
        if let Some(leader) = self.status.leader() {
            let bond = self.bonds.get(&leader).filter(|_| leader != self.local);
            return bond.is_some_and(|bond| !self.may_write_under(&bond));
        }
        let bonds = self.bonds.all();
        if !has_key {
            let unverified = |bond: &Arc<BondCore>| bond.access == Access::Unverified;
            return self.node.read().is_none() && bonds.iter().any(unverified);
        }
        let writes = |bond: &Arc<BondCore>| {
            let lives = bond.standing().lineage.is_some_and(|theirs| theirs.alive);
            bond.access == Access::Unverified || lives
        };
        !bonds.iter().any(|bond| bond.access == Access::Proven) && bonds.iter().any(writes)
    }
}
