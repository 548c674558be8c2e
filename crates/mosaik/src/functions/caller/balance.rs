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
/// Two random ones of the near-equal are compared ("the power of two choices"): that spreads evenly
/// without the herding that always taking the least loaded one leads to when many callers decide by
/// themselves.
pub(super) fn choose(
    candidates: &[Arc<Candidate>],
    is_excluded: impl Fn(&Candidate) -> bool,
    now: Instant,
    random: impl Fn() -> u32,
) -> Option<Arc<Candidate>> {
    if let [only] = candidates {
        return (!is_excluded(only)).then(|| only.clone());
    }
    let eligible = || {
        candidates
            .iter()
            .filter(|candidate| !is_excluded(candidate))
    };
    let rested = || eligible().filter(|candidate| !candidate.route.is_resting(now));
    let chosen = spread(rested, &random);
    chosen.or_else(|| spread(eligible, &random)).cloned()
}

/// The distance up to which candidates can't be told apart from the nearest.
pub(super) fn reach<'c>(candidates: impl Iterator<Item = &'c Arc<Candidate>>) -> Option<Duration> {
    let distances = candidates.map(|candidate| candidate.route.distance());
    let nearest = distances.min_by_key(|distance| distance.value)?;
    Some(nearest.value + nearest.noise + NEAR.max(nearest.value / NEAR_PART))
}

/// Returns whether a candidate can't be told apart from the nearest.
fn is_near(candidate: &Candidate, reach: Duration) -> bool {
    let distance = candidate.route.distance();
    distance.value.saturating_sub(distance.noise) <= reach
}

fn spread<'c, I: Iterator<Item = &'c Arc<Candidate>>>(
    candidates: impl Fn() -> I,
    random: impl Fn() -> u32,
) -> Option<&'c Arc<Candidate>> {
    let reach = reach(candidates())?;
    let near = || candidates().filter(|candidate| is_near(candidate, reach));
    let count = near().count();
    let first = random() as usize % count.max(1);
    let one = near().nth(first)?;
    if count < 2 {
        return Some(one);
    }
    // Another one than the first, each with the same chance.
    let second = (first + 1 + random() as usize % (count - 1)) % count;
    let other = near().nth(second)?;
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

    /// Candidates whose distances were measured without noise.
    fn candidates(distances_us: &[u64]) -> Vec<Arc<Candidate>> {
        let routes = Routes::default();
        let candidate = |us: &u64| {
            let peer = iroh::SecretKey::generate().public();
            let info = PeerInfo::new(PeerEntry::new(Digest::zero(), peer), None);
            let candidate = Candidate::new(info, routes.to(peer));
            let exchanges = &mut [Duration::from_micros(*us); 3];
            candidate.route.measured(exchanges, Instant::now());
            Arc::new(candidate)
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
        assert_eq!(counts(&candidates(&[500, 1_510]), 100), [100, 0]);
        assert_eq!(counts(&candidates(&[50_000, 55_010]), 100), [100, 0]);
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
    async fn noise_does_not_decide() {
        let candidates = candidates(&[100, 3_000]);
        let ms = Duration::from_millis;
        candidates[1]
            .route
            .measured(&mut [ms(3), ms(6), ms(9)], Instant::now());
        for count in counts(&candidates, 1_000) {
            assert!((400..=600).contains(&count), "{count}");
        }
    }

    #[tokio::test]
    async fn load_is_evened_out() {
        let candidates = candidates(&[100, 100, 100]);
        let busy: Vec<_> = (0..10)
            .map(|_| candidates[1].route.try_begin().unwrap())
            .collect();
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
