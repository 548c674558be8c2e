//! Validity of a verdict: the time for which it may be relied on.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

use crate::tickets::{CLOCK_LOOK, Expiration};

/// The verdict that a peer's tickets are valid, and when it has to be asked for again.
///
/// This is the one rule for all that lasts: subscriptions, streams of replies, bonds. A task that
/// relies on a verdict asks again when it is [due](Self::due), and when the peer's entry changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    expires: Option<Expiration>,
    /// Time at which a verdict that may change by itself is asked for again.
    again: Option<Instant>,
}

impl Validity {
    /// Without validators: nothing has to be asked for again.
    pub(crate) const fn unconditional() -> Self {
        Self {
            expires: None,
            again: None,
        }
    }

    /// One verdict of now. Unless it is `lasting`, nothing tells when it changes.
    pub(super) fn new(expires: Expiration, is_lasting: bool, now: Instant) -> Self {
        Self {
            expires: Some(expires),
            again: (!is_lasting).then(|| now + CLOCK_LOOK),
        }
    }

    /// Both verdicts.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            expires: earliest(self.expires, other.expires),
            again: earliest(self.again, other.again),
        }
    }

    /// The earliest expiration of all tickets; `None` without validators.
    #[cfg(test)]
    pub(crate) const fn expires(&self) -> Option<Expiration> {
        self.expires
    }

    /// Returns whether a ticket has expired by now.
    pub(crate) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires.is_expired())
    }

    /// Returns whether the verdict has to be asked for again.
    pub(crate) fn is_due(&self) -> bool {
        self.has_expired() || self.again.is_some_and(|again| again <= Instant::now())
    }

    /// Keeps the verdict for now, as the peer's entry is gone, and postpones the next check.
    pub(crate) fn postpone(&mut self) {
        self.again = self.again.map(|_| Instant::now() + CLOCK_LOOK);
    }

    /// Resolves when the verdict has to be asked for again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn due(&self) {
        let again = async {
            match self.again {
                Some(again) => sleep_until(again).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.expires.unwrap_or(Expiration::Never).passed() => {}
            () = again => {}
        }
    }

    /// Time of the next check whether it [is due](Self::is_due), for tasks that keep timers of
    /// their own; `None` if it never will be.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let expires = self.expires.unwrap_or(Expiration::Never).left();
        let look = expires.map(|left| now + left.min(CLOCK_LOOK));
        earliest(look, self.again)
    }
}

fn earliest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_verdict_that_may_change_is_due_after_a_second() {
        let now = Instant::now();
        let lasting = Validity::new(Expiration::Never, true, now);
        assert_eq!(lasting.next_look(now), None);
        assert_eq!(lasting, Validity::new(Expiration::Never, true, now));
        let changing = lasting.and(Validity::new(Expiration::Never, false, now));
        assert!(!changing.is_due());
        assert_eq!(changing.next_look(now), Some(now + CLOCK_LOOK));
        changing.due().await;
        assert!(changing.is_due() && !changing.has_expired());
        let mut postponed = changing;
        postponed.postpone();
        assert!(!postponed.is_due(), "no spinning where nobody can be asked");
        assert_eq!(now.elapsed(), CLOCK_LOOK);
        assert!(!lasting.is_due());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_expire_counts() {
        let now = Instant::now();
        let long = Validity::new(Expiration::in_1h(), true, now);
        assert_eq!(long.next_look(now), Some(now + CLOCK_LOOK));
        let over = long.and(Validity::new(Expiration::already_expired(), true, now));
        assert!(over.is_due() && over.has_expired());
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, over.due()).await.unwrap();
        assert!(!long.and(Validity::unconditional()).is_due());
        assert_eq!(Validity::unconditional().next_look(now), None);
    }
}
