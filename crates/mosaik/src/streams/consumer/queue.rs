//! Receive queue: datums received and not yet taken by the application.
//!
//! Readers decode in batches and hand over a batch at a time; the consumer takes everything at a
//! time. So one lock serves many datums on both sides.
//!
//! The queue also deals out **credit** to its readers, one per subscription. Credit that was given
//! is memory that may be needed, so it is counted at the most that it can become as values: what is
//! queued and what is promised together stay within the limit. A reader that has no credit left may
//! always let one more chunk come while the queue is not full, so that everything moves on.

use core::{
    mem::size_of,
    task::{Context, Poll, Waker},
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{UndecodableReason, allowance::Allowance};
use crate::{
    net::{
        LinkReceiver,
        link::{FRAME_HEADER_BYTES, RecvError},
    },
    primitives::{Datum, Signal, WakerSlot},
    streams_layer::wire,
};

/// Bytes taken are given back to the readers in portions of this fraction of the limit.
const RELEASE_PORTIONS: usize = 256;
/// Upper bound on the credit of one reader: several times the transport's window, so that waiting
/// for credit never leaves that empty.
const MAX_CREDIT_BYTES: usize = 8 * 1024 * 1024;
/// Initial credit of a link. It doubles whenever it was used up, so that producers who say little
/// don't keep credit from others.
const FIRST_CREDIT_BYTES: usize = 64 * 1024;
/// All credit together may become this fraction of the limit.
const CREDIT_FRACTION: usize = 2;
/// Credit is given in portions of this fraction.
const CREDIT_PORTIONS: usize = 4;

/// A datum and its encoded size.
pub(super) type Received<D> = (u32, D);

/// The queue of one consumer, filled by all its subscriptions.
#[derive(Debug)]
pub(super) struct Queue<D> {
    state: Mutex<State<D>>,
    /// Fired when a reader that waits may get credit.
    room: Signal,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<D> {
    items: VecDeque<Received<D>>,
    /// Bytes of all items received and not yet taken, also of those that the consumer has fetched.
    bytes: usize,
    /// The credit that readers have given and not yet seen used up, in bytes of frames.
    promised: usize,
    readers: usize,
    /// True if a reader waits for room.
    starved: bool,
    waiting: Option<Waker>,
    closed: bool,
}

impl<D> Queue<D> {
    /// The most that a byte of a frame can become: a datum takes its place whatever it is encoded
    /// as, and its encoding may be empty.
    const WEIGHT: usize = size_of::<Received<D>>().div_ceil(FRAME_HEADER_BYTES);

    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                promised: 0,
                readers: 0,
                starved: false,
                waiting: None,
                closed: false,
            }),
            room: Signal::default(),
            max_bytes,
        })
    }

    /// Cost of a datum in the queue, in bytes.
    pub(super) const fn cost(encoded_bytes: u32) -> usize {
        encoded_bytes as usize + size_of::<Received<D>>()
    }

    /// Number of bytes that are taken before their room is given back.
    pub(super) const fn portion(&self) -> usize {
        self.max_bytes / RELEASE_PORTIONS
    }

    /// Fetches everything into an empty buffer; `false` when there is nothing and never will be.
    pub(super) fn poll_fetch(
        &self,
        cx: Option<&Context<'_>>,
        into: &mut VecDeque<Received<D>>,
    ) -> Poll<bool> {
        let mut state = self.state.lock();
        if !state.items.is_empty() {
            core::mem::swap(&mut state.items, into);
            return Poll::Ready(true);
        }
        if state.closed {
            return Poll::Ready(false);
        }
        if let Some(cx) = cx {
            match &mut state.waiting {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Gives back what taken datums counted for.
    pub(super) fn release(&self, bytes: usize) {
        self.change(|state| state.bytes -= bytes);
    }

    /// Changes what counts, and wakes readers that wait for room.
    fn change(&self, change: impl FnOnce(&mut State<D>)) {
        let is_wanted = {
            let mut state = self.state.lock();
            change(&mut state);
            core::mem::take(&mut state.starved)
        };
        if is_wanted {
            self.room.notify();
        }
    }

    /// Upper bound on the credit of each of the current readers.
    fn quota(&self, state: &State<D>) -> usize {
        let share = self.max_bytes / (CREDIT_FRACTION * Self::WEIGHT * state.readers.max(1));
        share.clamp(1, MAX_CREDIT_BYTES)
    }

    /// Credit to grant to a reader with this quota and this much credit left; `None` if the grant
    /// is too small to be worth a message.
    fn credit(&self, state: &State<D>, quota: usize, left: i64) -> Option<usize> {
        let kept = positive(left);
        let others = state.promised - kept;
        let room = self.max_bytes.saturating_sub(state.bytes) / Self::WEIGHT;
        let credit = quota.min(room.saturating_sub(others));
        let is_worth_it = credit > kept && (credit - kept) * CREDIT_PORTIONS >= quota;
        if is_worth_it {
            return Some(credit);
        }
        let has_none = left <= 0 && state.bytes < self.max_bytes;
        has_none.then_some(credit.max(1))
    }
}

/// Remaining credit, 0 if it is overdrawn.
fn positive(left: i64) -> usize {
    usize::try_from(left).unwrap_or_default()
}

/// A queue, without the type of its datums.
pub(super) trait Intake: Send + Sync {
    /// Returns a reader for one subscription.
    fn reader(self: Arc<Self>) -> Box<dyn Reader>;

    /// Nothing more comes.
    fn close(&self);
}

/// Moves what has arrived on a link into a queue.
pub(super) trait Reader: Send {
    /// Waits until the queue is not full, or no more than half full, and begins with the credit
    /// that this gives: for a new link.
    fn poll_begin(&mut self, half: bool, cx: &mut Context<'_>) -> Poll<usize>;

    /// Returns whether the producer should get more credit as soon as there is room.
    fn owes_credit(&self) -> bool;

    /// Waits until there is room for more credit, which is then given.
    fn poll_credit(&mut self, cx: &mut Context<'_>) -> Poll<usize>;

    /// Gives up the credit of a link that has ended.
    fn end(&mut self);

    /// Decodes everything that has arrived completely, as far as it is allowed.
    fn drain(
        &mut self,
        receiver: &mut LinkReceiver,
        notes: &mut dyn Notes,
    ) -> Result<(), DrainError>;
}

/// Takes notes of what a reader finds, before anything of it can be taken.
pub(super) trait Notes {
    /// Datums, and their encoded bytes.
    fn received(&mut self, datums: usize, bytes: usize);
    /// One that can't be taken.
    fn undecodable(&mut self, reason: UndecodableReason);
    /// Datums that the producer withheld.
    fn skipped(&mut self, datums: u64);
}

/// Reasons for which reading can't go on.
#[derive(Debug)]
pub(super) enum DrainError {
    /// There is more than the producer was given credit for.
    Overdrawn,
    /// The link has ended.
    Link(RecvError),
}

impl<D: Datum> Intake for Queue<D> {
    fn reader(self: Arc<Self>) -> Box<dyn Reader> {
        self.change(|state| state.readers += 1);
        Box::new(QueueReader {
            slot: self.room.slot(),
            batch: VecDeque::new(),
            allowance: Allowance::new(0),
            quota: 0,
            window: FIRST_CREDIT_BYTES,
            queue: self,
        })
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }
}

struct QueueReader<D> {
    queue: Arc<Queue<D>>,
    slot: WakerSlot,
    /// Empty between calls; kept for its capacity.
    batch: VecDeque<Received<D>>,
    allowance: Allowance,
    /// Quota of the reader's credit when it was last computed.
    quota: usize,
    /// Grows with what the producer uses.
    window: usize,
}

impl<D> QueueReader<D> {
    /// Waits for credit on a condition.
    fn poll_granted(
        &mut self,
        cx: &mut Context<'_>,
        condition: impl Fn(&State<D>) -> bool,
    ) -> Poll<usize> {
        // Before the look, so that room that comes after it is noticed.
        self.slot.register(cx.waker());
        let mut state = self.queue.state.lock();
        self.quota = self.queue.quota(&state).min(self.window);
        let left = self.allowance.left();
        let credit = condition(&state)
            .then(|| self.queue.credit(&state, self.quota, left))
            .flatten();
        let Some(credit) = credit else {
            state.starved = true;
            return Poll::Pending;
        };
        state.promised = state.promised - positive(left) + credit;
        // Above what is left, which may be far below zero.
        let given = usize::try_from(i64::try_from(credit).unwrap_or(i64::MAX) - left);
        let given = given.unwrap_or_default();
        self.allowance.give(given);
        self.window = (self.window * 2).min(MAX_CREDIT_BYTES);
        Poll::Ready(given)
    }

    /// Hands over what was decoded, and what it used up of the credit.
    fn settle(&mut self, left_before: i64, encoded_bytes: usize) {
        let (batch, left) = (&mut self.batch, self.allowance.left());
        let used = positive(left_before) - positive(left);
        let cost = encoded_bytes + batch.len() * Queue::<D>::cost(0);
        let waiting = {
            let mut state = self.queue.state.lock();
            state.promised -= used;
            state.bytes += cost;
            if batch.is_empty() {
                None
            } else {
                state.items.append(batch);
                state.waiting.take()
            }
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<D> Drop for QueueReader<D> {
    fn drop(&mut self) {
        let left = positive(self.allowance.left());
        self.queue.change(|state| {
            state.promised -= left;
            state.readers -= 1;
        });
    }
}

impl<D: Datum> Reader for QueueReader<D> {
    fn poll_begin(&mut self, half: bool, cx: &mut Context<'_>) -> Poll<usize> {
        self.end();
        self.window = FIRST_CREDIT_BYTES;
        let max = self.queue.max_bytes;
        self.poll_granted(cx, |state| !half || state.bytes <= max / 2)
    }

    fn end(&mut self) {
        let left = positive(self.allowance.left());
        if left > 0 {
            self.queue.change(|state| state.promised -= left);
        }
        self.allowance = Allowance::new(0);
    }

    fn owes_credit(&self) -> bool {
        let owed = self.quota.saturating_sub(positive(self.allowance.left()));
        owed * CREDIT_PORTIONS >= self.quota
    }

    fn poll_credit(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.poll_granted(cx, |_| true)
    }

    fn drain(
        &mut self,
        receiver: &mut LinkReceiver,
        notes: &mut dyn Notes,
    ) -> Result<(), DrainError> {
        let left_before = self.allowance.left();
        let mut encoded_bytes = 0;
        let result = loop {
            // The user's decoding may panic: that datum is lost, what was decoded before is good.
            let popped = catch_unwind(AssertUnwindSafe(|| {
                pop_all(
                    receiver,
                    &mut self.allowance,
                    &mut self.batch,
                    &mut encoded_bytes,
                )
            }));
            match popped.unwrap_or(Popped::Undecodable(UndecodableReason::Panicked)) {
                Popped::All => break Ok(()),
                Popped::Undecodable(reason) => notes.undecodable(reason),
                Popped::Skipped(datums) => notes.skipped(datums),
                Popped::Ended(error) => break Err(error),
            }
        };
        if !self.batch.is_empty() {
            notes.received(self.batch.len(), encoded_bytes);
        }
        if self.allowance.left() != left_before {
            self.settle(left_before, encoded_bytes);
        }
        result
    }
}

/// Outcome of taking datums off a link.
enum Popped {
    /// Nothing more has arrived completely.
    All,
    Undecodable(UndecodableReason),
    Skipped(u64),
    Ended(DrainError),
}

/// Takes datums off a link, up to one that needs attention.
fn pop_all<D: Datum>(
    receiver: &mut LinkReceiver,
    allowance: &mut Allowance,
    batch: &mut VecDeque<Received<D>>,
    encoded_bytes: &mut usize,
) -> Popped {
    loop {
        let payload = match receiver.pop() {
            Ok(Some(payload)) => payload,
            Ok(None) => return Popped::All,
            Err(RecvError::FrameTooLarge { len, max }) => {
                receiver.skip(len);
                return match allowance.take(len) {
                    Ok(()) => Popped::Undecodable(UndecodableReason::TooLarge { len, max }),
                    Err(_) => Popped::Ended(DrainError::Overdrawn),
                };
            }
            Err(RecvError::Closed(reason)) => {
                let Some(datums) = wire::skipped_by(&reason) else {
                    return Popped::Ended(DrainError::Link(RecvError::Closed(reason)));
                };
                return match allowance.take(wire::SKIPPED_BYTES) {
                    Ok(()) => Popped::Skipped(datums),
                    Err(_) => Popped::Ended(DrainError::Overdrawn),
                };
            }
            Err(error) => return Popped::Ended(DrainError::Link(error)),
        };
        if allowance.take(payload.len()).is_err() {
            return Popped::Ended(DrainError::Overdrawn);
        }
        match D::decode(payload) {
            Ok(datum) => {
                *encoded_bytes += payload.len();
                // A frame's length has 31 bits.
                batch.push_back((u32::try_from(payload.len()).unwrap_or(u32::MAX), datum));
            }
            Err(error) => return Popped::Undecodable(UndecodableReason::malformed(&error)),
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
