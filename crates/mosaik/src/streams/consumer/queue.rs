//! What was received and not yet taken by the application.
//!
//! Readers decode in batches and hand over a batch at a time; the consumer takes everything at a
//! time. So one lock serves many datums on both sides.

use core::{
    any::type_name,
    mem::size_of,
    task::{Context, Poll, Waker},
};
use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use super::allowance::Allowance;
use crate::{
    net::{
        LinkReceiver,
        link::{FRAME_HEADER_BYTES, RecvError},
    },
    primitives::{Datum, Signal, WakerSlot},
    streams_layer::guard,
};

/// Bytes taken are given back to the readers in portions of this fraction of the limit.
const PORTIONS: usize = 256;

/// A datum and its encoded size.
pub(super) type Received<D> = (u32, D);

/// The queue of one consumer, filled by all its subscriptions.
#[derive(Debug)]
pub(super) struct Queue<D> {
    state: Mutex<State<D>>,
    /// Fired when readers may go on.
    room: Signal,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<D> {
    items: VecDeque<Received<D>>,
    /// Of all items received and not yet taken, also of those that the consumer has fetched.
    bytes: usize,
    waiting: Option<Waker>,
    closed: bool,
}

impl<D> Queue<D> {
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                waiting: None,
                closed: false,
            }),
            room: Signal::default(),
            max_bytes,
        })
    }

    /// What a datum counts for.
    pub(super) const fn cost(encoded_bytes: u32) -> usize {
        encoded_bytes as usize + size_of::<Received<D>>()
    }

    /// How much is taken before it is given back.
    pub(super) const fn portion(&self) -> usize {
        self.max_bytes / PORTIONS
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
        let has_room_again = {
            let mut state = self.state.lock();
            let was_full = state.bytes >= self.max_bytes;
            state.bytes -= bytes;
            was_full && state.bytes < self.max_bytes
        };
        if has_room_again {
            self.room.notify();
        }
    }

    fn put(&self, batch: &mut VecDeque<Received<D>>, bytes: usize) {
        let waiting = {
            let mut state = self.state.lock();
            state.items.append(batch);
            state.bytes += bytes;
            state.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// A queue, without the type of its datums.
pub(super) trait Intake: Send + Sync {
    /// For one subscription.
    fn reader(self: Arc<Self>) -> Box<dyn Reader>;

    /// Nothing more comes.
    fn close(&self);
}

/// Moves what has arrived on a link into a queue.
pub(super) trait Reader: Send {
    /// Waits until the queue is not full.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Decodes everything that has arrived completely, as far as it is allowed; returns the size of
    /// those frames. `count` is told how many datums and bytes they are, before they can be taken.
    fn drain(
        &mut self,
        receiver: &mut LinkReceiver,
        allowance: &mut Allowance,
        count: &dyn Fn(usize, usize),
    ) -> Result<usize, DrainError>;
}

/// Why reading can't go on.
#[derive(Debug)]
pub(super) enum DrainError {
    /// The bytes are no datum of this type.
    Undecodable,
    /// There are more of them than the producer was given credit for.
    Overdrawn,
    /// The link has ended.
    Link(RecvError),
}

impl<D: Datum> Intake for Queue<D> {
    fn reader(self: Arc<Self>) -> Box<dyn Reader> {
        Box::new(QueueReader {
            slot: self.room.slot(),
            batch: VecDeque::new(),
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
}

impl<D: Datum> Reader for QueueReader<D> {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let has_room = || self.queue.state.lock().bytes < self.queue.max_bytes;
        if has_room() {
            return Poll::Ready(());
        }
        self.slot.register(cx.waker());
        if has_room() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn drain(
        &mut self,
        receiver: &mut LinkReceiver,
        allowance: &mut Allowance,
        count: &dyn Fn(usize, usize),
    ) -> Result<usize, DrainError> {
        let batch = &mut self.batch;
        let mut encoded_bytes = 0;
        // The user's decoding may panic; what was decoded before is good.
        let result = guard::run(|| {
            loop {
                let payload = match receiver.pop() {
                    Ok(Some(payload)) => payload,
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(DrainError::Link(error)),
                };
                if allowance.take(payload.len()).is_err() {
                    return Err(DrainError::Overdrawn);
                }
                match D::decode(payload) {
                    Ok(datum) => {
                        encoded_bytes += payload.len();
                        // A frame's length has 31 bits.
                        batch.push_back((u32::try_from(payload.len()).unwrap_or(u32::MAX), datum));
                    }
                    Err(error) => {
                        tracing::warn!(%error, datum = type_name::<D>(), "undecodable datum");
                        return Err(DrainError::Undecodable);
                    }
                }
            }
        });
        let datums = batch.len();
        if datums > 0 {
            count(datums, encoded_bytes);
            self.queue
                .put(batch, encoded_bytes + datums * Queue::<D>::cost(0));
        }
        let result = result.unwrap_or(Err(DrainError::Undecodable));
        result.map(|()| encoded_bytes + datums * FRAME_HEADER_BYTES)
    }
}
