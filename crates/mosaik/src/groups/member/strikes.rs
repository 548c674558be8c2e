//! Sources that have failed an observer: others are followed before them for a while, ever longer, the
//! more often it was.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::primitives::PeerId;

/// Longest interval in which a source is not followed.
const LAST: Duration = Duration::from_secs(120);
/// Interval in which a source is not followed again even if it is the only one.
const LEAST: Duration = Duration::from_secs(1);
/// Age from which failures are forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// Sources that have failed, by peer: a peer may call itself another member at any time.
#[derive(Debug, Default)]
pub(super) struct Strikes(HashMap<PeerId, Strike>);

#[derive(Debug, Clone, Copy)]
struct Strike {
    times: u32,
    since: Instant,
    until: Instant,
}

impl Strikes {
    /// Notes that a source has failed: it is not followed for this time, twice as long the next time,
    /// and so on.
    pub(super) fn add(&mut self, peer: PeerId, first: Duration, now: Instant) {
        self.0.retain(|_, strike| now < strike.until + FORGET);
        let strike = self.0.entry(peer).or_insert(Strike {
            times: 0,
            since: now,
            until: now,
        });
        let factor = 2_u32.saturating_pow(strike.times.min(16));
        strike.since = now;
        strike.until = now + first.saturating_mul(factor).min(LAST);
        strike.times += 1;
    }

    /// A source has done well.
    pub(super) fn clear(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Of sources that are all not to be followed, the one to follow nevertheless if there is no other:
    /// the first that would be free again, unless it has failed just now. `None` if all have.
    pub(super) fn least<'a, T>(
        &self,
        sources: &'a [T],
        peer_of: impl Fn(&T) -> PeerId,
        now: Instant,
    ) -> Option<&'a T> {
        let rested = sources.iter().filter_map(|source| {
            let strike = self.0.get(&peer_of(source))?;
            (strike.since + LEAST <= now).then_some((strike.until, source))
        });
        let least = rested.min_by_key(|(until, _)| *until);
        least.map(|(_, source)| source)
    }

    /// Returns whether a source is not to be followed, if there is another one.
    pub(super) fn holds(&self, peer: &PeerId, now: Instant) -> bool {
        self.0.get(peer).is_some_and(|strike| now < strike.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An observer once had no source for two minutes, beside one that it could reach.
    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_other_source_one_that_has_failed_is_followed_after_a_second() {
        let peer = |n| iroh::SecretKey::from_bytes(&[n; 32]).public();
        let (mut strikes, first) = (Strikes::default(), Duration::from_secs(10));
        let begin = Instant::now();
        for _ in 0..9 {
            strikes.add(peer(1), first, begin);
        }
        let least =
            |strikes: &Strikes, of: &[PeerId], now| strikes.least(of, |peer| *peer, now).copied();
        let soon = begin + LEAST;
        assert_eq!(
            least(&strikes, &[peer(1)], soon - Duration::from_millis(1)),
            None
        );
        assert!(strikes.holds(&peer(1), soon));
        assert_eq!(least(&strikes, &[peer(1)], soon), Some(peer(1)));
        strikes.add(peer(2), first, begin);
        assert_eq!(least(&strikes, &[peer(1), peer(2)], soon), Some(peer(2)));
        strikes.add(peer(2), first, soon);
        assert_eq!(least(&strikes, &[peer(1), peer(2)], soon), Some(peer(1)));
    }

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
