//! Use count of a connection, and the retirement of an idle one.

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

/// Marks the count of links of a connection that is retired.
const RETIRED: usize = 1 << (usize::BITS - 1);

/// Counts the links of a connection, until it is retired.
pub(super) struct UseCount {
    /// Together with the mark, so that a link either keeps its connection or comes too late.
    links: AtomicUsize,
    /// The links among them that this node opened.
    own: AtomicUsize,
    /// Number of own links that the connection's window is known to suffice for.
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

    /// Retires a connection without a link for this long: none is counted any more. `false` if it
    /// is in use, or retired already.
    pub(super) fn retire_after(&self, limit: Duration) -> bool {
        let is_idle =
            self.links.load(Ordering::Acquire) == 0 && self.idle_since.lock().elapsed() >= limit;
        is_idle
            && self
                .links
                .compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Returns whether the connection is retired.
    pub(super) fn is_retired(&self) -> bool {
        self.links.load(Ordering::Acquire) & RETIRED != 0
    }
}

/// Counts a link as long as it exists.
pub(crate) struct Activity {
    count: Arc<UseCount>,
    is_own: bool,
}

impl Activity {
    /// Counts in a link that the peer opened; `None` if the connection is retired.
    pub(super) fn accepted(count: &Arc<UseCount>) -> Option<Self> {
        Self::begin(count, false)
    }

    /// Counts in a link that this node opened, and returns the number of own links for which the
    /// window of the connection must be enlarged, if it must; `None` if the connection is retired.
    pub(super) fn opened(count: &Arc<UseCount>) -> Option<(Self, Option<usize>)> {
        let activity = Self::begin(count, true)?;
        let own = count.own.fetch_add(1, Ordering::Relaxed) + 1;
        if own <= count.covered.load(Ordering::Relaxed) {
            return Some((activity, None));
        }
        let enough = own.next_power_of_two();
        let before = count.covered.fetch_max(enough, Ordering::Relaxed);
        Some((activity, (before < enough).then_some(enough)))
    }

    fn begin(count: &Arc<UseCount>, is_own: bool) -> Option<Self> {
        let one_more = |links: usize| (links & RETIRED == 0).then_some(links + 1);
        count
            .links
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        Some(Self {
            count: count.clone(),
            is_own,
        })
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
        let open = || Activity::opened(&count).unwrap();
        let few: Vec<_> = (0..OWN_LINKS_COVERED).map(|_| open()).collect();
        assert!(few.iter().all(|(_, enlarged)| enlarged.is_none()));
        let (_one_more, enlarged) = open();
        assert_eq!(enlarged, Some(OWN_LINKS_COVERED * 2));
        drop(few);
        let again: Vec<_> = (0..OWN_LINKS_COVERED).map(|_| open()).collect();
        assert!(again.iter().all(|(_, enlarged)| enlarged.is_none()));
    }

    #[test]
    fn a_connection_is_in_use_or_retired() {
        let count = UseCount::new();
        let link = Activity::accepted(&count).unwrap();
        assert!(!count.retire_after(Duration::ZERO));
        drop(link);
        assert!(!count.retire_after(Duration::from_mins(1)));
        assert!(Activity::opened(&count).is_some() && !count.is_retired());
        assert!(count.retire_after(Duration::ZERO) && count.is_retired());
        assert!(!count.retire_after(Duration::ZERO));
        assert!(Activity::accepted(&count).is_none());
        assert!(Activity::opened(&count).is_none());
    }
}
