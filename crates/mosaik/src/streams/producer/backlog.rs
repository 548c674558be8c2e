//! What stands in a producer's log: chunks of datums, and a cursor per subscription.
//!
//! Rules without lock, slots and senders: those are the [log](super::log)'s.

use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::lag::Pace;
use crate::{
    net::link::FRAME_HEADER_BYTES,
    primitives::{Bytes, BytesMut},
    streams_layer::wire::MAX_CHUNK_BYTES,
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
}

impl Chunk {
    /// The size of the encoded datums, without framing.
    pub(super) fn payload_bytes(&self) -> usize {
        self.bytes.len() - self.datums * FRAME_HEADER_BYTES
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
    /// Where `head` may advance to: the smallest `written` plus the buffer.
    pub(super) limit: u64,
    pub(super) cursors: BTreeMap<CursorId, Cursor>,
    pub(super) next_cursor: CursorId,
    /// How many cursors hold up the log, and how many have datums withheld.
    pub(super) attached: usize,
    pub(super) lagging: usize,
    /// Cursors that wait for something to take.
    pub(super) parked: Vec<CursorId>,
    pub(super) ended: bool,
}

/// How far a subscription is.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) taken: u64,
    pub(super) written: u64,
    pub(super) written_bytes: u64,
    pub(super) parked: Option<Waker>,
    pub(super) pace: Pace,
    /// Of a lagging one: what it still gets. What comes after is withheld until it has taken this.
    pub(super) last: Option<Vec<Chunk>>,
}

/// What the slowest subscription has left behind.
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
            attached: 0,
            lagging: 0,
            parked: Vec::new(),
            ended: false,
        }
    }

    pub(super) fn attached(&self) -> impl Iterator<Item = (CursorId, &Cursor)> {
        let cursors = self
            .cursors
            .iter()
            .filter(|(_, cursor)| cursor.last.is_none());
        cursors.map(|(id, cursor)| (*id, cursor))
    }

    pub(super) fn attached_mut(&mut self) -> impl Iterator<Item = &mut Cursor> {
        self.cursors
            .values_mut()
            .filter(|cursor| cursor.last.is_none())
    }

    pub(super) fn push(&mut self, frame: &mut BytesMut) {
        if frame.len() >= OWN_CHUNK_BYTES {
            self.seal();
            let bytes = core::mem::take(frame).freeze();
            self.chunks.push_back(Chunk {
                first: self.head,
                datums: 1,
                bytes,
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
            });
            self.open_first = self.head;
        }
    }

    /// Forgets what everybody has taken.
    pub(super) fn discard(&mut self) {
        match self.attached().map(|(_, cursor)| cursor.taken).min() {
            Some(taken) => {
                while self
                    .chunks
                    .front()
                    .is_some_and(|chunk| chunk.end() <= taken)
                {
                    self.chunks.pop_front();
                }
            }
            None => {
                self.chunks.clear();
                self.open.clear();
                self.open_first = self.head;
            }
        }
    }

    /// Works out the limit anew; returns what that frees.
    pub(super) fn advance_limit(&mut self, buffer: u64) -> Freed {
        let written = self
            .attached()
            .map(|(_, cursor)| (cursor.written, cursor.written_bytes));
        let (written, written_bytes) = written.min().unwrap_or((self.head, self.head_bytes));
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
            if !last.is_empty() {
                chunks.append(last);
                return Poll::Ready(true);
            }
            // It has taken all that it held: it has room, and goes on with what comes now.
            cursor.last = None;
            cursor.taken = self.head;
            cursor.written = self.head;
            cursor.written_bytes = self.head_bytes;
            cursor.pace.roomy(Instant::now());
            self.lagging -= 1;
            self.attached += 1;
            self.seal();
            return self.poll_take(id, cx, chunks);
        }
        if cursor.taken < self.head {
            let taken = core::mem::replace(&mut cursor.taken, self.head);
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

/// The chunks from a position on, which is always where a chunk begins.
pub(super) fn chunks_from(chunks: &VecDeque<Chunk>, position: u64) -> impl Iterator<Item = &Chunk> {
    chunks.range(chunks.partition_point(|chunk| chunk.first < position)..)
}
