//! Positions: a bare integer works on the right of every operator.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

use super::carried;
use mosaik::{
    groups::{Cursor, Index, IndexRange, Term},
    primitives::Pretty,
};
use serde::{Serialize, de::DeserializeOwned};

fn plain<T>(value: T) -> T
where
    T: Debug + Copy + Default + Ord + Hash + Serialize + DeserializeOwned,
{
    let copy: T = carried(&value);
    assert_eq!(HashSet::from([value, copy]).len(), 1);
    copy
}

macro_rules! position {
    ($test:ident, $P:ident, unsigned: $($u:ty),*; signed: $($i:ty),*) => {
        #[test]
        fn $test() {
            const ZERO: $P = $P::zero();
            const NEXT: $P = $P::one().next().prev();
            const IS_ZERO: bool = ZERO.is_zero();
            assert!(IS_ZERO && !NEXT.is_zero() && plain(NEXT) == $P(1) && $P::default() == ZERO);
            assert_eq!(($P(u64::MAX).next(), ZERO.prev()), ($P(u64::MAX), ZERO));
            assert_eq!(($P(7).to_string(), format!("{:?}", $P(7))), ("7".into(), concat!(stringify!($P), "(7)").into()));
            assert_eq!(($P(7).as_usize(), $P(3).distance(&$P(5)), $P(5).distance(&$P(3))), (7, 2, 2));
            assert_eq!((u64::from($P(7)), usize::from($P(7)), usize::from(&$P(7))), (7, 7, 7));
            $(
                let n: $u = 5;
                assert_eq!(($P::from(n), $P::from(&n)), ($P(5), $P(5)));
                assert_eq!(($P(2) + n, $P(2) + &n, $P(7) - n, $P(2) - n), ($P(7), $P(7), $P(2), $P(0)));
                assert!($P(5) == n && &$P(5) == n && $P(5) == &n && $P(4) < n && &$P(6) > n && $P(6) > &n);
            )*
            $(
                let (n, negative): ($i, $i) = (5, -1);
                assert_eq!(($P::from(n), $P::from(&n), $P::from(negative)), ($P(5), $P(5), $P(0)));
                assert!($P(5) == n && &$P(5) == n && $P(5) == &n && $P(4) < n && &$P(6) > n && $P(6) > &n);
                assert!(ZERO > negative && ZERO != negative && &ZERO > negative && ZERO > &negative);
            )*
            assert_eq!(($P(2) + $P(3), $P(5) - $P(3), $P(3) - $P(5)), ($P(5), $P(2), $P(0)));
            assert_eq!(($P(2) + 3usize, $P(5) - 3usize), ($P(5), $P(2)));
            assert_eq!($P(7), 7);
            assert!($P(7) > 3 && $P(7) != -7);
            assert_eq!(Pretty(&($P(1)..=$P(4))).to_string(), "[1..4]");
        }
    };
}

position!(indices, Index, unsigned: u8, u16, u32, u64; signed: i8, i16, i32, i64);
position!(terms, Term, unsigned: u8, u16, u32, u64; signed: i8, i16, i32, i64);

#[test]
fn cursors() {
    const NEW: Cursor = Cursor::new(Term(2), Index(3));
    const PARTS: (Term, Index, bool) = (NEW.term(), NEW.index(), Cursor::zero().is_zero());
    let Cursor(term, index) = plain(NEW);
    assert_eq!((term, index, true), PARTS);
    let old = Cursor::from((Term(1), Index(9)));
    assert!(old.is_behind(&NEW) && old < NEW && Cursor::default() == Cursor::zero());
    assert!(old > Index(8) && NEW == Index(3) && NEW == Term(2) && old < Term(2));
    assert!(Index(3) == NEW && Index(4) > NEW);
    assert_eq!(<(Term, Index)>::from(NEW), (Term(2), Index(3)));
    assert_eq!(
        (NEW.to_string(), format!("{NEW:?}")),
        ("(t:2,i:3)".into(), "Cursor(t:2,i:3)".into())
    );
}

#[test]
fn ranges() {
    let range: core::ops::RangeInclusive<Index> = IndexRange::new(3.into(), 5.into());
    assert!(range.end() == 5 && *range.start() == 3 && range.contains(&Index(4)));
}
