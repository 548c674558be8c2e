//! Progress of the followers, as their leader knows it, for what it sends them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use openraft::{
    RaftMetrics,
    alias::{LogIdOf, VoteOf, WatchReceiverOf},
    async_runtime::watch::WatchReceiver,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::groups::{log::types::Types, model::lineage::MemberId};

/// A member that has failed so often in a row to take a snapshot is left alone for a while.
const FAILURES: u32 = 3;
const FIRST_REST: Duration = Duration::from_secs(1);
const LAST_REST: Duration = Duration::from_secs(120);
/// Age from which failures are forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// Shared by everything that sends.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<Shared>);

#[derive(Default)]
struct Shared {
    metrics: OnceLock<WatchReceiverOf<Types, RaftMetrics<Types>>>,
    failing: Mutex<Failing>,
}

impl Progress {
    /// To be called once consensus runs.
    pub(crate) fn follow(&self, metrics: WatchReceiverOf<Types, RaftMetrics<Types>>) {
        // Set once, when the node is made.
        let _ = self.0.metrics.set(metrics);
    }

    /// The last entry that a member has acknowledged to this one as leader with this vote.
    pub(super) fn matched(&self, member: MemberId, vote: &VoteOf<Types>) -> Option<LogIdOf<Types>> {
        let metrics = self.0.metrics.get()?.borrow_watched();
        let replication = metrics.replication.as_ref();
        replication
            .filter(|_| metrics.vote == *vote)
            .and_then(|replication| *replication.get(&member)?)
    }

    /// Time until which a member is to get no snapshot.
    pub(crate) fn rest(&self, member: MemberId) -> Instant {
        let failing = self.0.failing.lock();
        failing
            .0
            .get(&member)
            .map_or_else(Instant::now, |failed| failed.until)
    }

    /// Notes how sending a snapshot has ended; returns whether the member fails again and again.
    pub(super) fn note_snapshot(&self, member: MemberId, taken: bool) -> bool {
        self.0.failing.lock().note(member, taken, Instant::now())
    }

    /// Notes that a member was too slow for a snapshot, which the next one would not change: it is
    /// left alone at once.
    pub(super) fn note_overrun(&self, member: MemberId) -> bool {
        self.0.failing.lock().note_overrun(member, Instant::now())
    }

    /// The last entry that each member has acknowledged, if this one leads.
    pub(crate) fn all_matched(&self) -> Vec<(MemberId, u64)> {
        let Some(metrics) = self.0.metrics.get() else {
            return Vec::new();
        };
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.iter().flatten();
        replication
            .filter_map(|(member, matched)| Some((*member, matched.as_ref()?.index())))
            .collect()
    }
}

/// Returns whether a member has lost what it had acknowledged: its log differs from its leader's at
/// an entry up to which they were known to be the same.
///
/// An intact member never does: what it has acknowledged to a leader it drops only for a later one.
pub(super) fn is_set_back(matched: Option<&LogIdOf<Types>>, conflict: &LogIdOf<Types>) -> bool {
    matched.is_some_and(|matched| conflict.index() <= matched.index())
}

/// Members that don't take the snapshots that they are sent.
#[derive(Default)]
struct Failing(HashMap<MemberId, Failed>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    until: Instant,
}

impl Failing {
    fn note_overrun(&mut self, member: MemberId, now: Instant) -> bool {
        let failed = self.0.entry(member).or_insert(Failed {
            times: 0,
            until: now,
        });
        failed.times = failed.times.max(FAILURES - 1);
        self.note(member, false, now)
    }

    fn note(&mut self, member: MemberId, taken: bool, now: Instant) -> bool {
        self.0.retain(|_, failed| now < failed.until + FORGET);
        if taken {
            self.0.remove(&member);
            return false;
        }
        let failed = self.0.entry(member).or_insert(Failed {
            times: 0,
            until: now,
        });
        failed.times += 1;
        let Some(rests) = failed.times.checked_sub(FAILURES) else {
            return false;
        };
        let rest = FIRST_REST * 2_u32.saturating_pow(rests.min(16));
        failed.until = now + rest.min(LAST_REST);
        true
    }
}

#[cfg(test)]
mod tests {
    use openraft::{impls::leader_id_std::LeaderId, vote::RaftLeaderId as _};

    use super::*;

    #[test]
    fn a_member_is_set_back_if_it_lacks_what_it_acknowledged() {
        let id = |index| {
            let leader = LeaderId {
                term: 3,
                voted_for: MemberId::default(),
            };
            LogIdOf::<Types>::new(leader.to_committed(), index)
        };
        // Nothing is known of it, or the leader looks for the last common entry.
        assert!(!is_set_back(None, &id(0)));
        assert!(!is_set_back(Some(&id(9)), &id(10)));
        assert!(is_set_back(Some(&id(9)), &id(9)));
        assert!(is_set_back(Some(&id(9)), &id(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_is_too_slow_for_a_snapshot_rests_at_once_and_ever_longer() {
        let (mut failing, member) = (Failing::default(), MemberId::default());
        let mut now = Instant::now();
        for rest in [1, 2, 4] {
            assert!(failing.note_overrun(member, now));
            let until = failing.0[&member].until;
            assert_eq!((until - now).as_secs(), rest);
            now = until;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_takes_a_snapshot_is_tried_ever_more_rarely() {
        let (mut failing, member) = (Failing::default(), MemberId::default());
        let mut now = Instant::now();
        let mut rests = Vec::new();
        for _ in 0..12 {
            failing.note(member, false, now);
            let until = failing.0[&member].until;
            rests.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(rests, [0, 0, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert!(!failing.note(member, true, now));
        assert!(!failing.note(member, false, now), "it has taken one since");
        now += Duration::from_secs(3600);
        failing.note(MemberId::default(), true, now);
        assert!(failing.0.is_empty(), "nothing is remembered for ever");
    }
}
