//! Frames: how messages are told apart on a stream of bytes.
//!
//! ```text
//! ┌───────────────┬─────────────────┐   bit 31 of the length marks the close record, whose
//! │ length u32 LE │ payload         │   payload is a u32 LE code and the reason's text
//! └───────────────┴─────────────────┘
//! ```

use iroh::endpoint::{ApplicationClose, VarInt};

use super::RecvError;
use crate::{
    net::limits::MAX_HANDSHAKE_FRAME_BYTES,
    primitives::{Bytes, BytesMut},
};

/// Length of the header in front of each payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 4;
const CLOSE_FLAG: u32 = 1 << 31;
const CLOSE_CODE_BYTES: usize = 4;
/// The reason text of a close record is cut at this length.
const MAX_REASON_BYTES: usize = MAX_HANDSHAKE_FRAME_BYTES / 2;

/// One frame as it was received.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// A message.
    Data(&'a [u8]),
    /// The other side closed the link, for this reason.
    Close(ApplicationClose),
}

/// Received bytes that are being cut into frames.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    bytes: BytesMut,
    /// The frame handed out last, still in front of `bytes`.
    taken: usize,
    /// Bytes still to arrive of a frame that was given up.
    skipping: usize,
    max_frame_bytes: usize,
}

/// Extent of the next frame: its length, and whether it is a close record.
struct Extent {
    len: usize,
    close: bool,
}

impl FrameBuffer {
    pub(crate) fn new(max_frame_bytes: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            taken: 0,
            skipping: 0,
            max_frame_bytes,
        }
    }

    pub(crate) fn set_max_frame_bytes(&mut self, max: usize) {
        self.max_frame_bytes = max;
    }

    /// Adds received bytes.
    pub(crate) fn extend(&mut self, received: &[u8]) {
        self.release();
        let skipped = self.skipping.min(received.len());
        self.skipping -= skipped;
        self.bytes.extend_from_slice(&received[skipped..]);
    }

    /// Gives up the next frame, which was refused as too large and has this many bytes: what has
    /// arrived of it is thrown away, and what is still to come is not stored.
    pub(crate) fn skip(&mut self, len: usize) {
        self.release();
        let frame = FRAME_HEADER_BYTES + len;
        let arrived = frame.min(self.bytes.len());
        bytes::Buf::advance(&mut self.bytes, arrived);
        self.skipping = frame - arrived;
    }

    /// Returns whether the buffer ends in the middle of a frame.
    pub(crate) fn is_truncated(&mut self) -> bool {
        self.release();
        self.skipping > 0 || (!self.bytes.is_empty() && matches!(self.extent(), Ok(None)))
    }

    /// Number of bytes not handed out yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Returns whether nothing is left over from an unfinished frame.
    #[cfg(any(test, feature = "unstable-fuzz"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next complete frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    ///
    /// When the frame announces more than is accepted, before anything of it is stored.
    pub(crate) fn pop(&mut self) -> Result<Option<Frame<'_>>, RecvError> {
        self.release();
        let Some(extent) = self.extent()? else {
            return Ok(None);
        };
        self.taken = FRAME_HEADER_BYTES + extent.len;
        let payload = &self.bytes[FRAME_HEADER_BYTES..self.taken];
        if extent.close {
            decode_close(payload).map(Some)
        } else {
            Ok(Some(Frame::Data(payload)))
        }
    }

    /// Like [`FrameBuffer::pop`], with the payload as bytes of its own.
    pub(crate) fn pop_bytes(
        &mut self,
    ) -> Result<Option<Result<Bytes, ApplicationClose>>, RecvError> {
        self.release();
        let Some(extent) = self.extent()? else {
            return Ok(None);
        };
        if extent.close {
            return Ok(self.pop()?.and_then(|frame| match frame {
                Frame::Close(reason) => Some(Err(reason)),
                Frame::Data(_) => None,
            }));
        }
        let frame = self
            .bytes
            .split_to(FRAME_HEADER_BYTES + extent.len)
            .freeze();
        Ok(Some(Ok(frame.slice(FRAME_HEADER_BYTES..))))
    }

    fn release(&mut self) {
        if self.taken > 0 {
            bytes::Buf::advance(&mut self.bytes, self.taken);
            self.taken = 0;
        }
    }

    fn extent(&self) -> Result<Option<Extent>, RecvError> {
        let Some(header) = self.bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = u32::from_le_bytes(*header);
        let (len, close) = ((header & !CLOSE_FLAG) as usize, header & CLOSE_FLAG != 0);
        let max = if close {
            CLOSE_CODE_BYTES + MAX_REASON_BYTES
        } else {
            self.max_frame_bytes
        };
        if len > max {
            return Err(RecvError::FrameTooLarge { len, max });
        }
        let complete = self.bytes.len() - FRAME_HEADER_BYTES >= len;
        Ok(complete.then_some(Extent { len, close }))
    }
}

fn decode_close(payload: &[u8]) -> Result<Frame<'_>, RecvError> {
    let Some((code, reason)) = payload.split_first_chunk::<CLOSE_CODE_BYTES>() else {
        return Err(RecvError::Decode("close record without a code".into()));
    };
    Ok(Frame::Close(ApplicationClose {
        error_code: VarInt::from_u32(u32::from_le_bytes(*code)),
        reason: Bytes::copy_from_slice(reason),
    }))
}

/// Starts a frame at the end of `buffer`; returns its place for [`finish_frame`].
pub(crate) fn begin_frame(buffer: &mut BytesMut) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    start
}

/// Writes the length of the frame that began at `start`, unless it is larger than `max`, in which
/// case the frame is taken back and its size returned as an error.
pub(crate) fn finish_frame(buffer: &mut BytesMut, start: usize, max: usize) -> Result<(), usize> {
    let len = buffer.len() - start - FRAME_HEADER_BYTES;
    match u32::try_from(len) {
        Ok(header) if len <= max && header & CLOSE_FLAG == 0 => {
            buffer[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
            Ok(())
        }
        _ => {
            buffer.truncate(start);
            Err(len)
        }
    }
}

/// Appends a close record to `buffer`.
pub(crate) fn put_close(buffer: &mut BytesMut, reason: &ApplicationClose) {
    let text = &reason.reason[..reason.reason.len().min(MAX_REASON_BYTES)];
    let code = u32::try_from(reason.error_code.into_inner()).unwrap_or(u32::MAX);
    let len = u32::try_from(CLOSE_CODE_BYTES + text.len()).unwrap_or_default() | CLOSE_FLAG;
    buffer.extend_from_slice(&len.to_le_bytes());
    buffer.extend_from_slice(&code.to_le_bytes());
    buffer.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::close::UnknownPeer;

    fn data(payload: &[u8]) -> BytesMut {
        let mut buffer = BytesMut::new();
        let start = begin_frame(&mut buffer);
        buffer.extend_from_slice(payload);
        finish_frame(&mut buffer, start, 1 << 20).unwrap();
        buffer
    }

    #[test]
    fn frames_survive_any_fragmentation() {
        let mut wire = data(b"one");
        wire.unsplit(data(b""));
        wire.unsplit(data(&[7; 300]));
        put_close(&mut wire, &UnknownPeer.into());
        for step in [1, 2, 3, 5, 64, wire.len()] {
            let mut buffer = FrameBuffer::new(1 << 20);
            let mut got = Vec::new();
            for part in wire.chunks(step) {
                buffer.extend(part);
                while let Some(frame) = buffer.pop().unwrap() {
                    got.push(match frame {
                        Frame::Data(bytes) => bytes.to_vec(),
                        Frame::Close(reason) => reason.reason.to_vec(),
                    });
                }
            }
            assert_eq!(got, [&b"one"[..], b"", &[7; 300], b"UnknownPeer"]);
            assert!(buffer.pop().unwrap().is_none());
        }
    }

    #[test]
    fn both_ways_of_taking_frames_agree() {
        let mut wire = data(b"one");
        put_close(&mut wire, &UnknownPeer.into());
        let mut buffer = FrameBuffer::new(16);
        buffer.extend(&wire);
        assert_eq!(buffer.pop_bytes().unwrap().unwrap().unwrap(), "one");
        assert_eq!(
            UnknownPeer,
            buffer.pop_bytes().unwrap().unwrap().unwrap_err()
        );
        assert!(buffer.pop_bytes().unwrap().is_none());
    }

    #[test]
    fn a_beginning_without_an_end_is_noticed() {
        let wire = data(b"one");
        let mut buffer = FrameBuffer::new(16);
        assert!(!buffer.is_truncated());
        buffer.extend(&wire);
        assert!(!buffer.is_truncated(), "complete, not taken yet");
        assert!(buffer.pop().unwrap().is_some());
        assert!(!buffer.is_truncated());
        for part in [&wire[..3], &wire[3..5]] {
            buffer.extend(part);
            assert!(buffer.is_truncated());
        }
    }

    #[test]
    fn oversized_frames_are_refused_by_their_header_alone() {
        let mut buffer = FrameBuffer::new(10);
        buffer.extend(&11u32.to_le_bytes());
        assert!(matches!(
            buffer.pop(),
            Err(RecvError::FrameTooLarge { len: 11, max: 10 })
        ));
        let mut buffer = FrameBuffer::new(10);
        buffer.extend(&u32::MAX.to_le_bytes());
        assert!(buffer.pop().is_err());
    }

    #[test]
    fn a_frame_that_was_refused_can_be_skipped_without_being_stored() {
        let mut wire = data(&[1; 1000]);
        wire.unsplit(data(b"two"));
        for step in [1, 7, 500, wire.len()] {
            let mut buffer = FrameBuffer::new(10);
            let mut got = Vec::new();
            for part in wire.chunks(step) {
                buffer.extend(part);
                match buffer.pop() {
                    Ok(Some(Frame::Data(bytes))) => got.push(bytes.to_vec()),
                    Err(RecvError::FrameTooLarge { len, .. }) => {
                        buffer.skip(len);
                        assert!(buffer.len() <= step);
                    }
                    other => assert!(matches!(other, Ok(None))),
                }
            }
            if let Ok(Some(Frame::Data(bytes))) = buffer.pop() {
                got.push(bytes.to_vec());
            }
            assert_eq!(got, [b"two"], "{step}");
            assert!(!buffer.is_truncated());
        }
    }

    #[test]
    fn an_oversized_message_is_taken_back() {
        let mut buffer = data(b"before");
        let before = buffer.clone();
        let start = begin_frame(&mut buffer);
        buffer.extend_from_slice(&[0; 100]);
        assert_eq!(finish_frame(&mut buffer, start, 99), Err(100));
        assert_eq!(buffer, before);
    }
}
