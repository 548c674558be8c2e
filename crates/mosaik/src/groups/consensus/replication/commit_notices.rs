//! Commit notices of a leader.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Commit index that this member, as the leader, has told others.
#[derive(Debug, Default)]
pub(crate) struct CommitNotices {
    /// The consensus index after the last one.
    next: AtomicU64,
    hurry: Notify,
}

impl CommitNotices {
    /// Notes what is about to be said.
    pub(super) fn note(&self, committed: Option<u64>) {
        if let Some(index) = committed {
            self.next.fetch_max(index + 1, Ordering::SeqCst);
        }
    }

    /// Sends out at once what is held back.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// Resolves when nothing should be held back any more.
    pub(super) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// The consensus index after the last one that was made known.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }
}
