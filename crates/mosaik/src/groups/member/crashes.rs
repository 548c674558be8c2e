//! Crashes of the consensus library on one member.
//!
//! The library checks its own state by assertions, so that a fault in it, or a message that no member
//! should send, can end its task. Log, vote and machine are apart from it and as they were: the
//! member goes on with them in a new instance, as it would after a restart of its process. One that
//! crashes again and again ends the group on its node.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Limit on crashes within [`CRASH_PERIOD`] after which the member starts again.
const MAX_CRASHES: usize = 5;
/// Period for which a crash counts.
const CRASH_PERIOD: Duration = Duration::from_secs(600);

/// Crashes of late.
#[derive(Debug, Default)]
pub(super) struct Crashes(VecDeque<Instant>);

impl Crashes {
    /// Notes a crash; returns whether the member may start again.
    pub(super) fn note(&mut self, now: Instant) -> bool {
        self.0.retain(|at| now - *at < CRASH_PERIOD);
        self.0.push_back(now);
        self.0.len() <= MAX_CRASHES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_forgotten_after_their_period() {
        let (mut crashes, start) = (Crashes::default(), Instant::now());
        for second in 0..5 {
            assert!(crashes.note(start + Duration::from_secs(second)));
        }
        assert!(!crashes.note(start + Duration::from_secs(5)));
        assert!(crashes.note(start + CRASH_PERIOD + Duration::from_secs(4)));
    }
}
