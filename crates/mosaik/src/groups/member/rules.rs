//! Who founds, who joins, who votes, who wins: decisions from what is known, and nothing else.

use std::collections::BTreeSet;

use crate::{
    groups::{
        lineage::MemberId,
        raft::View,
        standing::{LineageStanding, Standing, Willingness},
    },
    primitives::PeerId,
};

/// What a member without history knows about founding.
#[derive(Debug)]
pub(crate) struct Founding<'a> {
    pub(crate) own: &'a Standing,
    /// The standings of all members with a bond.
    pub(crate) bonded: &'a [Standing],
    pub(crate) min_members: usize,
    pub(crate) max_voters: usize,
    /// Nothing new is to be expected, or the wait is over.
    pub(crate) settled: bool,
}

/// The voters of a new group, if this member is to found it now.
pub(crate) fn found(founding: &Founding<'_>) -> Option<BTreeSet<MemberId>> {
    let Founding { own, bonded, .. } = founding;
    let known = bonded.iter().any(|standing| standing.lineage.is_some());
    if known || !founding.settled || bonded.len() + 1 < founding.min_members {
        return None;
    }
    let mut eligible: Vec<_> = bonded
        .iter()
        .chain([*own])
        .filter(|standing| standing.willingness != Willingness::Never)
        .map(|standing| (standing.willingness, standing.member))
        .collect();
    eligible.sort_unstable();
    let (_, founder) = eligible.first()?;
    if *founder != own.member {
        return None;
    }
    let voters = eligible.into_iter().take(founding.max_voters.max(1));
    Some(voters.map(|(_, member)| member).collect())
}

/// What a leader knows about its members.
#[derive(Debug)]
pub(crate) struct Committee<'a> {
    pub(crate) own: MemberId,
    pub(crate) view: &'a View,
    /// Standings of members with a bond, with their peers, that belong to this history or to none.
    pub(crate) bonded: &'a [(PeerId, Standing)],
    /// Members that have asked to leave, or were unreachable for too long.
    pub(crate) gone: &'a BTreeSet<MemberId>,
    /// Members whose log is nearly complete.
    pub(crate) matched: &'a BTreeSet<MemberId>,
    pub(crate) max_voters: usize,
}

/// A change of the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    AddLearners(BTreeSet<MemberId>),
    /// Votes given and taken; who loses the vote leaves.
    Voters {
        promoted: BTreeSet<MemberId>,
        removed: BTreeSet<MemberId>,
    },
    RemoveLearners(BTreeSet<MemberId>),
}

/// The next change that a leader should make, if any.
pub(crate) fn next_change(committee: &Committee<'_>) -> Option<Change> {
    let Committee {
        own,
        view,
        bonded,
        gone,
        matched,
        max_voters,
    } = committee;
    if view.joint {
        // A predecessor could not bring its change to the end.
        return Some(Change::Voters {
            promoted: BTreeSet::new(),
            removed: BTreeSet::new(),
        });
    }
    // Another incarnation of a bonded peer has lost its log; it will never answer again.
    let superseded = |member: &MemberId| {
        bonded
            .iter()
            .any(|(peer, standing)| member.is_of(peer) && standing.member != *member)
    };
    let leaves =
        |member: &&MemberId| *member != own && (gone.contains(member) || superseded(member));
    let removed: BTreeSet<_> = view.voters.iter().filter(leaves).copied().collect();
    let room = max_voters
        .max(&1)
        .saturating_sub(view.voters.len() - removed.len());
    let candidates = bonded.iter().filter(|(_, standing)| {
        standing.willingness != Willingness::Never
            && view.learners.contains(&standing.member)
            && matched.contains(&standing.member)
            && !gone.contains(&standing.member)
    });
    let promoted: BTreeSet<_> = candidates
        .map(|(_, standing)| standing.member)
        .take(room)
        .collect();
    if !promoted.is_empty() || !removed.is_empty() {
        return Some(Change::Voters { promoted, removed });
    }
    let strangers: BTreeSet<_> = bonded
        .iter()
        .filter(|(_, standing)| !standing.catching_up)
        .map(|(_, standing)| standing.member)
        .filter(|member| !view.contains(member) && !gone.contains(member))
        .collect();
    if !strangers.is_empty() {
        return Some(Change::AddLearners(strangers));
    }
    let removed: BTreeSet<_> = view.learners.iter().filter(leaves).copied().collect();
    (!removed.is_empty()).then_some(Change::RemoveLearners(removed))
}

/// Whether a history gives way to a rival one.
///
/// The one with a live majority wins; then the one with more commands; then the smaller id. Only
/// who speaks for its history (its leader, or anybody once it has none) may ask; then two
/// histories never give way to each other at once, because what a leader says of its own history
/// only grows.
pub(crate) fn gives_way(own: &LineageStanding, rival: &LineageStanding) -> bool {
    if own.id == rival.id || !rival.alive {
        return false;
    }
    if !own.alive || rival.parent.is_some_and(|parent| parent.lineage == own.id) {
        return true;
    }
    (rival.committed, own.id) > (own.committed, rival.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn peer(n: u8) -> PeerId {
        iroh::SecretKey::from_bytes(&[n; 32]).public()
    }

    fn standing(n: u8) -> Standing {
        Standing {
            member: MemberId::fresh(peer(n)),
            ..Standing::default()
        }
    }

    fn lineage(id: u8, committed: u64, alive: bool) -> LineageStanding {
        LineageStanding {
            id: Digest::from_u8(id),
            parent: None,
            committed,
            alive,
            leading: false,
        }
    }

    fn sorted(n: u8) -> Vec<Standing> {
        let mut standings: Vec<_> = (1..=n).map(standing).collect();
        standings.sort_by_key(|standing| standing.member);
        standings
    }

    fn founding<'a>(own: &'a Standing, bonded: &'a [Standing]) -> Founding<'a> {
        Founding {
            own,
            bonded,
            min_members: 1,
            max_voters: 5,
            settled: true,
        }
    }

    #[test]
    fn exactly_one_of_several_founds() {
        let all = sorted(3);
        for (i, own) in all.iter().enumerate() {
            let mut bonded = all.clone();
            bonded.remove(i);
            let voters = found(&founding(own, &bonded));
            assert_eq!(voters.is_some(), i == 0);
            assert!(voters.is_none_or(|voters| voters.len() == 3));
        }
    }

    #[test]
    fn nobody_founds_where_a_history_exists_or_members_are_missing() {
        let all = sorted(2);
        let mut other = all[1].clone();
        let bonded = [other.clone()];
        let base = founding(&all[0], &bonded);
        assert!(found(&base).is_some());
        assert!(
            found(&Founding {
                settled: false,
                ..base
            })
            .is_none()
        );
        let base = founding(&all[0], &bonded);
        assert!(
            found(&Founding {
                min_members: 3,
                ..base
            })
            .is_none()
        );
        other.lineage = Some(lineage(1, 0, false));
        assert!(found(&founding(&all[0], &[other])).is_none());
    }

    #[test]
    fn the_willing_found_and_observers_never() {
        let mut all = sorted(2);
        all[0].willingness = Willingness::Reluctant;
        let (reluctant, normal) = (&all[0], &all[1]);
        assert!(found(&founding(reluctant, std::slice::from_ref(normal))).is_none());
        assert!(found(&founding(normal, std::slice::from_ref(reluctant))).is_some());
        let mut observer = standing(9);
        observer.willingness = Willingness::Never;
        assert!(found(&founding(&observer, &[])).is_none());
        let voters = found(&founding(normal, &[observer.clone()])).unwrap();
        assert!(!voters.contains(&observer.member));
    }

    #[test]
    fn a_leader_adds_then_promotes_then_replaces() {
        let (own, second, third) = (standing(1), standing(2), standing(3));
        let mut view = View {
            leading: true,
            settled: true,
            voters: [own.member].into(),
            ..View::default()
        };
        let bonded = [(peer(2), second.clone()), (peer(3), third.clone())];
        let change = |view: &View, matched: &[MemberId], gone: &[MemberId], max_voters| {
            next_change(&Committee {
                own: own.member,
                view,
                bonded: &bonded,
                gone: &gone.iter().copied().collect(),
                matched: &matched.iter().copied().collect(),
                max_voters,
            })
        };
        let both = BTreeSet::from([second.member, third.member]);
        assert_eq!(
            change(&view, &[], &[], 5),
            Some(Change::AddLearners(both.clone()))
        );
        view.learners = both;
        assert_eq!(change(&view, &[], &[], 5), None);
        let promoted = |member: MemberId, removed: &[MemberId]| {
            Some(Change::Voters {
                promoted: [member].into(),
                removed: removed.iter().copied().collect(),
            })
        };
        assert_eq!(
            change(&view, &[second.member], &[], 5),
            promoted(second.member, &[])
        );
        view.voters.insert(second.member);
        view.learners.remove(&second.member);
        let matched = [second.member, third.member];
        assert_eq!(
            change(&view, &matched, &[], 2),
            None,
            "the committee is full"
        );
        assert_eq!(
            change(&view, &matched, &[second.member], 2),
            promoted(third.member, &[second.member]),
            "a stand-in takes over"
        );
        // A restarted peer is a new member; its old incarnation goes.
        let old = MemberId::fresh(peer(2));
        view.voters = [own.member, old].into();
        view.learners.clear();
        assert_eq!(
            change(&view, &[], &[], 5),
            Some(Change::Voters {
                promoted: BTreeSet::new(),
                removed: [old].into()
            })
        );
    }

    #[test]
    fn rivals() {
        let (few, many) = (lineage(1, 3, true), lineage(2, 9, true));
        assert!(gives_way(&few, &many) && !gives_way(&many, &few));
        let halted = LineageStanding {
            alive: false,
            ..many
        };
        assert!(gives_way(&halted, &few) && !gives_way(&few, &halted));
        let (a, b) = (lineage(1, 3, true), lineage(2, 3, true));
        assert!(
            gives_way(&b, &a) && !gives_way(&a, &b),
            "the smaller id stays"
        );
        assert!(!gives_way(&a, &a));
        let child = LineageStanding {
            parent: Some(crate::groups::lineage::Parent {
                lineage: many.id,
                shared: 0,
            }),
            ..few
        };
        assert!(gives_way(&many, &child));
    }
}
