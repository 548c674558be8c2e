//! The one thread that writes.

use std::{
    io,
    ops::ControlFlow,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{
    StoreError,
    directory::Watermark,
    disk::{Disk, Garbage},
    queue::{Batch, Queue},
};

/// Garbage rows removed in a commit that a request waits for: at least this many, and twice as many
/// as it writes, so that garbage never comes faster than it goes.
const SWEEP_BUSY: usize = 64;
/// Those that go along with a commit that nobody waits for.
const SWEEP_IDLE: usize = 2048;

pub(super) struct Writer {
    pub(super) disk: Arc<Disk>,
    pub(super) queue: Arc<Queue>,
    pub(super) watermark: Watermark,
    pub(super) garbage: Garbage,
    /// The number of the last commit.
    pub(super) commit: u64,
}

/// Interval of the check whether the disk answers.
const LOOK: Duration = if cfg!(test) {
    Duration::from_millis(200)
} else {
    Duration::from_secs(5)
};
/// Number of checks with the same commit under way after which it is given up: a slow one may need
/// a minute for a large one.
const PATIENCE: u32 = 24;

/// Says so while the disk does not answer, and in the end lets nobody wait for it any more. Looks
/// are counted rather than time, which passes without the disk while a machine is suspended.
pub(super) fn watch(queue: &Queue, path: &Path) {
    let (mut seen, mut looks) = (None, 0);
    while let ControlFlow::Continue(batch) = queue.observe(LOOK) {
        looks = if batch.is_some() && batch == seen {
            looks + 1
        } else {
            0
        };
        seen = batch;
        if looks > 0 {
            let seconds = (LOOK * looks).as_secs();
            tracing::warn!(path = %path.display(), seconds, "the disk does not answer");
        }
        if looks == PATIENCE {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
            let reason = StoreError::io(path, "write")(error);
            tracing::error!(error = %reason, "the store takes no more writes");
            return queue.give_up(&reason);
        }
    }
}

impl Writer {
    /// Runs, and lets nobody wait for a writer that is gone.
    pub(super) fn run_to_the_end(self) {
        let queue = self.queue.clone();
        let path = self.watermark.path().to_owned();
        if panic::catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let error = io::Error::other("a callback of a write has panicked");
            queue.failed(Batch::default(), &StoreError::io(&path, "write")(error));
        }
        queue.end();
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
            SWEEP_BUSY.max(2 * batch.changes().count())
        };
        self.commit += 1;
        self.disk
            .commit(self.commit, batch.changes(), &mut self.garbage, spare)?;
        self.watermark.advance(self.commit)
    }
}
