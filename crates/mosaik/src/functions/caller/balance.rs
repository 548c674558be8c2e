//! Chooses among candidates: the nearest, and of near-equal ones the less loaded of two.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::functions_layer::candidates::Candidate;

/// Distances that differ by less count as equal.
const NEAR: Duration = Duration::from_millis(1);
/// Distances that differ by less than this part of the smaller one count as equal.
const NEAR_PART: u32 = 10;

/// The candidate to call next. Those that failed or were full a moment ago come last.
///
/// `candidates` are ordered by distance. Two random ones of the near-equal are compared ("the power
/// of two choices"): that spreads evenly without the herding that always taking the least loaded
/// one leads to when many callers decide by themselves.
pub(super) fn choose(
    candidates: &[Arc<Candidate>],
    is_excluded: impl Fn(&Candidate) -> bool,
    now: Instant,
    random: impl Fn() -> u32,
) -> Option<Arc<Candidate>> {
    let eligible = || {
        candidates
            .iter()
            .filter(|candidate| !is_excluded(candidate))
    };
    let rested = || eligible().filter(|candidate| !candidate.route.is_resting(now));
    let chosen = spread(rested, &random);
    chosen.or_else(|| spread(eligible, &random)).cloned()
}

fn spread<'c, I: Iterator<Item = &'c Arc<Candidate>>>(
    candidates: impl Fn() -> I,
    random: impl Fn() -> u32,
) -> Option<&'c Arc<Candidate>> {
    let nearest = candidates().next()?;
    let reach = nearest.distance + NEAR.max(nearest.distance / NEAR_PART);
    let near = || candidates().take_while(|candidate| candidate.distance <= reach);
    let count = near().count();
    if count == 1 {
        return Some(nearest);
    }
    let first = random() as usize % count;
    // Another one than the first, each with the same chance.
    let second = (first + 1 + random() as usize % (count - 1)) % count;
    let (one, other) = (near().nth(first)?, near().nth(second)?);
    Some(if other.route.load() < one.route.load() {
        other
    } else {
        one
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest,
        functions_layer::route::Routes,
        tickets::{PeerEntry, PeerInfo},
    };

    fn candidates(distances_us: &[u64]) -> Vec<Arc<Candidate>> {
        let routes = Routes::default();
        let candidate = |us: &u64| {
            let peer = iroh::SecretKey::generate().public();
            let info = PeerInfo::new(PeerEntry::new(Digest::zero(), peer), None);
            Arc::new(Candidate::new(
                info,
                Duration::from_micros(*us),
                routes.to(peer),
            ))
        };
        distances_us.iter().map(candidate).collect()
    }

    fn counts(candidates: &[Arc<Candidate>], calls: usize) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for _ in 0..calls {
            let chosen = choose(candidates, |_| false, Instant::now(), rand::random).unwrap();
            let index = candidates
                .iter()
                .position(|c| Arc::ptr_eq(c, &chosen))
                .unwrap();
            counts[index] += 1;
        }
        counts
    }

    #[tokio::test]
    async fn the_nearest_is_called() {
        assert_eq!(counts(&candidates(&[500, 1_501]), 100), [100, 0]);
        assert_eq!(counts(&candidates(&[50_000, 55_001]), 100), [100, 0]);
    }

    #[tokio::test]
    async fn near_equal_ones_share() {
        for distances in [[100, 900, 1_100], [50_000, 53_000, 55_000]] {
            for count in counts(&candidates(&distances), 3_000) {
                assert!((850..=1_150).contains(&count), "{count}");
            }
        }
    }

    #[tokio::test]
    async fn load_is_evened_out() {
        let candidates = candidates(&[100, 100, 100]);
        let busy: Vec<_> = (0..10).map(|_| candidates[1].route.begin()).collect();
        assert_eq!(counts(&candidates, 300)[1], 0, "never better than another");
        drop(busy);
        assert!(counts(&candidates, 300)[1] > 0);
    }

    #[tokio::test]
    async fn resting_ones_come_last() {
        let candidates = candidates(&[100, 5_000, 9_000]);
        candidates[0].route.failed(Instant::now());
        assert_eq!(counts(&candidates, 10), [0, 10, 0]);
        candidates[1].route.failed(Instant::now());
        candidates[2].route.failed(Instant::now());
        assert_eq!(counts(&candidates, 10), [10, 0, 0], "better than none");
    }

    #[tokio::test]
    async fn excluded_ones_are_not_chosen() {
        let candidates = candidates(&[100, 200]);
        let first = candidates[0].peer();
        let but_first = choose(&candidates, |c| c.peer() == first, Instant::now(), || 0);
        assert_eq!(but_first.unwrap().peer(), candidates[1].peer());
        assert!(choose(&candidates, |_| true, Instant::now(), || 0).is_none());
    }
}
