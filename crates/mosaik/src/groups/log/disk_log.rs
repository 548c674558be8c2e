//! Persistence of consensus in the node's store: log, vote and snapshots.

use std::{
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use openraft::{
    alias::{EntryOf, LogIdOf, SnapshotMetaOf, VoteOf},
    entry::RaftEntry,
    storage::IOFlushed,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::OwnedMutexGuard;

use super::{
    format::{self, RawEntry, RawLogId, RawVote, SnapshotMeta},
    types::{Batch, Types},
};
use crate::{
    groups::{
        Cursor,
        machine::snapshot::{Assembly, Encoded},
        store::{
            ChunkWriter, GroupStore, MetaKey, Purged, Rewrite, StoreError, StoredSnapshot,
            WriteSequence,
        },
    },
    primitives::{Bytes, BytesMut, encoding},
};

/// Limit on the bytes of a snapshot's row; about as many are read or written at a time.
const CHUNK_BYTES: usize = if cfg!(test) { 256 } else { 4 * 1024 * 1024 };

/// A group's part of the node's store, in terms of consensus. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LogDisk {
    store: GroupStore,
    /// Lock of the task that writes a snapshot.
    snapshots: Arc<tokio::sync::Mutex<()>>,
}

/// An entry as it lies on the disk.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(deserialize_with = "format::entry")]
    pub(super) entry: EntryOf<Types>,
    /// The position of the last command in the log up to and including this entry.
    pub(super) position: Cursor,
}

/// A [`Record`] as it is written: its commands are borrowed.
#[derive(Debug, Serialize)]
struct RecordRef<'a> {
    entry: RawEntry<&'a Batch>,
    position: Cursor,
}

/// The last entry before the log's beginning.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Border {
    #[serde(with = "format::log_id")]
    pub(super) id: LogIdOf<Types>,
    pub(super) position: Cursor,
}

/// State found on the disk.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) vote: Option<VoteOf<Types>>,
    pub(super) committed: Option<LogIdOf<Types>>,
    pub(super) border: Option<Border>,
    /// The last entry.
    pub(super) last: Option<Record>,
}

/// A snapshot on the disk, without its pieces.
#[derive(Debug, Clone)]
pub(crate) struct StoredHeader {
    pub(crate) meta: SnapshotMetaOf<Types>,
    pub(crate) head: Bytes,
    stored: StoredSnapshot,
}

/// Writes a snapshot piece by piece. Nothing of it counts before it is finished.
pub(crate) struct SnapshotWriter {
    chunks: ChunkWriter,
    /// Size of the pieces that were added.
    bytes: u64,
    /// One writes at a time.
    _turn: OwnedMutexGuard<()>,
}

impl SnapshotWriter {
    /// Adds pieces; resolves when they are on disk. A large one takes several rows, and several
    /// writes.
    pub(crate) async fn add(&mut self, pieces: &[Encoded]) -> io::Result<()> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for piece in pieces {
            self.bytes += piece.bytes.len() as u64;
            let mut rest = &piece.bytes[..];
            while !rest.is_empty() {
                let (part, after) = rest.split_at(rest.len().min(CHUNK_BYTES));
                rest = after;
                let items = if rest.is_empty() { piece.items } else { 0 };
                let mut row = BytesMut::with_capacity(part.len() + 8);
                row.extend_from_slice(&items.to_le_bytes());
                row.extend_from_slice(part);
                rows.push(row.freeze());
                bytes += part.len();
                if bytes >= CHUNK_BYTES {
                    self.chunks.add(core::mem::take(&mut rows)).await?;
                    bytes = 0;
                }
            }
        }
        if !rows.is_empty() {
            self.chunks.add(rows).await?;
        }
        Ok(())
    }

    /// Size of the pieces that were added.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the snapshot the current one; resolves when that is on disk.
    pub(crate) async fn finish(self, meta: &SnapshotMetaOf<Types>, head: &Bytes) -> io::Result<()> {
        let header = encode(&StoredMeta {
            meta: meta.clone().into(),
            head: head.clone(),
        })?;
        Ok(self.chunks.finish(header).await?)
    }
}

/// Header of a kept snapshot, beside its pieces.
#[derive(Debug, Serialize, Deserialize)]
struct StoredMeta {
    meta: SnapshotMeta,
    head: Bytes,
}

impl LogDisk {
    pub(super) fn new(store: GroupStore) -> Self {
        Self {
            store,
            snapshots: Arc::default(),
        }
    }

    pub(super) async fn load(&self) -> io::Result<Recovered> {
        let loaded = self.blocking(GroupStore::load).await?;
        let border = match &loaded.purged {
            Some(purged) => {
                let border: Border = decode(&purged.state)?;
                check_index(border.id.index(), purged.index)?;
                Some(border)
            }
            None => None,
        };
        let last = match &loaded.last {
            Some(last) => Some(record(loaded.entries.end - 1, last)?),
            None => None,
        };
        let committed: Option<Option<RawLogId>> = decode_some(loaded.committed.as_ref())?;
        let committed = match committed.flatten().map(LogIdOf::<Types>::from) {
            Some(id) if self.holds(&id, &loaded.entries).await? => Some(id),
            _ => None,
        };
        let vote: Option<Option<RawVote>> = decode_some(loaded.vote.as_ref())?;
        Ok(Recovered {
            vote: vote.flatten().map(Into::into),
            committed,
            border,
            last,
        })
    }

    /// Returns whether there is this very entry. One that a crash has cut off can't be vouched for.
    async fn holds(&self, id: &LogIdOf<Types>, entries: &Range<u64>) -> io::Result<bool> {
        let index = id.index();
        if !entries.contains(&index) {
            return Ok(false);
        }
        let found = self.read(index..index + 1, 1).await?.pop();
        Ok(found.is_some_and(|record| record.entry.log_id() == *id))
    }

    pub(super) fn encode(entry: &EntryOf<Types>, position: Cursor) -> io::Result<(u64, Bytes)> {
        let index = entry.log_id().index();
        let entry = entry.into();
        Ok((index, encode(&RecordRef { entry, position })?))
    }

    /// Queues entries; `flushed` is told when they are on disk.
    pub(super) async fn append(
        &self,
        entries: Vec<(u64, Bytes)>,
        flushed: IOFlushed<Types>,
    ) -> io::Result<WriteSequence> {
        let done = move |result: Result<(), StoreError>| {
            flushed.io_completed(result.map_err(Into::into));
        };
        Ok(self.store.append(entries, Box::new(done)).await?)
    }

    /// Everything with a sequence up to this is on disk.
    pub(super) fn durable(&self) -> WriteSequence {
        self.store.durable()
    }

    /// Resolves once the disk holds everything before `end` that was queued, and nothing behind it.
    pub(super) async fn settle(&self, end: u64) -> io::Result<()> {
        let nothing_behind = Rewrite {
            from: end,
            entries: Vec::new(),
            values: Vec::new(),
        };
        Ok(self.store.rewrite(nothing_behind).await?)
    }

    pub(super) async fn truncate_from(&self, first: u64) -> io::Result<()> {
        Ok(self.store.truncate_from(first).await?)
    }

    pub(super) async fn purge(&self, border: &Border) -> io::Result<()> {
        Ok(self.store.purge(&purged(border)?).await?)
    }

    pub(super) async fn continue_after(&self, border: &Border) -> io::Result<()> {
        Ok(self.store.continue_after(&purged(border)?).await?)
    }

    /// Entries of a range that is on disk, until they exceed `max_bytes`; at least one, unless they
    /// are gone.
    pub(super) async fn read(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> io::Result<Vec<Record>> {
        let rows = self
            .blocking(move |store| store.read(range, max_bytes))
            .await?;
        rows.iter()
            .map(|(index, row)| record(*index, row))
            .collect()
    }

    /// An entry that must be there is not.
    pub(super) fn missing(&self, index: u64) -> io::Error {
        self.store.missing(index).into()
    }

    /// Resolves when the vote is on disk.
    pub(super) async fn save_vote(&self, vote: &VoteOf<Types>) -> io::Result<()> {
        let vote = encode(&Some(RawVote::from(*vote)))?;
        Ok(self.store.save_meta([(MetaKey::Vote, vote)]).await?)
    }

    /// Notes that the member has lost what it had acknowledged.
    pub(super) async fn set_back(&self, acknowledged: u64, last: u64) -> io::Result<()> {
        let detail = format!(
            "the member has acknowledged entry {acknowledged} to its leader, and its log ends with \
             {last}"
        );
        Ok(self.store.set_back(&detail).await?)
    }

    /// The change of the log with which a new history begins.
    pub(super) fn rewrite(
        from: u64,
        entries: Vec<(u64, Bytes)>,
        vote: Option<&VoteOf<Types>>,
    ) -> io::Result<Rewrite> {
        Ok(Rewrite {
            from,
            entries,
            values: vec![
                (MetaKey::Vote, encode(&vote.copied().map(RawVote::from))?),
                (MetaKey::Committed, encode(&None::<RawLogId>)?),
            ],
        })
    }

    /// Notes a hint for the next start; it goes along with the next write.
    pub(super) fn note_committed(&self, committed: Option<&LogIdOf<Types>>) -> io::Result<()> {
        self.store
            .note_meta(MetaKey::Committed, encode(&committed.map(RawLogId::from))?);
        Ok(())
    }

    /// Begins to write a snapshot of everything up to a consensus index, when nobody else does.
    /// `None` if there is one already that reaches as far: the log may have been cut off behind it.
    pub(super) async fn begin_snapshot(&self, index: u64) -> io::Result<Option<SnapshotWriter>> {
        let turn = self.snapshots.clone().lock_owned().await;
        let current = self.snapshot().await?;
        let current = current.and_then(|current| current.meta.last_log_id);
        if current.is_some_and(|current| current.index() >= index) {
            return Ok(None);
        }
        Ok(Some(SnapshotWriter {
            chunks: self.store.begin_snapshot(),
            bytes: 0,
            _turn: turn,
        }))
    }

    pub(super) async fn snapshot(&self) -> io::Result<Option<StoredHeader>> {
        let Some(stored) = self.blocking(GroupStore::snapshot).await? else {
            return Ok(None);
        };
        let header: StoredMeta = decode(&stored.meta)?;
        Ok(Some(StoredHeader {
            meta: header.meta.into(),
            head: header.head,
            stored,
        }))
    }

    /// Puts a snapshot together; tells its size as well.
    pub(super) async fn load_snapshot(
        &self,
        header: &StoredHeader,
        mut assembly: Box<dyn Assembly>,
    ) -> io::Result<(Box<dyn Assembly>, u64)> {
        let stored = header.stored.clone();
        let loaded = self.blocking(move |store| {
            let (mut from, mut piece, mut bytes) = (0, BytesMut::new(), 0);
            while from < stored.chunks {
                for chunk in store.read_chunks(&stored, from, CHUNK_BYTES)? {
                    let Some((items, part)) = chunk.split_first_chunk() else {
                        return Ok(None);
                    };
                    from += 1;
                    bytes += part.len() as u64;
                    piece.extend_from_slice(part);
                    let items = u64::from_le_bytes(*items);
                    if items > 0 && !append(&mut *assembly, &piece.split(), items) {
                        return Ok(None);
                    }
                }
            }
            Ok(piece.is_empty().then_some((assembly, bytes)))
        });
        loaded
            .await?
            .ok_or_else(|| io::Error::other("the snapshot is not readable by this state machine"))
    }

    /// Reads on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&GroupStore) -> Result<T, StoreError> + Send + 'static,
    ) -> io::Result<T> {
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // What the disk does not give back, or not as it was, is a failure of the whole store.
            read(&store).inspect_err(|error| {
                if matches!(error, StoreError::Corrupt { .. } | StoreError::Io { .. }) {
                    store.fail(error);
                }
            })
        });
        Ok(reading.await.map_err(io::Error::other)??)
    }
}

/// Adds a piece that lies on the disk; the machine may panic on what another one has written.
pub(crate) fn append(assembly: &mut dyn Assembly, piece: &[u8], items: u64) -> bool {
    let appended = catch_unwind(AssertUnwindSafe(|| assembly.append(piece, items)));
    matches!(appended, Ok(Ok(())))
}

fn purged(border: &Border) -> io::Result<Purged> {
    Ok(Purged {
        index: border.id.index(),
        state: encode(border)?,
    })
}

fn record(index: u64, row: &Bytes) -> io::Result<Record> {
    let record: Record = decode(row)?;
    check_index(record.entry.log_id().index(), index)?;
    Ok(record)
}

fn check_index(found: u64, expected: u64) -> io::Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("entry {found} of the stored log stands at {expected}"),
    ))
}

fn encode<T: Serialize>(value: &T) -> io::Result<Bytes> {
    encoding::try_serialize(value).map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(row: &Bytes) -> io::Result<T> {
    encoding::deserialize(row).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn decode_some<T: DeserializeOwned>(row: Option<&Bytes>) -> io::Result<Option<T>> {
    row.map(decode).transpose()
}

#[cfg(test)]
#[path = "disk_log_tests.rs"]
mod tests;
