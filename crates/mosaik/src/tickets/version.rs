//! The version of a catalog entry.

use core::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::primitives::Short;

const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The version of a catalog entry: when the owner's run started, and when it last changed the
/// entry, in milliseconds since the Unix epoch.
///
/// Compared by start, then by update. Both are the owner's own words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerEntryVersion {
    start: u64,
    update: u64,
}

impl PeerEntryVersion {
    /// Time of the entry's last update; the Unix epoch if out of range.
    pub fn updated_at(&self) -> DateTime<Utc> {
        moment(self.update)
    }

    /// Start time of the owner's run; the Unix epoch if out of range. Self-declared and not
    /// trustworthy.
    pub fn started_at(&self) -> DateTime<Utc> {
        moment(self.start)
    }

    pub(crate) const fn from_millis(start_ms: u64, update_ms: u64) -> Self {
        Self {
            start: start_ms,
            update: update_ms,
        }
    }

    pub(crate) const fn start_ms(self) -> u64 {
        self.start
    }

    pub(crate) const fn update_ms(self) -> u64 {
        self.update
    }

    /// The next version within the run: later than this one, and not before `now_ms`.
    #[must_use]
    pub(crate) fn bumped(self, now_ms: u64) -> Self {
        Self {
            start: self.start,
            update: self.update.saturating_add(1).max(now_ms),
        }
    }
}

/// A run that starts now.
impl Default for PeerEntryVersion {
    fn default() -> Self {
        let now = system_now_ms();
        Self::from_millis(now, now)
    }
}

impl fmt::Display for PeerEntryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.start, self.update)
    }
}

impl fmt::Debug for PeerEntryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Short<PeerEntryVersion> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.update % WEEK_MS)
    }
}

impl fmt::Display for Short<&PeerEntryVersion> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Short(*self.0), f)
    }
}

/// The system clock in milliseconds since the Unix epoch, zero if it is before that.
pub(crate) fn system_now_ms() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0)
}

fn moment(ms: u64) -> DateTime<Utc> {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_is_later_than_before_and_not_before_now() {
        let version = PeerEntryVersion::from_millis(1_000, 5_000);
        assert_eq!(
            version.bumped(9_000),
            PeerEntryVersion::from_millis(1_000, 9_000)
        );
        assert_eq!(
            version.bumped(5_000),
            PeerEntryVersion::from_millis(1_000, 5_001)
        );
        assert_eq!(
            version.bumped(10),
            PeerEntryVersion::from_millis(1_000, 5_001)
        );
        let last = PeerEntryVersion::from_millis(0, u64::MAX);
        assert_eq!(last.bumped(0), last);
    }

    #[test]
    fn start_is_compared_first() {
        let old_run = PeerEntryVersion::from_millis(1, 900);
        let new_run = PeerEntryVersion::from_millis(2, 2);
        assert!(new_run > old_run && old_run.bumped(0) > old_run);
    }

    #[test]
    fn out_of_range_is_the_epoch() {
        for ms in [u64::MAX, i64::MAX.unsigned_abs()] {
            let version = PeerEntryVersion::from_millis(ms, ms);
            assert_eq!(version.updated_at(), DateTime::UNIX_EPOCH);
            assert_eq!(version.started_at(), DateTime::UNIX_EPOCH);
        }
        let version = PeerEntryVersion::from_millis(1_500, 2_500);
        assert_eq!(version.started_at().timestamp_millis(), 1_500);
        assert_eq!(version.updated_at().timestamp_millis(), 2_500);
    }

    #[test]
    fn forms() {
        let version = PeerEntryVersion::from_millis(7, WEEK_MS + 3);
        assert_eq!(version.to_string(), format!("7.{}", WEEK_MS + 3));
        assert_eq!(format!("{version:?}"), version.to_string());
        assert_eq!(Short(version).to_string(), "3");
    }
}
