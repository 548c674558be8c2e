//! The membership, as its leader changes it, and standing for election.

use std::{collections::BTreeSet, time::Duration};

use futures::FutureExt;
use rand::Rng;
use tokio::time::Instant;

use super::{
    rules::{self, Change, Committee},
    worker::Worker,
};
use crate::{
    groups::{bond::wire::Control, consensus::Stopped},
    primitives::{PeerId, ShortFmtExt},
};

/// A learner this close to the leader's log may vote.
pub(super) const PROMOTION_LAG: u64 = 256;
/// Retry interval for changes of the membership.
const CHANGE_RETRY: Duration = Duration::from_millis(100);
/// A voter that was stopped in order, and that nobody can stand in for, is removed after so many times
/// `evict_after`: a large store needs its time to be opened.
const STOPPED_PATIENCE: u32 = 20;

impl Worker {
    /// Starts the next change of the membership, if this member leads and there is one to make.
    pub(super) fn work_on_membership(&mut self) {
        let Some(watch) = &self.node else { return };
        let now = Instant::now();
        let view = watch.view.borrow().clone();
        // Not only while it is online: that also says whether its machine may be shown.
        let leads = self.instance.status().leader() == Some(self.instance.local());
        let ready = view.leading && view.settled && leads && watch.node.is_in_office();
        if !ready || self.changing.is_some() || now < self.next_change {
            return;
        }
        let consensus = self.instance.config().consensus();
        let lineage = watch.node.lineage();
        let bonded: Vec<_> = self
            .instance
            .bonds()
            .all()
            .iter()
            .map(|bond| (bond.peer, self.instance.standing_of(bond)))
            .filter(|(_, standing)| {
                let theirs = standing.lineage.as_ref();
                theirs.is_none_or(|theirs| theirs.id == lineage)
            })
            .collect();
        let guests = self.guests();
        let is_waiting = |peer: &PeerId| self.admissions.waits(peer, now);
        let waiting = guests.iter().copied().filter(is_waiting).collect();
        let mut gone: BTreeSet<_> = self.departed.keys().copied().collect();
        let mut replaceable = BTreeSet::new();
        for member in view.members() {
            if *member == watch.node.member() || bonded.iter().any(|(_, s)| s.member == *member) {
                self.unreachable.remove(member);
                continue;
            }
            let since = *self.unreachable.entry(*member).or_insert(now);
            let away = now - since;
            let kept = consensus.evict_after.saturating_mul(STOPPED_PATIENCE);
            if away < consensus.evict_after {
                continue;
            }
            if view.voters.contains(member) && self.stopped.contains(member) && away < kept {
                replaceable.insert(*member);
            } else {
                gone.insert(*member);
            }
        }
        let lacking = watch.node.lacking();
        let stalled = self.stalls.observe(&lacking, now, consensus.evict_after);
        replaceable.extend(stalled);
        for member in self.stalls.news() {
            tracing::warn!(
                group = %self.instance.id().short(), %member,
                "a voter acknowledges nothing: its disk may hang. A member without a vote takes its \
                 place, if there is one"
            );
        }
        let change = rules::next_change(&Committee {
            own: watch.node.member(),
            view: &view,
            bonded: &bonded,
            gone: &gone,
            matched: &watch.node.matched(PROMOTION_LAG),
            replaceable: &replaceable,
            waiting: &waiting,
            max_voters: consensus.max_voters,
        });
        let Some(change) = change else { return };
        tracing::debug!(group = %self.instance.id().short(), ?change, "changing the membership");
        if let Change::AddLearners(members) = &change {
            for guest in guests {
                if members.iter().any(|member| member.is_of(&guest)) {
                    self.admissions.add(guest, now);
                }
            }
        }
        let node = watch.node.clone();
        self.changing = Some(
            async move {
                match change.clone() {
                    Change::AddLearners(members) => node.add_learners(members).await,
                    Change::Voters { promoted, removed } => {
                        node.change_voters(promoted, removed).await
                    }
                    Change::RemoveLearners(members) => node.remove_learners(members).await,
                }
                .map(|()| change)
            }
            .boxed(),
        );
    }

    fn guests(&self) -> Vec<PeerId> {
        let bonds = self.instance.bonds().all();
        let guests = bonds.iter().filter(|bond| self.instance.is_guest(bond));
        guests.map(|bond| bond.peer).collect()
    }

    /// Notes how the bond with a peer has ended. Who leaves says so before, and is gone at once.
    pub(super) fn note_stopped(&mut self, peer: &PeerId, graceful: bool) {
        let Some(watch) = &self.node else { return };
        let view = watch.view.borrow();
        for member in view.members().filter(|member| member.is_of(peer)) {
            if graceful {
                self.stopped.insert(*member);
            } else {
                self.stopped.remove(member);
            }
        }
    }

    pub(super) fn on_changed(&mut self, changed: Result<Change, Stopped>) {
        self.changing = None;
        match changed {
            Ok(Change::Voters { removed, .. } | Change::RemoveLearners(removed)) => {
                for member in removed {
                    self.unreachable.remove(&member);
                    self.stopped.remove(&member);
                    if let Some(bond) = self.instance.bonds().of_member(&member) {
                        bond.post(Control::Removed(member));
                    }
                }
            }
            Ok(Change::AddLearners(_)) => {}
            Err(error) => {
                tracing::debug!(
                    group = %self.instance.id().short(), %error, "the membership was not changed"
                );
                self.next_change = Instant::now() + CHANGE_RETRY;
            }
        }
        self.work_on_membership();
    }

    /// A reluctant member stands for election by itself, after a longer wait.
    pub(super) fn stand_if_due(&mut self, now: Instant) {
        let Some(watch) = &self.node else { return };
        let instance = &self.instance;
        let votes = {
            let view = watch.view.borrow();
            view.voters.contains(&watch.node.member())
        };
        let factor = self.factor();
        let idle = factor == 1 || instance.preference().is_observer();
        if idle || !votes || instance.status().leader().is_some() {
            self.stand_at = None;
            return;
        }
        let timing = instance.timing();
        let due = *self.stand_at.get_or_insert_with(|| {
            let jitter = timing.election_jitter.mul_f64(rand::rng().random());
            now + (timing.election + jitter).saturating_mul(factor - 1)
        });
        if now >= due {
            self.stand_at = None;
            watch.node.stand();
        }
    }
}
