//! Time of the last of some events.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Remembers when something happened last, without a lock.
#[derive(Debug)]
pub(crate) struct LastTime {
    base: Instant,
    /// Milliseconds from the base, plus one; 0 for never.
    at: AtomicU64,
}

impl LastTime {
    pub(crate) fn note(&self) {
        self.at
            .store(self.passed().saturating_add(1), Ordering::Relaxed);
    }

    /// Milliseconds since then; `None` if it has never happened.
    pub(crate) fn ago_ms(&self) -> Option<u64> {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.passed().saturating_sub(at))
    }

    fn passed(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for LastTime {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            at: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_time_counts() {
        let last = LastTime::default();
        assert_eq!(last.ago_ms(), None);
        last.note();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(last.ago_ms(), Some(2000));
        last.note();
        assert_eq!(last.ago_ms(), Some(0));
    }
}
