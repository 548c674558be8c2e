//! The log: consensus entries in memory, their commands also in the user's storage if there is
//! one. A durable member's log is on the disk, and only its end in memory.

use std::{
    fmt, io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use openraft::{
    EntryPayload,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf},
    entry::RaftEntry,
};
use parking_lot::Mutex;

use super::{
    disk_log::{Border, LogDisk, Record, Recovered, SnapshotWriter, StoredHeader},
    memory_tail::{Backing, MemoryTail, weight},
    types::{Batch, Types, term_of},
};
use crate::{
    groups::{
        Cursor, Index, Term,
        machine::{log_storage::CommandStore, snapshot::Assembly},
        model::{lineage::MemberId, status::Status},
        store::{GroupStore, Rewrite},
    },
    primitives::Bytes,
};

/// One read returns about this much, but at least one entry.
pub(super) const READ_BYTES: usize = 1024 * 1024;

/// A member's log. Clones share it.
#[derive(Clone)]
pub(crate) struct RaftLog(pub(super) Arc<Shared>);

/// State shared by all clones of a log.
pub(super) struct Shared {
    pub(super) tail: Mutex<MemoryTail>,
    pub(super) vote: Mutex<Option<VoteOf<Types>>>,
    /// The consensus index after the last membership that came in since the log was opened.
    pub(super) membership: AtomicU64,
    /// As it was when the log was opened.
    pub(super) committed: Option<LogIdOf<Types>>,
    /// The user's storage; `None` keeps commands here only.
    pub(super) commands: Option<Arc<dyn CommandStore>>,
    /// Persistent copy, if the member is durable.
    pub(super) disk: Option<LogDisk>,
    pub(super) status: Arc<Status>,
    /// Index from which on the disk is still to be rewritten, after an inheritance.
    unwritten_from: Option<u64>,
}

impl RaftLog {
    /// An empty log in memory, or the one that the store holds.
    pub(crate) async fn open(
        store: Option<GroupStore>,
        commands: Option<Arc<dyn CommandStore>>,
        status: Arc<Status>,
    ) -> io::Result<Self> {
        let disk = store.map(LogDisk::new);
        let found = match &disk {
            Some(disk) => disk.load().await?,
            None => Recovered::default(),
        };
        let backing = match (&disk, &commands) {
            (Some(_), _) => Backing::Disk,
            (None, Some(_)) => Backing::Commands,
            (None, None) => Backing::None,
        };
        let log = Self(Arc::new(Shared {
            tail: Mutex::new(MemoryTail::new(backing, found.border, found.last)),
            vote: Mutex::new(found.vote),
            membership: AtomicU64::new(0),
            committed: found.committed,
            commands,
            disk,
            status,
            unwritten_from: None,
        }));
        log.refill(found.border).await?;
        log.0.status.set_log_position(log.position());
        Ok(log)
    }

    /// Gives the user's storage the commands that the disk holds.
    async fn refill(&self, border: Option<Border>) -> io::Result<()> {
        let Some(commands) = &self.0.commands else {
            return Ok(());
        };
        let start = border.map(|border| border.position).unwrap_or_default();
        commands.reset_to(start).map_err(io::Error::other)?;
        let range = {
            let tail = self.0.tail.lock();
            tail.first_index()..tail.next_index()
        };
        let mut next = range.start;
        while next < range.end {
            for entry in self.read(next..range.end, READ_BYTES).await? {
                self.store_commands(&entry)?;
                next += 1;
            }
        }
        Ok(())
    }

    /// Waits until the disk holds this log and nothing else, where the instance that wrote it has
    /// ended without notice.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        let end = self.0.tail.lock().next_index();
        match &self.0.disk {
            Some(disk) => disk.settle(end).await,
            None => Ok(()),
        }
    }

    /// Takes over the entries of a log whose history has ended, up to a consensus index. The disk is
    /// as it was; see [`RaftLog::rewrite`].
    pub(crate) async fn inherit(&self, kept: u64) -> io::Result<Self> {
        let last = self.on_disk_only(kept).await?;
        let empty = MemoryTail::new(Backing::None, None, None);
        let mut tail = core::mem::replace(&mut *self.0.tail.lock(), empty);
        tail.truncate(kept.saturating_add(1), last);
        let position = tail.position();
        let end = tail.next_index();
        if let Some(commands) = &self.0.commands {
            commands
                .truncate(position.index().next())
                .map_err(io::Error::other)?;
        }
        self.0.status.set_log_position(position);
        Ok(Self(Arc::new(Shared {
            tail: Mutex::new(tail),
            vote: Mutex::new(None),
            membership: AtomicU64::new(0),
            committed: None,
            commands: self.0.commands.clone(),
            disk: self.0.disk.clone(),
            status: self.0.status.clone(),
            unwritten_from: Some(end),
        })))
    }

    /// Puts a membership of one at the end, in a term of its own: the beginning of a new history
    /// from an old one's entries.
    pub(crate) fn claim(&self, member: MemberId) -> io::Result<()> {
        let mut tail = self.0.tail.lock();
        let term = tail.last_id().as_ref().map_or(0, term_of) + 1;
        let voter = std::collections::BTreeSet::from([member]);
        let membership = openraft::Membership::new(vec![voter.clone()], voter)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let leader = CommittedLeaderIdOf::<Types>::new(term);
        let id = LogIdOf::<Types>::new(leader, tail.next_index());
        let position = tail.position();
        let entry = EntryOf::<Types>::new(id, EntryPayload::Membership(membership));
        tail.push(entry, position);
        *self.0.vote.lock() = Some(VoteOf::<Types>::new(term, member));
        Ok(())
    }

    /// Changes that must be made on the disk at once for it to hold an inherited log.
    pub(crate) fn rewrite(&self) -> io::Result<Option<Rewrite>> {
        let (Some(from), true) = (self.0.unwritten_from, self.0.disk.is_some()) else {
            return Ok(None);
        };
        let tail = self.0.tail.lock();
        let held = (from..tail.next_index()).filter_map(|index| tail.get(index));
        let entries = held
            .map(|held| LogDisk::encode(&held.entry, held.position))
            .collect::<io::Result<_>>()?;
        LogDisk::rewrite(from, entries, self.0.vote.lock().as_ref()).map(Some)
    }

    /// The position of the last command in the log.
    pub(crate) fn position(&self) -> Cursor {
        self.0.tail.lock().position()
    }

    /// Returns whether the log is on a disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.0.disk.is_some()
    }

    /// The last vote that was stored, as its term and whom it is for. No vote is given before.
    pub(crate) fn stored_vote(&self) -> Option<(u64, MemberId)> {
        let vote = self.0.vote.lock();
        vote.map(|vote| (vote.leader_id.term, vote.leader_id.voted_for))
    }

    /// The consensus index of the last membership that has come in, if it is still there. Known
    /// before the entry is replicated or counts for anything.
    pub(crate) fn last_membership(&self) -> Option<u64> {
        self.0.membership.load(Ordering::SeqCst).checked_sub(1)
    }

    /// Begins to write a snapshot of everything up to a consensus index to the disk, if this member
    /// is durable and has none there that reaches as far.
    pub(crate) async fn begin_snapshot(&self, index: u64) -> io::Result<Option<SnapshotWriter>> {
        match &self.0.disk {
            Some(disk) => disk.begin_snapshot(index).await,
            None => Ok(None),
        }
    }

    /// The snapshot on the disk.
    pub(crate) async fn stored_snapshot(&self) -> io::Result<Option<StoredHeader>> {
        match &self.0.disk {
            Some(disk) => disk.snapshot().await,
            None => Ok(None),
        }
    }

    /// Puts the snapshot on the disk together; tells its size as well.
    pub(crate) async fn load_snapshot(
        &self,
        stored: &StoredHeader,
        assembly: Box<dyn Assembly>,
    ) -> io::Result<(Box<dyn Assembly>, u64)> {
        match &self.0.disk {
            Some(disk) => disk.load_snapshot(stored, assembly).await,
            None => Err(io::Error::other("there is no disk")),
        }
    }

    /// The consensus index of the last entry up to which the log holds no more than this many
    /// commands; `None` when that is before its first one.
    pub(crate) async fn index_of(&self, position: Index) -> io::Result<Option<u64>> {
        let mut range = {
            let tail = self.0.tail.lock();
            if let Some(index) = tail.index_of(position) {
                return Ok(Some(index));
            }
            tail.first_index()..tail.held_from()
        };
        let Some(disk) = &self.0.disk else {
            return Ok(None);
        };
        let first = range.start;
        while !range.is_empty() {
            let middle = u64::midpoint(range.start, range.end);
            match disk.read(middle..middle + 1, 1).await?.pop() {
                Some(found) if found.position.index() <= position => range.start = middle + 1,
                Some(_) => range.end = middle,
                // Purged, or cut off, in the meantime.
                None => return Ok(None),
            }
        }
        Ok(range.start.checked_sub(1).filter(|index| *index >= first))
    }

    /// The consensus index of the first entry that is not discarded.
    pub(crate) fn first_index(&self) -> u64 {
        self.0.tail.lock().first_index()
    }

    /// Notes that this member has lost an entry that it had acknowledged, so that it never takes
    /// part again; `false` when it has not, or keeps nothing.
    pub(crate) async fn is_set_back(&self, matched: &LogIdOf<Types>) -> io::Result<bool> {
        let last = self.last_id();
        let Some(disk) = self.0.disk.as_ref().filter(|_| last < Some(*matched)) else {
            return Ok(false);
        };
        let last = last.map_or(0, |last| last.index());
        disk.set_back(matched.index(), last).await?;
        Ok(true)
    }

    /// The id of an entry, or of the one before the log's beginning.
    pub(crate) async fn id_at(&self, index: u64) -> io::Result<Option<LogIdOf<Types>>> {
        let border = self.0.tail.lock().border().map(|border| border.id);
        if let Some(border) = border.filter(|border| border.index() == index) {
            return Ok(Some(border));
        }
        let found = self.read(index..index.saturating_add(1), 1).await?;
        let found = found.first().map(|entry| entry.log_id);
        Ok(found.filter(|id| id.index() == index))
    }

    /// The last entry, which may not be committed; the one before the log's beginning if there is
    /// none.
    pub(crate) fn last_id(&self) -> Option<LogIdOf<Types>> {
        self.0.tail.lock().last_id()
    }

    /// Makes the log agree with a snapshot that was installed: a log that does not reach it is
    /// replaced.
    pub(crate) async fn snapshot_installed(
        &self,
        last: LogIdOf<Types>,
        position: Cursor,
    ) -> io::Result<()> {
        let border = Border { id: last, position };
        {
            let mut tail = self.0.tail.lock();
            if tail.next_index() > last.index() {
                return Ok(());
            }
            tail.continue_after(border);
            // What changed the membership behind the snapshot is gone with the rest.
            self.0.membership.store(0, Ordering::SeqCst);
        }
        if let Some(disk) = &self.0.disk {
            disk.continue_after(&border).await?;
        }
        if let Some(commands) = &self.0.commands {
            commands.reset_to(position).map_err(io::Error::other)?;
        }
        self.0.status.set_log_position(position);
        Ok(())
    }

    /// Takes in entries, and returns them as the disk wants them, if there is one.
    pub(super) fn take_in(
        &self,
        entries: impl IntoIterator<Item = EntryOf<Types>>,
    ) -> io::Result<Vec<(u64, Bytes)>> {
        let mut tail = self.0.tail.lock();
        let mut position = tail.position();
        let mut rows = Vec::new();
        for entry in entries {
            self.store_commands(&entry)?;
            match &entry.payload {
                EntryPayload::Normal(batch) => {
                    let term = Term(term_of(&entry.log_id));
                    position = Cursor::new(term, position.index() + Index(u64::from(batch.count)));
                }
                EntryPayload::Membership(_) => {
                    let next = entry.log_id.index() + 1;
                    self.0.membership.store(next, Ordering::SeqCst);
                }
                EntryPayload::Blank => {}
            }
            if self.0.disk.is_some() {
                rows.push(LogDisk::encode(&entry, position)?);
            }
            tail.push(entry, position);
        }
        drop(tail);
        self.0.status.set_log_position(position);
        Ok(rows)
    }

    /// Writes an entry's commands to the user's storage, if there is one.
    fn store_commands(&self, entry: &EntryOf<Types>) -> io::Result<()> {
        let (Some(commands), EntryPayload::Normal(batch)) = (&self.0.commands, &entry.payload)
        else {
            return Ok(());
        };
        let term = Term(term_of(&entry.log_id));
        commands.append(&batch.row, term).map_err(io::Error::other)
    }

    /// Entries in order, until they exceed `max_bytes`; at least one, if there is any.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let (first, held_from) = {
            let tail = self.0.tail.lock();
            (tail.first_index(), tail.held_from())
        };
        let mut next = range.start.max(first);
        let on_disk = held_from.min(range.end);
        while let (Some(disk), true) = (&self.0.disk, next < on_disk) {
            let found = disk.read(next..on_disk, max_bytes - bytes).await?;
            if found.is_empty() {
                let tail = self.0.tail.lock();
                // A truncation or a purge may have come first.
                if tail.held_from() < on_disk || tail.first_index() > next {
                    break;
                }
                return Err(disk.missing(next));
            }
            for Record { entry, .. } in found {
                bytes += weight(&entry);
                entries.push(entry);
                next += 1;
            }
            if bytes >= max_bytes {
                return Ok(entries);
            }
        }
        let tail = self.0.tail.lock();
        for index in next..range.end {
            let Some(held) = tail.get(index) else { break };
            let mut entry = held.entry.clone();
            if let EntryPayload::Normal(batch) = &mut entry.payload
                && batch.row.is_empty()
            {
                batch.row = self.stored_row(batch, held.position)?;
            }
            bytes += weight(&entry);
            entries.push(entry);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(entries)
    }

    /// Commands that are only in the user's storage.
    fn stored_row(&self, batch: &Batch, last: Cursor) -> io::Result<Bytes> {
        let commands = self
            .0
            .commands
            .as_ref()
            .ok_or_else(|| io::Error::other("the log holds an entry without its commands"))?;
        let first = last.index() - u64::from(batch.count) + 1u64;
        commands.row(first..=last.index()).map_err(io::Error::other)
    }

    /// An entry that the log is to end with, if it is on the disk and not in memory.
    pub(super) async fn on_disk_only(&self, index: u64) -> io::Result<Option<Record>> {
        let on_disk = {
            let tail = self.0.tail.lock();
            (tail.first_index()..tail.held_from()).contains(&index)
        };
        let Some(disk) = self.0.disk.as_ref().filter(|_| on_disk) else {
            return Ok(None);
        };
        let found = disk.read(index..index + 1, 1).await?.pop();
        found.ok_or_else(|| disk.missing(index)).map(Some)
    }
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.0.tail.lock();
        f.debug_struct("RaftLog")
            .field("first", &tail.first_index())
            .field("next", &tail.next_index())
            .field("position", &tail.position())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "raft_log_tests.rs"]
mod tests;
