//! Warnings that a peer can cause, which must not flood the log.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A stream warns of this at most once in this time; the counter tells how many there were.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Time of a stream's last warning.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<Option<Instant>>);

impl Warnings {
    /// Returns whether the next warning is due; if so, it counts as given.
    pub(super) fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now - last >= WARN_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_are_rare() {
        let warnings = Warnings::default();
        assert!(warnings.is_due());
        assert!(!warnings.is_due());
        tokio::time::advance(WARN_EVERY).await;
        assert!(warnings.is_due());
        assert!(!warnings.is_due());
    }
}
