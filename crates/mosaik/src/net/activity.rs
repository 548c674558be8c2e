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

use super::limits::OWN_LINKS_COVERED;

/// Counts the links of a connection.
pub(super) struct UseCount {
    links: AtomicUsize,
    /// Of those, the ones that this node opened.
    own: AtomicUsize,
    /// For how many of its own the connection's window is known to suffice.
    covered: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl UseCount {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            links: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            covered: AtomicUsize::new(OWN_LINKS_COVERED),
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
pub(crate) struct Activity {
    count: Arc<UseCount>,
    is_own: bool,
}

impl Activity {
    /// Counts in a link that the peer opened.
    pub(super) fn accepted(count: &Arc<UseCount>) -> Self {
        Self::begin(count, false)
    }

    /// Counts in a link that this node opened, and tells for how many of those the window of the
    /// connection must be enlarged, if it must.
    pub(super) fn opened(count: &Arc<UseCount>) -> (Self, Option<usize>) {
        let own = count.own.fetch_add(1, Ordering::Relaxed) + 1;
        let activity = Self::begin(count, true);
        if own <= count.covered.load(Ordering::Relaxed) {
            return (activity, None);
        }
        let enough = own.next_power_of_two();
        let before = count.covered.fetch_max(enough, Ordering::Relaxed);
        (activity, (before < enough).then_some(enough))
    }

    fn begin(count: &Arc<UseCount>, is_own: bool) -> Self {
        count.links.fetch_add(1, Ordering::Relaxed);
        Self {
            count: count.clone(),
            is_own,
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if self.is_own {
            self.count.own.fetch_sub(1, Ordering::Relaxed);
        }
        *self.count.idle_since.lock() = Instant::now();
        self.count.links.fetch_sub(1, Ordering::Release);
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Activity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_follows_what_this_node_opens() {
        let count = UseCount::new();
        let _theirs: Vec<_> = (0..1_000).map(|_| Activity::accepted(&count)).collect();
        let open = || Activity::opened(&count);
        let few: Vec<_> = (0..OWN_LINKS_COVERED).map(|_| open()).collect();
        assert!(few.iter().all(|(_, enlarged)| enlarged.is_none()));
        let (_one_more, enlarged) = open();
        assert_eq!(enlarged, Some(OWN_LINKS_COVERED * 2));
        drop(few);
        let again: Vec<_> = (0..OWN_LINKS_COVERED).map(|_| open()).collect();
        assert!(again.iter().all(|(_, enlarged)| enlarged.is_none()));
    }
}
