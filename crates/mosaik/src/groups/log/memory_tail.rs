//! Part of the log that is in memory.

use std::collections::VecDeque;

use openraft::{
    EntryPayload,
    alias::{EntryOf, LogIdOf},
    entry::RaftEntry,
};

use super::{
    disk_log::{Border, Record},
    types::Types,
};
use crate::{
    groups::{Cursor, Index, store::WriteSequence},
    primitives::Bytes,
};

/// Limit on the bytes kept here that are also kept elsewhere, so that replication need not fetch
/// and encode them again.
const KEPT_BYTES: usize = if cfg!(test) { 4096 } else { 16 * 1024 * 1024 };
/// Size of an entry here besides its commands, in bytes.
const ENTRY_BYTES: usize = 192;
/// Size of a member in a membership, in bytes.
const MEMBER_BYTES: usize = 96;
/// Not yet queued for the disk.
const UNQUEUED: WriteSequence = WriteSequence::MAX;

/// Copies of the log besides the one in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// Nowhere: every entry stays.
    None,
    /// The user's storage holds commands: entries stay, the commands of older ones may go.
    Commands,
    /// The disk holds everything: older entries may go.
    Disk,
}

/// The newest entries of a log, with the border behind which it was purged.
#[derive(Debug)]
pub(super) struct MemoryTail {
    backing: Backing,
    /// All that the disk does not hold; the last one in any case.
    entries: VecDeque<TailEntry>,
    /// Consensus index of the first of `entries`.
    held_from: u64,
    border: Option<Border>,
    /// Size of the parts of `entries` that could be had elsewhere, in bytes.
    bytes: usize,
    /// The first entry that still carries its commands, if the user's storage holds commands.
    carrying_from: u64,
}

/// An entry in memory.
#[derive(Debug)]
pub(super) struct TailEntry {
    pub(super) entry: EntryOf<Types>,
    /// The position of the last command in the log up to and including this entry.
    pub(crate) position: Cursor,
    /// Write sequence number with which it is on the disk, if there is one.
    sequence: WriteSequence,
}

impl MemoryTail {
    /// A log that begins after `border` and ends with `last`, which is on the disk.
    pub(super) fn new(backing: Backing, border: Option<Border>, last: Option<Record>) -> Self {
        let mut tail = Self {
            backing,
            entries: VecDeque::new(),
            held_from: 0,
            border,
            bytes: 0,
            carrying_from: 0,
        };
        tail.held_from = last
            .as_ref()
            .map_or(tail.first_index(), |last| last.entry.index() + 1);
        tail.prepend(last);
        tail
    }

    /// The index of the log's first entry, wherever it is.
    pub(super) fn first_index(&self) -> u64 {
        self.border
            .as_ref()
            .map_or(0, |border| border.id.index() + 1)
    }

    /// The index of the first entry in memory.
    pub(super) fn held_from(&self) -> u64 {
        self.held_from
    }

    /// The index of the next entry.
    pub(super) fn next_index(&self) -> u64 {
        self.held_from + self.entries.len() as u64
    }

    pub(super) fn border(&self) -> Option<Border> {
        self.border
    }

    /// The last entry's id, or the border's.
    pub(super) fn last_id(&self) -> Option<LogIdOf<Types>> {
        let last = self.entries.back().map(|held| held.entry.log_id());
        last.or(self.border.map(|border| border.id))
    }

    /// The position of the last command.
    pub(super) fn position(&self) -> Cursor {
        let last = self.entries.back().map(|held| held.position);
        last.or(self.border.map(|border| border.position))
            .unwrap_or_default()
    }

    /// An entry in memory.
    pub(super) fn get(&self, index: u64) -> Option<&TailEntry> {
        let place = index.checked_sub(self.held_from)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The last entry in memory up to which there are no more than this many commands.
    pub(super) fn index_of(&self, position: Index) -> Option<u64> {
        let after = self
            .entries
            .partition_point(|held| held.position.index() <= position);
        (after > 0).then(|| self.held_from + after as u64 - 1)
    }

    pub(super) fn push(&mut self, entry: EntryOf<Types>, position: Cursor) {
        self.bytes += self.spare(&entry);
        self.entries.push_back(TailEntry {
            entry,
            position,
            sequence: UNQUEUED,
        });
        if self.backing == Backing::Commands {
            self.trim_commands();
        }
    }

    /// Notes when the entries that were pushed last will be on the disk, and lets go of the oldest
    /// ones that are.
    pub(super) fn queued(&mut self, sequence: WriteSequence, durable: WriteSequence) {
        let newest = self.entries.iter_mut().rev();
        for held in newest.take_while(|held| held.sequence == UNQUEUED) {
            held.sequence = sequence;
        }
        while self.bytes > KEPT_BYTES
            && self.entries.len() > 1
            && self
                .entries
                .front()
                .is_some_and(|oldest| oldest.sequence <= durable)
        {
            self.pop_front();
        }
    }

    /// Takes entries back that are on the disk, and precede those here.
    pub(super) fn prepend(
        &mut self,
        records: impl IntoIterator<Item = Record, IntoIter: DoubleEndedIterator>,
    ) {
        for Record { entry, position } in records.into_iter().rev() {
            self.held_from -= 1;
            self.bytes += self.spare(&entry);
            self.entries.push_front(TailEntry {
                entry,
                position,
                sequence: 0,
            });
        }
    }

    /// Drops all entries from `end` on. The one before is in memory, or given, or there is none.
    pub(super) fn truncate(&mut self, end: u64, last: Option<Record>) {
        if let Some(last) = last {
            *self = Self::new(self.backing, self.border, Some(last));
            return;
        }
        while self.next_index() > end
            && let Some(held) = self.entries.pop_back()
        {
            self.bytes -= self.spare(&held.entry);
        }
        if self.entries.is_empty() {
            self.held_from = self.first_index();
        }
    }

    /// Drops entries in memory up to `index`; the last of them becomes the border.
    pub(super) fn purge(&mut self, index: u64) {
        while self.held_from <= index
            && let Some(held) = self.pop_front()
        {
            self.border = Some(Border {
                id: held.entry.log_id(),
                position: held.position,
            });
        }
    }

    /// Moves the border before the entries in memory.
    pub(super) fn purge_on_disk(&mut self, border: Border) {
        self.border = Some(border);
    }

    /// Empties the log, to go on after `border`.
    pub(super) fn continue_after(&mut self, border: Border) {
        *self = Self::new(self.backing, Some(border), None);
    }

    fn pop_front(&mut self) -> Option<TailEntry> {
        let held = self.entries.pop_front()?;
        self.held_from += 1;
        self.bytes -= self.spare(&held.entry);
        Some(held)
    }

    /// Lets go of the oldest commands that the user's storage holds as well.
    fn trim_commands(&mut self) {
        self.carrying_from = self.carrying_from.max(self.held_from);
        while self.bytes > KEPT_BYTES {
            let place = usize::try_from(self.carrying_from - self.held_from);
            let Some(held) = place.ok().and_then(|place| self.entries.get_mut(place)) else {
                return;
            };
            if let EntryPayload::Normal(batch) = &mut held.entry.payload {
                self.bytes -= batch.row.len();
                batch.row = Bytes::new();
            }
            self.carrying_from += 1;
        }
    }

    /// Size of the part of an entry that could be had elsewhere, in bytes.
    fn spare(&self, entry: &EntryOf<Types>) -> usize {
        match self.backing {
            Backing::None => 0,
            Backing::Commands => commands_len(entry),
            Backing::Disk => weight(entry),
        }
    }
}

/// Approximate size of an entry, in bytes.
pub(crate) fn weight(entry: &EntryOf<Types>) -> usize {
    let members = match &entry.payload {
        EntryPayload::Membership(membership) => membership.nodes().count(),
        _ => 0,
    };
    ENTRY_BYTES + members * MEMBER_BYTES + commands_len(entry)
}

fn commands_len(entry: &EntryOf<Types>) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.row.len(),
        _ => 0,
    }
}
