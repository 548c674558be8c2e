//! All that crosses the network for a call; the order of messages is in the module's page.

use iroh::endpoint::ApplicationClose;
use serde::{Deserialize, Serialize};

use super::close::SchemaMismatch;
use crate::primitives::{Digest, FunctionId, TraceParent, encoding};

pub(crate) const FUNCTIONS_ALPN: &[u8] = b"/mosaik/functions/1.0";

/// A request up to this size follows its header at once; a larger one waits for the verdict.
pub(super) const MAX_INLINE_REQUEST_BYTES: usize = 64 * 1024;
/// Largest first frame.
pub(super) const MAX_HEADER_BYTES: usize = 512;
/// Writes of a stream of replies that its caller has not taken in yet. More would be too many for
/// the caller's transport to keep, see [`STREAM_WINDOW_BYTES`](crate::net::limits).
pub(super) const MAX_WRITES_AHEAD: usize = 128;
/// The caller of a stream tells how many bytes of it were taken in after this many frames, or more.
pub(super) const FRAMES_PER_RECEIPT: usize = 32;
/// Largest receipt: the number of bytes taken in.
pub(super) const MAX_RECEIPT_BYTES: usize = 10;
/// Length of the tag in front of the payload in each frame of a handler.
pub(super) const TAG_BYTES: usize = 1;

/// First message of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) function: FunctionId,
    /// Remaining budget of the call, in microseconds.
    pub(super) budget_us: u64,
    /// Size of the encoded request.
    pub(super) request_bytes: u64,
    /// The caller's span, if the caller exports traces.
    pub(super) trace: Option<TraceParent>,
    /// The caller's schema tag, if it has one.
    pub(super) schema: Option<String>,
}

/// Kind of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// One reply.
    Call,
    /// Replies until the function has no more.
    Stream,
    /// A liveness probe: closed with success at once.
    Probe,
}

/// Kind of a handler's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// An encoded response.
    Value = 0,
    /// An encoded application error.
    Error = 1,
    /// The call is admitted: send the request.
    Proceed = 2,
    /// The function is running.
    Started = 3,
}

impl Tag {
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Value),
            1 => Some(Self::Error),
            2 => Some(Self::Proceed),
            3 => Some(Self::Started),
            _ => None,
        }
    }
}

impl Header {
    pub(super) fn decode(frame: &[u8]) -> Option<Self> {
        encoding::deserialize(frame).ok()
    }

    /// Returns whether the request follows without waiting for the verdict.
    pub(super) const fn is_inline(&self) -> bool {
        self.request_bytes <= MAX_INLINE_REQUEST_BYTES as u64
    }
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

/// Refuses a caller whose schema tag is another than the handler's, and names both.
pub(super) fn schema_mismatch(handler: &str, caller: &str) -> ApplicationClose {
    let mut reason = ApplicationClose::from(SchemaMismatch);
    // Of what the peer says no more than a tag may have.
    let caller: String = caller.chars().take(MAX_SCHEMA_BYTES).collect();
    reason.reason =
        format!("SchemaMismatch: handler has {handler:?}, caller has {caller:?}").into();
    reason
}

/// Returns whether a close is a handler's verdict on a call; any other is a failure of the
/// transport.
pub(super) fn is_verdict(close: &ApplicationClose) -> bool {
    matches!(
        close.error_code.into_inner(),
        101 | 400 | 401 | 11_403 | 11_404 | 11_409 | 11_500 | 11_509
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        functions_layer::close::{FunctionNotFound, HandlerFailure, NoCapacity, NotAllowed},
        id,
        net::close::{Cancelled, DifferentNetwork, GracefulShutdown, ProtocolViolation, Success},
    };

    #[test]
    fn the_header_has_a_fixed_form() {
        let header = Header {
            kind: Kind::Stream,
            function: id!("f"),
            budget_us: 300,
            request_bytes: 65_536,
            trace: None,
            schema: None,
        };
        let bytes = encoding::try_serialize(&header).unwrap();
        let mut expected = vec![1];
        expected.extend(id!("f").as_bytes());
        expected.extend([0xac, 0x02, 0x80, 0x80, 0x04, 0, 0]);
        assert_eq!(bytes, expected);
        assert_eq!(Header::decode(&bytes), Some(header.clone()));
        assert!(header.is_inline());
        assert!(
            !Header {
                request_bytes: 65_537,
                ..header
            }
            .is_inline()
        );
        assert!(Header::decode(&bytes[1..]).is_none());
    }

    #[test]
    fn the_largest_header_fits() {
        let header = Header {
            kind: Kind::Probe,
            function: id!("f"),
            budget_us: u64::MAX,
            request_bytes: u64::MAX,
            trace: Some(TraceParent::LARGEST),
            schema: Some(schema_tag("x".repeat(MAX_SCHEMA_BYTES))),
        };
        let bytes = encoding::try_serialize(&header).unwrap();
        assert!(bytes.len() <= MAX_HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), Some(header));
    }

    #[test]
    fn a_mismatch_names_both_tags() {
        let close = schema_mismatch("orders v2", &"x".repeat(1_000));
        assert_eq!(SchemaMismatch, close);
        let text = String::from_utf8(close.reason.to_vec()).unwrap();
        assert!(text.starts_with("SchemaMismatch: handler has \"orders v2\", caller has \"xxx"));
        assert!(text.len() < 400);
        assert_eq!(schema_tag("x".repeat(257)).len(), 64);
    }

    #[test]
    fn tags_are_their_bytes() {
        for tag in [Tag::Value, Tag::Error, Tag::Proceed, Tag::Started] {
            assert_eq!(Tag::from_byte(tag as u8), Some(tag));
        }
        assert_eq!(Tag::from_byte(4), None);
    }

    #[test]
    fn only_the_tables_codes_are_verdicts() {
        assert!(is_verdict(&NotAllowed.into()) && is_verdict(&NoCapacity.into()));
        assert!(is_verdict(&FunctionNotFound.into()) && is_verdict(&HandlerFailure.into()));
        assert!(is_verdict(&DifferentNetwork.into()) && is_verdict(&ProtocolViolation.into()));
        assert!(!is_verdict(&Success.into()) && !is_verdict(&Cancelled.into()));
        assert!(!is_verdict(&GracefulShutdown.into()));
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod vectors;
