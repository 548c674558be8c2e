//! Positions in a group's history of commands.

use core::{
    cmp::Ordering,
    fmt,
    ops::{Add, RangeInclusive, Sub},
};

use serde::{Deserialize, Serialize};

use crate::primitives::Pretty;

/// A contiguous, inclusive range of positions.
pub type IndexRange = RangeInclusive<Index>;

macro_rules! position {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl $name {
            /// Nothing yet.
            pub const fn zero() -> Self {
                Self(0)
            }

            /// The first.
            pub const fn one() -> Self {
                Self(1)
            }

            /// Returns whether this is zero.
            pub const fn is_zero(&self) -> bool {
                self.0 == 0
            }

            /// One less; zero stays zero.
            #[must_use]
            pub const fn prev(&self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// One more; the largest value stays.
            #[must_use]
            pub const fn next(&self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The number as `usize`; what doesn't fit becomes `usize::MAX`.
            pub fn as_usize(&self) -> usize {
                usize::try_from(self.0).unwrap_or(usize::MAX)
            }

            /// The absolute difference.
            pub const fn distance(&self, other: &Self) -> u64 {
                self.0.abs_diff(other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Display for Pretty<'_, RangeInclusive<$name>> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "[{}..{}]", self.0.start(), self.0.end())
            }
        }

        impl From<$name> for u64 {
            fn from(position: $name) -> Self {
                position.0
            }
        }

        impl From<$name> for usize {
            /// # Panics
            ///
            /// On platforms where the number doesn't fit.
            fn from(position: $name) -> Self {
                Self::try_from(position.0).expect("the position fits into usize")
            }
        }

        impl From<&$name> for usize {
            /// # Panics
            ///
            /// On platforms where the number doesn't fit.
            fn from(position: &$name) -> Self {
                (*position).into()
            }
        }

        impl Add for $name {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl Sub for $name {
            type Output = Self;

            fn sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        position!(@unsigned $name: usize, u8, u16, u32, u64);
        position!(@signed $name: i8, i16, i32, i64);
    };

    (@unsigned $name:ident: $($int:ty),*) => {$(
        impl From<$int> for $name {
            #[allow(clippy::cast_lossless, reason = "`usize` has no lossless conversion")]
            fn from(n: $int) -> Self {
                Self(n as u64)
            }
        }

        impl Add<$int> for $name {
            type Output = Self;

            fn add(self, n: $int) -> Self {
                self + Self::from(n)
            }
        }

        impl Add<&$int> for $name {
            type Output = Self;

            fn add(self, n: &$int) -> Self {
                self + Self::from(*n)
            }
        }

        impl Sub<$int> for $name {
            type Output = Self;

            fn sub(self, n: $int) -> Self {
                self - Self::from(n)
            }
        }

        position!(@compare $name, $int, |n: $int| Some($name::from(n).0));
    )*};

    (@signed $name:ident: $($int:ty),*) => {$(
        impl From<$int> for $name {
            /// Negative numbers become 0.
            fn from(n: $int) -> Self {
                Self(u64::try_from(n).unwrap_or(0))
            }
        }

        position!(@compare $name, $int, |n: $int| u64::try_from(n).ok());
    )*};

    (@compare $name:ident, $int:ty, $number:expr) => {
        impl From<&$int> for $name {
            fn from(n: &$int) -> Self {
                (*n).into()
            }
        }

        impl PartialEq<$int> for $name {
            fn eq(&self, n: &$int) -> bool {
                $number(*n) == Some(self.0)
            }
        }

        impl PartialOrd<$int> for $name {
            /// Negative numbers are smaller than every position.
            fn partial_cmp(&self, n: &$int) -> Option<Ordering> {
                Some($number(*n).map_or(Ordering::Greater, |n| self.0.cmp(&n)))
            }
        }

        impl PartialEq<$int> for &$name {
            fn eq(&self, n: &$int) -> bool {
                **self == *n
            }
        }

        impl PartialOrd<$int> for &$name {
            fn partial_cmp(&self, n: &$int) -> Option<Ordering> {
                (**self).partial_cmp(n)
            }
        }

        impl PartialEq<&$int> for $name {
            fn eq(&self, n: &&$int) -> bool {
                *self == **n
            }
        }

        impl PartialOrd<&$int> for $name {
            fn partial_cmp(&self, n: &&$int) -> Option<Ordering> {
                self.partial_cmp(*n)
            }
        }
    };
}

position! {
    /// The position of a user command in a group's history, counted from 1; 0 means "nothing yet".
    ///
    /// Elections, membership changes and other internal entries take no index, so indices have no
    /// gaps. Subtraction saturates at zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use mosaik::groups::Index;
    ///
    /// let index = Index(7);
    /// assert!(index == 7 && index > 3 && index > -1);
    /// assert_eq!(index - 10u64, 0);
    /// assert_eq!(index.next(), Index::from(8));
    /// ```
    Index
}

position! {
    /// Number of a leader's term; each election begins a higher one.
    Term
}

/// The position of a command together with the term of the leader that accepted it.
///
/// Ordered by term, then by index.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor(pub Term, pub Index);

impl Cursor {
    /// The command at `index`, accepted in `term`.
    pub const fn new(term: Term, index: Index) -> Self {
        Self(term, index)
    }

    /// The position before the first command.
    pub const fn zero() -> Self {
        Self(Term::zero(), Index::zero())
    }

    /// Returns whether this is before the first command.
    pub const fn is_zero(&self) -> bool {
        self.0.is_zero() && self.1.is_zero()
    }

    /// The term.
    pub const fn term(&self) -> Term {
        self.0
    }

    /// The index.
    pub const fn index(&self) -> Index {
        self.1
    }

    /// Returns whether `other` is further on.
    pub fn is_behind(&self, other: &Self) -> bool {
        self < other
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(t:{},i:{})", self.0, self.1)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor{self}")
    }
}

impl From<(Term, Index)> for Cursor {
    fn from((term, index): (Term, Index)) -> Self {
        Self(term, index)
    }
}

impl From<Cursor> for (Term, Index) {
    fn from(cursor: Cursor) -> Self {
        (cursor.0, cursor.1)
    }
}

impl PartialEq<Index> for Cursor {
    fn eq(&self, index: &Index) -> bool {
        self.1 == *index
    }
}

impl PartialOrd<Index> for Cursor {
    fn partial_cmp(&self, index: &Index) -> Option<Ordering> {
        Some(self.1.cmp(index))
    }
}

impl PartialEq<Term> for Cursor {
    fn eq(&self, term: &Term) -> bool {
        self.0 == *term
    }
}

impl PartialOrd<Term> for Cursor {
    fn partial_cmp(&self, term: &Term) -> Option<Ordering> {
        Some(self.0.cmp(term))
    }
}

impl PartialEq<Cursor> for Index {
    fn eq(&self, cursor: &Cursor) -> bool {
        *self == cursor.1
    }
}

impl PartialOrd<Cursor> for Index {
    fn partial_cmp(&self, cursor: &Cursor) -> Option<Ordering> {
        Some(self.cmp(&cursor.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::op_ref,
        reason = "comparisons through references are part of the interface"
    )]
    fn positions_compare_with_integers() {
        let index = Index(7);
        assert_eq!(index, 7);
        assert!(index > 6u8 && index < 8i64 && index != -7 && index > -1);
        assert!(&index == 7 && index == &7u32 && &index > 3);
        assert!(*IndexRange::new(3.into(), 5.into()).end() == 5);
        assert_eq!(Term::from(-3), Term::zero());
    }

    #[test]
    #[expect(
        clippy::op_ref,
        reason = "arithmetic with references is part of the interface"
    )]
    fn arithmetic_saturates() {
        assert_eq!(Index(3) - Index(5), 0);
        assert_eq!(Index(3) - 4usize, 0);
        assert_eq!(Index(3) + 4u8 + &1u64, 8);
        assert_eq!(Index(u64::MAX).next(), Index(u64::MAX));
        assert_eq!(Index::zero().prev(), Index::zero());
        assert_eq!(Index(3).distance(&Index(5)), 2);
        assert_eq!(usize::from(&Index(3)), 3);
    }

    #[test]
    fn cursors_order_by_term_first() {
        let old = Cursor::new(Term(1), Index(9));
        let new = Cursor::from((Term(2), Index(3)));
        assert!(old.is_behind(&new) && old > Index(8) && new == Term(2) && Index(4) > new);
        assert_eq!(format!("{new} {new:?}"), "(t:2,i:3) Cursor(t:2,i:3)");
        assert_eq!(<(Term, Index)>::from(new), (Term(2), Index(3)));
        assert_eq!(Pretty(&(Index(1)..=Index(4))).to_string(), "[1..4]");
    }
}
