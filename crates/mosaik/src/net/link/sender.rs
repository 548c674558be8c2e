//! The sending half of a link.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{ApplicationClose, SendStream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{
    LinkState, SendError,
    frame::{begin_frame, finish_frame, put_close},
};
use crate::{
    net::{
        close::{Success, Undelivered},
        limits::{CLOSE_TIMEOUT, MAX_FRAME_BYTES, MIN_BYTES_PER_SECOND, STREAM_WINDOW_BYTES},
    },
    primitives::{Bytes, BytesMut, encoding},
};

/// Sends frames; see [`Link`](super::Link).
#[derive(Debug)]
pub(crate) struct LinkSender {
    /// `None` once it was closed.
    stream: Option<SendStream>,
    /// The stream after its last message.
    finished: Option<SendStream>,
    buffer: BytesMut,
    max_frame_bytes: usize,
    pub(super) state: Arc<LinkState>,
}

impl LinkSender {
    pub(crate) fn new(stream: SendStream, state: Arc<LinkState>) -> Self {
        Self {
            stream: Some(stream),
            finished: None,
            buffer: BytesMut::new(),
            max_frame_bytes: MAX_FRAME_BYTES,
            state,
        }
    }

    /// Sets the largest message that may be sent. Default 16 MiB.
    pub(crate) fn set_max_frame_bytes(&mut self, max: usize) {
        self.max_frame_bytes = max;
    }

    /// Number of bytes queued and not yet handed to the transport.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a message to what the next [`flush`](Self::flush) sends.
    pub(crate) fn queue<T: Serialize>(&mut self, message: &T) -> Result<(), SendError> {
        let start = begin_frame(&mut self.buffer);
        if let Err(error) = encoding::serialize_into(message, &mut self.buffer) {
            self.buffer.truncate(start);
            return Err(SendError::Encode(Box::new(error)));
        }
        self.end_frame(start)
    }

    /// Appends a message that is already encoded to what the next flush sends.
    pub(crate) fn queue_bytes(&mut self, payload: &[u8]) -> Result<(), SendError> {
        let start = begin_frame(&mut self.buffer);
        self.buffer.extend_from_slice(payload);
        self.end_frame(start)
    }

    fn end_frame(&mut self, start: usize) -> Result<(), SendError> {
        let max = self.max_frame_bytes;
        finish_frame(&mut self.buffer, start, max)
            .map_err(|len| SendError::FrameTooLarge { len, max })
    }

    /// Appends bytes that are complete frames already to what the next flush sends.
    pub(crate) fn append(&mut self, frames: BytesMut) {
        if self.buffer.is_empty() {
            self.buffer = frames;
        } else {
            self.buffer.extend_from_slice(&frames);
        }
    }

    /// Takes what is queued, to be written by the caller.
    pub(crate) fn take_queued(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    /// Hands everything queued to the transport; waits while the peer takes nothing.
    ///
    /// # Cancel safety
    ///
    /// A dropped flush may have written a part: the link must then be dropped too.
    pub(crate) async fn flush(&mut self) -> Result<(), SendError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = self.buffer.split().freeze();
        self.write_framed(&mut [bytes]).await
    }

    /// Writes bytes that are complete frames already, without copying them.
    ///
    /// # Cancel safety
    ///
    /// As [`flush`](Self::flush).
    pub(crate) async fn write_framed(&mut self, frames: &mut [Bytes]) -> Result<(), SendError> {
        let total: usize = frames.iter().map(Bytes::len).sum();
        let stream = self.stream.as_mut().ok_or(SendError::Cancelled)?;
        let written = stream.write_all_chunks(frames).await;
        written.map_err(|error| self.state.send_error(error))?;
        self.state.metrics.egress(total);
        Ok(())
    }

    /// Writes as much of complete frames as the transport takes at once, waiting only while it
    /// takes nothing; what was written is taken off the front of `frames`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is written when the future is dropped.
    pub(crate) async fn write_some(
        &mut self,
        frames: &mut &mut [Bytes],
    ) -> Result<usize, SendError> {
        let stream = self.stream.as_mut().ok_or(SendError::Cancelled)?;
        let written = stream.write_many_chunks(frames).await;
        let written = written.map_err(|error| self.state.send_error(error))?;
        self.state.metrics.egress(written);
        Ok(written)
    }

    /// Writes complete frames, and says that nothing follows. The other direction stays open.
    ///
    /// # Cancel safety
    ///
    /// As [`flush`](Self::flush).
    pub(crate) async fn write_last(&mut self, frames: &mut [Bytes]) -> Result<(), SendError> {
        self.write_framed(frames).await?;
        if let Some(mut stream) = self.stream.take() {
            // Fails only when the stream is closed already.
            let _ = stream.finish();
            self.finished = Some(stream);
        }
        Ok(())
    }

    /// Resolves when the peer's transport has everything up to the last message, wants nothing
    /// more, or is gone; at once when no message was the last.
    pub(crate) async fn delivered(&self) {
        if let Some(stream) = &self.finished {
            // Either way nothing more is on its way.
            let _ = stream.stopped().await;
        }
    }

    /// Sends one message.
    pub(crate) async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), SendError> {
        self.queue(message)?;
        self.flush().await
    }

    /// Resolves when the peer has stopped reading or the connection is lost.
    pub(crate) async fn stopped(&self) {
        if let Some(stream) = &self.stream {
            // Either way the peer takes nothing more.
            let _ = stream.stopped().await;
        }
    }

    /// Closes with a reason, in the background: what was sent before still arrives.
    pub(crate) fn close(self, reason: impl Into<ApplicationClose>) {
        let reason = reason.into();
        let scope = self.state.scope().clone();
        scope.spawn_orderly(async move { drop(self.close_now(&reason).await) });
    }

    /// Ends at once with the code of a reason; what the peer did not receive yet is lost.
    pub(crate) fn reset(self, reason: impl Into<ApplicationClose>) {
        self.state.set_drop_code(&reason.into());
    }

    /// Closes with a reason and waits until it is written, or resets when that takes too long.
    pub(crate) async fn close_now(self, reason: &ApplicationClose) -> Closed {
        self.close_within(reason, CLOSE_TIMEOUT).await
    }

    /// Closes with a reason and waits until the peer's transport has everything, or that takes too
    /// long.
    pub(crate) async fn close_delivered(self, reason: &ApplicationClose, limit: Duration) {
        let delivered = async {
            let closed = self.close_within(reason, limit).await;
            closed.delivered().await;
        };
        let _ = tokio::time::timeout(limit, delivered).await;
    }

    /// Writes what is queued and closes with a reason, or resets when that takes longer than the
    /// limit and a second for each 256 KiB that the peer has taken meanwhile. A regular end
    /// that can't be written is none: it resets with `Undelivered` (104).
    ///
    /// What is written need not have arrived: see [`Closed::delivered`].
    pub(crate) async fn close_within(
        mut self,
        reason: &ApplicationClose,
        limit: Duration,
    ) -> Closed {
        if reason == Success {
            self.state.set_drop_code(&Undelivered.into());
        } else {
            self.state.set_drop_code(reason);
        }
        put_close(&mut self.buffer, reason);
        let started = Instant::now();
        let mut frames = &mut [self.take_queued()][..];
        let mut written_bytes = 0;
        while !frames.is_empty() {
            let due = started + limit + allowance(written_bytes);
            match timeout_at(due, self.write_some(&mut frames)).await {
                Ok(Ok(bytes)) => written_bytes += bytes,
                _ => return Closed(None),
            }
        }
        let Some(mut stream) = self.stream.take() else {
            return Closed(None);
        };
        // Fails only when the stream is closed already.
        let _ = stream.finish();
        Closed(Some((stream, self.state.clone())))
    }
}

/// A link after its close was written, or given up. Dropping this takes nothing back.
pub(crate) struct Closed(Option<(SendStream, Arc<LinkState>)>);

impl Closed {
    /// Resolves when the peer's transport has everything, wants nothing more, or is gone. Until
    /// then the connection counts as in use.
    ///
    /// There is no limit but the connection's: the transport acknowledges what its windows have
    /// room for, whether anybody reads it or not.
    pub(crate) async fn delivered(self) {
        if let Some((stream, _state)) = self.0 {
            // Either way nothing more is on its way.
            let _ = stream.stopped().await;
        }
    }
}

/// Extra time that a peer has to take the bytes written, at [`MIN_BYTES_PER_SECOND`]. The bytes
/// that fit its window are left out, as nobody need have taken them.
fn allowance(written_bytes: usize) -> Duration {
    let taken_bytes = written_bytes.saturating_sub(STREAM_WINDOW_BYTES as usize) as u64;
    Duration::from_millis(taken_bytes * 1000 / MIN_BYTES_PER_SECOND)
}

impl Drop for LinkSender {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.stream {
            // Fails only when the stream is closed already.
            let _ = stream.reset(self.state.drop_code());
        }
    }
}
