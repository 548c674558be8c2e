//! Ownership of background tasks.

use std::{collections::BTreeMap, fmt, future::Future, panic::Location, sync::Arc, time::Duration};

use parking_lot::Mutex;

use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
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
    kinds: Arc<Kinds>,
    runtime: tokio::runtime::Handle,
}

/// The tasks of a tree of scopes, by the line that spawns them.
#[derive(Debug, Default)]
struct Kinds(Mutex<BTreeMap<&'static Location<'static>, Count>>);

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    running: usize,
    panicked: usize,
}

/// Counts a task as running, until it is dropped.
struct Running {
    kinds: Arc<Kinds>,
    spawned_at: &'static Location<'static>,
}

/// Number of tasks of each kind: the kind is the place in this library that spawns them.
pub(crate) type TaskCounts = BTreeMap<String, usize>;

impl Scope {
    /// A root scope on the current runtime.
    pub(crate) fn new() -> Self {
        Self {
            token: CancellationToken::new(),
            tracker: TaskTracker::new(),
            kinds: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// A scope that ends with this one, or earlier.
    pub(crate) fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            tracker: self.tracker.clone(),
            kinds: self.kinds.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// Runs a task until it finishes or the scope is cancelled, at which point its future is
    /// dropped at its current await.
    #[track_caller]
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
    #[track_caller]
    pub(crate) fn spawn_orderly(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.track(task);
    }

    #[track_caller]
    fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = Running::begin(&self.kinds, Location::caller());
        let counted = async move {
            let _running = running;
            task.await;
        };
        self.tracker.spawn_on(counted, &self.runtime);
    }

    /// The tasks of the whole tree that run now.
    pub(crate) fn running(&self) -> TaskCounts {
        self.kinds.counts(|count| count.running)
    }

    /// The tasks of the whole tree that have panicked so far.
    pub(crate) fn panicked(&self) -> TaskCounts {
        self.kinds.counts(|count| count.panicked)
    }

    /// Starts the end of everything on this scope.
    pub(crate) fn cancel(&self) {
        self.token.cancel();
    }

    /// Resolves once the scope was cancelled.
    pub(crate) fn cancelled(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Returns whether the scope was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Cancels, then waits until the whole tree's tasks have ended, or `limit` has passed.
    ///
    /// Returns the tasks that were still running then.
    pub(crate) async fn finish(&self, limit: Duration) -> TaskCounts {
        self.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(limit, self.tracker.wait()).await;
        self.running()
    }
}

impl Kinds {
    fn counts(&self, of: impl Fn(&Count) -> usize) -> TaskCounts {
        let mut counts = TaskCounts::new();
        for (place, count) in &*self.0.lock() {
            let count = of(count);
            if count > 0 {
                let place = format!("{}:{}", place.file(), place.line());
                *counts.entry(place).or_default() += count;
            }
        }
        counts
    }
}

impl Running {
    fn begin(kinds: &Arc<Kinds>, spawned_at: &'static Location<'static>) -> Self {
        kinds.0.lock().entry(spawned_at).or_default().running += 1;
        Self {
            kinds: kinds.clone(),
            spawned_at,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut kinds = self.kinds.0.lock();
        let count = kinds.entry(self.spawned_at).or_default();
        count.running -= 1;
        // The task itself unwinds: it owns this.
        count.panicked += usize::from(std::thread::panicking());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_on_and_what_has_panicked_is_told_by_its_place() {
        let scope = Scope::new();
        scope.spawn_orderly(async { panic!("a test of panics") });
        let (stuck, end) = tokio::sync::oneshot::channel::<()>();
        let line = line!() + 1;
        scope.child().spawn_orderly(async move { drop(end.await) });
        scope.spawn(std::future::pending());
        let left = scope.finish(Duration::from_millis(100)).await;
        let place = format!("{}:{line}", file!());
        assert_eq!(left, TaskCounts::from([(place, 1)]));
        assert_eq!(scope.panicked().values().sum::<usize>(), 1);
        drop(stuck);
        assert!(scope.finish(Duration::from_secs(5)).await.is_empty());
    }
}
