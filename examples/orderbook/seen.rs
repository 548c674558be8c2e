//! Set of the numbers of a sequence that have been met, in little room.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A set of numbers that arrive nearly in order.
///
/// All numbers below a mark have been met; only those beyond it, met ahead of a gap, are kept one
/// by one. A sequence without gaps takes the room of one number, however long it gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    below: u64,
    ahead: BTreeSet<u64>,
}

impl Seen {
    /// Adds a number; false if it was there already.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if number < self.below || !self.ahead.insert(number) {
            return false;
        }
        // The largest number can't move the mark, it stays in the set.
        while self.below < u64::MAX && self.ahead.remove(&self.below) {
            self.below += 1;
        }
        true
    }

    /// The mark: every smaller number has been met, this one hasn't.
    pub(crate) const fn below(&self) -> u64 {
        self.below
    }

    /// The numbers met beyond the mark, ascending.
    pub(crate) fn ahead(&self) -> impl ExactSizeIterator<Item = u64> {
        self.ahead.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::seq::SliceRandom;
    use rand_chacha::ChaCha8Rng;

    use super::Seen;

    #[test]
    fn each_number_is_new_once() {
        let mut numbers: Vec<u64> = (0..500).chain(0..500).chain(100..200).collect();
        numbers.shuffle(&mut ChaCha8Rng::seed_from_u64(1));
        let mut seen = Seen::default();
        let new = numbers
            .iter()
            .filter(|number| seen.insert(**number))
            .count();
        assert_eq!(new, 500);
    }

    #[test]
    fn a_closed_gap_leaves_only_the_mark() {
        let mut seen = Seen::default();
        for number in [1, 2, 4] {
            assert!(seen.insert(number));
        }
        assert_eq!(
            (seen.below(), seen.ahead().collect::<Vec<_>>()),
            (0, vec![1, 2, 4])
        );
        assert!(seen.insert(0));
        assert_eq!(
            (seen.below(), seen.ahead().collect::<Vec<_>>()),
            (3, vec![4])
        );
        assert!(seen.insert(3));
        assert_eq!((seen.below(), seen.ahead().len()), (5, 0));
        assert!(!seen.insert(2) && !seen.insert(4));
    }

    #[test]
    fn the_largest_number_is_like_any_other() {
        let mut seen = Seen {
            below: u64::MAX,
            ..Seen::default()
        };
        assert!(seen.insert(u64::MAX));
        assert!(!seen.insert(u64::MAX));
    }
}
