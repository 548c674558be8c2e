//! Rate limit on raising this node's version above that of another process with the same key.
//!
//! A former run of this node is outgrown once, and at once. A second live copy does the same: both
//! would go on without end, and each step is announced to all.

use std::time::Duration;

use tokio::time::Instant;

/// The wait after the first step.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest wait between two steps; after as much quiet the next wait is a short one again.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Backoff between two steps.
#[derive(Debug, Default)]
pub(super) struct IdentityConflict(Option<Step>);

#[derive(Debug, Clone, Copy)]
struct Step {
    at: Instant,
    pause: Duration,
}

impl IdentityConflict {
    /// Returns whether a step may be made now; if so, it counts as made.
    pub(super) fn may_step(&mut self, now: Instant) -> bool {
        let pause = match self.0 {
            Some(last) if now < last.at + last.pause => return false,
            Some(last) if now < last.at + last.pause + MAX_PAUSE => (last.pause * 2).min(MAX_PAUSE),
            _ => MIN_PAUSE,
        };
        self.0 = Some(Step { at: now, pause });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_become_rare_and_quiet_is_forgiven() {
        let (mut rivalry, start) = (IdentityConflict::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let steps = |rivalry: &mut IdentityConflict, from: u64, to: u64| {
            let times = (from..to).step_by(10);
            times
                .filter(|ms| rivalry.may_step(at(*ms)))
                .collect::<Vec<_>>()
        };
        assert_eq!(steps(&mut rivalry, 0, 8000), [0, 1000, 3000, 7000]);
        // 15 s, 31 s, 63 s, and then one a minute.
        assert_eq!(steps(&mut rivalry, 8000, 600_000).len(), 3 + 8);
        let quiet = 600_000 + 3 * 60_000;
        assert_eq!(
            steps(&mut rivalry, quiet, quiet + 2000),
            [quiet, quiet + 1000]
        );
    }
}
