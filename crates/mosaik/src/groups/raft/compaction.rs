//! Discards the log behind snapshots.

use std::{io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{core::NodeCore, shelf::Held};
use crate::groups::catch_up::wire::SnapshotId;

/// Retry interval for a log purge deferred by a snapshot in use.
const LOOK: Duration = Duration::from_secs(1);
/// Log entries that are kept back at most for members that fetch a snapshot: who needs longer than
/// these to install it gets a later one.
const MAX_KEPT_BACK: u64 = 1 << 20;
/// Limit on the commands of these, in bytes.
const MAX_KEPT_BACK_BYTES: u64 = 512 * 1024 * 1024;
/// Duty cycle of a durable member: after writing a snapshot for `t`, it writes none for `REST × t`.
const REST: u32 = 4;
/// Timeout for the consensus library to notice a snapshot.
const NOTICE: Duration = Duration::from_secs(10);

impl NodeCore {
    /// Makes snapshots safe and discards the log behind them, for as long as the member exists.
    pub(super) async fn compact(&self) {
        let mut newest = self.applied.shelf.subscribe();
        let mut kept_back = false;
        let mut rested = Instant::now();
        loop {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(LOOK), if kept_back => {}
            }
            newest.mark_unchanged();
            let Some(held) = self.applied.shelf.newest() else {
                continue;
            };
            if self.log.is_durable() && self.applied.compacted_up_to() < held.id.index {
                if Instant::now() < rested {
                    kept_back = true;
                    continue;
                }
                let begin = Instant::now();
                if let Err(error) = self.store(&held).await {
                    // A store that fails ends the group by itself; an item that can't be encoded
                    // leaves the log as it is.
                    tracing::warn!(%error, "the snapshot was not written");
                    kept_back = false;
                    continue;
                }
                rested = Instant::now() + begin.elapsed() * REST;
            }
            self.applied.set_compacted(held.clone());
            self.announce(held.id).await;
            kept_back = match self.discard_log(&held).await {
                Ok(kept_back) => kept_back,
                // A store that fails ends the group by itself.
                Err(error) => {
                    tracing::warn!(%error, "the log was not discarded");
                    false
                }
            };
        }
    }

    /// Writes a snapshot to the disk, unless there is a later one.
    async fn store(&self, held: &Arc<Held>) -> io::Result<()> {
        // A part of one that was fetched must not keep this member from writing its own.
        drop(self.partial.lock().take());
        let Some(mut writer) = self.log.begin_snapshot(held.id.index).await? else {
            return Ok(());
        };
        let mut from = 0;
        loop {
            let pieces = held.cut(from).await?;
            if pieces.is_empty() {
                break;
            }
            writer.add(&pieces).await?;
            from += pieces.iter().map(|piece| piece.items).sum::<u64>();
        }
        writer.finish(&held.meta, &held.head).await
    }

    /// Lets the consensus library know that there is a snapshot.
    async fn announce(&self, id: SnapshotId) {
        // Fails only when consensus has stopped.
        let _ = self.raft.trigger().snapshot().await;
        let mut known = self.raft.watch_snapshot_progress();
        let noticed =
            known.wait_until(|last| last.as_ref().is_some_and(|last| last.index() >= id.index));
        let _ = timeout(NOTICE, noticed).await;
    }

    /// Discards the log behind a snapshot, except what is to be kept; returns whether more could go
    /// if nobody needed it.
    async fn discard_log(&self, snapshot: &Held) -> io::Result<bool> {
        let kept = self.applied.terms().kept;
        let limit = self.log.index_of(snapshot.position - kept).await?;
        let excess = self.applied.excess_before(snapshot.id.index);
        let limit = limit.unwrap_or(0).max(excess).min(snapshot.id.index);
        let needed = self.applied.shelf.needed_from();
        let needed = needed.filter(|needed| {
            needed + MAX_KEPT_BACK > snapshot.id.index
                && self.applied.bytes_after(*needed) < MAX_KEPT_BACK_BYTES
        });
        let up_to = needed.map_or(limit, |needed| needed.min(limit));
        if up_to >= self.log.first_index() {
            // Fails only when consensus has stopped.
            let _ = self.raft.trigger().purge_log(up_to).await;
            self.applied.discarded(up_to);
        }
        Ok(up_to < limit)
    }
}
