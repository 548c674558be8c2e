//! Growth of the log by what is applied: it decides when the log is cut off, and where.

use std::collections::VecDeque;

/// Approximate limit on the commands of a log, in bytes: half of it between two snapshots, and half
/// of it before the last one. A larger one would cost more to keep, in memory at least, than a
/// snapshot costs a member that lags behind.
const MAX_LOG_BYTES: u64 = if cfg!(test) { 64 } else { 64 * 1024 } * 1024;
/// Limit on the bytes applied between two snapshots.
const SNAPSHOT_BYTES: u64 = MAX_LOG_BYTES / 2;
/// Limit on the bytes that stay in the log before a snapshot.
const KEPT_BYTES: u64 = MAX_LOG_BYTES - SNAPSHOT_BYTES;
/// Distance between two places that are remembered, in bytes: how exactly the log is cut off.
const MARK_BYTES: u64 = MAX_LOG_BYTES / 64;

/// Size of the applied entries, in bytes of commands.
#[derive(Debug, Default, Clone)]
pub(super) struct Volume {
    /// All that this member has applied.
    total: u64,
    /// Bytes applied behind the last place for a snapshot. Alike on every member, as the places
    /// are.
    fresh: u64,
    /// Consensus indices, and the total up to and including them.
    marks: VecDeque<(u64, u64)>,
}

impl Volume {
    /// An entry was applied; returns whether that is a place for a snapshot.
    pub(super) fn note(&mut self, index: u64, bytes: usize) -> bool {
        self.total += bytes as u64;
        self.fresh += bytes as u64;
        let marked = self.marks.back().map_or(0, |(_, total)| *total);
        if self.total - marked >= MARK_BYTES {
            self.marks.push_back((index, self.total));
        }
        self.fresh >= SNAPSHOT_BYTES
    }

    /// Here is the place for a snapshot.
    pub(super) fn at_snapshot(&mut self) {
        self.fresh = 0;
    }

    /// Index up to which the log before a snapshot takes too much; 0 for nowhere.
    pub(super) fn excess_before(&self, snapshot: u64) -> u64 {
        let total = self.total_at(snapshot);
        let mut kept = self.marks.iter().rev();
        let excess = kept.find(|(_, mark)| total.saturating_sub(*mark) > KEPT_BYTES);
        excess.map_or(0, |(index, _)| *index)
    }

    /// Approximate number of bytes applied behind an index.
    pub(super) fn after(&self, index: u64) -> u64 {
        self.total - self.total_at(index)
    }

    /// The log begins only behind this index.
    pub(super) fn discarded(&mut self, index: u64) {
        // The last one stays, to count from.
        while self.marks.get(1).is_some_and(|(mark, _)| *mark <= index) {
            self.marks.pop_front();
        }
    }

    fn total_at(&self, index: u64) -> u64 {
        let after = self.marks.partition_point(|(mark, _)| *mark <= index);
        let before = after.checked_sub(1).and_then(|last| self.marks.get(last));
        before.map_or(0, |(_, total)| *total)
    }
}
