//! The store of a node.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
};

use iroh::SecretKey;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    GroupStore, StoreError,
    core::{Open, Shared, Slot, Slots},
    directory::Directory,
    disk::{Change, Disk, Garbage, Key, STORE},
    group,
    queue::Queue,
    writer::{Writer, watch},
};
use crate::primitives::{Bytes, GroupId, PeerId};

/// Holds the node that the store belongs to.
const OWNER: Key = (STORE, 0, 1);

/// Store of all groups of a node. Clones share it.
///
/// # On drop
///
/// The last handle, its groups' included, waits until what is queued is written, then frees the
/// directory.
#[derive(Clone)]
pub(crate) struct NodeStore(Arc<Shared>);

impl NodeStore {
    /// Opens the store in a directory, which is made if there is none. Reads and verifies the whole
    /// store, so this blocks for a while.
    ///
    /// # Errors
    ///
    /// See [`StoreError`]; nothing is changed then.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let directory = Directory::open(path)?;
        let disk = if directory.existed() {
            Disk::open(directory.database())?
        } else {
            Disk::create(directory.database())?
        };
        let watermark = directory.watermark()?;
        let commit = disk.last_commit()?;
        if commit < watermark.last() {
            return Err(StoreError::corrupt(
                path,
                format!(
                    "the last acknowledged write is {}, but the database ends with {commit}",
                    watermark.last()
                ),
            ));
        }
        if !directory.existed() {
            directory.mark()?;
        }
        let (slots, garbage) = survey(&disk)?;
        let disk = Arc::new(disk);
        let queue = Arc::new(Queue::new());
        let writer = Writer {
            disk: disk.clone(),
            queue: queue.clone(),
            watermark,
            garbage,
            commit,
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = thread("mosaik-store")
            .spawn(move || writer.run_to_the_end())
            .map_err(StoreError::io(path, "start the writer of"))?;
        let (watched, at) = (queue.clone(), path.to_owned());
        // Without it everything works as long as the disk does.
        let _ = thread("mosaik-disk").spawn(move || watch(&watched, &at));
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            queue,
            slots: Mutex::new(slots),
            writer: Mutex::new(Some(writer)),
            open: Mutex::new(Some(Open { disk, directory })),
        })))
    }

    /// Opens the store on a thread that may wait for the disk.
    pub(crate) async fn open_elsewhere(path: PathBuf) -> Result<Self, StoreError> {
        let opened = path.clone();
        let opening = tokio::task::spawn_blocking(move || Self::open(opened));
        opening.await.unwrap_or_else(|error| {
            let error = std::io::Error::other(error);
            Err(StoreError::io(&path, "open")(error))
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Failure of the store, once it no longer works.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.0.queue.failure()
    }

    /// The node's secret key, made and kept on the first call. Blocks.
    pub(crate) fn secret_key_or_create(&self) -> Result<SecretKey, StoreError> {
        match &*self.0.open.lock() {
            Some(open) => open.directory.secret_key_or_create(),
            None => Err(self.0.closed()),
        }
    }

    /// Claims the store for a node: with another identity its votes would count twice. Blocks for a
    /// moment.
    pub(crate) async fn claim(&self, node: PeerId) -> Result<(), StoreError> {
        let shared = &self.0;
        match shared.disk()?.get(OWNER)? {
            None => {
                let owner = Bytes::copy_from_slice(node.as_bytes());
                shared.write(vec![Change::Put(OWNER, owner)]).await
            }
            Some(owner) if owner[..] == node.as_bytes()[..] => Ok(()),
            Some(owner) => {
                let owner = PeerId::try_from(&owner[..])
                    .map_err(|_| StoreError::corrupt(&shared.path, "the owner is no node id"))?;
                Err(StoreError::Owner {
                    path: shared.path.clone(),
                    owner,
                    given: node,
                })
            }
        }
    }

    /// A group's part of the store. There must be one handle per group at a time.
    pub(crate) fn group(&self, id: GroupId) -> GroupStore {
        let slots = &mut *self.0.slots.lock();
        let slot = slots.numbers.entry(id).or_insert_with(|| {
            let number = slots.next;
            slots.next += 1;
            Arc::new(Slot {
                number,
                generation: AtomicU32::new(0),
                registered: AtomicBool::new(false),
                failure: Mutex::default(),
            })
        });
        GroupStore::new(self.0.clone(), id, slot.clone())
    }

    /// Refuses further work, waits until what is queued is written, and frees the directory,
    /// whatever handles there are. Blocks.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
impl NodeStore {
    /// The groups that the store holds something of.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.0.slots.lock().numbers.keys().copied().collect()
    }
}

impl fmt::Debug for NodeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeStore")
            .field("path", &self.0.path)
            .field("groups", &self.0.slots.lock().numbers.len())
            .finish_non_exhaustive()
    }
}

/// Looks through the database for what groups there are, and for rows that nobody needs: of groups
/// that were removed, and what a crash has left.
fn survey(disk: &Disk) -> Result<(Slots, Garbage), StoreError> {
    let mut slots = Slots::default();
    let mut garbage = Garbage::new();
    let groups = disk.groups()?;
    for (group, number) in &groups {
        let surveyed = group::survey(disk, *number)?;
        garbage.extend(surveyed.garbage);
        let slot = Slot {
            number: *number,
            generation: AtomicU32::new(surveyed.next_generation),
            registered: AtomicBool::new(true),
            failure: Mutex::default(),
        };
        slots.numbers.insert(*group, Arc::new(slot));
        slots.next = slots.next.max(number + 1);
    }
    let mut from = 0;
    while let Some(((number, ..), _)) = disk.bounds((from, 0, 0)..(STORE, 0, 0))? {
        if !groups.values().any(|known| *known == number) {
            garbage.push_back(group::all_rows(number));
        }
        from = number + 1;
        slots.next = slots.next.max(from);
    }
    Ok((slots, garbage))
}
