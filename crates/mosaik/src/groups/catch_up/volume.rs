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
/// Minimum of the bytes kept back for members that catch up, beside those kept anyway.
const MIN_RETAINED_BYTES: u64 = 8 * MAX_LOG_BYTES;
/// Approximate size of an entry in a log beside its commands, in bytes.
const ENTRY_BYTES: u64 = 192;

/// Retention limit: the size of the log behind a snapshot of this size that is kept for a member
/// that catches up. A member that fetches the snapshot half as fast as commands come stays within
/// it.
pub(crate) fn retained_bytes(snapshot: u64) -> u64 {
    MIN_RETAINED_BYTES.max(snapshot.saturating_mul(2))
}

/// Returns whether a durable member should write a snapshot now, so that it writes no more for
/// snapshots than for its log, about: the log behind the `last` one takes at least as much as that did.
pub(crate) fn is_due(log: u64, last: u64) -> bool {
    log >= last
}

/// Size of the applied entries, in bytes of commands.
#[derive(Debug, Default, Clone)]
pub(crate) struct Volume {
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
    pub(crate) fn note(&mut self, index: u64, bytes: usize) -> bool {
        self.total += bytes as u64;
        self.fresh += bytes as u64;
        let marked = self.marks.back().map_or(0, |(_, total)| *total);
        if self.total - marked >= MARK_BYTES {
            self.marks.push_back((index, self.total));
        }
        self.fresh >= SNAPSHOT_BYTES
    }

    /// Here is the place for a snapshot.
    pub(crate) fn at_snapshot(&mut self) {
        self.fresh = 0;
    }

    /// Index up to which the log before a snapshot takes too much; 0 for nowhere.
    pub(crate) fn excess_before(&self, snapshot: u64) -> u64 {
        let total = self.total_at(snapshot);
        let mut kept = self.marks.iter().rev();
        let excess = kept.find(|(_, mark)| total.saturating_sub(*mark) > KEPT_BYTES);
        excess.map_or(0, |(index, _)| *index)
    }

    /// Approximate size of a log between two indices, in bytes: commands and overhead.
    pub(crate) fn between(&self, index: u64, last: u64) -> u64 {
        let commands = self.total_at(last).saturating_sub(self.total_at(index));
        let entries = last.saturating_sub(index);
        commands.saturating_add(entries.saturating_mul(ENTRY_BYTES))
    }

    /// The log begins only behind this index.
    pub(crate) fn discarded(&mut self, index: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Bytes that a member writes for snapshots while it appends so much to a log, in steps of one
    /// snapshot interval, if its state stays as large as it is.
    fn written(state: u64, log: u64) -> u64 {
        let (mut written, mut behind) = (state, 0);
        for _ in 0..log / SNAPSHOT_BYTES {
            behind += SNAPSHOT_BYTES;
            if is_due(behind, state) {
                written += state;
                behind = 0;
            }
        }
        written
    }

    #[test]
    fn a_large_state_is_written_no_more_often_than_its_log_has_grown_by_its_size() {
        let small = SNAPSHOT_BYTES / 64;
        assert_eq!(written(small, 64 * SNAPSHOT_BYTES), 65 * small);
        let large = 32 * SNAPSHOT_BYTES;
        assert_eq!(written(large, 32 * SNAPSHOT_BYTES), 2 * large);
        assert_eq!(written(large, 64 * SNAPSHOT_BYTES), 3 * large);
    }

    #[test]
    fn retention_grows_with_the_snapshot() {
        assert_eq!(retained_bytes(0), MIN_RETAINED_BYTES);
        assert_eq!(retained_bytes(MIN_RETAINED_BYTES), 2 * MIN_RETAINED_BYTES);
        assert_eq!(retained_bytes(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_log_between_two_entries_counts_commands_and_entries() {
        let mut volume = Volume::default();
        for index in 1..=10 {
            volume.note(index, usize::try_from(MIB).unwrap());
        }
        let commands = 4 * MIB + 4 * ENTRY_BYTES;
        assert_eq!(volume.between(4, 8), commands);
        assert_eq!(volume.between(8, 4), 0);
        volume.discarded(6);
        assert_eq!(volume.between(8, 10), 2 * MIB + 2 * ENTRY_BYTES);
    }
}
