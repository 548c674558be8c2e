//! Times at which a leader has last heard of the others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::groups::model::{config::Timing, lineage::MemberId};

/// More members than a group has are not remembered.
const MAX_MEMBERS: usize = 256;
/// Interval between two warnings of the same kind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Times of the members' last answers that came in time.
///
/// An answer counts from its arrival: a question follows the answer to the one before, so that what
/// was answered last was asked up to two round trips ago. One that took an election timeout proves
/// nothing, as a leader that was suspended finds such ones when it goes on.
#[derive(Debug)]
pub(crate) struct Acks {
    timing: Timing,
    answered: Mutex<HashMap<MemberId, Instant>>,
    /// True if a majority was heard of within its time, at the last check.
    backed: AtomicBool,
    warned: Mutex<Option<Instant>>,
}

impl Acks {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            answered: Mutex::default(),
            backed: AtomicBool::new(false),
            warned: Mutex::default(),
        }
    }

    /// Notes an answer to what was asked at that time.
    pub(super) fn note(&self, member: MemberId, asked: Instant) {
        let round_trip = asked.elapsed();
        if round_trip < self.timing.election {
            let mut all = self.answered.lock();
            if all.len() >= MAX_MEMBERS && !all.contains_key(&member) {
                all.clear();
            }
            all.insert(member, Instant::now());
        }
        self.judge(round_trip);
    }

    /// Sets the statement about the majority in heartbeats.
    pub(crate) fn set_backed(&self, backed: bool) {
        self.backed.store(backed, Ordering::Relaxed);
    }

    pub(super) fn is_backed(&self) -> bool {
        self.backed.load(Ordering::Relaxed)
    }

    /// Time since a majority of all these memberships was heard of, this member included.
    pub(crate) fn silence(
        &self,
        own: &MemberId,
        configs: &[BTreeSet<MemberId>],
    ) -> Option<Duration> {
        let all = self.answered.lock();
        let silence = |voters: &BTreeSet<MemberId>| {
            let mut ages: Vec<_> = voters
                .iter()
                .map(|voter| match all.get(voter) {
                    _ if voter == own => Some(Duration::ZERO),
                    answered => answered.map(Instant::elapsed),
                })
                .map(|age| age.unwrap_or(Duration::MAX))
                .collect();
            ages.sort_unstable();
            ages.get(voters.len() / 2).copied()
        };
        let oldest = configs.iter().filter_map(silence).max();
        oldest.filter(|oldest| *oldest != Duration::MAX)
    }

    /// Number of these voters that were heard of within the election timeout, this member included.
    pub(crate) fn present(&self, own: &MemberId, voters: &BTreeSet<MemberId>) -> usize {
        let all = self.answered.lock();
        let is_present = |voter: &&MemberId| {
            let answered = all.get(voter);
            *voter == own || answered.is_some_and(|at| at.elapsed() < self.timing.election)
        };
        voters.iter().filter(is_present).count()
    }

    /// Election timeout that answers of this age call for, if the one in use is too short: a healthy
    /// leader may be taken for lost. A question follows the answer to the one before: the leader
    /// hears of a member once in a round trip, and a lost packet delays it by more than another one.
    fn needed_timeout(&self, round_trip: Duration) -> Option<Duration> {
        (round_trip * 2 >= self.timing.election).then(|| round_trip * 3)
    }

    /// Warns when answers take too long for the configuration.
    fn judge(&self, round_trip: Duration) {
        let Some(needed) = self.needed_timeout(round_trip) else {
            return;
        };
        let mut warned = self.warned.lock();
        if warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return;
        }
        *warned = Some(Instant::now());
        let needed = needed.as_millis();
        tracing::warn!(
            round_trip_ms = round_trip.as_millis(),
            election_timeout_ms = self.timing.election.as_millis(),
            "members answer too slowly for this configuration: set `election_timeout` to at least \
             {needed} ms on all of them"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::ConsensusConfig;

    #[test]
    fn a_timeout_that_answers_hardly_keep_is_too_short_and_the_one_advised_is_not() {
        let needed = |timing: Timing, millis| {
            let acks = Acks::new(timing);
            acks.needed_timeout(Duration::from_millis(millis))
        };
        let normal = ConsensusConfig::default().timing();
        assert_eq!(needed(normal, 249), None);
        let advised = needed(normal, 250).unwrap();
        assert_eq!(advised, Duration::from_millis(750));
        let longer = Timing {
            election: advised,
            ..normal
        };
        assert_eq!(needed(longer, 250), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_majority_counts_in_each_membership() {
        let acks = Acks::new(ConsensusConfig::default().timing());
        let peer = iroh::SecretKey::from_bytes(&[7; 32]).public();
        let [own, former, later] = [(); 3].map(|()| MemberId::fresh(peer));
        let [silent, mute] = [(); 2].map(|()| MemberId::fresh(peer));
        let old = BTreeSet::from([own, former, silent]);
        let new = BTreeSet::from([own, later, mute]);
        assert_eq!(acks.silence(&own, &[]), None);
        assert_eq!(acks.silence(&own, &[old.clone()]), None);
        acks.note(former, Instant::now());
        tokio::time::advance(Duration::from_millis(10)).await;
        let heard = Duration::from_millis(10);
        assert_eq!(acks.silence(&own, &[old.clone()]), Some(heard));
        assert_eq!(acks.silence(&own, &[old.clone(), new.clone()]), None);
        acks.note(silent, Instant::now() - acks.timing.election);
        assert_eq!(acks.silence(&own, &[BTreeSet::from([silent])]), None);
        acks.note(later, Instant::now());
        assert_eq!(acks.silence(&own, &[old, new]), Some(heard));
        assert_eq!(
            acks.silence(&own, &[BTreeSet::from([own])]),
            Some(Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_answered_within_the_election_timeout_is_not_present() {
        let timing = ConsensusConfig::default().timing();
        let acks = Acks::new(timing);
        let peer = iroh::SecretKey::from_bytes(&[7; 32]).public();
        let [own, other, silent] = [(); 3].map(|()| MemberId::fresh(peer));
        let voters = BTreeSet::from([own, other, silent]);
        assert_eq!(acks.present(&own, &voters), 1);
        acks.note(other, Instant::now());
        assert_eq!(acks.present(&own, &voters), 2);
        assert_eq!(acks.present(&own, &BTreeSet::from([own, silent])), 1);
        tokio::time::advance(timing.election).await;
        assert_eq!(acks.present(&own, &voters), 1);
    }
}
