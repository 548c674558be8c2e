//! Queue of the writer: bounded in bytes, shared by all groups.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    StoreError,
    disk::{Change, Key},
};
use crate::primitives::Bytes;

/// Bytes that may wait. A request that would exceed it waits instead.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;
/// Limit on the bytes of one commit, unless one request alone is larger.
const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;
/// Cost of a row besides its value, in bytes.
const ROW_BYTES: usize = 64;

/// Runs once the write is on disk, or has failed. It runs on the writer's thread and must not wait.
pub(crate) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Numbers a write: what has a number up to [`Queue::durable`] is on disk.
pub(crate) type WriteSequence = u64;

/// One write of one group, to be committed as a whole.
pub(super) struct Request {
    pub(super) changes: Vec<Change>,
    done: Option<Done>,
    bytes: usize,
    sequence: WriteSequence,
    _room: OwnedSemaphorePermit,
}

pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    room: Arc<Semaphore>,
    durable: AtomicU64,
    failure: watch::Sender<Option<StoreError>>,
    /// Cancelled when the disk does not answer: nobody waits for what is under way.
    given_up: CancellationToken,
    /// Told when the writer ends, or is given up.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<Request>,
    /// Rows that go along with the next commit, whenever that is.
    riders: BTreeMap<Key, Bytes>,
    sequence: WriteSequence,
    closed: bool,
    /// Number of batches that the writer has begun; `busy`: whether it is at one.
    batches: u64,
    busy: bool,
    /// The writer has ended.
    ended: bool,
}

/// Content of one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) requests: Vec<Request>,
    pub(super) riders: Vec<Change>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(MAX_QUEUED_BYTES)),
            durable: AtomicU64::new(0),
            failure: watch::Sender::new(None),
            given_up: CancellationToken::new(),
            ended: Condvar::new(),
        }
    }

    /// Failure of the store, once it no longer works.
    pub(super) fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.failure.subscribe()
    }

    /// Every write with a number up to this is on disk.
    pub(super) fn durable(&self) -> WriteSequence {
        self.durable.load(Ordering::Acquire)
    }

    /// Queues a write behind all earlier ones, when there is room. `done` does not run if this
    /// fails.
    ///
    /// # Cancel safety
    ///
    /// Nothing is queued if the future is dropped.
    pub(super) async fn submit(
        &self,
        changes: Vec<Change>,
        done: Option<Done>,
    ) -> Result<WriteSequence, StoreError> {
        let bytes: usize = changes.iter().map(cost).sum();
        let share = u32::try_from(bytes.min(MAX_QUEUED_BYTES)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(share).await;
        // The semaphore closes when the store fails, never before the reason is known.
        let (Ok(room), None) = (room, self.failure.borrow().clone()) else {
            return Err(self.reason());
        };
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return Err(self.reason());
        }
        state.sequence += 1;
        let sequence = state.sequence;
        state.pending.push(Request {
            changes,
            done,
            bytes,
            sequence,
            _room: room,
        });
        drop(state);
        self.ready.notify_one();
        Ok(sequence)
    }

    /// Lets a row go along with the next commit; a later value for the key replaces it. The rows
    /// that it refers to may still wait for a commit of their own: a reader must check that they
    /// are there.
    pub(super) fn ride(&self, key: Key, value: Bytes) {
        self.state.lock().riders.insert(key, value);
    }

    /// Refuses further work. What is queued is still written, then the writer ends.
    pub(super) fn close(&self, reason: StoreError) {
        self.refuse(reason);
        self.ready.notify_one();
    }

    /// The next batch; `None` when there will be none. An idle queue yields an empty batch if
    /// `impatient`, otherwise this waits.
    pub(super) fn take(&self, impatient: bool) -> Option<Batch> {
        let mut state = self.state.lock();
        state.busy = false;
        while state.pending.is_empty() {
            if state.closed {
                return (!state.riders.is_empty()).then(|| Batch {
                    requests: Vec::new(),
                    riders: state.take_riders(),
                });
            }
            if impatient {
                return Some(Batch::default());
            }
            self.ready.wait(&mut state);
        }
        let mut bytes = 0;
        let fitting = state.pending.iter().position(|request| {
            let full = bytes > 0 && bytes + request.bytes > MAX_COMMIT_BYTES;
            bytes += request.bytes;
            full
        });
        let count = fitting.unwrap_or(state.pending.len());
        let rest = state.pending.split_off(count);
        state.busy = true;
        state.batches += 1;
        Some(Batch {
            requests: std::mem::replace(&mut state.pending, rest),
            riders: state.take_riders(),
        })
    }

    /// Acknowledges what was written.
    pub(super) fn completed(&self, batch: Batch) {
        if let Some(last) = batch.requests.last() {
            self.durable.store(last.sequence, Ordering::Release);
        }
        batch.answer(&Ok(()));
    }

    /// Refuses all further work, and what is under way, for this reason.
    pub(super) fn failed(&self, batch: Batch, reason: &StoreError) {
        self.refuse(reason.clone());
        batch.answer(&Err(reason.clone()));
        let requests = std::mem::take(&mut self.state.lock().pending);
        let waiting = Batch {
            requests,
            riders: Vec::new(),
        };
        waiting.answer(&Err(reason.clone()));
    }

    /// The writer has ended.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        (state.busy, state.ended) = (false, true);
        self.ended.notify_all();
    }

    /// Waits until the writer has ended; returns whether it has, or was given up.
    pub(super) fn wait_for_end(&self) -> bool {
        let mut state = self.state.lock();
        while !state.ended && !self.given_up.is_cancelled() {
            self.ended.wait(&mut state);
        }
        state.ended
    }

    /// Waits for a while; returns the batch that the writer is at, or that it has ended.
    pub(super) fn observe(&self, wait: Duration) -> ControlFlow<(), Option<u64>> {
        let mut state = self.state.lock();
        if !state.ended {
            self.ended.wait_for(&mut state, wait);
        }
        if state.ended {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(state.busy.then_some(state.batches))
    }

    /// Lets nobody wait for the writer any more, for this reason. What it is at may still be
    /// written.
    pub(super) fn give_up(&self, reason: &StoreError) {
        self.failed(Batch::default(), reason);
        self.given_up.cancel();
        let _state = self.state.lock();
        self.ended.notify_all();
    }

    /// Resolves when the writer is given up.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    fn refuse(&self, reason: StoreError) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(reason);
            }
            first
        });
        self.state.lock().closed = true;
        self.room.close();
    }

    pub(super) fn reason(&self) -> StoreError {
        self.failure
            .borrow()
            .clone()
            .expect("the reason is set before the queue closes")
    }
}

impl Batch {
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        let requests = self.requests.iter().flat_map(|request| &request.changes);
        requests.chain(&self.riders)
    }

    fn answer(self, result: &Result<(), StoreError>) {
        for request in self.requests {
            if let Some(done) = request.done {
                done(result.clone());
            }
        }
    }
}

impl State {
    fn take_riders(&mut self) -> Vec<Change> {
        let riders = std::mem::take(&mut self.riders);
        riders
            .into_iter()
            .map(|(key, value)| Change::Put(key, value))
            .collect()
    }
}

fn cost(change: &Change) -> usize {
    match change {
        Change::Put(_, value) => ROW_BYTES + value.len(),
        _ => ROW_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use futures::FutureExt;

    use super::*;

    /// Regression: consensus waited for ever for room behind a disk that hung. It is told when the disk
    /// is given up.
    #[test]
    fn what_waits_for_the_disk_is_bounded_and_nobody_waits_for_ever() {
        const MIB: usize = 1024 * 1024;
        let queue = Queue::new();
        let value = Bytes::from(vec![0; MIB]);
        let submit = || queue.submit(vec![Change::Put((1, 0, 0), value.clone())], None);
        let fill = || {
            let mut queued = 0;
            while let Some(submitted) = submit().now_or_never() {
                submitted.unwrap();
                queued += 1;
                assert!(queued * MIB <= MAX_QUEUED_BYTES, "it has no end");
            }
            queued
        };
        // Each row costs a little more than its value.
        assert_eq!(fill(), MAX_QUEUED_BYTES / MIB - 1);
        let written = queue.take(false).unwrap();
        let count = written.requests.len();
        assert!(count > 0);
        assert!(submit().now_or_never().is_none(), "it may not be written");
        queue.completed(written);
        assert_eq!(fill(), count);

        let mut waiting = std::pin::pin!(submit());
        assert!(waiting.as_mut().now_or_never().is_none());
        let path = PathBuf::from("store");
        queue.give_up(&StoreError::Closed { path });
        assert!(waiting.now_or_never().is_some_and(|told| told.is_err()));
        assert!(queue.take(false).is_none(), "nothing is kept either");
    }
}
