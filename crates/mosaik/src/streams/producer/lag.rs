//! When a consumer lags: the rule, without clock or lock.

use std::time::Duration;

use tokio::time::Instant;

/// A backlog that is full this long, without a break and while another has room, lags.
pub(super) const LAG_AFTER: Duration = Duration::from_secs(1);
/// A consumer that takes nothing for this long, although there is something to take, is dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(10);

/// When a subscription held up its producer, and when it had room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    full_since: Option<Instant>,
    roomy_since: Instant,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            full_since: None,
            roomy_since: now,
        }
    }

    /// The backlog was seen full; `true` if that is news.
    pub(super) fn full(&mut self, now: Instant) -> bool {
        let news = self.full_since.is_none();
        self.full_since.get_or_insert(now);
        news
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// Something was taken off a full backlog.
    pub(super) const fn roomy(&mut self, now: Instant) {
        self.full_since = None;
        self.roomy_since = now;
    }

    /// Since when this one is full while one of the others has room.
    pub(super) fn lags_since<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Option<Instant> {
        let full_since = self.full_since?;
        let roomy = others.filter(|other| !other.is_full());
        let roomy_since = roomy.map(|other| other.roomy_since).min()?;
        Some(full_since.max(roomy_since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_one_that_holds_up_another_lags() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let (mut slow, mut other) = (Pace::new(start), Pace::new(start));
        assert!(slow.full(start) && !slow.full(start + second));
        assert_eq!(
            slow.lags_since([].iter()),
            None,
            "alone: plain back-pressure"
        );
        assert_eq!(slow.lags_since([&other].into_iter()), Some(start));
        other.full(start);
        assert_eq!(
            slow.lags_since([&other].into_iter()),
            None,
            "nobody has room"
        );
        other.roomy(start + second);
        assert_eq!(slow.lags_since([&other].into_iter()), Some(start + second));
        slow.roomy(start + second * 2);
        assert_eq!(
            slow.lags_since([&other].into_iter()),
            None,
            "it took something"
        );
        slow.full(start + second * 3);
        assert_eq!(
            slow.lags_since([&other].into_iter()),
            Some(start + second * 3)
        );
    }
}
