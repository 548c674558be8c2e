//! Writing rights of a bonded peer, where a write key is in use.
//!
//! | this member | the peer | the peer is taken as |
//! |---|---|---|
//! | has no write key | anything | a member like any other |
//! | has one | has proven it | a member like any other |
//! | has one | has proven none, or another one | a *guest*: it replicates and asks for reads, and whatever else it says or answers, about votes, leaders, histories or commands, is refused |

use super::proof::{Challenge, Role};
use crate::groups::{
    WriteKey,
    model::{
        lineage::Lineage,
        member_info::{MemberInfo, Willingness},
    },
};

/// Evidence that a bonded peer has the write key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The peer has proven no write key.
    None,
    /// The peer has sent a proof that this member can't verify: it has no key, or another one.
    Unverified,
    /// The peer has proven this member's write key.
    Proven,
}

impl Access {
    /// Examines what a peer in a role has sent.
    pub(crate) fn examine(
        challenge: &Challenge,
        role: Role,
        own: Option<&WriteKey>,
        proof: Option<&[u8; 32]>,
    ) -> Self {
        match (proof, own) {
            (None, _) => Self::None,
            (Some(proof), Some(key)) if challenge.verify_write(key, role, proof) => Self::Proven,
            (Some(_), _) => Self::Unverified,
        }
    }
}

/// Returns whether somebody may write the history that a guest tells of: it has a leader, or the guest
/// has a vote in it. Who holds a dead history without a vote has it from holders of the key.
///
/// Holders of the key begin no second history beside it: what it holds would be lost, in the end.
pub(crate) fn is_written(guest: &MemberInfo) -> bool {
    let lives = guest.lineage.as_ref().is_some_and(|theirs| theirs.alive);
    lives || (guest.lineage.is_some() && guest.willingness.votes())
}

/// Returns whether a member with a write key and without a leader must take it that others write what
/// it would, with another key or without one.
///
/// Once another holder of the key has a history, that is the one, whatever guests say. Readers need no
/// key, so what they have says nothing about who writes it.
pub(crate) fn is_contested(bonded: &[(Access, MemberInfo)]) -> bool {
    let proven = |(access, _): &&(Access, MemberInfo)| *access == Access::Proven;
    let is_alone = !bonded.iter().any(|bond| proven(&bond));
    let mut holders = bonded.iter().filter(proven);
    if holders.any(|(_, standing)| standing.lineage.is_some()) {
        return false;
    }
    let mut writers = bonded.iter().filter(|(access, standing)| {
        *access != Access::Proven && standing.willingness != Willingness::Observer
    });
    writers.any(|(access, standing)| {
        is_written(standing) || (is_alone && *access == Access::Unverified)
    })
}

/// Returns whether a holder of a write key tells of another live history than this one.
pub(crate) fn is_rival(holder: &MemberInfo, own: &Lineage) -> bool {
    let theirs = holder.lineage.as_ref();
    theirs.is_some_and(|theirs| theirs.alive && theirs.id != *own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest,
        groups::model::{lineage::Ancestry, member_info::LineageStanding},
    };

    fn member(willingness: Willingness, history: Option<bool>) -> MemberInfo {
        MemberInfo {
            willingness,
            lineage: history.map(|alive| LineageStanding {
                id: Digest::from_u8(1),
                ancestry: Ancestry::default(),
                committed: 3,
                last: None,
                alive,
                leading: false,
            }),
            ..MemberInfo::default()
        }
    }

    #[test]
    fn whoever_may_write_without_the_key_keeps_its_holders_waiting() {
        use Willingness::{Never, Normal, Observer};
        let (fresh, live, dead) = (None, Some(true), Some(false));
        let contested = |bonded: &[(Access, Willingness, Option<bool>)]| {
            let bonded: Vec<_> = bonded
                .iter()
                .map(|(access, willingness, history)| (*access, member(*willingness, *history)))
                .collect();
            is_contested(&bonded)
        };
        assert!(!contested(&[]));
        assert!(!contested(&[(Access::None, Normal, fresh)]), "it may begin");
        assert!(contested(&[(Access::None, Normal, live)]));
        assert!(contested(&[(Access::None, Normal, dead)]), "it has a vote");
        assert!(contested(&[(Access::None, Never, live)]));
        assert!(!contested(&[(Access::None, Never, dead)]), "it had a key");
        // Readers follow holders of the key as well.
        assert!(!contested(&[(Access::None, Observer, live)]));
        assert!(!contested(&[(Access::Unverified, Observer, live)]));
        assert!(contested(&[(Access::Unverified, Normal, fresh)]));
        // Two that have the key and nothing else begin no second history either.
        let second = (Access::Proven, Normal, fresh);
        assert!(contested(&[second, (Access::None, Normal, live)]));
        assert!(contested(&[second, (Access::Unverified, Normal, live)]));
        // A bare claim of another key does not keep two of them apart.
        assert!(!contested(&[second, (Access::Unverified, Normal, fresh)]));
        // The history of a holder is the one.
        for history in [live, dead] {
            let holder = (Access::Proven, Normal, history);
            assert!(!contested(&[holder, (Access::None, Normal, live)]));
        }
    }
}
