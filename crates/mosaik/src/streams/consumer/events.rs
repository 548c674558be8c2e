//! Events of a consumer, beside its datums.

use core::fmt;

use crate::primitives::PeerId;

/// Number of events kept for a receiver that does not take them.
pub(super) const MAX_KEPT_EVENTS: usize = 64;
/// Longest text of a decoding error that is kept, in bytes.
const MAX_ERROR_BYTES: usize = 256;

/// Events of a consumer, beside its datums; see [`Consumer::events`](super::Consumer::events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Datums of a producer were missed: they were accepted while this consumer's subscription was
    /// interrupted, were on their way when it was, or were withheld because the consumer lagged.
    ///
    /// Told before the first datum after the gap can be taken.
    Lagged {
        /// The node that produces.
        producer: PeerId,
        /// Number of lost datums; `None` if that can't be known, because the producer was built
        /// anew after the subscription was interrupted.
        lost: Option<u64>,
    },
    /// A datum arrived and could not be taken. The stream goes on without it.
    Undecodable {
        /// The node that produces.
        producer: PeerId,
        /// Reason for which the datum can't be taken.
        reason: UndecodableReason,
    },
}

/// Reasons for which a datum that arrived can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UndecodableReason {
    /// The bytes are no datum of this type: what [`Datum::decode`](crate::Datum::decode) says, at
    /// most 256 bytes of it.
    #[error("undecodable: {0}")]
    Malformed(String),
    /// The datum is larger than
    /// [`max_datum_bytes`](crate::streams::Config::max_datum_bytes) of this node.
    #[error("{len} bytes are more than the accepted {max}")]
    TooLarge {
        /// Its encoded size in bytes.
        len: usize,
        /// Largest accepted size, in bytes.
        max: usize,
    },
    /// The code that decodes panicked.
    #[error("decoding panicked")]
    Panicked,
}

impl UndecodableReason {
    pub(super) fn malformed(error: &dyn fmt::Display) -> Self {
        let mut text = error.to_string();
        let end = (0..=MAX_ERROR_BYTES)
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        Self::Malformed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        for text in ["short".to_owned(), "é".repeat(500)] {
            let UndecodableReason::Malformed(cut) = UndecodableReason::malformed(&text) else {
                panic!("malformed");
            };
            assert!(cut.len() <= MAX_ERROR_BYTES && text.starts_with(&cut) && !cut.is_empty());
        }
    }
}
