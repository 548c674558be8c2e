//! Entry points for fuzzing: the messages of a subscription.

use super::{
    Criteria,
    wire::{Accepted, Credit, Subscribe},
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
            schema: Some("v1".into()),
        })]
    }),
    Target::decoding::<Accepted>("stream_accepted", || {
        let (run, position) = (1, 2);
        vec![encoded(&Accepted { run, position })]
    }),
    Target::decoding::<Credit>("stream_credit", || {
        [0, 1, u64::MAX]
            .map(|bytes| encoded(&Credit { bytes }))
            .to_vec()
    }),
];
