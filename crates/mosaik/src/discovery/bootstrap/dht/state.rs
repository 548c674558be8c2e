//! The rules of when to write which slot.

use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};
use tokio::time::Instant;

use super::record::TTL_SECS;

/// A claim may be invisible for as long as others may cache the slot's former content.
const PROPAGATION: Duration = Duration::from_secs(TTL_SECS as u64);

/// Observation of a slot by a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing, or something that may be replaced: not a record, or a peer that does not answer
    /// or is of another network.
    Free,
    /// A peer that is there.
    Taken,
    /// This node's own record.
    Own {
        /// True if its addresses are the current ones.
        current: bool,
    },
    /// The DHT did not answer.
    Unknown,
}

/// Next action of a node that has read all slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Write the own record again, into the slot that it is in.
    Refresh(usize),
    /// Take this slot.
    Claim(usize),
}

/// Publication state of a node's own record, as far as the node knows.
#[derive(Debug)]
pub(super) struct Publication {
    interval: Duration,
    held: Option<Held>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    slot: usize,
    claimed: Instant,
    /// `None` for a record of an earlier run.
    written: Option<Instant>,
}

impl Publication {
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            held: None,
        }
    }

    /// The slot that holds this node's record, as far as it knows.
    pub(super) fn slot(&self) -> Option<usize> {
        self.held.map(|held| held.slot)
    }

    /// Decides what to do about what was seen.
    pub(super) fn next(&mut self, sights: &[Sight], now: Instant, rng: &mut impl Rng) -> Step {
        let is_own = |slot: &usize| matches!(sights[*slot], Sight::Own { .. });
        let seen = self
            .slot()
            .filter(is_own)
            .or_else(|| (0..sights.len()).find(is_own));
        if let Some(slot) = seen {
            if self.slot() != Some(slot) {
                self.held = Some(Held {
                    slot,
                    claimed: now,
                    written: None,
                });
            }
            let current = sights[slot] == Sight::Own { current: true };
            return if current && !self.is_due(now) {
                Step::Rest
            } else {
                Step::Refresh(slot)
            };
        }
        if let Some(held) = self.held.filter(|held| now - held.claimed < PROPAGATION) {
            // Nobody else is there, so the record has not come around yet, or was lost.
            let lost = sights[held.slot] == Sight::Free && self.is_due(now);
            return if lost {
                Step::Refresh(held.slot)
            } else {
                Step::Rest
            };
        }
        self.held = None;
        let free: Vec<_> = (0..sights.len())
            .filter(|slot| sights[*slot] == Sight::Free)
            .collect();
        free.choose(rng)
            .map_or(Step::Rest, |slot| Step::Claim(*slot))
    }

    /// Notes that the own record was written.
    pub(super) fn written(&mut self, slot: usize, now: Instant) {
        let claimed = self
            .held
            .filter(|held| held.slot == slot)
            .map_or(now, |held| held.claimed);
        self.held = Some(Held {
            slot,
            claimed,
            written: Some(now),
        });
    }

    /// Notes that another node was faster.
    pub(super) const fn lost(&mut self) {
        self.held = None;
    }

    fn is_due(&self, now: Instant) -> bool {
        let written = self.held.and_then(|held| held.written);
        written.is_none_or(|written| now - written >= self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(5);

    fn rng() -> impl Rng {
        <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1)
    }

    fn publication() -> (Publication, Instant) {
        (Publication::new(INTERVAL), Instant::now())
    }

    #[test]
    fn only_free_slots_are_claimed() {
        let (mut own, now) = publication();
        let mut sights = [Sight::Taken; 16];
        sights[0] = Sight::Unknown;
        assert_eq!(own.next(&sights, now, &mut rng()), Step::Rest);
        sights[7] = Sight::Free;
        assert_eq!(own.next(&sights, now, &mut rng()), Step::Claim(7));
    }

    #[test]
    fn claims_are_spread() {
        let (mut own, now) = publication();
        let mut rng = rng();
        let mut slots: Vec<_> = (0..100)
            .map(|_| match own.next(&[Sight::Free; 16], now, &mut rng) {
                Step::Claim(slot) => slot,
                step => panic!("{step:?}"),
            })
            .collect();
        slots.sort_unstable();
        slots.dedup();
        assert!(slots.len() > 10);
    }

    #[test]
    fn the_record_is_refreshed_when_due_or_outdated() {
        let (mut own, now) = publication();
        let mut sights = [Sight::Taken; 16];
        own.written(3, now);
        sights[3] = Sight::Own { current: true };
        assert_eq!(
            own.next(&sights, now + INTERVAL / 2, &mut rng()),
            Step::Rest
        );
        assert_eq!(
            own.next(&sights, now + INTERVAL, &mut rng()),
            Step::Refresh(3)
        );
        sights[3] = Sight::Own { current: false };
        assert_eq!(own.next(&sights, now, &mut rng()), Step::Refresh(3));
    }

    #[test]
    fn a_record_of_an_earlier_run_is_kept_and_refreshed() {
        let (mut own, now) = publication();
        let mut sights = [Sight::Free; 16];
        sights[9] = Sight::Own { current: true };
        assert_eq!(own.next(&sights, now, &mut rng()), Step::Refresh(9));
        assert_eq!(own.slot(), Some(9));
    }

    #[test]
    fn no_second_slot_is_claimed_while_the_first_may_be_on_its_way() {
        let (mut own, now) = publication();
        own.written(3, now);
        let sights = [Sight::Free; 16];
        assert_eq!(
            own.next(&sights, now + INTERVAL / 2, &mut rng()),
            Step::Rest
        );
        assert_eq!(
            own.next(&sights, now + INTERVAL, &mut rng()),
            Step::Refresh(3)
        );
        let mut taken = sights;
        taken[3] = Sight::Taken;
        assert_eq!(own.next(&taken, now + INTERVAL, &mut rng()), Step::Rest);
        assert!(matches!(
            own.next(&taken, now + PROPAGATION, &mut rng()),
            Step::Claim(_)
        ));
    }

    #[test]
    fn after_a_lost_race_another_slot_is_claimed() {
        let (mut own, now) = publication();
        own.written(3, now);
        own.lost();
        let mut sights = [Sight::Free; 16];
        sights[3] = Sight::Taken;
        assert!(matches!(own.next(&sights, now, &mut rng()), Step::Claim(slot) if slot != 3));
    }
}
