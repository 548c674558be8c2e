//! Replies on their way to this node: bounded for each handler's node.
//!
//! The memory for a large reply is set aside once its size is known, and before it is read: so a
//! reply that is being read waits for no other, and nothing can lock up. Those for which there is
//! not enough stay with the transport, whose window is the backpressure, and come in turn.
//!
//! Each handler's node has memory of its own: however slow one is, and whatever it announces, it holds
//! up none but its own replies. A limit for all nodes together would give that up, and gain little:
//! the windows of the transport hold more for each node than this.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::{
    net::{LinkReceiver, link::RecvError},
    primitives::Bytes,
};

/// Largest reply that is read without asking for memory.
const FREE_BYTES: usize = 64 * 1024;
/// Memory is counted in pieces of this size.
const PIECE_BYTES: usize = 1024;

/// Memory for replies of one node that are being received; first come, first served.
#[derive(Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let pieces = bytes.div_ceil(PIECE_BYTES).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(pieces)))
    }
}

/// Receives the replies of one call.
pub(super) struct Incoming {
    memory: Arc<Semaphore>,
    /// Memory for the reply that is being read, if it is a large one.
    share: Option<OwnedSemaphorePermit>,
    /// The place in the line, kept while nobody polls.
    waiting: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>>,
}

impl Incoming {
    pub(super) fn new(memory: &Memory) -> Self {
        Self {
            memory: memory.0.clone(),
            share: None,
            waiting: None,
        }
    }

    /// Receives the next frame. Where too much is being received already, this waits.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped: memory is kept for what has arrived, and the
    /// place of one who waits.
    pub(super) async fn next(&mut self, receiver: &mut LinkReceiver) -> Result<Bytes, RecvError> {
        loop {
            if let Some(frame) = receiver.pop_bytes()? {
                self.share = None;
                return Ok(frame);
            }
            if self.share.is_none()
                && let Some(bytes) = receiver.announced_bytes()
                && bytes > FREE_BYTES
            {
                self.reserve(receiver, bytes).await?;
            }
            receiver.fill().await?;
        }
    }

    async fn reserve(
        &mut self,
        receiver: &mut LinkReceiver,
        bytes: usize,
    ) -> Result<(), RecvError> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        if self.waiting.is_none() {
            if let Ok(share) = self.memory.clone().try_acquire_many_owned(pieces) {
                self.share = Some(share);
                return Ok(());
            }
            let memory = self.memory.clone();
            self.waiting = Some(Box::pin(memory.acquire_many_owned(pieces)));
        }
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        let share = tokio::select! {
            biased;
            // A lost reply gives up its place.
            error = receiver.lost() => {
                self.waiting = None;
                return Err(error);
            }
            share = waiting => share,
        };
        self.waiting = None;
        // It is never closed.
        self.share = share.ok();
        Ok(())
    }
}
