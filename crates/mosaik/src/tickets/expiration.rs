//! Expiration of a validated credential.

use core::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The duration type of calendar arithmetic; it can be negative.
pub type ChronoDuration = chrono::Duration;
/// The same as [`ChronoDuration`].
pub type Duration = chrono::Duration;

/// Interval at which the wall clock is read by tasks that wait for an expiry. It may be set, and
/// timers stand still while a machine is suspended, so that no single timer can be trusted for
/// longer.
pub(crate) const CLOCK_LOOK: core::time::Duration = core::time::Duration::from_secs(1);

/// Expiration of a ticket.
///
/// One rule holds everywhere: a ticket is valid *before* its moment of expiry, and expired at it.
///
/// `Never` is greater than every moment, so `max` is the longest lived and `min` the first to end.
///
/// # Examples
///
/// ```
/// use mosaik::tickets::Expiration;
///
/// assert!(Expiration::already_expired().is_expired());
/// assert!(Expiration::in_1h() < Expiration::in_24h());
/// assert!(Expiration::in_24h() < Expiration::never());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// The ticket stays valid.
    Never,
    /// The ticket is valid before this moment.
    At(DateTime<Utc>),
}

impl Expiration {
    /// Returns whether the moment of expiry has come, by the system clock.
    pub fn is_expired(&self) -> bool {
        self.is_expired_at(Utc::now())
    }

    /// The time left, by the system clock. `None` both for `Never` and when expired; a timer
    /// must tell the two apart.
    pub fn remaining(&self) -> Option<core::time::Duration> {
        self.remaining_at(Utc::now()).filter(|left| !left.is_zero())
    }

    /// A ticket that stays valid.
    pub const fn never() -> Self {
        Self::Never
    }

    /// One hour ago.
    pub fn already_expired() -> Self {
        Self::in_n_hours(-1)
    }

    /// This long from now, or before now if negative. Saturates at the ends of the calendar.
    pub fn after(duration: impl Into<chrono::Duration>) -> Self {
        let duration = duration.into();
        let moment = Utc::now().checked_add_signed(duration);
        Self::At(moment.unwrap_or(if duration < chrono::Duration::zero() {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        }))
    }

    /// The same as [`after`](Self::after), for the standard library's duration.
    pub fn after_std(duration: core::time::Duration) -> Self {
        Self::after(chrono::Duration::from_std(duration).unwrap_or(chrono::Duration::MAX))
    }

    /// This many hours from now, or before now if negative.
    pub fn in_n_hours(hours: i64) -> Self {
        let saturated = if hours < 0 {
            chrono::Duration::MIN
        } else {
            chrono::Duration::MAX
        };
        Self::after(chrono::Duration::try_hours(hours).unwrap_or(saturated))
    }

    /// One hour from now.
    pub fn in_1h() -> Self {
        Self::in_n_hours(1)
    }

    /// Three hours from now.
    pub fn in_3h() -> Self {
        Self::in_n_hours(3)
    }

    /// Six hours from now.
    pub fn in_6h() -> Self {
        Self::in_n_hours(6)
    }

    /// 24 hours from now.
    pub fn in_24h() -> Self {
        Self::in_n_hours(24)
    }

    /// Resolves at the moment of expiry by the system clock, a second late at most if that clock is
    /// set or the machine was suspended meanwhile; never for `Never`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn passed(self) {
        self.passed_by(Utc::now).await;
    }

    async fn passed_by(self, clock: impl Fn() -> DateTime<Utc> + Send) {
        loop {
            match self.remaining_at(clock()) {
                None => return core::future::pending().await,
                Some(left) if left.is_zero() => return,
                Some(left) => tokio::time::sleep(left.min(CLOCK_LOOK)).await,
            }
        }
    }

    /// The time left by the system clock, for a timer: `None` only for `Never`, zero when expired.
    pub(crate) fn left(&self) -> Option<core::time::Duration> {
        self.remaining_at(Utc::now())
    }

    pub(crate) fn is_expired_at(&self, now: DateTime<Utc>) -> bool {
        match self {
            Self::Never => false,
            Self::At(moment) => *moment <= now,
        }
    }

    /// The time left for a timer: `None` only for `Never`, zero when expired.
    pub(crate) fn remaining_at(&self, now: DateTime<Utc>) -> Option<core::time::Duration> {
        match self {
            Self::Never => None,
            Self::At(moment) => Some((*moment - now).to_std().unwrap_or_default()),
        }
    }
}

impl Ord for Expiration {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Never, Self::Never) => Ordering::Equal,
            (Self::Never, Self::At(_)) => Ordering::Greater,
            (Self::At(_), Self::Never) => Ordering::Less,
            (Self::At(one), Self::At(other)) => one.cmp(other),
        }
    }
}

impl PartialOrd for Expiration {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_expired() {
        let now = Utc::now();
        let nanosecond = chrono::Duration::nanoseconds(1);
        assert!(Expiration::At(now).is_expired_at(now));
        assert!(!Expiration::At(now + nanosecond).is_expired_at(now));
        assert!(!Expiration::Never.is_expired_at(now));
    }

    #[test]
    fn a_timer_tells_never_from_past() {
        let now = Utc::now();
        let zero = core::time::Duration::ZERO;
        assert_eq!(Expiration::Never.remaining_at(now), None);
        assert_eq!(Expiration::already_expired().remaining_at(now), Some(zero));
        assert_eq!(Expiration::already_expired().remaining(), None);
        assert!(Expiration::in_1h().remaining().unwrap().as_secs() > 3590);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_is_noticed_when_the_clock_is_set() {
        use core::time::Duration;
        use futures::FutureExt;
        use std::sync::atomic::{AtomicI64, Ordering};
        use tokio::time::{Instant, advance};

        let (now, ahead) = (Utc::now(), AtomicI64::new(0));
        let clock = || now + chrono::Duration::seconds(ahead.load(Ordering::SeqCst));
        let ten_minutes = Expiration::At(now + chrono::Duration::minutes(10));
        let mut passed = core::pin::pin!(ten_minutes.passed_by(clock));
        // As in a suspended machine, no timer moves while the wall clock does.
        assert!((&mut passed).now_or_never().is_none());
        advance(Duration::from_secs(5)).await;
        assert!((&mut passed).now_or_never().is_none());
        ahead.store(20 * 60, Ordering::SeqCst);
        let stepped = Instant::now();
        passed.await;
        assert!(stepped.elapsed() <= CLOCK_LOOK);
        assert!(Expiration::Never.passed().now_or_never().is_none());
        assert!(
            Expiration::already_expired()
                .passed()
                .now_or_never()
                .is_some()
        );
    }

    #[test]
    fn order_puts_never_last() {
        let mut all = [
            Expiration::Never,
            Expiration::in_3h(),
            Expiration::already_expired(),
        ];
        all.sort();
        assert!(all[0].is_expired());
        assert_eq!(all[2], Expiration::Never);
    }

    #[test]
    fn huge_durations_saturate() {
        let max = Expiration::At(DateTime::<Utc>::MAX_UTC);
        assert_eq!(Expiration::after_std(core::time::Duration::MAX), max);
        assert_eq!(Expiration::after(chrono::Duration::MAX), max);
        assert_eq!(Expiration::in_n_hours(i64::MAX), max);
        assert!(Expiration::in_n_hours(i64::MIN).is_expired());
    }
}
