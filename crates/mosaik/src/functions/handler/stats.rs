//! Counts of a handler's calls.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts of a handler's calls since it was registered. Refused calls are not counted.
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

    /// Counts a call in, unless `max` are running.
    pub(super) fn begin(&self, max: usize) -> bool {
        let more = |running: usize| (running < max).then_some(running + 1);
        let begun = self
            .inflight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        begun.is_ok()
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
    fn places_are_limited_and_come_back() {
        let stats = Stats::default();
        assert!(!stats.begin(0));
        assert!(stats.begin(2) && stats.begin(2) && !stats.begin(2));
        stats.count(true);
        assert!(!stats.begin(2), "counted, and still there");
        stats.end();
        assert!(stats.begin(2));
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
