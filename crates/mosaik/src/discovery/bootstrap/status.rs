//! Bootstrap status: whether every configured way to find peers has given its first answer.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Counts the ways that have not answered yet.
#[derive(Debug, Clone)]
pub(crate) struct BootstrapStatus(watch::Sender<usize>);

impl BootstrapStatus {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Registers a way to find peers.
    pub(crate) fn expect_answer(&self) -> Pending {
        self.0.send_modify(|pending| *pending += 1);
        Pending {
            settling: self.clone(),
            answered: AtomicBool::new(false),
        }
    }

    /// Resolves once all have answered, or ended.
    pub(crate) async fn settled(&self) {
        let mut pending = self.0.subscribe();
        // The sender is this very value.
        let _ = pending.wait_for(|pending| *pending == 0).await;
    }
}

/// A way to find peers that has not answered yet. Dropping it counts as an answer.
#[derive(Debug)]
pub(crate) struct Pending {
    settling: BootstrapStatus,
    answered: AtomicBool,
}

impl Pending {
    /// Notes the first answer; more are ignored.
    pub(crate) fn answer(&self) {
        if !self.answered.swap(true, Ordering::Relaxed) {
            self.settling.0.send_modify(|pending| *pending -= 1);
        }
    }

    /// Returns whether the first answer has come.
    #[cfg(feature = "mdns")]
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.answer();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn settles_when_all_have_answered_or_ended() {
        let settling = BootstrapStatus::new();
        settling.settled().await;
        let (first, second) = (settling.expect_answer(), settling.expect_answer());
        first.answer();
        first.answer();
        assert_eq!(settling.settled().now_or_never(), None);
        drop(second);
        settling.settled().await;
    }
}
