//! Entry points for fuzzing: the handshake of a subscription.

use super::{
    Criteria,
    wire::{Accepted, Subscribe},
};
use crate::primitives::{
    StreamId,
    fuzz::{Target, encoded},
};

pub(crate) const TARGETS: &[Target] = &[
    Target::decoding::<Subscribe>("stream_subscribe", || {
        let (stream_id, criteria) = (StreamId::from("stream"), Criteria::default());
        vec![encoded(&Subscribe {
            stream_id,
            criteria,
            credit: 1,
        })]
    }),
    Target::decoding::<Accepted>("stream_accepted", || vec![encoded(&Accepted {})]),
];
