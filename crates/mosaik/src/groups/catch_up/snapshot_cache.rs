//! Snapshots that this member holds: frozen states, encoded only on request.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use openraft::alias::SnapshotMetaOf;
use parking_lot::Mutex;
use tokio::{
    sync::{OnceCell, watch},
    time::{Instant, sleep},
};

use super::wire::{MAX_PIECES, PIECE_BYTES, Piece, RUN_PIECES, SnapshotId};
use crate::{
    groups::{
        Index,
        catch_up::wire::{Overrun, snapshot_id},
        log::types::Types,
        machine::snapshot::{Capture, CaptureFailed, Cutting, Encoded},
    },
    primitives::Bytes,
};

/// Frozen states that are held at a time, the newest included.
const MAX_HELD: usize = 4;
/// Time for which a snapshot that a member fetched is kept, and the log behind it: that member
/// needs what follows.
const GRACE: Duration = Duration::from_secs(30);

/// A frozen state, and its position in the history.
pub(crate) struct CachedSnapshot {
    pub(crate) id: SnapshotId,
    /// Commands that it contains.
    pub(crate) position: Index,
    pub(crate) meta: SnapshotMetaOf<Types>,
    /// The group's own bookkeeping, encoded.
    pub(crate) head: Bytes,
    /// Behind a lock only because a snapshot need not be `Sync`.
    capture: Mutex<Box<dyn Capture>>,
    /// Items per piece, at most.
    batch_size: u64,
    pieces: OnceCell<Arc<[Piece]>>,
    usage: Mutex<Usage>,
    /// Set once the log behind this snapshot is not kept any longer for those that fetch it.
    overrun: watch::Sender<Option<Overrun>>,
}

#[derive(Debug, Default)]
struct Usage {
    users: usize,
    /// Time at which the last one has gone.
    until: Option<Instant>,
}

impl CachedSnapshot {
    /// `None` for a state before the first log entry.
    pub(crate) fn new(
        meta: SnapshotMetaOf<Types>,
        position: Index,
        head: Bytes,
        capture: Box<dyn Capture>,
        batch_size: u64,
    ) -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            id: meta.last_log_id.as_ref().map(snapshot_id)?,
            position,
            meta,
            head,
            capture: Mutex::new(capture),
            batch_size,
            pieces: OnceCell::new(),
            usage: Mutex::default(),
            overrun: watch::Sender::new(None),
        }))
    }

    /// Size in encoded form; 0 if it was never encoded as a whole.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        let pieces = self.pieces.get();
        pieces.map_or(0, |pieces| {
            pieces.iter().map(|piece| u64::from(piece.bytes)).sum()
        })
    }

    /// Ends all transfers of this snapshot: the log behind it is discarded, so that nobody could go
    /// on from it.
    pub(crate) fn give_up(&self, overrun: Overrun) {
        self.overrun.send_replace(Some(overrun));
    }

    /// Resolves once transfers of this snapshot are in vain.
    pub(crate) async fn given_up(&self) -> Overrun {
        let mut overrun = self.overrun.subscribe();
        let found = overrun.wait_for(Option::is_some).await;
        match found.ok().and_then(|found| *found) {
            Some(overrun) => overrun,
            // The sender lives as long as this snapshot.
            None => std::future::pending().await,
        }
    }

    /// The pieces that the snapshot consists of. The first time, all of it is encoded.
    pub(crate) async fn pieces(self: &Arc<Self>) -> io::Result<Arc<[Piece]>> {
        let pieces = self.pieces.get_or_try_init(async || {
            let mut pieces = Vec::new();
            let mut from = 0;
            loop {
                let begin = Instant::now();
                let run = self.cut(from).await?;
                // Whoever leads has other things to do as well.
                sleep(begin.elapsed()).await;
                for Encoded { items, bytes } in &run {
                    let piece = Piece::of(*items, bytes);
                    pieces.push(piece.ok_or_else(|| {
                        io::Error::other("an item of the snapshot is too large to be sent")
                    })?);
                    from += items;
                }
                if pieces.len() > MAX_PIECES {
                    return Err(io::Error::other("the snapshot has too many pieces"));
                }
                if run.is_empty() {
                    return Ok(pieces.into());
                }
            }
        });
        pieces.await.cloned()
    }

    /// The next few pieces from an item on; none at the end.
    pub(crate) async fn cut(self: &Arc<Self>, from: u64) -> io::Result<Vec<Encoded>> {
        let items = self.batch_size;
        self.encode(move |capture| {
            let limits = Cutting::Limits {
                items,
                bytes: PIECE_BYTES,
                pieces: RUN_PIECES,
            };
            capture.encode(from, limits)
        })
        .await
    }

    /// Pieces with these ends.
    pub(crate) async fn read(
        self: &Arc<Self>,
        from: u64,
        ends: Vec<u64>,
    ) -> io::Result<Vec<Encoded>> {
        self.encode(move |capture| {
            let cutting = Cutting::Ends {
                ends: &ends,
                bytes: PIECE_BYTES,
            };
            capture.encode(from, cutting)
        })
        .await
    }

    /// Encodes on a thread of its own: that may take a while.
    async fn encode(
        self: &Arc<Self>,
        work: impl FnOnce(&dyn Capture) -> Result<Vec<Encoded>, CaptureFailed> + Send + 'static,
    ) -> io::Result<Vec<Encoded>> {
        let held = self.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            let capture = held.capture.lock();
            let encoded = catch_unwind(AssertUnwindSafe(|| work(&**capture)));
            encoded.unwrap_or(Err(CaptureFailed::Panicked))
        });
        encoding
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)
    }

    fn is_in_use(&self) -> bool {
        if self.overrun.borrow().is_some() {
            return false;
        }
        let usage = self.usage.lock();
        usage.users > 0 || usage.until.is_some_and(|until| Instant::now() < until)
    }
}

impl std::fmt::Debug for CachedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedSnapshot")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Keeps a snapshot, and the log behind it, for as long as this exists and a while longer.
#[derive(Debug)]
pub(crate) struct SnapshotLease(pub(crate) Arc<CachedSnapshot>, Duration);

impl SnapshotLease {
    pub(crate) fn new(held: Arc<CachedSnapshot>) -> Self {
        held.usage.lock().users += 1;
        Self(held, GRACE)
    }

    /// Nobody comes back for it.
    pub(crate) fn let_go(&mut self) {
        self.1 = Duration::ZERO;
    }
}

impl Drop for SnapshotLease {
    fn drop(&mut self) {
        let mut usage = self.0.usage.lock();
        usage.users -= 1;
        usage.until = usage.until.max(Some(Instant::now() + self.1));
    }
}

/// All snapshots of one member, the newest last.
#[derive(Debug)]
pub(crate) struct SnapshotCache {
    held: Mutex<VecDeque<Arc<CachedSnapshot>>>,
    newest: watch::Sender<Option<SnapshotId>>,
}

impl SnapshotCache {
    pub(crate) fn new() -> Self {
        Self {
            held: Mutex::default(),
            newest: watch::Sender::new(None),
        }
    }

    /// Adds the newest snapshot, and lets go of those that nobody needs.
    pub(crate) fn put(&self, snapshot: Arc<CachedSnapshot>) {
        let id = snapshot.id;
        let mut held = self.held.lock();
        held.retain(|other| other.id.index < id.index);
        held.push_back(snapshot);
        // The one before stays as well: others may not have come as far yet.
        let unused = |held: &VecDeque<Arc<CachedSnapshot>>| {
            let old = held.len().saturating_sub(2);
            held.iter().take(old).position(|held| !held.is_in_use())
        };
        while let Some(place) = unused(&held) {
            held.remove(place);
        }
        while held.len() > MAX_HELD {
            // In use and yet given up: whoever fetches it begins anew with a later one.
            held.pop_front();
        }
        drop(held);
        self.newest.send_replace(Some(id));
    }

    pub(crate) fn newest(&self) -> Option<Arc<CachedSnapshot>> {
        self.held.lock().back().cloned()
    }

    pub(crate) fn find(&self, id: SnapshotId) -> Option<Arc<CachedSnapshot>> {
        let held = self.held.lock();
        held.iter().find(|held| held.id == id).cloned()
    }

    /// The one to give to a newcomer: so that no more of them are in use than can be held, the last
    /// one that is in use already when there are many.
    pub(crate) fn offer(&self) -> Option<Arc<CachedSnapshot>> {
        let held = self.held.lock();
        let mut in_use = held.iter().filter(|held| held.is_in_use());
        let many = in_use.clone().count() >= MAX_HELD - 2;
        if many {
            in_use.next_back().cloned()
        } else {
            held.back().cloned()
        }
    }

    /// Snapshots that somebody fetches, or has fetched lately, the oldest first.
    pub(crate) fn in_use(&self) -> Vec<Arc<CachedSnapshot>> {
        let held = self.held.lock();
        held.iter()
            .filter(|held| held.is_in_use())
            .cloned()
            .collect()
    }

    /// Names the newest snapshot whenever there is a newer one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<SnapshotId>> {
        self.newest.subscribe()
    }
}
