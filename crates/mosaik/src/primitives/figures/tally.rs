//! Counters that can be read where they are counted.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;

/// A counter of the `metrics` facade, whose total since it was made can be read here as well: the
/// facade only takes in.
pub(crate) struct Tally {
    counter: Counter,
    total: AtomicU64,
}

impl Tally {
    pub(crate) fn increment(&self, by: u64) {
        self.counter.increment(by);
        self.total.fetch_add(by, Ordering::Relaxed);
    }

    /// Sum of all increments of this handle.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl From<Counter> for Tally {
    fn from(counter: Counter) -> Self {
        Self {
            counter,
            total: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up() {
        let tally = Tally::from(Counter::noop());
        tally.increment(2);
        tally.increment(3);
        assert_eq!(tally.total(), 5);
    }
}
