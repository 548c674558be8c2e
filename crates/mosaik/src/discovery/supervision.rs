//! Workers go on for as long as their node, whatever befalls them.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::{Instant, sleep};

use super::metrics::DiscoveryMetrics;
use crate::primitives::backoff::{Backoff, ExponentialBackoff};

/// The first pause before a worker is started again, before the random part.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest; a worker that has run for as long begins with short ones again.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Runs a worker until it ends: when it panics, it is started again.
pub(super) async fn keep_running<F: Future<Output = ()>>(
    worker: &'static str,
    metrics: Arc<DiscoveryMetrics>,
    mut start: impl FnMut() -> F,
) {
    let mut restarts = Restarts::new(worker, metrics);
    loop {
        let running = AssertUnwindSafe(async { start().await });
        match running.catch_unwind().await {
            Ok(()) => return,
            Err(panic) => restarts.report(&*panic),
        }
        restarts.pause().await;
    }
}

/// The restarts of one worker.
pub(super) struct Restarts {
    worker: &'static str,
    metrics: Arc<DiscoveryMetrics>,
    backoff: ExponentialBackoff,
    started: Instant,
}

impl Restarts {
    pub(super) fn new(worker: &'static str, metrics: Arc<DiscoveryMetrics>) -> Self {
        Self {
            worker,
            metrics,
            backoff: ExponentialBackoff::endless(MIN_PAUSE, MAX_PAUSE),
            started: Instant::now(),
        }
    }

    /// Tells of a panic, which is a fault of this program.
    pub(super) fn report(&self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let error = text.unwrap_or("unknown");
        tracing::error!(worker = self.worker, error, "a worker has panicked");
    }

    /// Counts a restart, and waits until it is due: ever longer while the worker fails at once.
    pub(super) async fn pause(&mut self) {
        self.metrics.restarted(self.worker);
        if self.started.elapsed() > MAX_PAUSE {
            self.backoff.reset();
        }
        sleep(self.backoff.next_backoff().unwrap_or(MAX_PAUSE)).await;
        self.started = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Digest;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_is_started_again() {
        let metrics = Arc::new(DiscoveryMetrics::register(&Digest::random()));
        let (starts, started) = (AtomicU32::new(0), Instant::now());
        keep_running("tested", metrics, || async {
            match starts.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("a test of panics: text"),
                1 => std::panic::panic_any(7u8),
                2 => panic!("a test of panics: {}", 2),
                _ => {}
            }
        })
        .await;
        assert_eq!(starts.load(Ordering::Relaxed), 4);
        // Half of 0.5, 1 and 2 s at least.
        assert!(started.elapsed() >= Duration::from_millis(1750));
    }
}
