//! Sources that have failed an observer, and are not followed for a while: ever longer, the more often
//! it was.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::primitives::PeerId;

/// Longest interval in which a source is not followed.
const LAST: Duration = Duration::from_secs(120);
/// Age from which failures are forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// Sources that have failed, by peer: a peer may call itself another member at any time.
#[derive(Debug, Default)]
pub(super) struct Strikes(HashMap<PeerId, Strike>);

#[derive(Debug, Clone, Copy)]
struct Strike {
    times: u32,
    until: Instant,
}

impl Strikes {
    /// Notes that a source has failed: it is not followed for this time, twice as long the next time,
    /// and so on.
    pub(super) fn add(&mut self, peer: PeerId, first: Duration, now: Instant) {
        self.0.retain(|_, strike| now < strike.until + FORGET);
        let strike = self.0.entry(peer).or_insert(Strike {
            times: 0,
            until: now,
        });
        let factor = 2_u32.saturating_pow(strike.times.min(16));
        strike.until = now + first.saturating_mul(factor).min(LAST);
        strike.times += 1;
    }

    /// A source has done well.
    pub(super) fn clear(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Returns whether a source is not to be followed.
    pub(super) fn holds(&self, peer: &PeerId, now: Instant) -> bool {
        self.0.get(peer).is_some_and(|strike| now < strike.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_strike_is_forgotten_after_a_while() {
        let peer = |n| iroh::SecretKey::from_bytes(&[n; 32]).public();
        let (mut strikes, first) = (Strikes::default(), Duration::from_secs(1));
        let mut now = Instant::now();
        for lasts in [1, 2, 4] {
            strikes.add(peer(1), first, now);
            now += Duration::from_secs(lasts);
            assert!(!strikes.holds(&peer(1), now) && !strikes.holds(&peer(2), now));
            assert!(strikes.holds(&peer(1), now - Duration::from_millis(1)));
        }
        now += FORGET;
        strikes.add(peer(2), first, now);
        assert_eq!(strikes.0.len(), 1);
    }
}
