//! Limits on what peers that catch up have prepared for them; see
//! [`catch_up_server`](crate::groups::consensus::catch_up_server).

use crate::primitives::Quota;

/// Answers with pieces that are in memory at a time, until they are sent.
const MAX_ANSWERS: usize = 64;
/// The same limit per peer: it asks on one stream, and may have lost one or two before.
const MAX_ANSWERS_EACH: usize = 4;
/// Streams per peer on which it asks, for pieces or for a snapshot.
const MAX_STREAMS_EACH: usize = 32;

/// Limits on what peers have prepared for them and don't take.
pub(crate) struct SupplyLimits {
    /// Answers with pieces.
    pub(crate) answers: Quota,
    pub(crate) streams: Quota,
}

impl Default for SupplyLimits {
    fn default() -> Self {
        Self {
            answers: Quota::new(MAX_ANSWERS, MAX_ANSWERS_EACH),
            streams: Quota::new(usize::MAX, MAX_STREAMS_EACH),
        }
    }
}
