//! Content of a producer's log: chunks of datums, and a cursor per subscription.
//!
//! Rules without lock, slots and senders: those are the [log](super::log)'s.

use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};

use super::lag::Pace;
use crate::{
    net::link::FRAME_HEADER_BYTES,
    primitives::{Bytes, BytesMut},
    streams_layer::wire::{self, MAX_CHUNK_BYTES},
};

/// A frame of at least this size becomes a chunk without being copied.
pub(super) const OWN_CHUNK_BYTES: usize = 16 * 1024;

/// Names a subscription within a log; never used again.
pub(super) type CursorId = u64;

/// Frames that follow each other, shared by all subscriptions.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    first: u64,
    pub(super) datums: usize,
    pub(super) bytes: Bytes,
    /// Number of datums withheld before it, for a notice, which is no part of the log.
    pub(super) withheld: u64,
}

impl Chunk {
    /// Tells a subscription how many datums it missed.
    fn notice(first: u64, withheld: u64) -> Self {
        Self {
            first,
            datums: 0,
            bytes: wire::skipped(withheld),
            withheld,
        }
    }

    /// Share of the log, in bytes of frames.
    pub(super) fn log_bytes(&self) -> usize {
        if self.withheld == 0 {
            self.bytes.len()
        } else {
            0
        }
    }

    /// The size of the encoded datums, without framing.
    pub(super) fn payload_bytes(&self) -> usize {
        self.log_bytes() - self.datums * FRAME_HEADER_BYTES
    }

    const fn end(&self) -> u64 {
        self.first + self.datums as u64
    }
}

/// Datums that were not yet sent to everybody, and how far each subscription is with them.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) open: BytesMut,
    pub(super) open_first: u64,
    /// The position of the next datum.
    pub(super) head: u64,
    /// All bytes ever appended, and those of them that everybody has written.
    pub(super) head_bytes: u64,
    pub(super) tail_bytes: u64,
    /// Limit up to which `head` may advance: the smallest `written` plus the buffer.
    pub(super) limit: u64,
    pub(super) cursors: BTreeMap<CursorId, Cursor>,
    pub(super) next_cursor: CursorId,
    /// Positions of the cursors that hold up the log.
    taken: Positions<u64>,
    written: Positions<(u64, u64)>,
    /// Number of cursors that hold up the log, and of those with datums withheld.
    pub(super) attached: usize,
    pub(super) lagging: usize,
    /// Cursors that wait for something to take.
    pub(super) parked: Vec<CursorId>,
    pub(super) ended: bool,
}

/// Position of a subscription in the log.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) taken: u64,
    pub(super) written: u64,
    pub(super) written_bytes: u64,
    pub(super) parked: Option<Waker>,
    pub(super) pace: Pace,
    /// Remainder that it still gets, if it lags.
    pub(super) last: Option<Last>,
}

/// Remainder that a lagging subscription still gets. What comes after is withheld until it has
/// taken this.
#[derive(Debug)]
pub(super) struct Last {
    chunks: Vec<Chunk>,
    end: u64,
}

/// Room freed by the slowest subscription.
pub(super) struct Freed {
    pub(super) slots: i64,
    pub(super) bytes: i64,
}

impl Backlog {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            open: BytesMut::new(),
            open_first: 0,
            head: 0,
            head_bytes: 0,
            tail_bytes: 0,
            limit,
            cursors: BTreeMap::new(),
            next_cursor: 0,
            taken: Positions::default(),
            written: Positions::default(),
            attached: 0,
            lagging: 0,
            parked: Vec::new(),
            ended: false,
        }
    }

    /// Adds a subscription that gets everything from now on.
    pub(super) fn attach(&mut self) -> CursorId {
        self.seal();
        let id = self.next_cursor;
        self.next_cursor += 1;
        let cursor = Cursor {
            taken: self.head,
            written: self.head,
            written_bytes: self.head_bytes,
            parked: None,
            pace: Pace::new(self.head, self.head_bytes),
            last: None,
        };
        self.enter(&cursor);
        self.cursors.insert(id, cursor);
        id
    }

    /// Removes a subscription; `true` if it held up the log.
    pub(super) fn detach(&mut self, id: CursorId) -> bool {
        let Some(cursor) = self.cursors.remove(&id) else {
            return false;
        };
        self.parked.retain(|other| *other != id);
        if cursor.last.is_some() {
            self.lagging -= 1;
            return false;
        }
        self.leave(&cursor);
        true
    }

    /// Withholds what comes from a subscription until it has taken what it has; `false` if that
    /// was so already.
    pub(super) fn withhold(&mut self, id: CursorId) -> bool {
        self.seal();
        let Some(mut cursor) = self.cursors.remove(&id) else {
            return false;
        };
        let news = cursor.last.is_none();
        if news {
            let chunks = chunks_from(&self.chunks, cursor.taken).cloned().collect();
            let end = self.head;
            self.leave(&cursor);
            self.lagging += 1;
            cursor.last = Some(Last { chunks, end });
        }
        self.cursors.insert(id, cursor);
        news
    }

    fn enter(&mut self, cursor: &Cursor) {
        self.taken.add(cursor.taken);
        self.written.add((cursor.written, cursor.written_bytes));
        self.attached += 1;
    }

    fn leave(&mut self, cursor: &Cursor) {
        self.taken.remove(cursor.taken);
        self.written.remove((cursor.written, cursor.written_bytes));
        self.attached -= 1;
        self.discard();
    }

    pub(super) fn attached_mut(&mut self) -> impl Iterator<Item = (CursorId, &mut Cursor)> {
        self.cursors
            .iter_mut()
            .filter(|(_, cursor)| cursor.last.is_none())
            .map(|(id, cursor)| (*id, cursor))
    }

    pub(super) fn push(&mut self, frame: &mut BytesMut) {
        if frame.len() >= OWN_CHUNK_BYTES {
            self.seal();
            let bytes = core::mem::take(frame).freeze();
            self.chunks.push_back(Chunk {
                first: self.head,
                datums: 1,
                bytes,
                withheld: 0,
            });
            self.open_first = self.head + 1;
        } else {
            if self.open.capacity() - self.open.len() < frame.len()
                || self.open.len() + frame.len() > MAX_CHUNK_BYTES
            {
                self.seal();
                self.open = BytesMut::with_capacity(MAX_CHUNK_BYTES);
            }
            self.open.extend_from_slice(frame);
        }
        self.head += 1;
    }

    /// Turns the open chunk into one that can be taken.
    pub(super) fn seal(&mut self) {
        let datums = self.head - self.open_first;
        if datums > 0 {
            let bytes = self.open.split().freeze();
            let datums = usize::try_from(datums).unwrap_or_default();
            self.chunks.push_back(Chunk {
                first: self.open_first,
                datums,
                bytes,
                withheld: 0,
            });
            self.open_first = self.head;
        }
    }

    /// Forgets what everybody has taken.
    fn discard(&mut self) {
        if let Some(taken) = self.taken.first() {
            while self
                .chunks
                .front()
                .is_some_and(|chunk| chunk.end() <= taken)
            {
                self.chunks.pop_front();
            }
        } else {
            self.chunks.clear();
            self.open.clear();
            self.open_first = self.head;
        }
    }

    /// Notes that a subscription has handed this much to the transport; `true` if it was the last
    /// one, which decides how far the head may go.
    pub(super) fn written(&mut self, id: CursorId, datums: u64, bytes: u64) -> bool {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return false;
        };
        let before = (cursor.written, cursor.written_bytes);
        cursor.written += datums;
        cursor.written_bytes += bytes;
        if cursor.last.is_some() {
            return false;
        }
        let was_last = self.written.first() == Some(before);
        self.written.add((cursor.written, cursor.written_bytes));
        self.written.remove(before);
        was_last
    }

    /// Works out the limit anew; returns what that frees.
    pub(super) fn advance_limit(&mut self, buffer: u64) -> Freed {
        let written = self.written.first();
        let (written, written_bytes) = written.unwrap_or((self.head, self.head_bytes));
        let slots = (written + buffer).saturating_sub(self.limit);
        let bytes = written_bytes.saturating_sub(self.tail_bytes);
        self.limit += slots;
        self.tail_bytes += bytes;
        Freed {
            slots: i64::try_from(slots).unwrap_or_default(),
            bytes: i64::try_from(bytes).unwrap_or_default(),
        }
    }

    pub(super) fn poll_take(
        &mut self,
        id: CursorId,
        cx: &mut Context<'_>,
        chunks: &mut Vec<Chunk>,
    ) -> Poll<bool> {
        let Some(cursor) = self.cursors.get_mut(&id) else {
            return Poll::Ready(false);
        };
        if let Some(last) = &mut cursor.last {
            if !last.chunks.is_empty() {
                chunks.append(&mut last.chunks);
                return Poll::Ready(true);
            }
            let withheld = self.head - last.end;
            self.rejoin(id);
            if withheld > 0 {
                chunks.push(Chunk::notice(self.head, withheld));
                return Poll::Ready(true);
            }
            return self.poll_take(id, cx, chunks);
        }
        if cursor.taken < self.head {
            let taken = core::mem::replace(&mut cursor.taken, self.head);
            self.taken.add(self.head);
            self.taken.remove(taken);
            self.seal();
            chunks.extend(chunks_from(&self.chunks, taken).cloned());
            self.discard();
            return Poll::Ready(true);
        }
        if self.ended {
            return Poll::Ready(false);
        }
        match &mut cursor.parked {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                cursor.parked = Some(cx.waker().clone());
                self.parked.push(id);
            }
        }
        Poll::Pending
    }

    /// A lagging one has taken all that it held: it has room, and goes on with what comes now.
    fn rejoin(&mut self, id: CursorId) {
        self.seal();
        let Some(mut cursor) = self.cursors.remove(&id) else {
            return;
        };
        cursor.last = None;
        cursor.taken = self.head;
        cursor.written = self.head;
        cursor.written_bytes = self.head_bytes;
        cursor.pace = Pace::new(self.head, self.head_bytes);
        self.lagging -= 1;
        self.enter(&cursor);
        self.cursors.insert(id, cursor);
    }

    pub(super) fn wake_parked(&mut self) {
        while let Some(id) = self.parked.pop() {
            if let Some(waker) = self
                .cursors
                .get_mut(&id)
                .and_then(|cursor| cursor.parked.take())
            {
                waker.wake();
            }
        }
    }
}

/// A multiset of positions, so that the smallest is found without a look at every cursor.
#[derive(Debug, Default)]
struct Positions<P>(BTreeMap<P, usize>);

impl<P: Copy + Ord> Positions<P> {
    fn add(&mut self, position: P) {
        *self.0.entry(position).or_default() += 1;
    }

    fn remove(&mut self, position: P) {
        match self.0.get_mut(&position) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.0.remove(&position)),
        }
    }

    fn first(&self) -> Option<P> {
        self.0.first_key_value().map(|(position, _)| *position)
    }
}

/// The chunks from a position on, which is always where a chunk begins.
fn chunks_from(chunks: &VecDeque<Chunk>, position: u64) -> impl Iterator<Item = &Chunk> {
    chunks.range(chunks.partition_point(|chunk| chunk.first < position)..)
}
