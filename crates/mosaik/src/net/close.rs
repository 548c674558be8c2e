//! Numbered reasons for which a stream or connection was closed.
//!
//! Codes 0–199 are transport faults, 200 and up are outcomes of protocols; streams use the
//! 10 000s, functions the 11 000s, status the 12 000s and groups the 30 000s. Two reasons are equal when their
//! numbers are, whatever the text.

use iroh::endpoint::{ApplicationClose, VarInt};

/// A reason for closing, known to both ends by its number.
///
/// Implemented by [`make_close_reason!`](crate::network::make_close_reason) for the types that it
/// makes; programs may define their own reasons with it.
pub trait CloseReason:
    std::error::Error
    + Into<ApplicationClose>
    + PartialEq<ApplicationClose>
    + Clone
    + Sized
    + Send
    + Sync
    + 'static
{
}

/// Makes a unit struct that is a [`CloseReason`] with the given code.
///
/// # Examples
///
/// ```
/// use mosaik::{iroh::endpoint::ApplicationClose, network::make_close_reason};
///
/// make_close_reason!(
///     /// The market is closed.
///     pub struct MarketClosed, 40_001
/// );
///
/// let close = ApplicationClose::from(MarketClosed);
/// assert_eq!(close.error_code, 40_001u32.into());
/// assert_eq!(MarketClosed, close);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __make_close_reason {
    ($(#[$meta:meta])* $vis:vis struct $name:ident, $code:expr $(,)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        $vis struct $name;

        const _: () = {
            use $crate::iroh::endpoint::{ApplicationClose, VarInt};

            impl ::core::fmt::Display for $name {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.write_str(::core::stringify!($name))
                }
            }

            impl ::core::error::Error for $name {}

            impl ::core::convert::From<$name> for ApplicationClose {
                fn from(_: $name) -> Self {
                    const CODE: u32 = $code;
                    Self {
                        error_code: VarInt::from_u32(CODE),
                        reason: $crate::Bytes::from_static(
                            ::core::stringify!($name).as_bytes()
                        ),
                    }
                }
            }

            impl ::core::cmp::PartialEq<ApplicationClose> for $name {
                fn eq(&self, other: &ApplicationClose) -> bool {
                    ApplicationClose::from(*self).error_code == other.error_code
                }
            }

            impl ::core::cmp::PartialEq<$name> for ApplicationClose {
                fn eq(&self, other: &$name) -> bool {
                    other == self
                }
            }

            impl ::core::cmp::PartialEq<$name> for &ApplicationClose {
                fn eq(&self, other: &$name) -> bool {
                    other == *self
                }
            }

            impl $crate::network::CloseReason for $name {}
        };
    };
}

#[doc(inline)]
pub use crate::__make_close_reason as make_close_reason;

make_close_reason!(
    /// The connection carries another protocol than its handler expects.
    pub struct InvalidAlpn, 100
);
make_close_reason!(
    /// The peer belongs to another network.
    pub struct DifferentNetwork, 101
);
make_close_reason!(
    /// The operation was cancelled: a handle was dropped or the node shuts down.
    pub struct Cancelled, 102
);
make_close_reason!(
    /// The peer ended its stream where a message was expected.
    pub struct UnexpectedClose, 103
);
make_close_reason!(
    /// Data sent before a regular end could not be delivered in time, and is lost.
    pub struct Undelivered, 104
);
make_close_reason!(
    /// The exchange is complete.
    pub struct Success, 200
);
make_close_reason!(
    /// The node, or what it offered here, shuts down in an orderly way.
    pub struct GracefulShutdown, 204
);
make_close_reason!(
    /// A message could not be decoded, was too large or came out of order.
    pub struct ProtocolViolation, 400
);
make_close_reason!(
    /// The acceptor has no catalog entry of the dialer, who should sync catalogs and retry.
    pub struct UnknownPeer, 401
);

/// The names of all codes of the system, for closes that arrive as a bare number.
const NAMES: &[(u32, &str)] = &[
    (100, "InvalidAlpn"),
    (101, "DifferentNetwork"),
    (102, "Cancelled"),
    (103, "UnexpectedClose"),
    (104, "Undelivered"),
    (200, "Success"),
    (204, "GracefulShutdown"),
    (400, "ProtocolViolation"),
    (401, "UnknownPeer"),
    (10_206, "Skipped"),
    (10_403, "NotAllowed"),
    (10_404, "StreamNotFound"),
    (10_409, "SchemaMismatch"),
    (10_413, "TooSlow"),
    (10_509, "NoCapacity"),
    (11_403, "NotAllowed"),
    (11_404, "FunctionNotFound"),
    (11_409, "SchemaMismatch"),
    (11_500, "HandlerFailure"),
    (11_509, "NoCapacity"),
    (12_403, "NotAllowed"),
    (12_429, "TooManyRequests"),
    (30_400, "InvalidHandshake"),
    (30_403, "NotAllowed"),
    (30_404, "GroupNotFound"),
    (30_405, "InvalidProof"),
    (30_408, "Timeout"),
    (30_429, "AlreadyBonded"),
];

/// The close that a bare code stands for.
pub(crate) fn from_code(code: VarInt) -> ApplicationClose {
    let name = NAMES
        .iter()
        .find(|(n, _)| u64::from(*n) == code.into_inner());
    ApplicationClose {
        error_code: code,
        reason: crate::Bytes::from_static(name.map_or("", |(_, name)| name).as_bytes()),
    }
}

/// The close that a stream ended with which was reset. Data that its sender had not delivered is
/// lost then, so that it is no regular end, whatever the code.
pub(crate) fn from_reset(code: VarInt) -> ApplicationClose {
    let close = from_code(code);
    if close == Success {
        return Undelivered.into();
    }
    close
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_by_number() {
        let close = ApplicationClose {
            error_code: VarInt::from_u32(401),
            reason: "whatever".into(),
        };
        assert_eq!(UnknownPeer, close);
        assert_eq!(close, UnknownPeer);
        assert!(&close == UnknownPeer);
        assert!(Success != close);
        assert_eq!(
            &ApplicationClose::from(UnknownPeer).reason[..],
            b"UnknownPeer"
        );
    }

    #[test]
    fn a_bare_code_has_its_name() {
        assert_eq!(&from_code(VarInt::from_u32(10_413)).reason[..], b"TooSlow");
        assert!(from_code(VarInt::from_u32(7)).reason.is_empty());
    }

    #[test]
    fn a_reset_is_no_regular_end() {
        assert_eq!(Undelivered, from_reset(VarInt::from_u32(200)));
        assert_eq!(UnknownPeer, from_reset(VarInt::from_u32(401)));
    }
}
