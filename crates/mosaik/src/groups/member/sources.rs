//! Choice of the peer that an observer follows, of those that would feed it: decisions from what is
//! known, and nothing else.

use std::time::Duration;

use rand::{Rng, seq::IteratorRandom};

use crate::{
    groups::model::lineage::{Lineage, MemberId},
    primitives::PeerId,
};

/// Round-trip times below this are all the same.
const NEAR: Duration = Duration::from_millis(5);

/// A bonded peer that would feed this observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) peer: PeerId,
    pub(super) member: MemberId,
    pub(super) lineage: Lineage,
    /// Commands that the peer had applied when it last said so.
    pub(super) committed: u64,
    pub(super) rank: Rank,
}

/// Rank of a source; the smaller, the better: one that is near first, then one that is close to
/// the membership, then one that does not lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Doublings of the round-trip time from [`NEAR`] on: small differences mean nothing.
    distance: u32,
    /// Observers between the source and the membership, itself included.
    depth: u8,
    leads: bool,
}

impl Rank {
    pub(super) fn new(rtt: Duration, depth: u8, leads: bool) -> Self {
        let times = rtt.as_micros() / NEAR.as_micros();
        Self {
            distance: u128::BITS - times.leading_zeros(),
            depth,
            leads,
        }
    }

    /// Returns whether a nearer one is worth looking for.
    pub(super) fn is_far(self) -> bool {
        self.distance > 0
    }

    pub(super) fn distance(self) -> u32 {
        self.distance
    }
}

/// The offer to take: one of the best, at random. Of several histories, one of that with most
/// commands.
pub(super) fn best(offers: &[Offer], rng: &mut impl Rng) -> Option<Offer> {
    let most = offers
        .iter()
        .max_by_key(|offer| (offer.committed, offer.lineage))?;
    let of_history = || offers.iter().filter(|offer| offer.lineage == most.lineage);
    let rank = of_history().map(|offer| offer.rank).min()?;
    let equals = of_history().filter(|offer| offer.rank == rank);
    equals.choose(rng).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::Digest;

    fn offer(n: u8, rtt_ms: u64, depth: u8, leads: bool) -> Offer {
        let peer = iroh::SecretKey::from_bytes(&[n; 32]).public();
        Offer {
            peer,
            member: MemberId::fresh(peer),
            lineage: Digest::from_u8(1),
            committed: 0,
            rank: Rank::new(Duration::from_millis(rtt_ms), depth, leads),
        }
    }

    #[test]
    fn near_comes_before_shallow_and_shallow_before_not_leading() {
        let ranks = [
            offer(1, 0, 0, false),
            offer(2, 4, 0, true),
            offer(3, 1, 1, false),
            offer(4, 5, 0, false),
            offer(5, 9, 0, true),
            offer(6, 10, 0, false),
            offer(7, 80, 0, false),
        ]
        .map(|offer| offer.rank);
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
        assert!(!ranks[2].is_far() && ranks[3].is_far());
        assert_eq!(ranks[6].distance(), 5);
    }

    #[test]
    fn equals_are_chosen_at_random_and_nobody_else() {
        let offers = [
            offer(1, 1, 0, true),
            offer(2, 1, 0, false),
            offer(3, 2, 0, false),
            offer(4, 1, 1, false),
        ];
        let mut rng = StdRng::seed_from_u64(1);
        let chosen: BTreeSet<_> = (0..64)
            .map(|_| best(&offers, &mut rng).unwrap().peer)
            .collect();
        assert_eq!(chosen, BTreeSet::from([offers[1].peer, offers[2].peer]));
        assert_eq!(best(&[], &mut rng), None);
    }

    #[test]
    fn of_two_histories_the_one_with_more_commands_is_followed() {
        let near = offer(1, 1, 0, false);
        let far = Offer {
            lineage: Digest::from_u8(2),
            committed: 1,
            ..offer(2, 90, 3, true)
        };
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(best(&[near, far], &mut rng), Some(far));
    }
}
