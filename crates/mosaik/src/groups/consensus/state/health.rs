//! Health of a member: when it heard of its leader, or of its majority, and whether it keeps up.
//!
//! It decides who leads, as far as this member can tell, and whether the member is online. Everybody
//! else asks here: elections, reads, heartbeats, the sources of observers, and the member's status.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// A follower that needs this many election timeouts to apply a commit has fallen behind.
const KEEP_UP: u32 = 2;

/// Health of one member in one history.
pub(crate) struct Health {
    /// Time for which a leader or a majority may be silent.
    election: Duration,
    contact: Mutex<Contact>,
    /// True from when this member has once applied everything until it falls behind.
    caught_up: AtomicBool,
}

/// Last contact with a leader.
#[derive(Default)]
struct Contact {
    at: Option<Instant>,
    term: u64,
    /// The consensus index that it had committed.
    commit: Option<u64>,
    /// Time since which this member leads.
    leading_since: Option<Instant>,
    /// Sample of the leader's commit index, with its time, to see how long this member takes to
    /// apply it.
    sample: Option<(u64, Instant)>,
}

impl Health {
    pub(crate) fn new(election: Duration) -> Self {
        Self {
            election,
            contact: Mutex::default(),
            caught_up: AtomicBool::new(false),
        }
    }

    /// Notes that a leader was heard of at some time; returns `false` if one of a later term was heard
    /// of before.
    pub(crate) fn heard(&self, term: u64, commit: Option<u64>, at: Instant) -> bool {
        let mut contact = self.contact.lock();
        if term < contact.term {
            return false;
        }
        contact.term = term;
        contact.at = contact.at.max(Some(at));
        contact.commit = commit.max(contact.commit);
        true
    }

    /// Notes that the leader is gone.
    pub(crate) fn leader_left(&self) {
        self.contact.lock().at = None;
    }

    /// Notes whether this member leads, as the consensus library sees it.
    pub(crate) fn leads(&self, leads: bool) {
        let mut contact = self.contact.lock();
        if !leads {
            contact.leading_since = None;
        } else if contact.leading_since.is_none() {
            contact.leading_since = Some(Instant::now());
        }
    }

    /// Time at which a leader was last heard of.
    pub(crate) fn heard_at(&self) -> Option<Instant> {
        self.contact.lock().at
    }

    /// Time since a leader was heard of, and the consensus index that it had committed.
    pub(crate) fn last_contact(&self) -> (Option<Duration>, Option<u64>) {
        let contact = self.contact.lock();
        (contact.at.map(|at| at.elapsed()), contact.commit)
    }

    /// Returns whether a leader was heard of within a time.
    pub(crate) fn hears_leader_within(&self, limit: Duration) -> bool {
        self.last_contact().0.is_some_and(|age| age < limit)
    }

    /// Returns whether a leader was heard of within its time.
    pub(crate) fn hears_leader(&self) -> bool {
        self.hears_leader_within(self.election)
    }

    /// Returns whether this leader has a majority behind it, which has been silent for this long, or
    /// has only begun to lead.
    pub(crate) fn has_majority(&self, silence: Option<Duration>) -> bool {
        let since = self.contact.lock().leading_since;
        since.is_some_and(|since| since.elapsed() < self.election) || self.holds_lease(silence)
    }

    /// Returns whether a majority that has been silent for this long was heard of lately, so that
    /// commands may be accepted.
    pub(crate) fn holds_lease(&self, silence: Option<Duration>) -> bool {
        silence.is_some_and(|silence| silence < self.election)
    }

    /// Returns whether this member has once applied everything, and has kept up since then.
    /// `has_applied` tells whether it has applied the entry with an index.
    pub(crate) fn has_caught_up(
        &self,
        takes_part: bool,
        has_applied: impl Fn(u64) -> bool,
    ) -> bool {
        let mut contact = self.contact.lock();
        let lags = contact.is_lagging(&has_applied, self.election * KEEP_UP);
        let commit = contact.commit;
        drop(contact);
        let caught_up = if self.caught_up.load(Ordering::Relaxed) {
            !lags
        } else {
            takes_part && commit.is_some_and(has_applied)
        };
        self.caught_up.store(caught_up, Ordering::Relaxed);
        caught_up
    }

    /// Notes that this member has to catch up before it is online.
    pub(crate) fn falls_behind(&self) {
        self.caught_up.store(false, Ordering::Relaxed);
    }
}

impl Contact {
    /// Returns whether this member needs longer than `patience` to apply what its leader has
    /// committed. A busy one is always a little behind; what counts is that it keeps up.
    fn is_lagging(&mut self, has_applied: &impl Fn(u64) -> bool, patience: Duration) -> bool {
        match self.sample {
            Some((commit, at)) if !has_applied(commit) => at.elapsed() >= patience,
            _ => {
                self.sample = self.commit.map(|commit| (commit, Instant::now()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_leader_of_an_earlier_term_is_not_heard() {
        let health = Health::new(ELECTION);
        assert!(health.heard(2, Some(5), Instant::now()));
        tokio::time::advance(ELECTION).await;
        assert!(!health.heard(1, Some(9), Instant::now()));
        assert!(!health.hears_leader());
        assert_eq!(health.last_contact(), (Some(ELECTION), Some(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_has_an_election_timeout_to_hear_of_its_majority() {
        let health = Health::new(ELECTION);
        health.leads(true);
        assert!(health.has_majority(None));
        assert!(!health.holds_lease(None));
        tokio::time::advance(ELECTION).await;
        health.leads(true);
        assert!(!health.has_majority(None));
        assert!(health.has_majority(Some(ELECTION / 2)));
        health.leads(false);
        health.leads(true);
        assert!(health.has_majority(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_is_behind_when_it_does_not_apply_a_commit_in_time() {
        let health = Health::new(ELECTION);
        assert!(!health.has_caught_up(true, |_| true), "nothing was heard");
        health.heard(1, Some(7), Instant::now());
        assert!(!health.has_caught_up(false, |_| true), "no member");
        assert!(health.has_caught_up(true, |index| index <= 7));
        health.heard(1, Some(9), Instant::now());
        assert!(
            health.has_caught_up(true, |index| index <= 7),
            "takes the sample"
        );
        tokio::time::advance(ELECTION).await;
        assert!(
            health.has_caught_up(true, |index| index <= 7),
            "still in time"
        );
        tokio::time::advance(ELECTION).await;
        assert!(!health.has_caught_up(true, |index| index <= 7));
        assert!(health.has_caught_up(true, |index| index <= 9));
    }
}
