//! Ownership of background tasks.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio_util::{
    sync::{CancellationToken, DropGuard, WaitForCancellationFuture},
    task::TaskTracker,
};

/// Owns tasks: every task of the library is spawned on a scope, and ends with it.
///
/// Scopes form a tree. Cancelling one cancels those below it; waiting for one waits for its own
/// tasks and those of the scopes below, because all share the root's tracker.
#[derive(Clone)]
pub(crate) struct Scope {
    token: CancellationToken,
    tracker: TaskTracker,
    runtime: tokio::runtime::Handle,
}

impl Scope {
    /// A root scope on the current runtime.
    pub(crate) fn new() -> Self {
        Self {
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// A scope that ends with this one, or earlier.
    pub(crate) fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            tracker: self.tracker.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// Runs a task until it finishes or the scope is cancelled, at which point its future is
    /// dropped at the await where it stands.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.track(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs a task that watches the scope's cancellation itself, to end in an orderly way.
    pub(crate) fn spawn_orderly(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.track(task);
    }

    fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// Starts the end of everything on this scope.
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Resolves once the scope was cancelled.
    pub(crate) fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Whether the scope was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The token behind this scope, for futures that outlive a borrow.
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Cancels this scope when the last clone of the guard is dropped.
    pub(crate) fn guard(&self) -> Arc<DropGuard> {
        Arc::new(self.token.clone().drop_guard())
    }

    /// Cancels, then waits until the whole tree's tasks have ended, or `limit` has passed.
    ///
    /// Returns how many tasks were still running then.
    pub(crate) async fn finish(&self, limit: Duration) -> usize {
        self.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(limit, self.tracker.wait()).await;
        self.tracker.len()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("cancelled", &self.is_cancelled())
            .field("tasks", &self.tracker.len())
            .finish_non_exhaustive()
    }
}
