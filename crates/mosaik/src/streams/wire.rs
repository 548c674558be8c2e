//! What crosses the network: the handshake of a subscription, and the codes that it ends with.
//!
//! ```text
//! consumer                                       producer
//!    │── Subscribe { stream, criteria, credit } ───►│  admission; else a close record with the code
//!    │◄──────────────────────────────── Accepted ───│
//!    │◄─────────────────────────── datum, datum, …──│  one frame each, as Datum::encode made it
//!    │── Credit ───────────────────────────────────►│  now and then
//! ```
//!
//! **Credit** is how many bytes of frames the producer may send. It sends while it has any, and
//! may overdraw it by one chunk, so that datums of any size pass: one datum, or several that are
//! together at most 64 KiB. A producer that sends more breaks the protocol. The consumer gives what
//! it has taken in again as long as its queue has room. The transport's own flow control could not do
//! this: a consumer that reads nothing would use up the window of its whole connection, and the
//! transport (noq 1.4) drops a connection with more than 2048 unread packets of one stream.

use serde::{Deserialize, Serialize};

use super::Criteria;
use crate::{net::close::make_close_reason, primitives::StreamId};

/// The protocol's name.
pub(crate) const STREAMS_ALPN: &[u8] = b"/mosaik/streams/1.0";

/// Largest frame of the handshake, and of anything that a consumer sends.
pub(super) const MAX_CONTROL_FRAME_BYTES: usize = 64 * 1024;

/// Largest chunk of several datums: what a producer may send beyond its credit.
pub(super) const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// The first message of a consumer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Subscribe {
    pub(super) stream_id: StreamId,
    pub(super) criteria: Criteria,
    /// How many bytes of frames may be sent at first.
    pub(super) credit: u64,
}

/// More credit, from the consumer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Credit {
    pub(super) bytes: u64,
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
