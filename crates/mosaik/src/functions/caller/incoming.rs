//! Replies on their way to this node: bounded in all, and for each peer.
//!
//! Memory for a large reply is set aside as soon as its size is known, and before it is read: so a
//! reply that is being read never waits for another one, and each goes on in its turn.

use std::sync::Arc;

use crate::{
    net::{LinkReceiver, link::RecvError},
    primitives::{Bytes, Quota, Share},
};

/// Largest reply that is read without asking for memory.
const FREE_BYTES: usize = 64 * 1024;

/// Receives the replies of one call.
pub(super) struct Incoming {
    memory: Arc<Quota>,
    /// Memory for the reply that is being read, if it is a large one.
    share: Option<Share<Arc<Quota>>>,
}

impl Incoming {
    pub(super) fn new(memory: &Arc<Quota>) -> Self {
        Self {
            memory: memory.clone(),
            share: None,
        }
    }

    /// Receives the next frame. Where too much is being received already, this waits.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped, and memory is kept for what has arrived.
    pub(super) async fn next(&mut self, receiver: &mut LinkReceiver) -> Result<Bytes, RecvError> {
        loop {
            if let Some(frame) = receiver.pop_bytes()? {
                self.share = None;
                return Ok(frame);
            }
            let announced = receiver.announced_bytes().filter(|len| *len > FREE_BYTES);
            if let Some(len) = announced
                && self.share.is_none()
            {
                tokio::select! {
                    share = self.memory.take_owned(receiver.peer(), len) => {
                        self.share = Some(share);
                    }
                    // Reading on tells why.
                    () = receiver.lost() => {}
                }
            }
            receiver.fill().await?;
        }
    }
}
