//! Bonds and source of an observer, as its worker knows them; see [`observing`](super::observing).

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    groups::model::lineage::MemberId,
    primitives::{PeerId, Scope},
};

/// Time limit for a peer to have a bond and offer to feed. It doubles with each that did not, up to
/// [`LAST_PROBATION`], as when the whole group has no leader or the machine is overloaded.
pub(super) const PROBATION: Duration = Duration::from_secs(2);
pub(super) const LAST_PROBATION: Duration = Duration::from_secs(60);
/// A source that brings nothing for so long to an observer that is offline is given up.
const STUCK: Duration = Duration::from_secs(3);
/// A source under which an observer is offline for so long is given up even if it brings something.
const SLOW: Duration = Duration::from_secs(30);

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
    /// Sources that are not followed, each with the time until when.
    pub(super) struck: HashMap<MemberId, Instant>,
    pub(super) following: Option<Following>,
    /// Number of sources that were followed.
    pub(super) count: u64,
    pub(super) review_at: Instant,
    pub(super) explore_at: Instant,
    pub(super) probation: Duration,
    /// Time at which a bond was last given up.
    pub(super) dropped_at: Instant,
}

pub(super) struct Following {
    pub(super) number: u64,
    pub(super) peer: PeerId,
    pub(super) source: MemberId,
    /// This observer, as it was then.
    pub(super) own: MemberId,
    pub(super) scope: Scope,
    /// Time at which it was last online, or began.
    pub(super) online: Instant,
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
            struck: HashMap::new(),
            following: None,
            count: 0,
            review_at: now,
            explore_at: now,
            probation: PROBATION,
            dropped_at: now,
        }
    }

    pub(super) fn wants(&self, peer: &PeerId) -> bool {
        self.picks.contains_key(peer) || self.reached.contains_key(peer)
    }

    pub(super) fn is_source(&self, peer: &PeerId) -> bool {
        let following = self.following.as_ref();
        following.is_some_and(|following| following.peer == *peer)
    }
}

impl Following {
    /// Notes how it gets on; returns whether another source should be looked for.
    pub(super) fn is_failing(&mut self, is_online: bool, arrivals: u64, now: Instant) -> bool {
        if is_online {
            self.online = now;
        }
        if is_online || arrivals != self.arrivals {
            (self.arrivals, self.arrived) = (arrivals, now);
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        since(self.arrived) >= STUCK || since(self.online) >= SLOW
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.scope.cancel();
    }
}
