//! The datums that a producer has accepted and not yet sent to everybody.
//!
//! ```text
//!            taken by A        taken by B    sealed           open
//!   chunks  ─────▼───────────────▼──────┬──────────────┬─────────────► head
//!           ▲ written by A (A's backlog is head − written, at most `buffer`)
//! ```
//!
//! The log holds datums as frames, ready to be written. They are appended to the open chunk; a
//! subscription that takes seals it and receives every chunk from its own position on, as shared
//! bytes. So a datum
//! is encoded and copied once, whatever the number of subscriptions, and what accumulates while
//! one is busy becomes one write.
//!
//! A datum needs a **slot**. There are as many as keep the largest backlog within `buffer` datums;
//! they are counted apart from the lock, since most sends find one. None is given while the largest
//! backlog has `buffer_bytes`. Senders that can wait do so at [`PATIENT_BYTES`] already, as long as
//! everybody takes that much within moments: large datums then move on while they are still in the
//! processor's caches, which carries a third more of them.

use core::{
    task::{Context, Poll},
    time::Duration,
};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    backlog::{Backlog, Chunk, CursorId, Freed},
    lag::{Capacity, LOOK_EVERY, Stand},
};
use crate::primitives::{BytesMut, Signal, WakerSlot};

/// Number of bytes queued in a moving backlog from which senders that can wait do so.
const PATIENT_BYTES: i64 = 512 * 1024;

/// Outcome of appending a datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appended {
    /// True if the log accepted it, which it does until its end.
    pub(super) accepted: bool,
    /// True if there is any subscription at all.
    pub(super) selected: bool,
    /// Number of subscriptions from which it is withheld.
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
    /// True if somebody waits for a slot; `blocked`: if somebody did since the last check.
    wanted: AtomicBool,
    blocked: AtomicBool,
    /// True if the backlog hardly moves, so that senders use the whole buffer before they wait.
    stalled: AtomicBool,
    /// Fired when slots become free.
    room: Signal,
    /// Fired when a sender finds no slot.
    pressure: Notify,
    /// Fired when the last subscription moves on, if somebody waits for that.
    moved: Signal,
    move_wanted: AtomicBool,
    buffer: u64,
    buffer_bytes: i64,
}

/// State of the lag check since its last run.
#[derive(Debug)]
pub(super) struct Watch {
    looked: Instant,
    tail_bytes: u64,
}

impl Log {
    pub(super) fn new(buffer: usize, buffer_bytes: usize, room: Signal) -> Self {
        // Far more than memory holds, and far from where sums overflow.
        let sane = |limit| {
            i64::try_from(limit)
                .unwrap_or(i64::MAX)
                .clamp(1, i64::MAX / 4)
        };
        let buffer = sane(buffer);
        Self {
            state: Mutex::new(Backlog::new(buffer.unsigned_abs())),
            slots: AtomicI64::new(buffer),
            queued_bytes: AtomicI64::new(0),
            wanted: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            room,
            pressure: Notify::new(),
            moved: Signal::default(),
            move_wanted: AtomicBool::new(false),
            buffer: buffer.unsigned_abs(),
            buffer_bytes: sane(buffer_bytes),
        }
    }

    // ---- senders

    /// Takes a slot, if there is one, to be [used](Self::slot) or given back.
    pub(super) fn try_reserve(&self) -> bool {
        self.queued_bytes.load(Ordering::SeqCst) < self.buffer_bytes && self.take_slot()
    }

    fn take_slot(&self) -> bool {
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
        self.queued_bytes.load(Ordering::SeqCst) < self.patient_bytes() && self.take_slot()
    }

    fn patient_bytes(&self) -> i64 {
        if self.stalled.load(Ordering::Relaxed) {
            self.buffer_bytes
        } else {
            self.buffer_bytes.min(PATIENT_BYTES)
        }
    }

    /// Gives a slot back.
    pub(super) fn release(&self) {
        self.slots.fetch_add(1, Ordering::SeqCst);
        self.wake_senders();
    }

    /// Says that a sender found no slot. If it waits, it has registered with the room signal, and
    /// looks again after this.
    pub(super) fn want_room(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.blocked.store(true, Ordering::SeqCst);
        self.pressure.notify_one();
    }

    /// A slot that was taken, to be used right now; given back if that fails.
    pub(super) const fn slot(&self) -> Slot<'_> {
        Slot(self)
    }

    fn append(&self, frame: &mut BytesMut) -> Appended {
        let mut state = self.state.lock();
        let appended = Appended {
            accepted: !state.ended,
            selected: state.attached + state.lagging > 0,
            withheld: state.lagging,
        };
        if state.ended {
            drop(state);
            self.release();
            return appended;
        }
        if state.attached == 0 {
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
                && self.queued_bytes.load(Ordering::SeqCst) < self.patient_bytes()
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

    // ---- flushes

    /// The position after everything that was accepted.
    pub(super) fn head(&self) -> u64 {
        self.state.lock().head
    }

    /// A place for one who waits for [`poll_left`](Self::poll_left).
    pub(super) fn flush_slot(&self) -> WakerSlot {
        self.moved.slot()
    }

    /// Waits until every subscription that holds up the log has written everything before a
    /// position.
    pub(super) fn poll_left(&self, position: u64, slot: &WakerSlot, cx: &Context<'_>) -> Poll<()> {
        let state = self.state.lock();
        // The limit follows the last one.
        if state.limit - self.buffer >= position {
            return Poll::Ready(());
        }
        slot.register(cx.waker());
        self.move_wanted.store(true, Ordering::SeqCst);
        Poll::Pending
    }

    // ---- subscriptions

    /// Adds a subscription that gets everything from now on; returns the position where it begins.
    pub(super) fn attach(&self) -> (CursorId, u64) {
        let mut state = self.state.lock();
        (state.attach(), state.head)
    }

    /// Removes a subscription.
    pub(super) fn detach(&self, id: CursorId) {
        let mut state = self.state.lock();
        if state.detach(id) {
            let freed = state.advance_limit(self.buffer);
            drop(state);
            self.free(&freed);
            self.wake_senders();
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
        if state.written(id, datums as u64, bytes as u64) {
            let freed = state.advance_limit(self.buffer);
            drop(state);
            self.free(&freed);
        }
    }

    // ---- lag

    /// Datums that each subscription has not taken, and the time for which it has held up others
    /// lately.
    pub(super) fn lags(&self) -> HashMap<CursorId, (u64, Duration)> {
        let state = self.state.lock();
        let cursors = state.cursors.iter();
        cursors
            .map(|(id, cursor)| (*id, (state.head - cursor.written, cursor.pace.held())))
            .collect()
    }

    /// Returns whether a sender waits for room.
    pub(super) fn is_waited_for(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// Resolves when a sender finds no slot.
    pub(super) async fn pressure(&self) {
        self.pressure.notified().await;
    }

    /// Begins to watch the log, which is under pressure.
    pub(super) fn watch(&self, now: Instant) -> Watch {
        Watch {
            looked: now,
            tail_bytes: self.state.lock().tail_bytes,
        }
    }

    /// The subscriptions that lag now; `None` once nobody has waited since the last check, and
    /// nobody is suspect any more.
    pub(super) fn look(&self, watch: &mut Watch, now: Instant) -> Option<Vec<CursorId>> {
        let passed = now.saturating_duration_since(watch.looked);
        watch.looked = now;
        let is_wanted = self.wanted.load(Ordering::SeqCst);
        let is_pressed = self.blocked.swap(false, Ordering::SeqCst) || is_wanted;
        let mut state = self.state.lock();
        let (head, head_bytes, tail_bytes) = (state.head, state.head_bytes, state.tail_bytes);
        let moved = tail_bytes - core::mem::replace(&mut watch.tail_bytes, tail_bytes);
        let is_stalled = is_pressed && moved < PATIENT_BYTES.unsigned_abs() / 2;
        self.stalled.store(is_stalled, Ordering::Relaxed);

        let backlog = Capacity {
            datums: self.buffer,
            bytes: self.buffer_bytes.unsigned_abs(),
        };
        let mut cursors = state.attached_mut();
        // What it has taken is written in moments, unless it is itself what takes so long.
        let somebody_starves = cursors.any(|(_, cursor)| cursor.written == head);
        drop(cursors);
        let mut lagging = Vec::new();
        let mut suspects = false;
        for (id, cursor) in state.attached_mut() {
            let datums = head - cursor.written;
            let bytes = head_bytes - cursor.written_bytes;
            // Half is enough: with the first slot that it frees a sender is woken.
            let is_full =
                datums > 0 && (datums * 2 >= backlog.datums || bytes * 2 >= backlog.bytes);
            let stand = if is_pressed && is_full && somebody_starves {
                Stand::HoldsOthersUp
            } else {
                Stand::Fair
            };
            let sent = (cursor.written, cursor.written_bytes);
            if cursor.pace.look(stand, passed, sent, backlog) {
                lagging.push(id);
            }
            suspects |= cursor.pace.is_suspect();
        }
        drop(state);
        if is_stalled {
            self.wake_senders();
        }
        (is_pressed || suspects).then_some(lagging)
    }

    /// Time of the next check.
    pub(super) fn next_look(watch: &Watch) -> Instant {
        watch.looked + LOOK_EVERY
    }

    /// Withholds new datums from a subscription until it has taken what it has.
    pub(super) fn withhold(&self, id: CursorId) {
        let mut state = self.state.lock();
        if state.withhold(id) {
            let freed = state.advance_limit(self.buffer);
            drop(state);
            self.free(&freed);
            self.wake_senders();
        }
    }

    /// Makes slots available, and wakes senders once it is worth it: waking one per datum would
    /// cost more than sending. A writer that waits for the transport wakes them for any slot.
    fn free(&self, freed: &Freed) {
        let Freed { slots, bytes } = *freed;
        let has_moved = slots > 0;
        let slots = self.slots.fetch_add(slots, Ordering::SeqCst) + slots;
        let bytes = self.queued_bytes.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        if slots.unsigned_abs() * 2 >= self.buffer && bytes * 2 <= self.patient_bytes() {
            self.wake_senders();
        }
        if has_moved && self.move_wanted.load(Ordering::SeqCst) {
            self.move_wanted.store(false, Ordering::SeqCst);
            self.moved.notify();
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
