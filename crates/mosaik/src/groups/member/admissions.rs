//! Guests that come as ever new members: each is added to the membership, and the one before removed,
//! which are two entries of everybody's log. So they wait, ever longer the more often they come.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::primitives::PeerId;

/// Time for which a peer waits that was added once before. It doubles with each time.
const FIRST: Duration = Duration::from_millis(250);
/// Longest time for which a peer waits.
const LAST: Duration = Duration::from_secs(60);
/// Time after which it is forgotten how often a peer came.
const FORGET: Duration = Duration::from_secs(600);

/// Guests that were added to the membership lately, by peer: it may call itself another member at any
/// time.
#[derive(Debug, Default)]
pub(super) struct Admissions(HashMap<PeerId, Admission>);

#[derive(Debug, Clone, Copy)]
struct Admission {
    times: u32,
    /// It is not added again before.
    until: Instant,
}

impl Admissions {
    /// Notes that a guest is added.
    pub(super) fn add(&mut self, peer: PeerId, now: Instant) {
        self.0.retain(|_, admission| now < admission.until + FORGET);
        let admission = self.0.entry(peer).or_insert(Admission {
            times: 0,
            until: now,
        });
        let factor = 2_u32.saturating_pow(admission.times.min(16));
        admission.until = now + FIRST.saturating_mul(factor).min(LAST);
        admission.times += 1;
    }

    /// Returns whether a guest has to wait before it is added again.
    pub(super) fn waits(&self, peer: &PeerId, now: Instant) -> bool {
        let admission = self.0.get(peer);
        admission.is_some_and(|admission| now < admission.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_again_and_again_waits_ever_longer_until_it_was_away_for_long() {
        let peer = |n| iroh::SecretKey::from_bytes(&[n; 32]).public();
        let (mut admissions, mut now) = (Admissions::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..10 {
            admissions.add(peer(1), now);
            let begin = now;
            while admissions.waits(&peer(1), now) {
                assert!(!admissions.waits(&peer(2), now));
                now += FIRST;
            }
            waits.push((now - begin).as_millis());
        }
        let doubled = [
            250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000,
        ];
        assert_eq!(waits, doubled);
        now += FORGET;
        admissions.add(peer(2), now);
        assert_eq!(admissions.0.len(), 1);
    }
}
