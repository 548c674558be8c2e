//! The questions and answers of status, and the codes that they end with.
//!
//! Items are [records](crate::primitives::record), and so are questions and pages themselves: a later
//! version adds fields at their ends, and sections behind the last. Who does not know a section
//! answers that it has nothing in it.

use serde::{Deserialize, Serialize};

use crate::{net::close::make_close_reason, primitives::Bytes};

/// Name of the protocol. The number changes when the rule of records does not suffice.
pub(crate) const STATUS_ALPN: &[u8] = b"/mosaik/status/1";

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Number of the section.
    pub(super) section: u8,
    /// Items to pass over.
    pub(super) skip: u32,
}

/// An answer: the items of a section that follow those passed over, as many as there is room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// Number of the description, which grows with time: items of one number are of one moment.
    pub(super) sequence: u64,
    /// Items of the section that can be asked for.
    pub(super) available: u32,
    /// Items that the node has besides and does not describe.
    pub(super) left_off: u64,
    pub(super) items: Vec<Bytes>,
}

/// Part of a node's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Section {
    Node = 0,
    Links = 1,
    Streams = 2,
    Functions = 3,
    Groups = 4,
    Collections = 5,
}

impl Section {
    pub(super) const ALL: [Self; 6] = [
        Self::Node,
        Self::Links,
        Self::Streams,
        Self::Functions,
        Self::Groups,
        Self::Collections,
    ];

    pub(super) fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

make_close_reason!(
    /// The node answers nobody, or not this peer.
    pub(super) struct NotAllowed, 12_403
);
make_close_reason!(
    /// The peer has asked too much, or the node has too many others to answer.
    pub(super) struct TooManyRequests, 12_429
);

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
