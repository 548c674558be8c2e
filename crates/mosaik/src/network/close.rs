//! Numbered reasons for which a stream or connection was closed.
//!
//! Codes 0–199 are transport faults, 200 and up are outcomes of protocols: those of all protocols
//! stand here, those of [`streams`] (the 10 000s), [`functions`] (the 11 000s) and [`groups`] (the
//! 30 000s) in a module each. Two reasons are equal when their numbers are, whatever the text.
//! [`make_close_reason!`](crate::network::make_close_reason) makes reasons of a program's own.
//!
//! # Examples
//!
//! ```
//! use mosaik::{
//!     iroh::endpoint::ApplicationClose,
//!     network::close::{functions, streams},
//! };
//!
//! fn is_full(reason: &ApplicationClose) -> bool {
//!     streams::NoCapacity == *reason || functions::NoCapacity == *reason
//! }
//!
//! assert!(is_full(&streams::NoCapacity.into()));
//! assert!(!is_full(&functions::NotAllowed.into()));
//! ```

pub use crate::net::close::{
    Cancelled, CloseReason, DifferentNetwork, GracefulShutdown, InvalidAlpn, ProtocolViolation,
    Success, Undelivered, UnexpectedClose, UnknownPeer, make_close_reason,
};

/// Reasons for which subscriptions to a stream are refused or end.
pub mod streams {
    pub use crate::streams_layer::close::{
        NoCapacity, NotAllowed, SchemaMismatch, StreamNotFound, TooSlow,
    };
}

/// Reasons for which handlers refuse or fail a call, as
/// [`CallError::Rejected`](crate::functions::CallError::Rejected) carries them.
pub mod functions {
    pub use crate::functions_layer::close::{
        FunctionNotFound, HandlerFailure, NoCapacity, NotAllowed, SchemaMismatch,
    };
}

/// Reasons for which bonds of a group's members are refused or end.
pub mod groups {
    pub use crate::groups::close::{
        AlreadyBonded, GroupNotFound, IdentityInUse, InvalidHandshake, InvalidProof, NotAllowed,
        Timeout,
    };
}
