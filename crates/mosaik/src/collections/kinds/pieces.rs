//! Iteration over an ordered structure that is taken in pieces, as far as it is asked for.

use core::ops::Bound;

/// Items that are taken from the structure at a time: looking up where a piece begins is paid for
/// once for all of them.
pub(super) const PIECE: usize = 64;

/// End of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

/// Iterator over items between two bounds, from both ends.
pub(super) struct Pieces<T, F> {
    /// Takes up to [`PIECE`] items between the bounds, those nearest to one end, from there on.
    take: F,
    /// Bounds of what was not taken yet.
    rest: (Bound<T>, Bound<T>),
    /// Taken from the first end, in order.
    front: std::vec::IntoIter<T>,
    /// Taken from the last end, in the opposite order.
    back: std::vec::IntoIter<T>,
}

impl<T, F> Pieces<T, F>
where
    T: Clone,
    F: Fn(Bound<&T>, Bound<&T>, End) -> Vec<T>,
{
    pub(super) fn new(bounds: (Bound<T>, Bound<T>), take: F) -> Self {
        Self {
            take,
            rest: bounds,
            front: Vec::new().into_iter(),
            back: Vec::new().into_iter(),
        }
    }

    fn taken(&self, end: End) -> std::vec::IntoIter<T> {
        let (low, high) = &self.rest;
        (self.take)(low.as_ref(), high.as_ref(), end).into_iter()
    }
}

impl<T, F> Iterator for Pieces<T, F>
where
    T: Clone,
    F: Fn(Bound<&T>, Bound<&T>, End) -> Vec<T>,
{
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.front.as_slice().is_empty() {
            self.front = self.taken(End::First);
            if let Some(last) = self.front.as_slice().last() {
                self.rest.0 = Bound::Excluded(last.clone());
            }
        }
        self.front.next().or_else(|| self.back.next_back())
    }
}

impl<T, F> DoubleEndedIterator for Pieces<T, F>
where
    T: Clone,
    F: Fn(Bound<&T>, Bound<&T>, End) -> Vec<T>,
{
    fn next_back(&mut self) -> Option<T> {
        if self.back.as_slice().is_empty() {
            self.back = self.taken(End::Last);
            if let Some(first) = self.back.as_slice().last() {
                self.rest.1 = Bound::Excluded(first.clone());
            }
        }
        self.back.next().or_else(|| self.front.next_back())
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    /// Numbers below a limit, and how many of them were taken.
    fn numbers(
        limit: u32,
        bounds: (Bound<u32>, Bound<u32>),
        taken: &Cell<usize>,
    ) -> Pieces<u32, impl Fn(Bound<&u32>, Bound<&u32>, End) -> Vec<u32>> {
        let tree: BTreeSet<u32> = (0..limit).collect();
        Pieces::new(bounds, move |low, high, end| {
            let range = tree.range::<u32, _>((low, high)).copied();
            let piece: Vec<_> = match end {
                End::First => range.take(PIECE).collect(),
                End::Last => range.rev().take(PIECE).collect(),
            };
            taken.set(taken.get() + piece.len());
            piece
        })
    }

    #[test]
    fn both_ends_meet_wherever_they_do() {
        let taken = Cell::new(0);
        let whole = (Bound::Unbounded, Bound::Unbounded);
        for limit in [0, 1, 63, 64, 65, 128, 200] {
            assert!(numbers(limit, whole, &taken).eq(0..limit));
            assert!(numbers(limit, whole, &taken).rev().eq((0..limit).rev()));
            for front in 0..=limit {
                let mut rest = numbers(limit, whole, &taken);
                assert!(rest.by_ref().take(front as usize).eq(0..front));
                assert!(rest.by_ref().rev().eq((front..limit).rev()));
                assert_eq!((rest.next(), rest.next_back()), (None, None));
            }
        }
        let part = (Bound::Included(5), Bound::Excluded(150));
        assert!(numbers(200, part, &taken).eq(5..150));
        assert!(numbers(200, part, &taken).rev().eq((5..150).rev()));
    }

    #[test]
    fn no_more_is_taken_than_was_asked_for_and_the_rest_of_a_piece() {
        let taken = Cell::new(0);
        let mut all = numbers(1_000_000, (Bound::Unbounded, Bound::Unbounded), &taken);
        assert_eq!(taken.get(), 0);
        assert_eq!((all.next(), all.next_back()), (Some(0), Some(999_999)));
        assert_eq!(taken.get(), 2 * PIECE);
    }
}
