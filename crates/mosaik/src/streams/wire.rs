//! Wire format of streams: the handshake of a subscription, and the codes that it ends with.
//!
//! ```text
//! consumer                                       producer
//!    │── Subscribe { stream, criteria, credit, … }─►│  admission; else a close record with the code
//!    │◄────────────────── Accepted { run, position }│
//!    │◄─────────────────────────── datum, datum, …──│  one frame each, as Datum::encode made it
//!    │── Credit ───────────────────────────────────►│  now and then
//! ```
//!
//! **Positions** count the datums that a producer has accepted in its run. A consumer knows from
//! the position at which it was accepted, and from what it has received since, how many it misses
//! when it subscribes again. A producer that withholds datums from a lagging consumer says so in
//! band: by a record like the one that closes a link, with the code [`Skipped`] and the number of
//! datums as its text, which ends nothing.
//!
//! **Credit** is how many bytes of frames the producer may send. It sends while it has any, and
//! may overdraw it by one chunk, so that datums of any size pass: one datum, or several that are
//! together at most 64 KiB. A producer that sends more breaks the protocol. The consumer gives what
//! it has taken in again as long as its queue has room. The transport's own flow control could not do
//! this: a consumer that reads nothing would use up the window of its whole connection, and the
//! transport (noq 1.4) drops a connection with more than 2048 unread packets of one stream.

use iroh::endpoint::ApplicationClose;
use serde::{Deserialize, Serialize};

use super::{Criteria, close::SchemaMismatch};
use crate::{
    net::{
        close::{GracefulShutdown, make_close_reason},
        link::put_close,
    },
    primitives::{Bytes, BytesMut, Digest, StreamId},
};

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
    /// Number of bytes of frames that may be sent at first.
    pub(super) credit: u64,
    /// Schema that the consumer expects of the datums.
    pub(super) schema: Option<String>,
}

/// More credit, from the consumer; none only shows that it goes on taking.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Credit {
    pub(super) bytes: u64,
}

/// The producer's answer when the consumer is admitted; datums follow.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Accepted {
    /// Drawn by the producer when it was built.
    pub(super) run: u64,
    /// Position of the first datum that this subscription gets.
    pub(super) position: u64,
}

/// The payload of a record about withheld datums: the code and their number.
pub(super) const SKIPPED_BYTES: usize = 4 + 8;

/// A record about withheld datums, as it crosses the network.
pub(super) fn skipped(datums: u64) -> Bytes {
    let mut frame = BytesMut::new();
    let mut record = ApplicationClose::from(Skipped);
    record.reason = Bytes::copy_from_slice(&datums.to_le_bytes());
    put_close(&mut frame, &record);
    frame.freeze()
}

/// Number of datums withheld, as a record tells; `None` if the record ends the link.
pub(super) fn skipped_by(record: &ApplicationClose) -> Option<u64> {
    let is_notice = Skipped == *record;
    let datums = record.reason[..].try_into().ok().filter(|_| is_notice);
    datums.map(u64::from_le_bytes)
}

/// Longest schema tag that is kept as it is, in bytes.
const MAX_SCHEMA_BYTES: usize = 256;

/// A schema tag as it crosses the network: of a long one the digest.
pub(super) fn schema_tag(tag: String) -> String {
    if tag.len() <= MAX_SCHEMA_BYTES {
        tag
    } else {
        Digest::from(tag.as_str()).to_string()
    }
}

/// Refuses a consumer whose schema tag is another than the producer's, and names both.
pub(super) fn schema_mismatch(producer: &str, consumer: &str) -> ApplicationClose {
    let mut reason = ApplicationClose::from(SchemaMismatch);
    // Of what the peer says no more than a tag may have.
    let consumer: String = consumer.chars().take(MAX_SCHEMA_BYTES).collect();
    let text = format!("SchemaMismatch: producer has {producer:?}, consumer has {consumer:?}");
    reason.reason = text.into();
    reason
}

/// The regular end of a stream, with the position after its last datum as its text. Without one, a
/// subscription ends before the stream.
pub(super) fn finished(position: u64) -> ApplicationClose {
    let mut reason = ApplicationClose::from(GracefulShutdown);
    reason.reason = position.to_string().into();
    reason
}

/// The position at which a stream has ended, if it has.
pub(super) fn finished_at(reason: &ApplicationClose) -> Option<u64> {
    let text = std::str::from_utf8(&reason.reason).ok();
    text.filter(|_| GracefulShutdown == *reason)?.parse().ok()
}

make_close_reason!(
    /// Datums were withheld: how many is the text. The subscription goes on.
    pub(super) struct Skipped, 10_206
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::link::{Frame, FrameBuffer};
    use crate::streams_layer::close::TooSlow;

    #[test]
    fn a_notice_says_how_many_datums_were_withheld() {
        let mut buffer = FrameBuffer::new(10);
        buffer.extend(&skipped(u64::MAX - 7));
        let Ok(Some(Frame::Close(record))) = buffer.pop() else {
            panic!("a record");
        };
        assert_eq!(skipped_by(&record), Some(u64::MAX - 7));
        assert_eq!(skipped_by(&Skipped.into()), None, "no number");
        assert_eq!(skipped_by(&TooSlow.into()), None);
    }

    #[test]
    fn a_regular_end_says_where_it_is() {
        assert_eq!(finished_at(&finished(u64::MAX)), Some(u64::MAX));
        assert_eq!(finished(7), GracefulShutdown);
        assert_eq!(finished_at(&GracefulShutdown.into()), None, "a cut");
        let mut other = ApplicationClose::from(TooSlow);
        other.reason = "7".into();
        assert_eq!(finished_at(&other), None);
    }

    #[test]
    fn long_schema_tags_are_told_apart_by_their_digests() {
        let (one, two) = ("1".repeat(1000), "1".repeat(1001));
        assert_eq!(schema_tag("v1".into()), "v1");
        assert_eq!(schema_tag(one.clone()), schema_tag(one.clone()));
        assert_ne!(schema_tag(one.clone()), schema_tag(two));
        assert!(schema_tag(one.clone()).len() <= MAX_SCHEMA_BYTES);
        let refusal = schema_mismatch("v1", &one);
        assert_eq!(SchemaMismatch, refusal);
        assert!(
            refusal
                .reason
                .starts_with(b"SchemaMismatch: producer has \"v1\", consumer has \"11")
        );
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod vectors;
