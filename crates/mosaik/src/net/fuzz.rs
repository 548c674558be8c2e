//! Entry points for fuzzing: frames and the network proof.

use super::{
    handshake::{Hello, Welcome},
    link::{Frame, FrameBuffer, begin_frame, finish_frame},
};
use crate::primitives::{
    BytesMut,
    fuzz::{Target, encoded},
};

pub(crate) const TARGETS: &[Target] = &[
    Target::decoding::<Hello>("hello", || vec![encoded(&(1u16, [7u8; 32]))]),
    Target::decoding::<Welcome>("welcome", || vec![encoded(&[7u8; 32])]),
    Target::new("frames", frames, streams_of_frames),
];

const MAX_FRAME_BYTES: usize = 4096;

/// The first byte says in what pieces the rest arrives.
fn frames(data: &[u8]) -> bool {
    let Some((step, wire)) = data.split_first() else {
        return false;
    };
    let mut by_reference = FrameBuffer::new(MAX_FRAME_BYTES);
    let mut by_value = FrameBuffer::new(MAX_FRAME_BYTES);
    for part in wire.chunks(usize::from(*step).max(1)) {
        by_reference.extend(part);
        by_value.extend(part);
        loop {
            let one = by_reference.pop().map(|frame| {
                frame.map(|frame| match frame {
                    Frame::Data(bytes) => Ok(bytes.to_vec()),
                    Frame::Close(reason) => Err(reason.error_code),
                })
            });
            let other = by_value.pop_bytes();
            let (Ok(one), Ok(other)) = (&one, &other) else {
                assert!(one.is_err() && other.is_err(), "both ways refuse the same");
                return false;
            };
            match (one, other) {
                (None, None) => break,
                (Some(Ok(one)), Some(Ok(other))) => {
                    assert!(one[..] == other[..] && one.len() <= MAX_FRAME_BYTES);
                }
                (Some(Err(one)), Some(Err(other))) => assert_eq!(*one, other.error_code),
                _ => panic!("both ways of taking frames agree"),
            }
        }
    }
    by_reference.is_empty()
}

fn streams_of_frames() -> Vec<Vec<u8>> {
    let mut wire = BytesMut::new();
    for payload in [&b"one"[..], b"", &[7; 300]] {
        let start = begin_frame(&mut wire);
        wire.extend_from_slice(payload);
        finish_frame(&mut wire, start, MAX_FRAME_BYTES).expect("the frame is small");
    }
    // A close record: 4 bytes of code and 11 of text.
    wire.extend_from_slice(&0x8000_000f_u32.to_le_bytes());
    wire.extend_from_slice(&401_u32.to_le_bytes());
    wire.extend_from_slice(b"UnknownPeer");
    [1, 5, 255]
        .map(|step| [&[step], &wire[..]].concat())
        .to_vec()
}
