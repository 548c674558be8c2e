//! One group's part of the store.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    core::{Shared, Slot},
    disk::{Change, Disk, Garbage, Key},
    queue::WriteSequence,
};
use crate::primitives::{Bytes, GroupId, encoding};

pub(crate) use super::queue::Done;

// Kinds of rows.
const META: u8 = 0;
const LOG: u8 = 1;
const CHUNK: u8 = 2;
const END: u8 = u8::MAX;

/// Names a value that is kept beside the log. The numbers are part of the layout; 7 has been used
/// for a counter that is no longer read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum MetaKey {
    /// Member of the group that this node is: peer id and incarnation.
    Member = 1,
    /// History that the log belongs to.
    Lineage = 2,
    /// The current term, and who has this member's vote in it.
    Vote = 3,
    /// Index up to which the log is known to be committed.
    Committed = 4,
    /// The history that the current one continues.
    Ancestry = 8,
    /// See [`Purged`].
    Purged = 5,
    /// See [`StoredSnapshot`].
    Snapshot = 6,
    /// Reason for which the member must not take part any more: see [`StoreError::SetBack`].
    SetBack = 9,
}

/// Border up to which the log was cut off at its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purged {
    pub(crate) index: u64,
    /// State that the log must know of the last entry that is gone.
    pub(crate) state: Bytes,
}

/// A change of a log's end and of values beside it, all at once.
#[derive(Debug)]
pub(crate) struct Rewrite {
    /// All entries from here on are dropped,
    pub(crate) from: u64,
    /// and these, which begin there, take their place.
    pub(crate) entries: Vec<(u64, Bytes)>,
    pub(crate) values: Vec<(MetaKey, Bytes)>,
}

/// A snapshot on the disk, apart from its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSnapshot {
    generation: u32,
    pub(crate) chunks: u32,
    pub(crate) meta: Bytes,
}

/// Writes a snapshot bit by bit. Nothing of it counts before it is finished.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    store: GroupStore,
    generation: u32,
    chunks: u32,
}

impl ChunkWriter {
    /// Writes the next chunks; resolves when they are on disk, so that a large snapshot never stands
    /// between other writes and the disk.
    pub(crate) async fn add(
        &mut self,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        for chunk in chunks {
            let index = chunk_index(self.generation, self.chunks);
            let next = self.chunks.checked_add(1);
            self.chunks =
                next.ok_or_else(|| self.store.unusable("a snapshot with too many chunks"))?;
            changes.push(Change::Put((self.store.slot, CHUNK, index), chunk));
        }
        self.store.write(changes).await
    }

    /// Makes the snapshot the current one; resolves when that is on disk.
    pub(crate) async fn finish(self, meta: Bytes) -> Result<(), StoreError> {
        let Self {
            store,
            generation,
            chunks,
        } = self;
        let row = store.encode(&SnapshotRow {
            generation,
            chunks,
            meta,
        })?;
        let at = |generation| (store.slot, CHUNK, chunk_index(generation, 0));
        let changes = vec![
            Change::Put(store.meta_key(MetaKey::Snapshot), row),
            Change::Discard(at(0)..at(generation)),
        ];
        store.write(changes).await
    }
}

/// The row that makes a snapshot current.
#[derive(Debug, Serialize, Deserialize)]
struct SnapshotRow {
    generation: u32,
    chunks: u32,
    meta: Bytes,
}

/// Content of the store for a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) member: Option<Bytes>,
    pub(crate) lineage: Option<Bytes>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    pub(crate) ancestry: Option<Bytes>,
    pub(crate) set_back: Option<Bytes>,
    pub(crate) purged: Option<Purged>,
    /// The entries that are there: from the first, to before this.
    pub(crate) entries: Range<u64>,
    /// The last of them.
    pub(crate) last: Option<Bytes>,
}

/// A handle on one group's part of the store. Clones share it.
///
/// Writes take effect in the order of their calls. Changes of the log resolve once they are queued,
/// the others when they are on disk; reads see only what is on disk. All reads block.
#[derive(Clone)]
pub(crate) struct GroupStore {
    shared: Arc<Shared>,
    group: GroupId,
    /// The group's number, which its rows begin with.
    slot: u32,
    state: Arc<Slot>,
}

impl GroupStore {
    pub(super) fn new(shared: Arc<Shared>, group: GroupId, state: Arc<Slot>) -> Self {
        Self {
            shared,
            group,
            slot: state.number,
            state,
        }
    }

    /// Loads the group's content.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let disk = &*self.shared.disk()?;
        let purged = purged(disk, self.slot)?;
        let first = purged.as_ref().map_or(0, |purged| purged.index + 1);
        let found = disk.bounds(self.log_range(first, u64::MAX))?;
        let (entries, last) = match found {
            None => (first..first, None),
            Some(((_, _, start), (_, _, last))) if start == first => {
                (first..last + 1, disk.get((self.slot, LOG, last))?)
            }
            Some(((_, _, start), _)) => {
                return Err(self.corrupt(format!("its log begins with {start}, not {first}")));
            }
        };
        Ok(Loaded {
            member: self.meta(MetaKey::Member)?,
            lineage: self.meta(MetaKey::Lineage)?,
            vote: self.meta(MetaKey::Vote)?,
            committed: self.meta(MetaKey::Committed)?,
            ancestry: self.meta(MetaKey::Ancestry)?,
            set_back: self.meta(MetaKey::SetBack)?,
            purged,
            entries,
            last,
        })
    }

    /// Appends entries, which must follow the last one.
    pub(crate) async fn append(
        &self,
        entries: impl IntoIterator<Item = (u64, Bytes)>,
        done: Done,
    ) -> Result<WriteSequence, StoreError> {
        let changes = entries
            .into_iter()
            .map(|(index, entry)| Change::Put((self.slot, LOG, index), entry))
            .collect();
        self.submit(changes, Some(done)).await
    }

    /// Changes all this or nothing; resolves when it is on disk.
    pub(crate) async fn rewrite(&self, rewrite: Rewrite) -> Result<(), StoreError> {
        let Rewrite {
            from,
            entries,
            values,
        } = rewrite;
        let mut changes = vec![Change::Delete(self.log_range(from, u64::MAX))];
        let entries = entries.into_iter();
        changes.extend(entries.map(|(index, entry)| Change::Put((self.slot, LOG, index), entry)));
        let values = values.into_iter();
        changes.extend(values.map(|(key, value)| Change::Put(self.meta_key(key), value)));
        self.write(changes).await
    }

    /// Drops all entries from `first` on.
    pub(crate) async fn truncate_from(&self, first: u64) -> Result<(), StoreError> {
        let dropped = Change::Delete(self.log_range(first, u64::MAX));
        self.submit(vec![dropped], None).await.map(drop)
    }

    /// Cuts off the log's beginning. Space is given back later.
    pub(crate) async fn purge(&self, purged: &Purged) -> Result<(), StoreError> {
        let row = self.encode(purged)?;
        let changes = vec![
            Change::Put(self.meta_key(MetaKey::Purged), row),
            Change::Discard(self.log_range(0, purged.index + 1)),
        ];
        self.submit(changes, None).await.map(drop)
    }

    /// Drops the whole log, to go on after `purged`.
    pub(crate) async fn continue_after(&self, purged: &Purged) -> Result<(), StoreError> {
        let row = self.encode(purged)?;
        let changes = vec![
            Change::Delete(self.log_range(purged.index + 1, u64::MAX)),
            Change::Put(self.meta_key(MetaKey::Purged), row),
            Change::Discard(self.log_range(0, purged.index + 1)),
        ];
        self.submit(changes, None).await.map(drop)
    }

    /// Writes values, all or none; resolves when they are on disk.
    pub(crate) async fn save_meta(
        &self,
        values: impl IntoIterator<Item = (MetaKey, Bytes)>,
    ) -> Result<(), StoreError> {
        let changes = values
            .into_iter()
            .map(|(key, value)| Change::Put(self.meta_key(key), value));
        self.write(changes.collect()).await
    }

    /// Lets a value go along with the next write of any group.
    pub(crate) fn note_meta(&self, key: MetaKey, value: Bytes) {
        self.shared.queue().ride(self.meta_key(key), value);
    }

    /// Every write with a sequence up to this one is on disk.
    pub(crate) fn durable(&self) -> WriteSequence {
        self.shared.queue().durable()
    }

    /// Entries that are on disk, without gaps, until they exceed `max_bytes`, but at least one.
    pub(crate) fn read(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let rows = self
            .shared
            .disk()?
            .range(self.log_range(range.start, range.end), max_bytes)?;
        let entries = rows
            .into_iter()
            .map(|((_, _, index), entry)| (index, entry));
        Ok((range.start..)
            .zip(entries)
            .take_while(|(expected, (index, _))| expected == index)
            .map(|(_, entry)| entry)
            .collect())
    }

    /// The member has lost what it had acknowledged. From now on, also after a restart, the group
    /// can't go on from what is kept.
    pub(crate) async fn set_back(&self, detail: &str) -> Result<(), StoreError> {
        let detail = format!("group {}: {detail}", self.group);
        let error = StoreError::set_back(self.shared.path(), &detail);
        let noted = self.save_meta([(MetaKey::SetBack, Bytes::from(detail))]);
        noted.await?;
        self.state.failure.lock().get_or_insert(error);
        Ok(())
    }

    /// Failure for which the group can't go on from what is kept, although the store works.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.state.failure.lock().clone()
    }

    /// The store can't be trusted any more, or not be read: no group can go on with it.
    pub(crate) fn fail(&self, error: &StoreError) {
        self.shared.fail(error);
    }

    /// An entry that must be there is not: the store can't be trusted any more.
    pub(crate) fn missing(&self, index: u64) -> StoreError {
        let error = self.corrupt(format!("entry {index} is missing"));
        self.shared.fail(&error);
        error
    }

    /// Begins to write a snapshot. There must be one writer at a time: the next one that is finished
    /// drops what others have written.
    pub(crate) fn begin_snapshot(&self) -> ChunkWriter {
        ChunkWriter {
            generation: self.state.generation.fetch_add(1, Ordering::Relaxed),
            store: self.clone(),
            chunks: 0,
        }
    }

    /// The current snapshot, without its chunks.
    pub(crate) fn snapshot(&self) -> Result<Option<StoredSnapshot>, StoreError> {
        let disk = &*self.shared.disk()?;
        let row = snapshot_row(disk, self.slot)?;
        Ok(row.map(|row| StoredSnapshot {
            generation: row.generation,
            chunks: row.chunks,
            meta: row.meta,
        }))
    }

    /// Chunks of a snapshot from one on, until they exceed `max_bytes`, but at least one.
    pub(crate) fn read_chunks(
        &self,
        snapshot: &StoredSnapshot,
        from: u32,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let at = |place| (self.slot, CHUNK, chunk_index(snapshot.generation, place));
        let rows = self
            .shared
            .disk()?
            .range(at(from)..at(snapshot.chunks), max_bytes)?;
        let expected = (from..).map(at);
        if rows.is_empty() || expected.zip(&rows).any(|(key, (found, _))| key != *found) {
            return Err(self.corrupt("its snapshot lacks a part"));
        }
        Ok(rows.into_iter().map(|(_, chunk)| chunk).collect())
    }

    /// From now on another handle on the group finds it empty. This one goes on to work; what it
    /// writes is to be removed.
    pub(crate) fn retire(&self) {
        self.state.registered.store(true, Ordering::Release);
        self.shared.forget(&self.group, self.slot);
    }

    /// Forgets everything that was written by this handle and those that had the group before;
    /// resolves when that is on disk. It must not be used any more.
    pub(crate) async fn remove(&self) -> Result<(), StoreError> {
        self.retire();
        let changes = vec![
            Change::RemoveGroup(self.group, self.slot),
            Change::Discard(all_rows(self.slot)),
        ];
        self.write(changes).await
    }

    async fn submit(
        &self,
        changes: Vec<Change>,
        done: Option<Done>,
    ) -> Result<WriteSequence, StoreError> {
        let (changes, registers) = self.registering(changes);
        let sequence = self.shared.submit(changes, done).await?;
        if registers {
            self.state.registered.store(true, Ordering::Release);
        }
        Ok(sequence)
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (changes, registers) = self.registering(changes);
        self.shared.write(changes).await?;
        if registers {
            self.state.registered.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The first write of a new group also makes its number known. Twice does no harm.
    fn registering(&self, mut changes: Vec<Change>) -> (Vec<Change>, bool) {
        let registers = !self.state.registered.load(Ordering::Acquire);
        if registers {
            changes.insert(0, Change::AddGroup(self.group, self.slot));
        }
        (changes, registers)
    }

    fn meta(&self, key: MetaKey) -> Result<Option<Bytes>, StoreError> {
        self.shared.disk()?.get(self.meta_key(key))
    }

    fn meta_key(&self, key: MetaKey) -> Key {
        (self.slot, META, key as u64)
    }

    fn log_range(&self, from: u64, end: u64) -> Range<Key> {
        (self.slot, LOG, from)..(self.slot, LOG, end)
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Bytes, StoreError> {
        encoding::try_serialize(value)
            .map_err(|error| self.unusable(format!("a value can't be encoded: {error}")))
    }

    /// This program can't use what it finds.
    fn unusable(&self, detail: impl Into<String>) -> StoreError {
        let detail = format!("group {}: {}", self.group, detail.into());
        StoreError::incompatible(self.shared.path(), detail)
    }

    fn corrupt(&self, detail: impl Into<String>) -> StoreError {
        let detail = format!("group {}: {}", self.group, detail.into());
        StoreError::corrupt(self.shared.path(), detail)
    }
}

#[cfg(test)]
impl GroupStore {
    /// Resolves when all earlier writes are on disk.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        self.write(Vec::new()).await
    }

    /// The first entry on disk, needed or not.
    pub(super) fn first_row(&self) -> u64 {
        let disk = self.shared.disk().unwrap();
        let found = disk.bounds(self.log_range(0, u64::MAX)).unwrap();
        found.map_or(0, |((_, _, first), _)| first)
    }

    /// Returns whether there are no entries on disk but these.
    pub(super) fn has_only(&self, range: Range<u64>) -> bool {
        let disk = self.shared.disk().unwrap();
        let found = disk.bounds(self.log_range(0, u64::MAX)).unwrap();
        found.is_some_and(|((_, _, first), (_, _, last))| (first..last + 1) == range)
    }
}

impl fmt::Debug for GroupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupStore")
            .field("group", &self.group)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// Findings of the survey at opening.
pub(super) struct Surveyed {
    pub(super) garbage: Garbage,
    pub(super) next_generation: u32,
}

/// Finds rows of a group that nobody needs: behind the purged border, and parts of snapshots that
/// are not the current one.
pub(super) fn survey(disk: &Disk, slot: u32) -> Result<Surveyed, StoreError> {
    let mut garbage = Garbage::new();
    if let Some(purged) = purged(disk, slot)? {
        garbage.push_back((slot, LOG, 0)..(slot, LOG, purged.index + 1));
    }
    let current = snapshot_row(disk, slot)?.map(|row| row.generation);
    let chunks = (slot, CHUNK, 0)..(slot, CHUNK, u64::MAX);
    let last = disk.bounds(chunks.clone())?.map(|(_, (_, _, last))| last);
    let last = last.map(|last| u32::try_from(last >> 32).unwrap_or(u32::MAX));
    let next_generation = last.max(current).map_or(0, |last| last.saturating_add(1));
    let at = |generation: u32| (slot, CHUNK, chunk_index(generation, 0));
    // No further: a snapshot of this run may be complete before the sweep gets here.
    let end = at(next_generation);
    match current {
        Some(current) => {
            garbage.push_back(chunks.start..at(current));
            garbage.push_back(at(current.saturating_add(1))..end);
        }
        None => garbage.push_back(chunks.start..end),
    }
    Ok(Surveyed {
        garbage,
        next_generation,
    })
}

pub(super) fn all_rows(slot: u32) -> Range<Key> {
    (slot, META, 0)..(slot, END, 0)
}

fn purged(disk: &Disk, slot: u32) -> Result<Option<Purged>, StoreError> {
    decode_meta(disk, slot, MetaKey::Purged)
}

fn snapshot_row(disk: &Disk, slot: u32) -> Result<Option<SnapshotRow>, StoreError> {
    decode_meta(disk, slot, MetaKey::Snapshot)
}

fn decode_meta<T: serde::de::DeserializeOwned>(
    disk: &Disk,
    slot: u32,
    key: MetaKey,
) -> Result<Option<T>, StoreError> {
    let Some(row) = disk.get((slot, META, key as u64))? else {
        return Ok(None);
    };
    encoding::deserialize(&row)
        .map(Some)
        .map_err(|_| StoreError::incompatible(disk.path(), format!("{key:?} is not readable")))
}

fn chunk_index(generation: u32, place: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(place)
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod vectors;
