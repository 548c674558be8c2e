//! State shared by a node's store and its groups' parts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    StoreError,
    directory::Directory,
    disk::{Change, Disk},
    queue::{Done, Queue, WriteSequence},
};
use crate::primitives::GroupId;

pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) queue: Arc<Queue>,
    pub(super) slots: Mutex<Slots>,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
    /// `None` once the store is closed.
    pub(super) open: Mutex<Option<Open>>,
}

/// Resources that must be released for the store to be closed: the database, then the lock.
pub(super) struct Open {
    pub(super) disk: Arc<Disk>,
    pub(super) directory: Directory,
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) numbers: BTreeMap<GroupId, Arc<Slot>>,
    pub(super) next: u32,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) number: u32,
    /// The number of the next snapshot. It counts on over all handles: what an earlier one has
    /// finished must not be written over.
    pub(super) generation: AtomicU32,
    /// True if the number is on disk, or needs not be.
    pub(super) registered: AtomicBool,
    /// Failure for which the group can't go on from what is kept.
    pub(super) failure: Mutex<Option<StoreError>>,
}

impl Shared {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The database, while the store is open.
    pub(super) fn disk(&self) -> Result<Arc<Disk>, StoreError> {
        match &*self.open.lock() {
            Some(open) => Ok(open.disk.clone()),
            None => Err(self.closed()),
        }
    }

    /// Refuses further work for this reason.
    pub(super) fn fail(&self, reason: &StoreError) {
        self.queue.close(reason.clone());
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Queues a write; see [`Queue::submit`].
    pub(super) async fn submit(
        &self,
        changes: Vec<Change>,
        done: Option<Done>,
    ) -> Result<WriteSequence, StoreError> {
        self.queue.submit(changes, done).await
    }

    /// Writes, and resolves when it is on disk.
    pub(super) async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (tx, rx) = oneshot::channel();
        let done: Done = Box::new(move |result| {
            // Whoever waited may have gone.
            let _ = tx.send(result);
        });
        self.queue.submit(changes, Some(done)).await?;
        tokio::select! {
            biased;
            written = rx => written.unwrap_or_else(|_| Err(self.closed())),
            () = self.queue.given_up() => Err(self.queue.reason()),
        }
    }

    /// Forgets that a group has this number; its rows must be discarded.
    pub(super) fn forget(&self, group: &GroupId, number: u32) {
        let numbers = &mut self.slots.lock().numbers;
        if numbers.get(group).is_some_and(|slot| slot.number == number) {
            numbers.remove(group);
        }
    }

    pub(super) fn close(&self) {
        self.queue.close(self.closed());
        let writer = self.writer.lock().take();
        // A callback may hold the last handle.
        if let Some(writer) = writer
            && writer.thread().id() != std::thread::current().id()
            && self.queue.wait_for_end()
        {
            // It reports its failures itself.
            let _ = writer.join();
        }
        let open = self.open.lock().take();
        if let Some(Open { disk, directory }) = open {
            drop(disk);
            drop(directory);
        }
    }

    pub(super) fn closed(&self) -> StoreError {
        StoreError::Closed {
            path: self.path.clone(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}
