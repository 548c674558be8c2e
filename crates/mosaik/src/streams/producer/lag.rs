//! Lag detection: the rule, without clock or lock.

use std::time::Duration;

/// A subscription lags once it has held up others for this long in all, less the time in which it
/// did not.
pub(super) const LAG_AFTER: Duration = Duration::from_secs(1);
/// Interval of the lag check on a producer whose senders wait.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time without credit after which a consumer is dead, although there is something to take, if its
/// producer cuts consumers at all.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(10);

/// Verdict on a subscription at one check, while senders wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its backlog makes senders wait, and another subscription has nothing left to take.
    HoldsOthersUp,
    /// Anything else.
    Fair,
}

/// Time for which a subscription has held up others, and its position when it began to.
///
/// It is measured in checks, and more than half of them must find it guilty: so a subscription is
/// safe that shares a processor or a line with the fastest and is merely served after it. One that
/// takes as much as its whole backlog begins anew: it is slow, but what is accepted reaches it
/// within a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    held: Duration,
    datums: u64,
    bytes: u64,
}

/// Capacity of a subscription's backlog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    pub(super) datums: u64,
    pub(super) bytes: u64,
}

impl Pace {
    /// Pace of a subscription that was sent this much.
    pub(super) const fn new(datums: u64, bytes: u64) -> Self {
        Self {
            held: Duration::ZERO,
            datums,
            bytes,
        }
    }

    /// Time for which it has held up others lately.
    pub(super) const fn held(&self) -> Duration {
        self.held
    }

    /// Returns whether it held up others lately.
    pub(super) const fn is_suspect(&self) -> bool {
        !self.held.is_zero()
    }

    /// Takes in a verdict after this much time, and how much the subscription was sent; `true` if
    /// it lags.
    pub(super) fn look(
        &mut self,
        stand: Stand,
        passed: Duration,
        (datums, bytes): (u64, u64),
        backlog: Capacity,
    ) -> bool {
        let took_all =
            datums - self.datums >= backlog.datums || bytes - self.bytes >= backlog.bytes;
        if took_all {
            *self = Self::new(datums, bytes);
        }
        match stand {
            Stand::HoldsOthersUp => {
                if self.held.is_zero() {
                    *self = Self::new(datums, bytes);
                }
                // One look is no evidence for a longer time.
                self.held += passed.min(LOOK_EVERY * 2);
            }
            Stand::Fair => self.held = self.held.saturating_sub(passed),
        }
        self.held >= LAG_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stand::{Fair, HoldsOthersUp};

    const BACKLOG: Capacity = Capacity {
        datums: 100,
        bytes: 1000,
    };

    /// Number of checks after which a subscription lags, if these verdicts repeat in turn and each
    /// check finds this much more sent.
    fn lags_after(stands: &[Stand], datums: u64, bytes: u64) -> Option<u64> {
        let mut pace = Pace::new(0, 0);
        (1..200).zip(stands.iter().cycle()).find_map(|(n, stand)| {
            pace.look(*stand, LOOK_EVERY, (n * datums, n * bytes), BACKLOG)
                .then_some(n)
        })
    }

    #[test]
    fn one_that_holds_up_others_lags_after_a_second() {
        assert_eq!(lags_after(&[HoldsOthersUp], 0, 0), Some(20));
        assert_eq!(lags_after(&[HoldsOthersUp], 4, 40), Some(20), "a little");
        assert_eq!(
            lags_after(&[HoldsOthersUp], 6, 0),
            None,
            "all of its backlog"
        );
        assert_eq!(lags_after(&[HoldsOthersUp], 0, 60), None);
    }

    #[test]
    fn most_of_the_time_is_what_counts() {
        assert_eq!(lags_after(&[Fair], 0, 0), None);
        assert_eq!(lags_after(&[HoldsOthersUp, Fair], 0, 0), None);
        let mostly = [HoldsOthersUp, HoldsOthersUp, Fair];
        assert_eq!(lags_after(&mostly, 0, 0), Some(56));
    }

    #[test]
    fn a_late_look_counts_for_little() {
        let mut pace = Pace::new(0, 0);
        let late = LAG_AFTER * 60;
        assert!(!pace.look(HoldsOthersUp, late, (0, 0), BACKLOG));
        assert!(!pace.look(Fair, late, (0, 0), BACKLOG));
        assert_eq!(pace.held, Duration::ZERO);
    }
}
