//! Entry points for fuzzing: the first frame of a call, and the frames of a handler.

use super::wire::{Header, Kind, Tag};
use crate::primitives::{
    FunctionId,
    fuzz::{Target, encoded},
};

pub(crate) const TARGETS: &[Target] = &[
    Target::decoding::<Header>("function_header", || {
        let header = |kind| Header {
            kind,
            function: FunctionId::from("function"),
            budget_us: 1,
            request_bytes: 1,
            trace: None,
            schema: Some("v1".into()),
        };
        [Kind::Call, Kind::Stream, Kind::Probe]
            .map(|kind| encoded(&header(kind)))
            .to_vec()
    }),
    Target::new("function_reply", reply, || vec![vec![0], vec![3, 1]]),
];

fn reply(data: &[u8]) -> bool {
    data.first()
        .and_then(|byte| Tag::from_byte(*byte))
        .is_some()
}
