//! Tasks and ports that must be gone when a test has ended.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::{Handle, Id},
    task::AbortHandle,
    time::{Instant, sleep},
};

/// The time that the rest of a test's nodes may take to end after its body.
const LIMIT: Duration = Duration::from_secs(20);

/// The tests that run now.
static TESTS: LazyLock<Mutex<HashMap<Id, Rest>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Rest {
    own_tasks: Vec<AbortHandle>,
    held: Arc<()>,
}

/// Something that must be dropped when the test has ended.
#[derive(Debug)]
pub struct Held(#[allow(dead_code, reason = "its count matters")] Arc<()>);

/// Has the test that runs here fail unless the returned value is dropped in time.
pub fn held() -> Held {
    Held(rest().entry(here()).or_default().held.clone())
}

/// Aborts a task when the test that runs here has ended.
pub fn abort_at_the_end(task: AbortHandle) {
    rest().entry(here()).or_default().own_tasks.push(task);
}

/// Runs a test, then waits until its runtime has no task left and all that it [`held`] is
/// dropped.
///
/// # Panics
///
/// If that takes too long.
pub async fn checked<T>(body: impl Future<Output = T>) -> T {
    let output = Box::pin(body).await;
    let Rest { own_tasks, held } = rest().remove(&here()).unwrap_or_default();
    for task in own_tasks {
        task.abort();
    }
    let patience = std::env::var("MOSAIK_TEST_PATIENCE").ok();
    let patience = patience.and_then(|factor| factor.parse().ok());
    let deadline = Instant::now() + LIMIT.mul_f64(patience.unwrap_or(1.0));
    loop {
        let tasks = Handle::current().metrics().num_alive_tasks();
        let held = Arc::strong_count(&held) - 1;
        if tasks == 0 && held == 0 {
            return output;
        }
        assert!(
            Instant::now() < deadline,
            "the test leaves {tasks} tasks and {held} endpoints behind"
        );
        // Nothing tells of the end of foreign tasks.
        sleep(Duration::from_millis(2)).await;
    }
}

fn here() -> Id {
    Handle::current().id()
}

fn rest() -> MutexGuard<'static, HashMap<Id, Rest>> {
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}
