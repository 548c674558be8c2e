//! The log as the consensus library uses it.

use std::{
    fmt, io,
    ops::{Bound, Range, RangeBounds},
    sync::atomic::Ordering,
};

use futures::{Stream, TryStreamExt, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    alias::{EntryOf, LogIdOf, VoteOf},
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};

use super::{
    disk_log::{Border, Record},
    raft_log::{READ_BYTES, RaftLog},
    types::Types,
};

impl RaftLogReader<Types> for RaftLog {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<EntryOf<Types>>>
    where
        R: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        self.read(half_open(&range), usize::MAX).await
    }

    /// Entries that are to be applied. However many there are, a few are in memory at a time.
    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<EntryOf<Types>>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let log = self.clone();
        let steps = stream::try_unfold(half_open(&range), move |rest| {
            let log = log.clone();
            async move {
                if rest.is_empty() {
                    return Ok(None);
                }
                let entries = log.read(rest.clone(), READ_BYTES).await?;
                // Whoever applies entries must not pass any over.
                let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                    return Err(missing(rest.start));
                };
                if first.index() != rest.start {
                    return Err(missing(rest.start));
                }
                let next = last.index() + 1;
                let read = stream::iter(entries.into_iter().map(Ok));
                Ok::<_, io::Error>(Some((read, next..rest.end)))
            }
        });
        Box::pin(steps.try_flatten())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        self.read(start..end, READ_BYTES).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(*self.0.vote.lock())
    }
}

impl RaftLogStorage<Types> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let tail = self.0.tail.lock();
        Ok(LogState {
            last_purged_log_id: tail.border().map(|border| border.id),
            last_log_id: tail.last_id(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        if let Some(disk) = &self.0.disk {
            disk.save_vote(vote).await?;
        }
        *self.0.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> io::Result<()> {
        match &self.0.disk {
            Some(disk) => disk.note_committed(committed.as_ref()),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Types>>> {
        Ok(self.0.committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows = self.take_in(entries)?;
        let Some(disk) = &self.0.disk else {
            flushed.io_completed(Ok(()));
            return Ok(());
        };
        let ticket = disk.append(rows, flushed).await?;
        self.0.tail.lock().queued(ticket, disk.durable());
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let kept = match last {
            Some(last) => self.on_disk_only(last.index()).await?,
            None => None,
        };
        let end = last.map_or(0, |id| id.index() + 1);
        if self.0.membership.load(Ordering::SeqCst) > end {
            self.0.membership.store(0, Ordering::SeqCst);
        }
        let position = {
            let mut tail = self.0.tail.lock();
            tail.truncate(end, kept);
            tail.position()
        };
        if let Some(disk) = &self.0.disk {
            disk.truncate_from(end).await?;
        }
        if let Some(commands) = &self.0.commands {
            commands
                .truncate(position.index().next())
                .map_err(io::Error::other)?;
        }
        self.0.status.set_log_position(position);
        Ok(())
    }

    async fn purge(&mut self, up_to: LogIdOf<Types>) -> io::Result<()> {
        let index = up_to.index();
        let (first, held_from) = {
            let tail = self.0.tail.lock();
            (tail.first_index(), tail.held_from())
        };
        if index < first {
            return Ok(());
        }
        let found = match &self.0.disk {
            Some(disk) if index < held_from => {
                let found = disk.read(index..index + 1, 1).await?.pop();
                Some(found.ok_or_else(|| disk.missing(index))?)
            }
            _ => None,
        };
        let border = {
            let mut tail = self.0.tail.lock();
            match found {
                Some(Record { entry, position }) => tail.purge_on_disk(Border {
                    id: entry.log_id,
                    position,
                }),
                None => tail.purge(index),
            }
            tail.border()
        };
        let Some(border) = border else { return Ok(()) };
        if let Some(disk) = &self.0.disk {
            disk.purge(&border).await?;
        }
        if let Some(commands) = &self.0.commands {
            commands
                .prune(border.position.index())
                .map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn missing(index: u64) -> io::Error {
    io::Error::other(format!(
        "the log entry {index} is to be applied, and is not there"
    ))
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
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
    first..end
}
