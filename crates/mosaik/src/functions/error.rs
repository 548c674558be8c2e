//! Errors of a call.

use iroh::endpoint::ApplicationClose;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of a call.
///
/// | Variant | The function ran |
/// |---|---|
/// | `Application`, `Decode` | yes |
/// | `Encode` | no |
/// | `Timeout`, `Transport` | maybe |
/// | `Rejected` | maybe: with 11500 it failed, with 11404 it may have been interrupted; with any code it may be running on another handler than the one that refused when the budget ends |
/// | `Unavailable` | no, unless this network was shut down during the call: then maybe |
#[derive(Debug, thiserror::Error)]
pub enum CallError<E> {
    /// The function's own error. It ran; no other handler was asked.
    #[error("function returned an application error")]
    Application(E),
    /// The budget ended while a handler had the request and had not replied, or while there were
    /// handlers but none could be asked, as their tickets had become invalid.
    #[error("call timed out")]
    Timeout,
    /// There was no eligible handler within the budget, or the network was shut down.
    #[error("no eligible handler available")]
    Unavailable,
    /// Handlers refused the call; this is the latest refusal. At the end of the budget it takes
    /// precedence over whatever other handlers did or did not answer. The code is 11509 also when
    /// this node has as many calls open to the handler as fit on their connection (960).
    #[error("call rejected by handler: {}", .0.reason.escape_ascii())]
    Rejected(ApplicationClose),
    /// No handler could be reached, or one was lost after the function may have started, or its
    /// reply could not be delivered (104).
    #[error("transport failure: {0}")]
    Transport(#[source] BoxError),
    /// The request has no encoding, or is larger than allowed.
    #[error("request encoding failed: {0}")]
    Encode(#[source] BoxError),
    /// The reply can't be decoded, as the two sides disagree about the types, or is larger than
    /// `max_message_bytes` of the caller's node.
    #[error("response decoding failed: {0}")]
    Decode(#[source] BoxError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::endpoint::VarInt;
    use std::error::Error;

    #[derive(Debug)]
    struct Opaque;

    #[test]
    fn texts_and_sources() {
        let close = ApplicationClose {
            error_code: VarInt::from_u32(11_403),
            reason: "Not\nAllowed".into(),
        };
        let cases: [(CallError<Opaque>, &str); 7] = [
            (
                CallError::Application(Opaque),
                "function returned an application error",
            ),
            (CallError::Timeout, "call timed out"),
            (CallError::Unavailable, "no eligible handler available"),
            (
                CallError::Rejected(close),
                "call rejected by handler: Not\\nAllowed",
            ),
            (CallError::Transport("x".into()), "transport failure: x"),
            (CallError::Encode("x".into()), "request encoding failed: x"),
            (CallError::Decode("x".into()), "response decoding failed: x"),
        ];
        for (index, (error, text)) in cases.into_iter().enumerate() {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.source().is_some(), index >= 4);
        }
    }
}
