//! Limits on what peers that catch up have prepared for them; see
//! [`catch_up_server`](crate::groups::consensus::catch_up_server).

use crate::primitives::Quota;

/// Answers with pieces that are in memory at a time, until they are sent.
const MAX_ANSWERS: usize = 64;
/// The same limit per peer: it asks on one stream, and may have lost one or two before.
const MAX_ANSWERS_EACH: usize = 4;
/// The same limits for guests, which need to prove nothing: members don't wait for them.
const MAX_GUEST_ANSWERS: usize = 16;
const MAX_GUEST_ANSWERS_EACH: usize = 2;
/// Streams per peer on which it asks, for pieces or for a snapshot.
const MAX_STREAMS_EACH: usize = 32;

/// Limits on what peers have prepared for them and don't take.
pub(crate) struct SupplyLimits {
    /// Answers with pieces for members.
    pub(crate) answers: Quota,
    /// Answers with pieces for guests.
    pub(crate) guest_answers: Quota,
    pub(crate) streams: Quota,
}

impl Default for SupplyLimits {
    fn default() -> Self {
        Self {
            answers: Quota::new(MAX_ANSWERS, MAX_ANSWERS_EACH),
            guest_answers: Quota::new(MAX_GUEST_ANSWERS, MAX_GUEST_ANSWERS_EACH),
            streams: Quota::new(usize::MAX, MAX_STREAMS_EACH),
        }
    }
}
