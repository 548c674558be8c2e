//! The receiving half of a link.

use std::sync::Arc;

use futures::FutureExt;
use iroh::endpoint::{ApplicationClose, RecvStream};
use serde::de::DeserializeOwned;

use super::{Frame, FrameBuffer, LinkState, RecvError};
use crate::{
    net::{close::UnexpectedClose, limits::MAX_FRAME_BYTES, metrics::Violation},
    primitives::{Bytes, PeerId, encoding},
};

/// Segments that are taken from the transport in one go.
const SEGMENTS_PER_READ: usize = 64;

/// Receives frames; see [`Link`](super::Link).
#[derive(Debug)]
pub(crate) struct LinkReceiver {
    stream: RecvStream,
    buffer: FrameBuffer,
    ended: bool,
    pub(super) state: Arc<LinkState>,
}

impl LinkReceiver {
    pub(crate) fn new(stream: RecvStream, state: Arc<LinkState>) -> Self {
        Self {
            stream,
            buffer: FrameBuffer::new(MAX_FRAME_BYTES),
            ended: false,
            state,
        }
    }

    /// The peer at the other end.
    pub(crate) fn peer(&self) -> PeerId {
        self.state.peer()
    }

    /// Sets the largest message that is accepted. Default 16 MiB.
    pub(crate) fn set_max_frame_bytes(&mut self, max: usize) {
        self.buffer.set_max_frame_bytes(max);
    }

    /// Receives one message.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn recv<T: DeserializeOwned>(&mut self) -> Result<T, RecvError> {
        let bytes = self.recv_bytes().await?;
        encoding::deserialize(&bytes).map_err(|error| {
            self.state.violated(Violation::Undecodable);
            RecvError::Decode(Box::new(error))
        })
    }

    /// Receives one message without decoding it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn recv_bytes(&mut self) -> Result<Bytes, RecvError> {
        loop {
            if let Some(frame) = self.guard(FrameBuffer::pop_bytes)? {
                return frame.map_err(RecvError::Closed);
            }
            self.fill().await?;
        }
    }

    /// The next message that has arrived completely, without waiting and without copying.
    pub(crate) fn pop(&mut self) -> Result<Option<&[u8]>, RecvError> {
        match self.buffer.pop() {
            Ok(Some(Frame::Data(payload))) => Ok(Some(payload)),
            Ok(Some(Frame::Close(reason))) => Err(RecvError::Closed(reason)),
            Ok(None) => Ok(None),
            Err(error) => {
                self.state.violated(violation(&error));
                Err(error)
            }
        }
    }

    /// Gives up the next message, which [`pop`](Self::pop) has refused as too large and which has
    /// this many bytes: what arrives of it is thrown away.
    pub(crate) fn skip(&mut self, len: usize) {
        self.buffer.skip(len);
    }

    /// Waits until more bytes have arrived, to be taken with [`pop`](Self::pop). When the peer has
    /// ended its direction instead, the link ends with `UnexpectedClose` (103) if it is dropped.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn fill(&mut self) -> Result<(), RecvError> {
        if self.read().await? {
            return Ok(());
        }
        if self.buffer.is_truncated() {
            self.state.violated(Violation::Truncated);
            return Err(RecvError::Decode("the stream ended within a frame".into()));
        }
        let reason = ApplicationClose::from(UnexpectedClose);
        self.state.set_drop_code(&reason);
        Err(RecvError::Closed(reason))
    }

    /// Adds what has arrived to the buffer; `false` when the peer has ended its direction.
    async fn read(&mut self) -> Result<bool, RecvError> {
        if self.ended {
            return Ok(false);
        }
        let mut segments = [const { Bytes::new() }; SEGMENTS_PER_READ];
        let read = self.stream.read_many_chunks(&mut segments).await;
        let Some(count) = read.map_err(|error| self.state.recv_error(error))? else {
            self.ended = true;
            return Ok(false);
        };
        let mut total = 0;
        for segment in &segments[..count] {
            self.buffer.extend(segment);
            total += segment.len();
        }
        self.state.metrics.ingress(total);
        Ok(true)
    }

    /// Notes that the peer broke the protocol in a way that only its reader can tell.
    pub(crate) fn note(&self, violation: Violation) {
        self.state.violated(violation);
    }

    /// Number of bytes received of messages that were not taken yet.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Looks whether the peer has ended its direction. If so, dropping this half tells it nothing,
    /// which saves a packet.
    pub(crate) fn notice_end(&mut self) {
        // Whatever else is found stays in the buffer.
        let _ = self.read().now_or_never();
    }

    /// Tells the peer that nothing more is read, with the code of a reason.
    pub(crate) fn stop(mut self, reason: &ApplicationClose) {
        self.state.set_drop_code(reason);
        self.stop_with_drop_code();
    }

    fn stop_with_drop_code(&mut self) {
        if !self.ended {
            // Fails only when the stream has ended already.
            let _ = self.stream.stop(self.state.drop_code());
            self.ended = true;
        }
    }

    fn guard<R>(
        &mut self,
        take: impl FnOnce(&mut FrameBuffer) -> Result<R, RecvError>,
    ) -> Result<R, RecvError> {
        let result = take(&mut self.buffer);
        if let Err(error) = &result {
            self.state.violated(violation(error));
        }
        result
    }
}

const fn violation(error: &RecvError) -> Violation {
    match error {
        RecvError::FrameTooLarge { .. } => Violation::TooLarge,
        _ => Violation::Undecodable,
    }
}

impl Drop for LinkReceiver {
    fn drop(&mut self) {
        self.stop_with_drop_code();
    }
}
