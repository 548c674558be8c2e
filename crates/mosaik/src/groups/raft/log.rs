//! The log: consensus entries in memory, their commands also in the user's storage if there is
//! one.

use std::{
    collections::VecDeque,
    fmt, io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use openraft::{
    EntryPayload, LogState, OptionalSend, RaftLogReader,
    alias::{EntryOf, LogIdOf, VoteOf},
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::Mutex;

use super::types::{Batch, Types, term_of};
use crate::{
    groups::{Cursor, Index, Term, replica::CommandStore, status::Status},
    primitives::Bytes,
};

/// One read returns about this much, but at least one entry.
const READ_BYTES: usize = 1024 * 1024;
/// Commands that the user's storage holds are also kept here up to this much, so that replication
/// needs not encode them again.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A member's log. Clones share it.
#[derive(Clone)]
pub(crate) struct Log(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The user's storage; `None` keeps commands here only.
    commands: Option<Arc<dyn CommandStore>>,
    status: Arc<Status>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Stored>,
    purged: Option<LogIdOf<Types>>,
    /// The position of the last command at or before the purged border.
    purged_position: Cursor,
    vote: Option<VoteOf<Types>>,
    cache: Cache,
}

struct Stored {
    entry: EntryOf<Types>,
    /// The position of the last command in the log up to and including this entry.
    position: Cursor,
}

/// Which entries still carry their commands.
#[derive(Default)]
struct Cache {
    bytes: usize,
    /// Consensus index of the first entry that does.
    first: u64,
}

impl Log {
    pub(crate) fn new(commands: Option<Arc<dyn CommandStore>>, status: Arc<Status>) -> Self {
        if let Some(commands) = &commands {
            commands.reset_to(Cursor::zero());
        }
        status.set_log_position(Cursor::zero());
        Self(Arc::new(Shared {
            state: Mutex::default(),
            commands,
            status,
        }))
    }

    /// The position of the last command in the log.
    pub(crate) fn position(&self) -> Cursor {
        self.0.state.lock().position()
    }

    /// The consensus index of the last entry, 0 for none.
    pub(crate) fn last_index(&self) -> u64 {
        self.0.state.lock().next_index().saturating_sub(1)
    }

    /// Empties the log, to go on after a snapshot.
    fn continue_after(&self, state: &mut State, last: LogIdOf<Types>, position: Cursor) {
        state.entries.clear();
        state.cache = Cache::default();
        state.purged = Some(last);
        state.purged_position = position;
        if let Some(commands) = &self.0.commands {
            commands.reset_to(position);
        }
        self.0.status.set_log_position(position);
    }

    /// Makes the log agree with a snapshot that was installed: a log that does not reach it is
    /// replaced.
    pub(crate) fn snapshot_installed(&self, last: LogIdOf<Types>, position: Cursor) {
        let mut state = self.0.state.lock();
        if state.next_index() <= last.index() {
            self.continue_after(&mut state, last, position);
        }
    }

    fn append(&self, entries: impl IntoIterator<Item = EntryOf<Types>>) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let mut position = state.position();
        for entry in entries {
            if let EntryPayload::Normal(batch) = &entry.payload {
                let term = Term(term_of(&entry.log_id));
                if let Some(commands) = &self.0.commands {
                    commands
                        .append(&batch.row, term)
                        .map_err(io::Error::other)?;
                    state.cache.bytes += batch.row.len();
                }
                position = Cursor::new(term, position.index() + Index(u64::from(batch.count)));
            }
            state.entries.push_back(Stored { entry, position });
        }
        if self.0.commands.is_some() {
            state.trim_cache();
        }
        drop(state);
        self.0.status.set_log_position(position);
        Ok(())
    }

    fn read(&self, first: u64, end: u64, max_bytes: usize) -> io::Result<Vec<EntryOf<Types>>> {
        let state = self.0.state.lock();
        let base = state.first_index();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for index in first.max(base)..end.min(state.next_index()) {
            let place = usize::try_from(index - base).map_err(io::Error::other)?;
            let mut entry = state.entries[place].entry.clone();
            if let EntryPayload::Normal(batch) = &mut entry.payload {
                if batch.row.is_empty() {
                    batch.row = self.stored_row(batch, state.entries[place].position)?;
                }
                bytes += batch.row.len();
            }
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
}

impl State {
    fn first_index(&self) -> u64 {
        self.purged.as_ref().map_or(0, |id| id.index() + 1)
    }

    fn next_index(&self) -> u64 {
        self.first_index() + self.entries.len() as u64
    }

    fn position(&self) -> Cursor {
        self.entries
            .back()
            .map_or(self.purged_position, |stored| stored.position)
    }

    /// Lets go of the oldest commands that the user's storage holds as well.
    fn trim_cache(&mut self) {
        let base = self.first_index();
        self.cache.first = self.cache.first.max(base);
        while self.cache.bytes > CACHE_BYTES {
            let Ok(place) = usize::try_from(self.cache.first - base) else {
                return;
            };
            let Some(stored) = self.entries.get_mut(place) else {
                return;
            };
            if let EntryPayload::Normal(batch) = &mut stored.entry.payload {
                self.cache.bytes -= batch.row.len();
                batch.row = Bytes::new();
            }
            self.cache.first += 1;
        }
    }

    /// Accounts for an entry that leaves.
    fn forget(&mut self, stored: &Stored, caching: bool) {
        if let (EntryPayload::Normal(batch), true) = (&stored.entry.payload, caching) {
            self.cache.bytes -= batch.row.len();
        }
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<EntryOf<Types>>>
    where
        R: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let first = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(first, end, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        self.read(start, end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.0.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.0.state.lock();
        let last = state.entries.back().map(|stored| stored.entry.log_id());
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: last.or(state.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.0.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        Self::append(self, entries)?;
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let keep = last.map_or(0, |id| id.index() + 1);
        let caching = self.0.commands.is_some();
        while state.next_index() > keep
            && let Some(stored) = state.entries.pop_back()
        {
            state.forget(&stored, caching);
        }
        let position = state.position();
        drop(state);
        if let Some(commands) = &self.0.commands {
            commands.truncate(position.index().next());
        }
        self.0.status.set_log_position(position);
        Ok(())
    }

    async fn purge(&mut self, up_to: LogIdOf<Types>) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let caching = self.0.commands.is_some();
        while state.first_index() <= up_to.index()
            && let Some(stored) = state.entries.pop_front()
        {
            state.forget(&stored, caching);
            state.purged = Some(stored.entry.log_id());
            state.purged_position = stored.position;
        }
        let position = state.purged_position;
        drop(state);
        if let Some(commands) = &self.0.commands {
            commands.prune(position.index());
        }
        Ok(())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Log")
            .field("first", &state.first_index())
            .field("next", &state.next_index())
            .field("position", &state.position())
            .finish_non_exhaustive()
    }
}
