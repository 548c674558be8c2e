//! The one thread that writes.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use super::{
    StoreError,
    directory::Watermark,
    disk::{Disk, Garbage},
    queue::{Batch, Queue},
};

/// Garbage rows that go along with a commit that somebody waits for, and with one that nobody does.
const SWEEP_BUSY: usize = 64;
const SWEEP_IDLE: usize = 2048;

pub(super) struct Writer {
    pub(super) disk: Arc<Disk>,
    pub(super) queue: Arc<Queue>,
    pub(super) watermark: Watermark,
    pub(super) garbage: Garbage,
    /// The number of the last commit.
    pub(super) commit: u64,
}

impl Writer {
    /// Runs, and lets nobody wait for a writer that is gone.
    pub(super) fn run_to_the_end(self) {
        let queue = self.queue.clone();
        let path = self.watermark.path().to_owned();
        if panic::catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let reason = StoreError::corrupt(&path, "a callback of a write has panicked");
            queue.failed(Batch::default(), &reason);
        }
    }

    /// Commits what is queued, all that is there at a time, until the queue closes or a write
    /// fails.
    fn run(mut self) {
        while let Some(batch) = self.queue.take(!self.garbage.is_empty()) {
            match self.write(&batch) {
                Ok(()) => self.queue.completed(batch),
                Err(error) => {
                    tracing::error!(%error, "the store takes no more writes");
                    self.queue.failed(batch, &error);
                    return;
                }
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let spare = if batch.is_idle() {
            SWEEP_IDLE
        } else {
            SWEEP_BUSY
        };
        self.commit += 1;
        self.disk
            .commit(self.commit, batch.changes(), &mut self.garbage, spare)?;
        self.watermark.advance(self.commit)
    }
}
