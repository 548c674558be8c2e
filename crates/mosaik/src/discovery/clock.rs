//! Wall-clock time, as the rules of the catalog see it.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

/// Source of wall-clock time; replaced in tests of clock skew.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that reads another source than the system's.
    pub(crate) fn new(source: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        let since_epoch = (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

/// Difference between the wall clock and the monotonic one from which the wall clock counts as set,
/// in milliseconds.
const STEP_MS: u64 = 1000;

/// Notices when the wall clock is set, or has gone on while the machine slept.
#[derive(Debug)]
pub(crate) struct Steps {
    wall_ms: u64,
    at: Instant,
}

impl Steps {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            wall_ms: clock.now_ms(),
            at: Instant::now(),
        }
    }

    /// Returns whether that has happened since the last call.
    pub(crate) fn stepped(&mut self, clock: &Clock) -> bool {
        let elapsed = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let expected_ms = self.wall_ms.saturating_add(elapsed);
        *self = Self::new(clock);
        self.wall_ms.abs_diff(expected_ms) > STEP_MS
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}
