//! Rules of founding, joining, voting and merging: decisions from what is known, and nothing else.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    groups::{
        Cursor,
        consensus::View,
        model::{
            lineage::{Branch, MemberId},
            member_info::{LineageStanding, MemberInfo, Willingness},
        },
    },
    primitives::PeerId,
};

/// Knowledge of a member without history about founding.
#[derive(Debug)]
pub(crate) struct Founding<'a> {
    pub(crate) own: &'a MemberInfo,
    /// The standings of all members with a bond.
    pub(crate) bonded: &'a [MemberInfo],
    pub(crate) min_members: usize,
    pub(crate) max_voters: usize,
    /// Nothing new is to be expected, or the wait is over.
    pub(crate) settled: bool,
}

/// The voters of a new group, if this member is to found it now.
pub(crate) fn found(founding: &Founding<'_>) -> Option<BTreeSet<MemberId>> {
    let Founding { own, bonded, .. } = founding;
    let known = bonded.iter().any(|standing| standing.lineage.is_some());
    if known || !founding.settled {
        return None;
    }
    let mut eligible: Vec<_> = bonded
        .iter()
        .chain([*own])
        .filter(|standing| standing.willingness.votes())
        .map(|standing| (standing.willingness, standing.member))
        .collect();
    // Observers don't vote, so they don't keep a second history from being founded either.
    if eligible.len() < founding.min_members {
        return None;
    }
    eligible.sort_unstable();
    let (_, founder) = eligible.first()?;
    if *founder != own.member {
        return None;
    }
    let voters = eligible.into_iter().take(founding.max_voters.max(1));
    Some(voters.map(|(_, member)| member).collect())
}

/// Knowledge of a leader about its members.
#[derive(Debug)]
pub(crate) struct Committee<'a> {
    pub(crate) own: MemberId,
    pub(crate) view: &'a View,
    /// Standings of members with a bond, with their peers, that belong to this history or to none.
    pub(crate) bonded: &'a [(PeerId, MemberInfo)],
    /// Members that have asked to leave, or were unreachable for too long.
    pub(crate) gone: &'a BTreeSet<MemberId>,
    /// Members whose log is nearly complete.
    pub(crate) matched: &'a BTreeSet<MemberId>,
    /// Voters that keep their vote as long as nobody can take their place: those that have a bond and
    /// have acknowledged nothing for too long, and those that were stopped to come back.
    pub(crate) replaceable: &'a BTreeSet<MemberId>,
    /// Peers that are not added now: they were as other members, too often and too lately.
    pub(crate) waiting: &'a BTreeSet<PeerId>,
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
        replaceable,
        waiting,
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
    // A voter that was started again as an observer: it is added again, without a vote.
    let abstains = |member: &MemberId| {
        let never =
            |standing: &MemberInfo| standing.member == *member && !standing.willingness.votes();
        member != own && bonded.iter().any(|(_, standing)| never(standing))
    };
    let observes = |standing: &MemberInfo| standing.willingness == Willingness::Observer;
    let loses_vote = |member: &&MemberId| leaves(member) || abstains(member);
    let mut removed: BTreeSet<_> = view.voters.iter().filter(loses_vote).copied().collect();
    let room = max_voters
        .max(&1)
        .saturating_sub(view.voters.len() - removed.len());
    let replaceable: Vec<_> = replaceable
        .iter()
        .filter(|member| {
            view.voters.contains(member) && !removed.contains(member) && *member != own
        })
        .copied()
        .collect();
    let candidates = bonded.iter().filter(|(_, standing)| {
        standing.willingness.votes()
            && view.learners.contains(&standing.member)
            && matched.contains(&standing.member)
            && !gone.contains(&standing.member)
    });
    let promoted: BTreeSet<_> = candidates
        .map(|(_, standing)| standing.member)
        .take(room + replaceable.len())
        .collect();
    // A voter that only seems to be there makes room, if somebody takes its place: without a stand-in
    // the others need it as much as before, should it come to itself. It is added again without a vote.
    let replaced = promoted.len().saturating_sub(room);
    removed.extend(replaceable.into_iter().take(replaced));
    if !promoted.is_empty() || !removed.is_empty() {
        return Some(Change::Voters { promoted, removed });
    }
    // A member that was started again as an observer.
    let retired = |member: &&MemberId| {
        let mut standings = bonded.iter().map(|(_, standing)| standing);
        standings.any(|standing| standing.member == **member && observes(standing))
    };
    let removed = view
        .learners
        .iter()
        .filter(|member| leaves(member) || retired(member));
    let removed: BTreeSet<_> = removed.copied().collect();
    // Before any is added: a peer that comes as ever new members would be as many learners.
    if !removed.is_empty() {
        return Some(Change::RemoveLearners(removed));
    }
    let strangers: BTreeSet<_> = bonded
        .iter()
        .filter(|(peer, standing)| {
            !standing.catching_up && !observes(standing) && !waiting.contains(peer)
        })
        .map(|(_, standing)| standing.member)
        .filter(|member| !view.contains(member) && !gone.contains(member))
        .collect();
    (!strangers.is_empty()).then_some(Change::AddLearners(strangers))
}

/// Knowledge and content of a member when it meets a rival of its history.
#[derive(Debug)]
pub(crate) struct Stake<'a> {
    pub(crate) own: &'a LineageStanding,
    /// True if the rival history is that of members with a write key, and this member has none.
    pub(crate) outranked: bool,
    /// Commands in its log, committed or not.
    pub(crate) held: u64,
    /// Position of the last one of them.
    pub(crate) position: Cursor,
    /// Time for which the history has had neither a leader nor a majority of its voters, as far as
    /// the member can see; `None` while it has one of them.
    pub(crate) halted: Option<Duration>,
    /// Time for which the rival history has been seen alive. Such a statement may be older than its
    /// leader's death.
    pub(crate) seen: Duration,
    /// True if the log is on disk.
    pub(crate) durable: bool,
    pub(crate) patience: Patience,
}

/// Times for which a history that has commands is not given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Against a rival that may not live any more.
    pub(crate) confirmed: Duration,
    /// While it is halted, for one that continues it, with all that the member has.
    pub(crate) continued: Duration,
    /// While it is halted, for any other one.
    pub(crate) replaced: Duration,
}

/// Verdict on a history that has met a rival one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stays,
    /// It stays, and takes no commands for a moment: under equal load each leader is told less of the
    /// other history than it holds of its own. Once one of them rests, both know how far it has come,
    /// and one gives way.
    Rests,
    GivesWay,
    /// It has lost, but is on the member's disk: that is not deleted without an operator's
    /// decision.
    IsKept,
}

/// Decides whether a history is given up for a rival one.
///
/// One that is alive wins over one that is not; then the one with more commands wins; then the
/// smaller id. While the own one is alive only its leader may ask.
///
/// One that was written without the write key that the rival one's members have gives way to it however
/// many commands either has: holders of the key never give way to others, so both would stay.
///
/// One on disk does not give way by itself, unless it is empty or the rival one continues it with all
/// that it has.
///
/// Two histories never give way to each other. A leader compares what the rival one is said to have
/// *committed* with all that stands in its *own log*. Nobody in its history can have told of more
/// than that, so if both leaders gave way, each history would have more than the other.
pub(crate) fn judge(stake: &Stake<'_>, rival: &LineageStanding) -> Verdict {
    let Stake { own, patience, .. } = stake;
    let held = stake.held.max(own.committed);
    if own.id == rival.id || !rival.alive {
        return Verdict::Stays;
    }
    if held == 0 && !own.alive {
        return Verdict::GivesWay;
    }
    let confirmed = stake.seen >= patience.confirmed;
    let lost = if stake.durable && held > 0 {
        Verdict::IsKept
    } else {
        Verdict::GivesWay
    };
    if own.alive {
        return if confirmed && (stake.outranked || (rival.committed, own.id) > (held, rival.id)) {
            lost
        } else if stake.seen >= patience.confirmed * 2
            && own.id > rival.id
            && lost == Verdict::GivesWay
        {
            Verdict::Rests
        } else {
            Verdict::Stays
        };
    }
    let Some(halted) = stake.halted else {
        // It is only between two leaders.
        return Verdict::Stays;
    };
    // Either way it has every command of this member's log that was acknowledged: behind a later
    // entry there is all that was, and of one term the log is one leader's, so that no command is
    // missing before a later one. Between terms, positions of commands prove nothing.
    let has_all = |branch: &Branch| {
        let of_one_term = stake.position.term() == branch.position.term();
        own.last <= branch.last || (of_one_term && stake.position <= branch.position)
    };
    if rival.ancestry.branch_from(&own.id).is_some_and(has_all) {
        return if halted >= patience.continued {
            Verdict::GivesWay
        } else {
            Verdict::Stays
        };
    }
    if !confirmed || halted < patience.replaced {
        Verdict::Stays
    } else {
        lost
    }
}

/// Turn of a member to found a new history from its own, after the majority was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    /// A voter that is bonded has as much of the history, and the greater id; or somebody has done
    /// it already, and is to be followed.
    Later,
    /// It is not for this member, or a voter that is bonded has more of the history: what it alone
    /// has may have been acknowledged.
    Never,
}

/// Decides which of the remaining members founds a new history. The log decides: the member with
/// the greatest last entry has everything that was acknowledged and that any of them has.
pub(crate) fn reforms(
    own: &MemberInfo,
    bonded: &[MemberInfo],
    voters: &BTreeSet<MemberId>,
) -> Turn {
    let Some(lineage) = own.lineage.as_ref().map(|lineage| lineage.id) else {
        return Turn::Never;
    };
    let claim = |standing: &MemberInfo| {
        let theirs = standing.lineage.as_ref()?;
        let able = standing.willingness.votes() && voters.contains(&standing.member);
        (able && theirs.id == lineage).then_some((theirs.last, standing.member))
    };
    let Some(own) = claim(own) else {
        return Turn::Never;
    };
    let has_reformed = |standing: &MemberInfo| {
        let theirs = standing.lineage.as_ref();
        theirs.is_some_and(|theirs| theirs.ancestry.branch_from(&lineage).is_some())
    };
    let best = bonded.iter().filter_map(claim).max();
    if best.is_some_and(|(last, _)| last > own.0) {
        Turn::Never
    } else if best > Some(own) || bonded.iter().any(has_reformed) {
        Turn::Later
    } else {
        Turn::First
    }
}

/// The bonded member of this one's history with the greatest last entry, if that is behind this
/// member's, and it can found a new history itself: with a vote or without.
pub(crate) fn survivor_ahead(own: &MemberInfo, bonded: &[MemberInfo]) -> Option<MemberId> {
    let own = own.lineage.as_ref()?;
    let claims = bonded.iter().filter_map(|standing| {
        let theirs = standing.lineage.as_ref()?;
        let able = standing.willingness.votes() && !standing.catching_up;
        (able && theirs.id == own.id).then_some((theirs.last, standing.member))
    });
    let (last, member) = claims.max()?;
    (last > own.last).then_some(member)
}

/// Returns whether a majority of the voters of every configuration is among these members.
pub(crate) fn is_quorum(configs: &[BTreeSet<MemberId>], present: &BTreeSet<MemberId>) -> bool {
    let has_majority =
        |voters: &BTreeSet<MemberId>| voters.intersection(present).count() * 2 > voters.len();
    !configs.is_empty() && configs.iter().all(has_majority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest,
        groups::{
            Index, Term,
            model::lineage::{Ancestry, LogPoint},
        },
    };

    fn peer(n: u8) -> PeerId {
        iroh::SecretKey::from_bytes(&[n; 32]).public()
    }

    fn standing(n: u8) -> MemberInfo {
        MemberInfo {
            member: MemberId::fresh(peer(n)),
            ..MemberInfo::default()
        }
    }

    fn lineage(id: u8, committed: u64, alive: bool) -> LineageStanding {
        LineageStanding {
            id: Digest::from_u8(id),
            ancestry: Ancestry::default(),
            committed,
            last: None,
            alive,
            leading: false,
        }
    }

    fn sorted(n: u8) -> Vec<MemberInfo> {
        let mut standings: Vec<_> = (1..=n).map(standing).collect();
        standings.sort_by_key(|standing| standing.member);
        standings
    }

    fn founding<'a>(own: &'a MemberInfo, bonded: &'a [MemberInfo]) -> Founding<'a> {
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
                replaceable: &BTreeSet::new(),
                waiting: &BTreeSet::new(),
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
        // Who comes back as an observer has no vote any more.
        let mut abstaining = second.clone();
        abstaining.willingness = Willingness::Never;
        assert_eq!(
            next_change(&Committee {
                own: own.member,
                view: &view,
                bonded: &[(peer(2), abstaining)],
                gone: &BTreeSet::new(),
                matched: &BTreeSet::new(),
                replaceable: &BTreeSet::new(),
                waiting: &BTreeSet::new(),
                max_voters: 2,
            }),
            Some(Change::Voters {
                promoted: BTreeSet::new(),
                removed: [second.member].into(),
            })
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

    /// Each incarnation once became a learner that was there for good as long as others came.
    #[test]
    fn a_peer_that_comes_as_another_member_first_loses_the_place_that_it_had() {
        let (own, second, newcomer) = (standing(1), standing(2), standing(3));
        let before = MemberId::fresh(peer(2));
        let mut view = View {
            leading: true,
            settled: true,
            voters: [own.member].into(),
            learners: [before].into(),
            ..View::default()
        };
        let bonded = [(peer(2), second.clone()), (peer(3), newcomer.clone())];
        let change = |view: &View, waiting: &[PeerId]| {
            next_change(&Committee {
                own: own.member,
                view,
                bonded: &bonded,
                gone: &BTreeSet::new(),
                matched: &BTreeSet::new(),
                replaceable: &BTreeSet::new(),
                waiting: &waiting.iter().copied().collect(),
                max_voters: 1,
            })
        };
        let removed = Some(Change::RemoveLearners([before].into()));
        assert_eq!(change(&view, &[]), removed);
        assert_eq!(
            change(&view, &[peer(2)]),
            removed,
            "whether it waits or not"
        );
        view.learners.clear();
        let added =
            |members: &[MemberId]| Some(Change::AddLearners(members.iter().copied().collect()));
        assert_eq!(change(&view, &[peer(2)]), added(&[newcomer.member]));
        let both = added(&[second.member, newcomer.member]);
        assert_eq!(change(&view, &[]), both);
    }

    /// Its bond was all that counted: a stand-in waited for as long as a voter's disk did not answer.
    #[test]
    fn a_voter_that_acknowledges_nothing_is_replaced_by_a_stand_in() {
        let (own, second, third) = (standing(1), standing(2), standing(3));
        let view = View {
            leading: true,
            settled: true,
            voters: [own.member, second.member].into(),
            learners: [third.member].into(),
            ..View::default()
        };
        let bonded = [(peer(2), second.clone()), (peer(3), third.clone())];
        let change = |matched: &[MemberId], stalled: &[MemberId], max_voters| {
            next_change(&Committee {
                own: own.member,
                view: &view,
                bonded: &bonded,
                gone: &BTreeSet::new(),
                matched: &matched.iter().copied().collect(),
                replaceable: &stalled.iter().copied().collect(),
                waiting: &BTreeSet::new(),
                max_voters,
            })
        };
        let promoted = |removed: &[MemberId]| {
            Some(Change::Voters {
                promoted: [third.member].into(),
                removed: removed.iter().copied().collect(),
            })
        };
        let (stalled, own) = ([second.member], [own.member]);
        assert_eq!(change(&[third.member], &stalled, 2), promoted(&stalled));
        assert_eq!(
            change(&[third.member], &stalled, 3),
            promoted(&[]),
            "room for both"
        );
        assert_eq!(change(&[third.member], &[], 2), None);
        assert_eq!(change(&[third.member], &own, 2), None, "it leads");
        assert_eq!(change(&[], &stalled, 2), None, "nobody stands in");
    }

    const PATIENCE: Patience = Patience {
        confirmed: Duration::from_secs(1),
        continued: Duration::from_secs(2),
        replaced: Duration::from_secs(30),
    };

    fn stake(own: &LineageStanding) -> Stake<'_> {
        Stake {
            own,
            outranked: false,
            held: own.committed,
            position: at(own.committed),
            halted: None,
            seen: PATIENCE.confirmed,
            durable: false,
            patience: PATIENCE,
        }
    }

    fn at(commands: u64) -> Cursor {
        Cursor::new(Term(1), Index(commands))
    }

    fn gives_way(own: &LineageStanding, rival: &LineageStanding) -> bool {
        judge(&stake(own), rival) == Verdict::GivesWay
    }

    #[test]
    fn of_two_living_histories_the_longer_one_stays() {
        let (few, many) = (lineage(1, 3, true), lineage(2, 9, true));
        assert!(gives_way(&few, &many) && !gives_way(&many, &few));
        let (a, b) = (lineage(1, 3, true), lineage(2, 3, true));
        assert!(
            gives_way(&b, &a) && !gives_way(&a, &b),
            "the smaller id stays"
        );
        assert!(!gives_way(&a, &a));
        let child = LineageStanding {
            ancestry: Ancestry::default().extended(Branch {
                lineage: many.id,
                last: None,
                position: at(3),
            }),
            ..few.clone()
        };
        assert!(!gives_way(&many, &child) && gives_way(&child, &many));
        let undecided = |own, rival| {
            let undecided = Stake {
                seen: 2 * PATIENCE.confirmed,
                ..stake(own)
            };
            judge(&undecided, rival)
        };
        let ahead = lineage(2, 4, true);
        assert_eq!(undecided(&ahead, &few), Verdict::Rests);
        let ahead = lineage(1, 4, true);
        assert_eq!(undecided(&ahead, &b), Verdict::Stays, "one of them rests");
        let early = Stake {
            seen: Duration::from_millis(999),
            ..stake(&few)
        };
        assert_eq!(judge(&early, &many), Verdict::Stays, "is it really alive?");
        // What is not committed yet may be told of as committed before the leader knows it.
        let ahead = Stake {
            held: 9,
            ..stake(&few)
        };
        assert_eq!(judge(&ahead, &lineage(0, 9, true)), Verdict::GivesWay);
        assert_eq!(judge(&ahead, &lineage(2, 9, true)), Verdict::Stays);
    }

    #[test]
    fn a_history_without_the_write_key_gives_way_to_one_with_it_whatever_it_holds() {
        let (own, rival) = (lineage(1, 9, true), lineage(2, 3, true));
        let verdict = |outranked, seen, durable| {
            let met = Stake {
                outranked,
                seen,
                durable,
                ..stake(&own)
            };
            judge(&met, &rival)
        };
        let (early, late) = (Duration::from_millis(999), PATIENCE.confirmed);
        assert_eq!(verdict(true, early, false), Verdict::Stays);
        assert_eq!(verdict(true, late, false), Verdict::GivesWay);
        assert_eq!(verdict(true, late, true), Verdict::IsKept);
        assert_eq!(verdict(false, late, false), Verdict::Stays);
    }

    #[test]
    fn a_halted_history_is_kept_for_a_while() {
        let (own, rival) = (lineage(1, 9, false), lineage(2, 3, true));
        let verdict = |halted, durable, rival: &LineageStanding| {
            let halted = Stake {
                halted,
                durable,
                ..stake(&own)
            };
            judge(&halted, rival)
        };
        let (early, late) = (Some(Duration::from_secs(29)), Some(PATIENCE.replaced));
        assert_eq!(verdict(None, false, &rival), Verdict::Stays, "an election");
        assert_eq!(verdict(early, false, &rival), Verdict::Stays);
        assert_eq!(verdict(late, false, &rival), Verdict::GivesWay);
        assert_eq!(verdict(late, true, &rival), Verdict::IsKept);
        let longer = lineage(2, 90, true);
        assert_eq!(verdict(late, false, &longer), Verdict::GivesWay);
        assert_eq!(verdict(late, true, &longer), Verdict::IsKept);
        let led = lineage(1, 9, true);
        let led = Stake {
            durable: true,
            ..stake(&led)
        };
        assert_eq!(judge(&led, &longer), Verdict::IsKept, "also while it lives");
        let halted = lineage(2, 30, false);
        assert_eq!(verdict(late, false, &halted), Verdict::Stays);
        let empty = lineage(1, 0, false);
        assert!(gives_way(&empty, &rival), "there is nothing to lose");
    }

    #[test]
    fn a_halted_history_is_continued_by_one_that_has_all_of_it() {
        let point = |index| Some(LogPoint { term: 4, index });
        let own = LineageStanding {
            last: point(20),
            ..lineage(1, 9, false)
        };
        let child = |last, commands| LineageStanding {
            ancestry: Ancestry::default().extended(Branch {
                lineage: own.id,
                last,
                position: at(commands),
            }),
            ..lineage(2, 9, true)
        };
        let verdict = |halted, last, commands| {
            let halted = Stake {
                halted,
                ..stake(&own)
            };
            judge(&halted, &child(last, commands))
        };
        let soon = Some(PATIENCE.continued);
        assert_eq!(verdict(soon, point(20), 8), Verdict::GivesWay);
        let blank = verdict(soon, point(19), 9);
        assert_eq!(blank, Verdict::GivesWay, "it lacks no command");
        assert_eq!(verdict(soon, point(19), 8), Verdict::Stays);
        assert_eq!(verdict(None, point(20), 9), Verdict::Stays);
    }

    /// The last command of the other history has a greater position, but is of a later term in which
    /// this member's was never seen.
    #[test]
    fn positions_of_different_terms_prove_nothing() {
        let own = LineageStanding {
            last: Some(LogPoint { term: 5, index: 21 }),
            ..lineage(1, 9, false)
        };
        let child = LineageStanding {
            ancestry: Ancestry::default().extended(Branch {
                lineage: own.id,
                last: Some(LogPoint { term: 4, index: 21 }),
                position: Cursor::new(Term(4), Index(9)),
            }),
            ..lineage(2, 9, true)
        };
        let halted = Stake {
            halted: Some(PATIENCE.continued),
            position: Cursor::new(Term(3), Index(9)),
            ..stake(&own)
        };
        assert_eq!(judge(&halted, &child), Verdict::Stays);
    }

    #[test]
    fn who_lacks_entries_of_another_survivor_names_it() {
        let with = |n, index, catching_up| MemberInfo {
            catching_up,
            lineage: Some(LineageStanding {
                last: Some(LogPoint { term: 1, index }),
                ..lineage(1, 3, false)
            }),
            ..standing(n)
        };
        let own = with(1, 7, false);
        let ahead = |others: &[MemberInfo]| survivor_ahead(&own, others);
        let (equal, longer, longest) = (with(9, 7, false), with(2, 8, false), with(3, 9, true));
        assert_eq!(ahead(&[]), None);
        assert_eq!(ahead(&[equal.clone()]), None);
        let observer = MemberInfo {
            willingness: Willingness::Never,
            ..with(4, 9, false)
        };
        let of_another = MemberInfo {
            lineage: Some(lineage(2, 9, false)),
            ..standing(5)
        };
        assert_eq!(ahead(&[longest.clone(), observer, of_another]), None);
        assert_eq!(
            ahead(&[equal, longer.clone(), longest]),
            Some(longer.member)
        );
    }

    /// For all knowledge and content of two members, at most one of them gives its history up.
    #[test]
    fn two_histories_never_give_way_to_each_other() {
        let point = |index| Some(LogPoint { term: 1, index });
        let standings = |id: u8, other: u8| {
            let mut all = Vec::new();
            for (committed, alive, last) in triples(&[0, 1, 2], &[true, false], &[0, 2]) {
                for parent in [None, Some(point(0)), Some(point(2))] {
                    all.push(LineageStanding {
                        ancestry: parent.map_or_else(Ancestry::default, |last| {
                            Ancestry::default().extended(Branch {
                                lineage: Digest::from_u8(other),
                                last,
                                position: at(1),
                            })
                        }),
                        last: point(last),
                        ..lineage(id, committed, alive)
                    });
                }
            }
            all
        };
        let mut judged = 0;
        for (a, b) in standings(1, 2)
            .into_iter()
            .flat_map(|a| standings(2, 1).into_iter().map(move |b| (a.clone(), b)))
        {
            for (extra_a, extra_b, durable) in triples(&[0, 1], &[0, 1], &[true, false]) {
                let stake = |own, extra| Stake {
                    held: LineageStanding::clone(own).committed + extra,
                    halted: Some(PATIENCE.replaced),
                    durable,
                    ..stake(own)
                };
                let gives_way =
                    |own, extra, rival| judge(&stake(own, extra), rival) == Verdict::GivesWay;
                assert!(
                    !(gives_way(&a, extra_a, &b) && gives_way(&b, extra_b, &a)),
                    "{a:?} and {b:?}"
                );
                judged += 1;
            }
        }
        assert_eq!(judged, 36 * 36 * 8);
    }

    fn triples<A: Copy, B: Copy, C: Copy>(a: &[A], b: &[B], c: &[C]) -> Vec<(A, B, C)> {
        let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
        pairs
            .flat_map(|(a, b)| c.iter().map(move |c| (a, b, *c)))
            .collect()
    }

    #[test]
    fn the_voter_with_the_longest_log_reforms() {
        let point = |term, index| Some(LogPoint { term, index });
        let with = |n, last, committed| MemberInfo {
            lineage: Some(LineageStanding {
                last,
                ..lineage(1, committed, false)
            }),
            ..standing(n)
        };
        // The first has applied less of what it has.
        let (long, short) = (with(1, point(2, 8), 3), with(2, point(2, 7), 5));
        let older = with(3, point(1, 9), 5);
        let observer = MemberInfo {
            willingness: Willingness::Never,
            ..with(4, point(2, 9), 5)
        };
        let learner = with(5, point(2, 9), 5);
        let stranger = MemberInfo {
            lineage: Some(LineageStanding {
                last: point(3, 1),
                ..lineage(2, 9, false)
            }),
            ..standing(6)
        };
        let all = [&long, &short, &older, &observer, &learner, &stranger].map(Clone::clone);
        let voters: BTreeSet<_> = [&long, &short, &older, &observer, &stranger]
            .map(|standing| standing.member)
            .into();
        let turn = |own: &MemberInfo| {
            let bonded: Vec<_> = all.iter().filter(|s| *s != own).cloned().collect();
            reforms(own, &bonded, &voters)
        };
        assert_eq!(turn(&long), Turn::First);
        assert_eq!(turn(&short), Turn::Never, "however long it waits");
        assert_eq!(turn(&older), Turn::Never);
        assert_eq!(turn(&observer), Turn::Never);
        assert_eq!(turn(&learner), Turn::Never);
        let heir = MemberInfo {
            lineage: Some(LineageStanding {
                ancestry: Ancestry::default().extended(Branch {
                    lineage: lineage(1, 0, false).id,
                    last: point(2, 8),
                    position: at(3),
                }),
                ..lineage(3, 3, false)
            }),
            ..standing(9)
        };
        assert_eq!(reforms(&long, &[heir], &voters), Turn::Later);
        // Of equals one goes first.
        let twins = [with(7, point(1, 1), 1), with(8, point(1, 1), 1)];
        let voters = twins.iter().map(|s| s.member).collect();
        let turns = [0, 1].map(|n| reforms(&twins[n], &twins[1 - n..][..1], &voters));
        assert!(turns.contains(&Turn::First) && turns.contains(&Turn::Later));
    }

    #[test]
    fn a_quorum_is_a_majority_of_each_configuration() {
        let all: Vec<_> = sorted(5).iter().map(|s| s.member).collect();
        let set = |members: &[MemberId]| members.iter().copied().collect::<BTreeSet<_>>();
        let present = set(&all[..2]);
        assert!(is_quorum(&[set(&all[..3])], &present));
        assert!(!is_quorum(&[set(&all[..4])], &present));
        assert!(!is_quorum(
            &[set(&all[..3]), set(&all[1..4])],
            &set(&all[..1])
        ));
        assert!(!is_quorum(&[set(&all[..3]), set(&all[2..])], &present));
        assert!(!is_quorum(&[], &present) && !is_quorum(&[BTreeSet::new()], &present));
    }
}
