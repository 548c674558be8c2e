//! Bonds and source of an observer, as its worker knows them; see [`observing`](super::observing).

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::strikes::Strikes;
use crate::{
    groups::{consensus::Transfer, model::lineage::MemberId},
    primitives::{PeerId, Scope},
};

/// Time limit for a peer to have a bond and offer to feed. It doubles with each that did not, up to
/// [`LAST_PROBATION`], as when the whole group has no leader or the machine is overloaded.
pub(super) const PROBATION: Duration = Duration::from_secs(2);
pub(super) const LAST_PROBATION: Duration = Duration::from_secs(60);
/// A source that brings nothing for so long to an observer that is offline is given up.
const STUCK: Duration = Duration::from_secs(3);
/// Interval in which such a one is not followed again, the first time.
const AVOID_STUCK: Duration = Duration::from_secs(10);
/// A source under which an observer is offline for so long is given up even if it brings something,
/// and one that has announced a snapshot and does not describe it. It doubles with each that was, up
/// to [`LAST_PATIENCE`]: where everything is slow, at last there is time enough for all that is
/// lacking.
const PATIENCE: Duration = Duration::from_secs(30);
const LAST_PATIENCE: Duration = Duration::from_secs(3600);
/// A source under which an observer was online for so long is a good one, whatever it was before.
const STEADY: Duration = Duration::from_secs(10);

/// Bonds and source of an observer, as its worker knows them.
pub(super) struct Feeding {
    /// Peers that list the group and have the tickets.
    pub(super) candidates: BTreeSet<PeerId>,
    /// Peers that bonds are wanted with, each with the time since when.
    pub(super) picks: HashMap<PeerId, Instant>,
    /// Peers that commands are sent to, each with the time until when.
    pub(super) reached: HashMap<PeerId, Instant>,
    /// Peers that no bond is wanted with, each with the time until when.
    pub(super) avoided: HashMap<PeerId, Instant>,
    /// Sources that are not followed for a while.
    pub(super) strikes: Strikes,
    pub(super) following: Option<Following>,
    /// Number of sources that were followed.
    pub(super) count: u64,
    pub(super) review_at: Instant,
    pub(super) explore_at: Instant,
    pub(super) probation: Duration,
    /// Time within which an observer is to come online under a source.
    pub(super) patience: Duration,
    /// Time at which a bond was last given up.
    pub(super) dropped_at: Instant,
}

pub(super) struct Following {
    pub(super) number: u64,
    pub(super) peer: PeerId,
    /// This observer, as it was then.
    pub(super) own: MemberId,
    pub(super) scope: Scope,
    /// Time at which it was last online, or began.
    pub(super) online: Instant,
    /// Time since which it is online.
    pub(super) online_since: Option<Instant>,
    /// Number of arrivals at the last look that saw more than before.
    pub(super) arrivals: u64,
    pub(super) arrived: Instant,
}

impl Feeding {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            candidates: BTreeSet::new(),
            picks: HashMap::new(),
            reached: HashMap::new(),
            avoided: HashMap::new(),
            strikes: Strikes::default(),
            following: None,
            count: 0,
            review_at: now,
            explore_at: now,
            probation: PROBATION,
            patience: PATIENCE,
            dropped_at: now,
        }
    }

    /// Returns whether there is nothing that only an observer has.
    pub(super) fn is_idle(&self) -> bool {
        self.candidates.is_empty() && self.reached.is_empty() && self.following.is_none()
    }

    pub(super) fn wants(&self, peer: &PeerId) -> bool {
        self.picks.contains_key(peer) || self.reached.contains_key(peer)
    }

    pub(super) fn is_source(&self, peer: &PeerId) -> bool {
        let following = self.following.as_ref();
        following.is_some_and(|following| following.peer == *peer)
    }
}

/// State of an observer and its source, as its worker sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) is_online: bool,
    pub(super) arrivals: u64,
    pub(super) transfer: Transfer,
    /// It has enough to do with what it got, or asks for nothing so as not to exceed its rate.
    pub(super) is_busy: bool,
}

/// Reasons to look for another source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// It brings nothing.
    Stuck,
    /// It brings too little, or needs too long to say what it will bring.
    Slow,
}

impl Following {
    /// Notes how it gets on; returns whether another source should be looked for.
    fn note(&mut self, seen: Seen, patience: Duration, now: Instant) -> Option<Failing> {
        let Seen {
            is_online,
            arrivals,
            transfer,
            is_busy,
        } = seen;
        if is_online {
            self.online = now;
            self.online_since.get_or_insert(now);
        } else {
            self.online_since = None;
        }
        let is_busy = is_busy || transfer == Transfer::Installing;
        if is_online || is_busy || arrivals != self.arrivals {
            (self.arrivals, self.arrived) = (arrivals, now);
        }
        if is_busy {
            // Another source would be no quicker.
            return None;
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let describes = transfer == Transfer::Announced;
        if since(self.online) >= patience || (describes && since(self.arrived) >= patience) {
            return Some(Failing::Slow);
        }
        (!describes && since(self.arrived) >= STUCK).then_some(Failing::Stuck)
    }

    /// Returns whether the observer has been online under this source for a while.
    fn is_steady(&self, now: Instant) -> bool {
        let is_long = |since: Instant| now.saturating_duration_since(since) >= STEADY;
        self.online_since.is_some_and(is_long)
    }
}

impl Feeding {
    /// Notes how the current source gets on; returns whether another one should be looked for.
    pub(super) fn note(&mut self, seen: Seen, now: Instant) -> Option<Failing> {
        let following = self.following.as_mut()?;
        if seen.is_online {
            self.patience = PATIENCE;
        }
        let failing = following.note(seen, self.patience, now);
        if following.is_steady(now) {
            self.strikes.clear(&following.peer);
        }
        failing
    }

    /// The current source is given up for another one.
    pub(super) fn strike(&mut self, failing: Failing, now: Instant) {
        let Some(following) = &self.following else {
            return;
        };
        self.strikes.add(following.peer, AVOID_STUCK, now);
        if failing == Failing::Slow {
            self.patience = (self.patience * 2).min(LAST_PATIENCE);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn following(now: Instant) -> Following {
        let peer = iroh::SecretKey::from_bytes(&[1; 32]).public();
        Following {
            number: 1,
            peer,
            own: MemberId::default(),
            scope: Scope::new(),
            online: now,
            online_since: None,
            arrivals: 0,
            arrived: now,
        }
    }

    fn seen(is_online: bool, arrivals: u64, transfer: Transfer) -> Seen {
        Seen {
            is_online,
            arrivals,
            transfer,
            is_busy: false,
        }
    }

    /// All that it lacked was there, and each source in turn was given up while it was applied.
    #[tokio::test(start_paused = true)]
    async fn a_source_is_not_blamed_for_what_the_observer_itself_takes_time_for() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut feeding = Feeding::new(begin);
        feeding.following = Some(following(begin));
        let busy = Seen {
            is_busy: true,
            ..seen(false, 0, Transfer::None)
        };
        for seconds in 1..100 {
            assert_eq!(feeding.note(busy, after(seconds)), None);
        }
        assert_eq!(
            feeding.note(seen(false, 0, Transfer::Installing), after(100)),
            None
        );
        feeding.patience = LAST_PATIENCE;
        let idle = seen(false, 0, Transfer::None);
        assert_eq!(feeding.note(idle, after(102)), None);
        assert_eq!(feeding.note(idle, after(103)), Some(Failing::Stuck));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_describes_a_large_snapshot_is_not_stuck() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut feeding = Feeding::new(begin);
        feeding.following = Some(following(begin));
        let silent = |transfer| seen(false, 0, transfer);
        assert_eq!(
            feeding.note(silent(Transfer::None), after(3)),
            Some(Failing::Stuck)
        );
        let announced = silent(Transfer::Announced);
        assert_eq!(feeding.note(announced, after(29)), None);
        assert_eq!(feeding.note(announced, after(30)), Some(Failing::Slow));
    }

    /// A transfer that took longer than the first patience once began anew with each source.
    #[tokio::test(start_paused = true)]
    async fn where_all_sources_are_slow_each_gets_twice_the_time_of_the_one_before() {
        let begin = Instant::now();
        let mut feeding = Feeding::new(begin);
        let mut now = begin;
        for seconds in [30, 60, 120, 240] {
            feeding.following = Some(following(now));
            for arrivals in 1..seconds {
                now += Duration::from_secs(1);
                let arriving = seen(false, arrivals, Transfer::Described);
                assert_eq!(feeding.note(arriving, now), None);
            }
            now += Duration::from_secs(1);
            let slow = feeding.note(seen(false, seconds, Transfer::Described), now);
            assert_eq!(slow, Some(Failing::Slow));
            feeding.strike(Failing::Slow, now);
        }
        feeding.note(seen(true, 0, Transfer::None), now);
        assert_eq!(feeding.patience, PATIENCE);
    }

    /// A near source that brings nothing was once taken again every ten seconds.
    #[tokio::test(start_paused = true)]
    async fn a_source_that_brings_nothing_is_avoided_ever_longer_until_it_has_done_well() {
        let mut now = Instant::now();
        let mut feeding = Feeding::new(now);
        let peer = following(now).peer;
        for seconds in [10, 20, 40, 80, 120, 120] {
            feeding.following = Some(following(now));
            feeding.strike(Failing::Stuck, now);
            let until = now + Duration::from_secs(seconds);
            assert!(
                feeding
                    .strikes
                    .holds(&peer, until - Duration::from_millis(1))
            );
            assert!(!feeding.strikes.holds(&peer, until));
            now = until;
        }
        feeding.following = Some(following(now));
        for _ in 0..=10 {
            feeding.note(seen(true, 0, Transfer::None), now);
            now += Duration::from_secs(1);
        }
        feeding.strike(Failing::Stuck, now);
        assert!(!feeding.strikes.holds(&peer, now + AVOID_STUCK));
    }
}
