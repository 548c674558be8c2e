//! Rate limit on a member's fetching.

use std::time::Duration;

use tokio::time::Instant;

/// Longest pause between two requests, however low the rate is.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Limit on the lateness that is made up for: timers are coarse, and small pieces come often.
const GRACE: Duration = Duration::from_millis(5);

/// Spreads requests over time, so that sources are never asked for much at once: what they
/// read, encode and send takes processor time from whatever else their machine does.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second.
    rate: u64,
    next: Instant,
}

impl Pace {
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            next: Instant::now(),
        }
    }

    /// Time at which the next request may be made.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Notes that so much was asked for.
    pub(crate) fn spend(&mut self, bytes: usize) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a request is small, and a rate about right"
        )]
        let seconds = bytes as f64 / self.rate as f64;
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_PAUSE);
        let now = Instant::now();
        let late = now.saturating_duration_since(self.next).min(GRACE);
        let begin = self.next.max(now.checked_sub(late).unwrap_or(now));
        self.next = begin + pause.min(LONGEST_PAUSE);
    }
}
