//! What crosses the network: the handshake of a subscription, and the codes that it ends with.
//!
//! ```text
//! consumer                               producer
//!    │── Subscribe { stream, criteria } ───►│  admission; else a close record with the code
//!    │◄──────────────────────── Accepted ───│
//!    │◄─────────────────── datum, datum, …──│  one frame each, as Datum::encode made it
//! ```

use serde::{Deserialize, Serialize};

use super::Criteria;
use crate::{net::close::make_close_reason, primitives::StreamId};

/// The protocol's name.
pub(crate) const STREAMS_ALPN: &[u8] = b"/mosaik/streams/1.0";

/// Largest frame of the handshake, and of anything that a consumer sends.
pub(super) const MAX_CONTROL_FRAME_BYTES: usize = 64 * 1024;

/// The first message of a consumer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Subscribe {
    pub(super) stream_id: StreamId,
    pub(super) criteria: Criteria,
}

/// The producer's answer when the consumer is admitted; datums follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Accepted {}

make_close_reason!(
    /// The requirements or tickets of a subscription fail.
    pub(super) struct NotAllowed, 10_403
);
make_close_reason!(
    /// The stream is not produced here.
    pub(super) struct StreamNotFound, 10_404
);
make_close_reason!(
    /// The consumer held up the others, or took nothing for too long.
    pub(super) struct TooSlow, 10_413
);
make_close_reason!(
    /// The producer serves as many consumers as it may.
    pub(super) struct NoCapacity, 10_509
);
