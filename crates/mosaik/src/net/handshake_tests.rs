use super::*;
use crate::{
    net::{close::UnknownPeer, link::put_close},
    primitives::vectors,
};

#[test]
fn recorded_encodings() {
    let hello = Hello {
        version: WIRE_VERSION,
        proof: [7; 32],
    };
    let mut frame = BytesMut::new();
    let start = begin_frame(&mut frame);
    frame.extend_from_slice(b"one");
    finish_frame(&mut frame, start, 3).unwrap();
    let mut close = BytesMut::new();
    put_close(&mut close, &UnknownPeer.into());
    vectors::check(|v| {
        v.pin("Hello", &hello, "01 07*32");
        v.pin("Welcome", &Welcome { proof: [7; 32] }, "07*32");
        v.bytes("frame", &frame, "03000000 6f6e65");
        v.bytes(
            "close record",
            &close,
            "0f00008091010000556e6b6e6f776e50656572",
        );
    });
}
