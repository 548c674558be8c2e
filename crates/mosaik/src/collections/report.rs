//! Reports of a node's collections, for its status. They cross the network as
//! [records](crate::primitives::record).

use serde::{Deserialize, Serialize};

use crate::primitives::{GroupId, PeerId, record::list, text, wire};

/// One collection that is open on a node.
///
/// The store id is not told: who knows it may join the collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CollectionReport {
    /// The group that replicates it, under which a [`GroupReport`](crate::status::GroupReport) tells
    /// the rest.
    pub group: GroupId,
    /// Name that the program gave it.
    #[serde(with = "text::optional")]
    pub label: Option<String>,
    /// `map`, `vec` and so on.
    #[serde(with = "text::one")]
    pub kind: String,
    /// Short names of the element types.
    #[serde(with = "text::one")]
    pub types: String,
    /// True if the node opened it as a reader.
    pub reads_only: bool,
    /// Number of entries.
    pub entries: u64,
    /// Number of mutations that the node has applied.
    pub version: u64,
    /// Watches that are open on the node.
    pub watchers: u64,
    /// Peers whose collections of this store id are others; some seconds old.
    #[serde(with = "list")]
    pub mismatches: Vec<MismatchReport>,
    /// Further such peers that are not listed.
    pub left_off: u64,
}

/// A peer whose collection has the same store id, and another content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MismatchReport {
    /// The peer.
    #[serde(with = "wire::peer_id")]
    pub peer: PeerId,
    /// Differences between the two.
    #[serde(with = "text::list")]
    pub differing: Vec<String>,
}
