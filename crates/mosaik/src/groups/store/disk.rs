//! The database: the only place that names the `redb` library.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io::{self, Write as _},
    ops::Range,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{StoreError, directory::missing_or_io};
use crate::primitives::{Bytes, BytesMut, GroupId};

/// Key of a row: a group's number, the kind of the row, and its index among these.
///
/// All rows are in one table, so that a commit touches as few pages as possible.
pub(super) type Key = (u32, u8, u64);

const ROWS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("rows");
/// Group ids by their numbers.
const GROUPS: TableDefinition<'_, &[u8; 32], u32> = TableDefinition::new("groups");

/// The number of the store's own rows. As the last one, they share a page with the newest rows of
/// the last group.
pub(super) const STORE: u32 = u32::MAX;
/// Holds the number of the last commit.
const COMMIT: Key = (STORE, 0, 0);

/// Pages that the database keeps in memory.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// A database of this size is compacted when it is opened and mostly empty.
const MAX_SPARE_BYTES: u64 = if cfg!(test) { 4 } else { 256 } * 1024 * 1024;
/// Bytes of checksum before each value.
const CHECKSUM_LEN: usize = 8;

/// One step of a commit.
#[derive(Debug)]
pub(super) enum Change {
    /// Writes a row.
    Put(Key, Bytes),
    /// Deletes rows at once.
    Delete(Range<Key>),
    /// Deletes unused rows, when there is time.
    Discard(Range<Key>),
    /// Gives a group a number.
    AddGroup(GroupId, u32),
    /// Takes this number away from it, if it still has it.
    RemoveGroup(GroupId, u32),
}

/// Ranges of rows that wait to be deleted.
pub(super) type Garbage = VecDeque<Range<Key>>;

#[derive(Debug)]
pub(super) struct Disk {
    db: redb::Database,
    path: PathBuf,
}

impl Disk {
    /// Makes a database, or opens one that an interrupted first start has left. It gets its name
    /// once it is complete, so that what is left by one that had no room is no hindrance.
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        if !path.exists() {
            let unfinished = path.with_extension("redb.new");
            guard(&path, "make", || {
                match std::fs::remove_file(&unfinished) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
                let db = builder().create(&unfinished)?;
                let transaction = db.begin_write()?;
                transaction.open_table(ROWS)?;
                transaction.open_table(GROUPS)?;
                transaction.commit()?;
                drop(db);
                Ok(std::fs::rename(&unfinished, &path)?)
            })?;
        }
        Self::open(path)
    }

    /// Opens a database and verifies all of it.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        std::fs::metadata(&path).map_err(|error| missing_or_io(&path, error))?;
        let mut db = Self::verified(&path)?;
        if let Err(error) = guard(&path, "compact", || shrink(&mut db, &path)) {
            // It works without, but not before it is opened again.
            tracing::warn!(%error, "the store was not compacted");
            drop(db);
            db = Self::verified(&path)?;
        }
        Ok(Self { db, path })
    }

    fn verified(path: &Path) -> Result<redb::Database, StoreError> {
        guard(path, "open", || {
            let verified = Arc::new(AtomicBool::new(false));
            let repaired = verified.clone();
            let mut db = builder()
                // After a crash the database verifies itself.
                .set_repair_callback(move |_| repaired.store(true, Ordering::Relaxed))
                .open(path)?;
            if !verified.load(Ordering::Relaxed) && !db.check_integrity()? {
                tracing::warn!(path = %path.display(), "the store's database was repaired");
            }
            Ok(db)
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Commits changes in order; returns when they are on disk. Also deletes up to `spare` rows of
    /// the garbage.
    pub(super) fn commit<'a>(
        &self,
        number: u64,
        changes: impl IntoIterator<Item = &'a Change>,
        garbage: &mut Garbage,
        spare: usize,
    ) -> Result<(), StoreError> {
        let mut buffer = BytesMut::new();
        guard(&self.path, "write", || {
            let transaction = self.db.begin_write()?;
            {
                let mut rows = transaction.open_table(ROWS)?;
                for change in changes {
                    match change {
                        Change::Put(key, value) => {
                            seal(*key, value, &mut buffer);
                            rows.insert(key, &buffer[..])?;
                        }
                        Change::Delete(range) => {
                            rows.retain_in(range.clone(), |_, _| false)?;
                        }
                        Change::Discard(range) => garbage.push_back(range.clone()),
                        Change::AddGroup(group, slot) => {
                            transaction
                                .open_table(GROUPS)?
                                .insert(group.as_bytes(), slot)?;
                        }
                        Change::RemoveGroup(group, slot) => {
                            let mut groups = transaction.open_table(GROUPS)?;
                            let current = groups.get(group.as_bytes())?.map(|slot| slot.value());
                            if current == Some(*slot) {
                                groups.remove(group.as_bytes())?;
                            }
                        }
                    }
                }
                sweep(&mut rows, garbage, spare)?;
                seal(COMMIT, &number.to_le_bytes(), &mut buffer);
                rows.insert(COMMIT, &buffer[..])?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// The number of the last commit; 0 for none.
    pub(super) fn last_commit(&self) -> Result<u64, StoreError> {
        let Some(value) = self.get(COMMIT)? else {
            return Ok(0);
        };
        let number = <[u8; 8]>::try_from(&value[..])
            .map_err(|_| StoreError::corrupt(&self.path, "the commit number has a wrong length"))?;
        Ok(u64::from_le_bytes(number))
    }

    /// All groups and their numbers.
    pub(super) fn groups(&self) -> Result<BTreeMap<GroupId, u32>, StoreError> {
        guard(&self.path, "read", || {
            let groups = self.db.begin_read()?.open_table(GROUPS)?;
            groups
                .iter()?
                .map(|item| {
                    let (group, slot) = item?;
                    Ok((GroupId::from_bytes(*group.value()), slot.value()))
                })
                .collect()
        })
    }

    pub(super) fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        let value = guard(&self.path, "read", || {
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            let value = rows.get(key)?;
            Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
        })?;
        value.map(|value| self.unseal(key, value)).transpose()
    }

    /// Rows in order, until their values exceed `max_bytes`; at least one, if there is any.
    pub(super) fn range(
        &self,
        range: Range<Key>,
        max_bytes: usize,
    ) -> Result<Vec<(Key, Bytes)>, StoreError> {
        let sealed = guard(&self.path, "read", || {
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            let mut found = Vec::new();
            let mut bytes = 0_usize;
            for item in rows.range(range)? {
                let (key, value) = item?;
                let value = Bytes::copy_from_slice(value.value());
                bytes = bytes.saturating_add(value.len());
                found.push((key.value(), value));
                if bytes >= max_bytes {
                    break;
                }
            }
            Ok(found)
        })?;
        sealed
            .into_iter()
            .map(|(key, value)| Ok((key, self.unseal(key, value)?)))
            .collect()
    }

    /// The first and the last key in a range.
    pub(super) fn bounds(&self, range: Range<Key>) -> Result<Option<(Key, Key)>, StoreError> {
        guard(&self.path, "read", || {
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            let mut keys = rows.range(range)?;
            let Some(first) = keys.next() else {
                return Ok(None);
            };
            let first = first?.0.value();
            let last = match keys.next_back() {
                Some(last) => last?.0.value(),
                None => first,
            };
            Ok(Some((first, last)))
        })
    }

    /// Takes a value out of its checksum.
    fn unseal(&self, key: Key, mut sealed: Bytes) -> Result<Bytes, StoreError> {
        let damaged = || {
            let (slot, kind, index) = key;
            StoreError::corrupt(
                &self.path,
                format!("row {slot}/{kind}/{index} does not match its checksum"),
            )
        };
        if sealed.len() < CHECKSUM_LEN {
            return Err(damaged());
        }
        let value = sealed.split_off(CHECKSUM_LEN);
        if sealed[..] != checksum(key, &value) {
            return Err(damaged());
        }
        Ok(value)
    }
}

/// Gives space back that a load has left behind: it is reused, but never less otherwise.
fn shrink(db: &mut redb::Database, path: &Path) -> Result<(), redb::Error> {
    let size = std::fs::metadata(path)?.len();
    if size < MAX_SPARE_BYTES {
        return Ok(());
    }
    let transaction = db.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    let used = stats.allocated_pages() * stats.page_size() as u64;
    if used * 4 < size {
        db.compact()?;
        tracing::info!(path = %path.display(), size, used, "the store was compacted");
    }
    Ok(())
}

fn builder() -> redb::Builder {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Deletes up to `spare` rows of the garbage.
fn sweep(
    rows: &mut redb::Table<'_, Key, &'static [u8]>,
    garbage: &mut Garbage,
    mut spare: usize,
) -> Result<(), redb::Error> {
    while spare > 0
        && let Some(range) = garbage.front_mut()
    {
        let mut last = None;
        for item in rows.range(range.clone())?.take(spare) {
            last = Some(item?.0.value());
            spare -= 1;
        }
        if let Some(last) = last {
            rows.retain_in(range.start..=last, |_, _| false)?;
            range.start = last;
        }
        if spare > 0 {
            garbage.pop_front();
        }
    }
    Ok(())
}

/// Covers the key as well, so that a row that turns up elsewhere is noticed.
fn checksum((slot, kind, index): Key, value: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&slot.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(&index.to_le_bytes());
    hasher.update(value);
    let mut checksum = [0; CHECKSUM_LEN];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// Puts a value behind its checksum.
fn seal(key: Key, value: &[u8], buffer: &mut BytesMut) {
    buffer.clear();
    buffer.extend_from_slice(&checksum(key, value));
    buffer.extend_from_slice(value);
}

/// Checks that something can be written beside the database.
fn room(path: &Path) -> io::Result<()> {
    let probe = path.with_extension("probe");
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(&vec![0; 64 * 1024])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&probe);
    written.and(removed)
}

/// Names errors after this file. The library panics where a damaged page contradicts itself: that
/// is an error here, too.
fn guard<T>(
    path: &Path,
    doing: &'static str,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    let result = panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let detail = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown");
        // Without room the database can't even repair itself: that is no damage.
        match room(path) {
            Ok(()) => {
                StoreError::corrupt(path, format!("the database contradicts itself: {detail}"))
            }
            Err(error) => StoreError::io(path, doing)(error),
        }
    })?;
    result.map_err(|error| match error {
        redb::Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::corrupt(path, error.to_string())
        }
        redb::Error::Io(error) => StoreError::io(path, doing)(error),
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked {
            path: path.to_owned(),
        },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::ValueTooLarge(_) => {
            StoreError::io(path, doing)(io::Error::other(error))
        }
        error => StoreError::corrupt(path, error.to_string()),
    })
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
