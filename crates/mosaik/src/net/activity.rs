//! Whether a connection is in use.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts the links of a connection.
pub(super) struct UseCount {
    links: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl UseCount {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            links: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
        })
    }

    /// For how long there has been no link; `None` while there is one.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let unused = self.links.load(Ordering::Acquire) == 0;
        unused.then(|| self.idle_since.lock().elapsed())
    }
}

/// Counts a link as long as it exists.
pub(crate) struct Activity(Arc<UseCount>);

impl Activity {
    pub(super) fn begin(count: &Arc<UseCount>) -> Self {
        count.links.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.links.fetch_sub(1, Ordering::Release);
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activity")
    }
}
