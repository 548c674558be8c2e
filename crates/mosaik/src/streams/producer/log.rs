//! The datums that a producer has accepted and not yet sent to everybody.
//!
//! ```text
//!            taken by A        taken by B    sealed           open
//!   chunks  ─────▼───────────────▼──────┬──────────────┬─────────────► head
//!           ▲ written by A (A's backlog is head − written, at most `buffer`)
//! ```
//!
//! Datums stand here as frames, ready to be written. They are appended to the open chunk; whoever
//! takes seals it and receives every chunk from its own position on, as shared bytes. So a datum
//! is encoded and copied once, whatever the number of subscriptions, and what accumulates while
//! one is busy becomes one write.
//!
//! A datum needs a **slot**. There are as many as keep the largest backlog within `buffer`; they
//! are counted apart from the lock, since most sends find one. Senders that can wait do so also
//! while the largest backlog has [`PATIENT_BYTES`]: large datums then move on while they are still
//! in the processor's caches, which carries a third more of them, and memory stays bounded.

use core::task::{Context, Poll};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    backlog::{Backlog, Chunk, Cursor, CursorId, Freed, chunks_from},
    lag::{LAG_AFTER, Pace},
};
use crate::primitives::{BytesMut, Signal};

/// How many bytes may be queued before senders that can wait do so.
const PATIENT_BYTES: i64 = 512 * 1024;

/// What becomes of an appended datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appended {
    /// Whether there is any subscription at all.
    pub(super) selected: bool,
    /// From how many it is withheld.
    pub(super) withheld: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Log {
    state: Mutex<Backlog>,
    /// Slots that nobody has reserved or used.
    slots: AtomicI64,
    /// The bytes of the largest backlog.
    queued_bytes: AtomicI64,
    /// Whether somebody waits for a slot.
    wanted: AtomicBool,
    /// Fired when slots become free.
    room: Signal,
    /// Fired when a subscription begins to hold up the producer.
    pressure: Notify,
    buffer: u64,
}

impl Log {
    pub(super) fn new(buffer: usize, room: Signal) -> Self {
        // Far more than memory holds, and far from where sums overflow.
        let buffer = i64::try_from(buffer)
            .unwrap_or(i64::MAX)
            .clamp(1, i64::MAX / 4);
        Self {
            state: Mutex::new(Backlog::new(buffer.unsigned_abs())),
            slots: AtomicI64::new(buffer),
            queued_bytes: AtomicI64::new(0),
            wanted: AtomicBool::new(false),
            room,
            pressure: Notify::new(),
            buffer: buffer.unsigned_abs(),
        }
    }

    // ---- senders

    /// Takes a slot, if there is one, to be [used](Self::slot) or given back.
    pub(super) fn try_reserve(&self) -> bool {
        let mut slots = self.slots.load(Ordering::SeqCst);
        while slots > 0 {
            let taken = self.slots.compare_exchange_weak(
                slots,
                slots - 1,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
            match taken {
                Ok(_) => return true,
                Err(current) => slots = current,
            }
        }
        false
    }

    /// As [`try_reserve`](Self::try_reserve), for a sender that can wait.
    pub(super) fn try_reserve_patiently(&self) -> bool {
        self.queued_bytes.load(Ordering::SeqCst) < PATIENT_BYTES && self.try_reserve()
    }

    /// Gives a slot back.
    pub(super) fn release(&self) {
        self.slots.fetch_add(1, Ordering::SeqCst);
        self.wake_senders();
    }

    /// Says that a sender found no slot. It has registered with the room signal, and looks again
    /// after this.
    pub(super) fn want_room(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        let now = Instant::now();
        let news = {
            let mut state = self.state.lock();
            let is_full = self.fullness(&state);
            let full = state.attached_mut().filter(|cursor| is_full(cursor));
            full.fold(false, |news, cursor| cursor.pace.full(now) | news)
        };
        if news {
            self.pressure.notify_one();
        }
    }

    /// A slot that was taken, to be used right now; given back if that fails.
    pub(super) const fn slot(&self) -> Slot<'_> {
        Slot(self)
    }

    fn append(&self, frame: &mut BytesMut) -> Appended {
        let mut state = self.state.lock();
        let appended = Appended {
            selected: state.attached + state.lagging > 0,
            withheld: state.lagging,
        };
        if state.attached == 0 || state.ended {
            state.head += 1;
            state.open_first = state.head;
            state.limit += 1;
            drop(state);
            self.release();
            return appended;
        }
        let bytes = frame.len();
        state.push(frame);
        state.head_bytes += bytes as u64;
        self.queued_bytes
            .fetch_add(i64::try_from(bytes).unwrap_or_default(), Ordering::SeqCst);
        state.wake_parked();
        appended
    }

    /// Wakes senders if there is a slot for one.
    pub(super) fn wake_senders(&self) {
        let has_room = || {
            self.slots.load(Ordering::SeqCst) > 0
                && self.queued_bytes.load(Ordering::SeqCst) < PATIENT_BYTES
        };
        if self.wanted.load(Ordering::SeqCst) && has_room() {
            self.wanted.store(false, Ordering::SeqCst);
            self.room.notify();
        }
    }

    /// Nothing more is appended: subscriptions end once they have taken everything.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.wake_parked();
    }

    // ---- subscriptions

    /// Adds a subscription that gets everything from now on.
    pub(super) fn attach(&self) -> CursorId {
        let mut state = self.state.lock();
        state.seal();
        let cursor = Cursor {
            taken: state.head,
            written: state.head,
            written_bytes: state.head_bytes,
            parked: None,
            pace: Pace::new(Instant::now()),
            last: None,
        };
        state.attached += 1;
        let id = state.next_cursor;
        state.next_cursor += 1;
        state.cursors.insert(id, cursor);
        id
    }

    /// Removes a subscription.
    pub(super) fn detach(&self, id: CursorId) {
        let mut state = self.state.lock();
        let Some(cursor) = state.cursors.remove(&id) else {
            return;
        };
        state.parked.retain(|other| *other != id);
        if cursor.last.is_some() {
            state.lagging -= 1;
        } else {
            state.attached -= 1;
            state.discard();
            let freed = state.advance_limit(self.buffer);
            drop(state);
            self.free(&freed);
        }
    }

    /// Takes everything that there is, or waits for something; `false` once the log has ended and
    /// everything was taken.
    pub(super) fn poll_take(
        &self,
        id: CursorId,
        cx: &mut Context<'_>,
        chunks: &mut Vec<Chunk>,
    ) -> Poll<bool> {
        let poll = self.state.lock().poll_take(id, cx, chunks);
        if poll.is_pending() {
            self.wake_senders();
        }
        poll
    }

    /// Says that a subscription has handed this many of its datums to the transport, which are this
    /// many bytes.
    pub(super) fn written(&self, id: CursorId, datums: usize, bytes: usize) {
        let mut state = self.state.lock();
        let Some(cursor) = state.cursors.get_mut(&id) else {
            return;
        };
        let held_up = cursor.written + self.buffer;
        cursor.written += datums as u64;
        cursor.written_bytes += bytes as u64;
        if cursor.last.is_some() {
            return;
        }
        if cursor.pace.is_full() {
            cursor.pace.roomy(Instant::now());
        }
        // Of all the cursors only the last one decides how far the head may go.
        if held_up == state.limit {
            let freed = state.advance_limit(self.buffer);
            drop(state);
            self.free(&freed);
        }
    }

    // ---- lag

    /// Resolves when a subscription begins to hold up the producer.
    pub(super) async fn pressure(&self) {
        self.pressure.notified().await;
    }

    /// The subscriptions that lag now, and when to look again if some hold up the producer.
    pub(super) fn lagging(&self, now: Instant) -> (Vec<CursorId>, Option<Instant>) {
        let mut state = self.state.lock();
        let is_full = self.fullness(&state);
        for cursor in state.attached_mut() {
            // A slot may have been given back unused.
            if cursor.pace.is_full() && !is_full(cursor) {
                cursor.pace.roomy(now);
            }
        }
        let paces: Vec<_> = state
            .attached()
            .map(|(id, cursor)| (id, cursor.pace))
            .collect();
        let mut lagging = Vec::new();
        let mut again: Option<Instant> = None;
        for (id, pace) in &paces {
            if !pace.is_full() {
                continue;
            }
            let others = paces
                .iter()
                .filter(|(other, _)| other != id)
                .map(|(_, pace)| pace);
            let due = match pace.lags_since(others) {
                Some(since) if now >= since + LAG_AFTER => {
                    lagging.push(*id);
                    continue;
                }
                Some(since) => since + LAG_AFTER,
                // Another may get room at any time.
                None => now + LAG_AFTER / 4,
            };
            again = Some(again.map_or(due, |other| other.min(due)));
        }
        (lagging, again)
    }

    /// Withholds new datums from a subscription until it has taken what it has.
    pub(super) fn withhold(&self, id: CursorId) {
        let mut state = self.state.lock();
        state.seal();
        let Backlog {
            chunks, cursors, ..
        } = &mut *state;
        let Some(cursor) = cursors.get_mut(&id).filter(|cursor| cursor.last.is_none()) else {
            return;
        };
        cursor.last = Some(chunks_from(chunks, cursor.taken).cloned().collect());
        state.attached -= 1;
        state.lagging += 1;
        state.discard();
        let freed = state.advance_limit(self.buffer);
        drop(state);
        self.free(&freed);
    }

    /// Tells which backlogs are full, reserved slots included.
    fn fullness(&self, state: &Backlog) -> impl Fn(&Cursor) -> bool + use<> {
        let (head, buffer) = (state.head, self.buffer);
        let full_bytes = state
            .head_bytes
            .saturating_sub(PATIENT_BYTES.unsigned_abs());
        let reach = state
            .limit
            .saturating_add_signed(-self.slots.load(Ordering::SeqCst));
        move |cursor| {
            let is_full = cursor.written + buffer <= reach || cursor.written_bytes <= full_bytes;
            cursor.written < head && is_full
        }
    }

    /// Makes slots available, and wakes senders once it is worth it: waking one per datum would
    /// cost more than sending. A writer that waits for the transport wakes them for any slot.
    fn free(&self, freed: &Freed) {
        let Freed { slots, bytes } = *freed;
        let slots = self.slots.fetch_add(slots, Ordering::SeqCst) + slots;
        let bytes = self.queued_bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if slots.unsigned_abs() * 2 >= self.buffer && bytes * 2 <= PATIENT_BYTES {
            self.wake_senders();
        }
    }
}

/// A slot about to be used; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Log);

impl Slot<'_> {
    /// Appends one frame. Large ones are taken out of the buffer.
    pub(super) fn append(self, frame: &mut BytesMut) -> Appended {
        let log = self.0;
        core::mem::forget(self);
        log.append(frame)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
