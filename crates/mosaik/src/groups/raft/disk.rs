//! How consensus keeps its log, vote and snapshots in the node's store.

use std::{io, ops::Range};

use openraft::{
    alias::{EntryOf, LogIdOf, VoteOf},
    entry::RaftEntry,
    storage::IOFlushed,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    apply::{Snapshot, SnapshotData},
    types::Types,
    wire::SnapshotMeta,
};
use crate::{
    groups::{
        Cursor,
        store::{GroupStore, MetaKey, Purged, Rewrite, StoreError, StoredSnapshot, Ticket},
    },
    primitives::{Bytes, encoding},
};

/// A group's part of the node's store, in terms of consensus. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LogDisk(GroupStore);

/// An entry as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Record {
    pub(super) entry: EntryOf<Types>,
    /// The position of the last command in the log up to and including this entry.
    pub(super) position: Cursor,
}

/// The last entry before the log's beginning.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Border {
    pub(super) id: LogIdOf<Types>,
    pub(super) position: Cursor,
}

/// What was found on the disk.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) vote: Option<VoteOf<Types>>,
    pub(super) committed: Option<LogIdOf<Types>>,
    pub(super) border: Option<Border>,
    /// The last entry.
    pub(super) last: Option<Record>,
}

/// What is kept of a snapshot besides its chunks.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct SnapshotHeader {
    meta: SnapshotMeta,
    head: Bytes,
}

impl LogDisk {
    pub(super) fn new(store: GroupStore) -> Self {
        Self(store)
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
        let committed: Option<LogIdOf<Types>> = decode_some(loaded.committed.as_ref())?.flatten();
        let committed = match committed {
            Some(id) if self.holds(&id, &loaded.entries).await? => Some(id),
            _ => None,
        };
        let vote: Option<Option<VoteOf<Types>>> = decode_some(loaded.vote.as_ref())?;
        Ok(Recovered {
            vote: vote.flatten(),
            committed,
            border,
            last,
        })
    }

    /// Whether there is this very entry. One that a crash has cut off can't be vouched for.
    async fn holds(&self, id: &LogIdOf<Types>, entries: &Range<u64>) -> io::Result<bool> {
        let index = id.index();
        if !entries.contains(&index) {
            return Ok(false);
        }
        let found = self.read(index..index + 1, 1).await?.pop();
        Ok(found.is_some_and(|record| record.entry.log_id() == *id))
    }

    pub(super) fn encode(entry: &EntryOf<Types>, position: Cursor) -> io::Result<(u64, Bytes)> {
        #[derive(Serialize)]
        #[serde(bound = "")]
        struct Borrowed<'a> {
            entry: &'a EntryOf<Types>,
            position: Cursor,
        }
        let index = entry.log_id().index();
        Ok((index, encode(&Borrowed { entry, position })?))
    }

    /// Queues entries; `flushed` is told when they are on disk.
    pub(super) async fn append(
        &self,
        entries: Vec<(u64, Bytes)>,
        flushed: IOFlushed<Types>,
    ) -> io::Result<Ticket> {
        let done = move |result: Result<(), StoreError>| {
            flushed.io_completed(result.map_err(Into::into));
        };
        Ok(self.0.append(entries, Box::new(done)).await?)
    }

    /// Everything with a ticket up to this is on disk.
    pub(super) fn durable(&self) -> Ticket {
        self.0.durable()
    }

    pub(super) async fn truncate_from(&self, first: u64) -> io::Result<()> {
        Ok(self.0.truncate_from(first).await?)
    }

    pub(super) async fn purge(&self, border: &Border) -> io::Result<()> {
        Ok(self.0.purge(&purged(border)?).await?)
    }

    pub(super) async fn continue_after(&self, border: &Border) -> io::Result<()> {
        Ok(self.0.continue_after(&purged(border)?).await?)
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
        self.0.missing(index).into()
    }

    /// Resolves when the vote is on disk.
    pub(super) async fn save_vote(&self, vote: &VoteOf<Types>) -> io::Result<()> {
        let vote = encode(&Some(vote))?;
        Ok(self.0.save_meta([(MetaKey::Vote, vote)]).await?)
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
                (MetaKey::Vote, encode(&vote)?),
                (MetaKey::Committed, encode(&None::<LogIdOf<Types>>)?),
            ],
        })
    }

    /// Notes a hint for the next start; it goes along with the next write.
    pub(super) fn note_committed(&self, committed: Option<&LogIdOf<Types>>) -> io::Result<()> {
        self.0.note_meta(MetaKey::Committed, encode(&committed)?);
        Ok(())
    }

    /// Resolves when the snapshot is on disk.
    pub(super) async fn save_snapshot(&self, snapshot: &Snapshot) -> io::Result<()> {
        let header = SnapshotHeader {
            meta: snapshot.meta.clone().into(),
            head: snapshot.data.head.clone(),
        };
        let stored = StoredSnapshot {
            meta: encode(&header)?,
            chunks: snapshot.data.chunks.clone(),
        };
        Ok(self.0.save_snapshot(stored).await?)
    }

    pub(super) async fn load_snapshot(&self) -> io::Result<Option<Snapshot>> {
        let Some(stored) = self.blocking(GroupStore::load_snapshot).await? else {
            return Ok(None);
        };
        let header: SnapshotHeader = decode(&stored.meta)?;
        Ok(Some(Snapshot {
            meta: header.meta.into(),
            data: SnapshotData {
                head: header.head,
                chunks: stored.chunks,
            },
        }))
    }

    /// Reads on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&GroupStore) -> Result<T, StoreError> + Send + 'static,
    ) -> io::Result<T> {
        let store = self.0.clone();
        let reading = tokio::task::spawn_blocking(move || read(&store));
        Ok(reading.await.map_err(io::Error::other)??)
    }
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
