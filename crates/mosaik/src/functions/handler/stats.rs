//! Counts of a handler's calls.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of a handler's calls since it was registered. Not counted are calls that were refused, and
/// those whose request did not arrive as it was announced.
#[derive(Debug, Default)]
pub struct Stats {
    served: AtomicUsize,
    failed: AtomicUsize,
    inflight: AtomicUsize,
}

impl Stats {
    /// Calls that were answered, with a value or with an application error; counted before the
    /// reply can reach the caller. A stream counts once, when it ends or its caller leaves.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }

    /// Calls that were admitted and not answered: the request was undecodable, the reply had no
    /// encoding, the function panicked, the handler was dropped or the caller went away.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Acquire)
    }

    /// Calls that are running now.
    pub fn inflight(&self) -> usize {
        self.inflight.load(Ordering::Acquire)
    }

    /// Counts a call in.
    pub(super) fn begin(&self) {
        self.inflight.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts how a call ended.
    pub(super) fn count(&self, is_served: bool) {
        let outcome = if is_served {
            &self.served
        } else {
            &self.failed
        };
        outcome.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a call out.
    pub(super) fn end(&self) {
        self.inflight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_in_and_out() {
        let stats = Stats::default();
        for _ in 0..3 {
            stats.begin();
        }
        stats.count(true);
        assert_eq!(stats.inflight(), 3, "counted, and still there");
        stats.end();
        for _ in 0..2 {
            stats.count(false);
            stats.end();
        }
        assert_eq!(
            (stats.served(), stats.failed(), stats.inflight()),
            (1, 2, 0)
        );
    }
}
