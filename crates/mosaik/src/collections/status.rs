//! Status of a collection on a node that takes part in it.

use crate::{
    collections_layer::{Mismatch, Version},
    groups::{Cursor, Membership},
    primitives::PeerId,
};

/// Status of a collection on this node, from its `status()`.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::Map;
///
/// # fn example(network: mosaik::Network) {
/// let prices = Map::<String, u64>::writer(&network, "prices");
/// let status = prices.status();
/// if !status.is_admitted {
///     eprintln!("this node lacks a ticket: what it writes stays here");
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(
    clippy::struct_excessive_bools,
    reason = "answers to questions that are independent of each other"
)]
pub struct Status {
    /// True if a leader is known, and this node is in sync with it.
    pub is_online: bool,
    /// True if this node has the tickets that it asks of others. A writer without them works alone:
    /// members that have them never meet it.
    pub is_admitted: bool,
    /// Right of this node to write, as far as it knows. `false` where the other writers
    /// have a [write key](super::CollectionConfig::with_write_key) and this node has none, or another
    /// one.
    pub may_write: bool,
    /// True if this node keeps the content in its storage, as
    /// [`durable`](super::CollectionConfig::durable) asks for. `false` also where that was asked for
    /// and could not be had: without storage, or beside an earlier handle in memory.
    pub is_durable: bool,
    /// Leader of the group; `None` while that is not known.
    pub leader: Option<PeerId>,
    /// Writers, as far as this node knows; readers follow them and are not listed.
    pub membership: Membership,
    /// The version of the local content.
    pub version: Version,
    /// Position of the last mutation in this node's log, which may not be committed.
    pub log_position: Cursor,
    /// Number of entries in the local content.
    pub entries: usize,
    /// Peers that have a collection with this store id and other ingredients, which is another one.
    /// The log warns once of each, of 256 at most.
    pub mismatches: Vec<Mismatch>,
}
