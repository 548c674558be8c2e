//! Crashes of the consensus library on one member.
//!
//! The library checks its own state by assertions, so that a fault in it, or a message that no member
//! should send, can end its task. Log, vote and machine are apart from it and as they were: the
//! member goes on with them in a new instance, as it would after a restart of its process. Whoever
//! sent what it can't bear sends it again, and perhaps to others too: so the pauses before that grow,
//! and the group finds time to elect somebody else.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Pause after the second crash within [`CRASH_PERIOD`]; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Period for which a crash counts.
const CRASH_PERIOD: Duration = Duration::from_secs(600);
/// Limit on crashes that are remembered, and thereby on the pause: 4 minutes and 16 seconds.
const MAX_CRASHES: usize = 10;

/// Crashes of late, and the pause after the last one.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    recent: VecDeque<Instant>,
    /// End of the pause; `None` while consensus runs.
    pub(super) pause_ends: Option<Instant>,
}

impl Crashes {
    /// Notes a crash; returns the pause that begins with it.
    pub(super) fn note(&mut self, now: Instant) -> Duration {
        self.recent.retain(|at| now - *at < CRASH_PERIOD);
        self.recent.push_back(now);
        if self.recent.len() > MAX_CRASHES {
            self.recent.pop_front();
        }
        let pause = match self.recent.len() {
            0 | 1 => Duration::ZERO,
            crashes => FIRST_PAUSE * (1 << (crashes - 2)),
        };
        self.pause_ends = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_crashes_are_forgotten_after_their_period() {
        let (mut crashes, start) = (Crashes::default(), Instant::now());
        let mut crash = |second| crashes.note(start + Duration::from_secs(second)).as_secs();
        assert_eq!([0, 1, 2, 3, 4].map(&mut crash), [0, 1, 2, 4, 8]);
        assert_eq!(
            [5, 6, 7, 8, 9, 10].map(&mut crash),
            [16, 32, 64, 128, 256, 256]
        );
        assert_eq!(crash(2000), 0);
    }
}
