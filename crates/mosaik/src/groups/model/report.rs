//! Reports of a node's groups, for its status. They cross the network as
//! [records](crate::primitives::record).

use serde::{Deserialize, Deserializer, Serialize};

use crate::primitives::{
    Digest, GroupId, PeerId,
    record::{codes, list},
    text, wire,
};

/// One group that a node has joined, as its member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupReport {
    /// The group.
    pub group: GroupId,
    /// Name that the program gave it.
    #[serde(with = "text::optional")]
    pub label: Option<String>,
    /// Short name of the machine's type, without its parameters.
    #[serde(with = "text::one")]
    pub machine: String,
    /// The history that the member belongs to; `None` before the first one.
    pub lineage: Option<Digest>,
    /// Part that the member takes.
    pub role: GroupRole,
    /// True if the member can serve commands and queries.
    pub online: bool,
    /// True if no leader could be elected for a while: the group stands still.
    pub halted: bool,
    /// True while the member fetches history.
    pub catching_up: bool,
    /// The leader that the member knows.
    #[serde(with = "wire::optional_peer_id")]
    pub leader: Option<PeerId>,
    /// Term of the consensus.
    pub term: u64,
    /// Members with a vote.
    #[serde(with = "wire::peer_ids")]
    pub voters: Vec<PeerId>,
    /// Members without a vote.
    #[serde(with = "wire::peer_ids")]
    pub learners: Vec<PeerId>,
    /// Voters to which this member has no bond.
    #[serde(with = "wire::peer_ids")]
    pub missing: Vec<PeerId>,
    /// Commands that are committed and applied here.
    pub committed: u64,
    /// Commands in the log here, committed or not.
    pub log: u64,
    /// Commands that this member has given up, because another history won.
    pub discarded: u64,
    /// Place where the member keeps its state.
    pub storage: GroupStorage,
    /// Failure for which the member can't take part.
    #[serde(with = "text::optional")]
    pub failure: Option<String>,
    /// Members that must have met before the group is founded.
    pub min_members: u64,
    /// Voters that the group grows to, if there are as many members.
    pub max_voters: u64,
    /// The other members and observers that this member has bonds with.
    #[serde(with = "list")]
    pub bonds: Vec<BondReport>,
    /// Further bonds, voters and learners that are not listed.
    pub left_off: u64,
    /// Time since the node joined the group.
    #[serde(default)]
    pub joined_ms: u64,
    /// The node's clock when this was described, in milliseconds of Unix time.
    #[serde(default)]
    pub clock_ms: u64,
    /// Histories that the member's own continues, the latest first.
    #[serde(default, deserialize_with = "ancestry")]
    pub ancestry: Vec<Digest>,
}

/// Histories that are read of those that one continues: no member names more.
const MAX_ANCESTORS: usize = 16;

fn ancestry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    let mut ancestry = Vec::deserialize(deserializer)?;
    ancestry.truncate(MAX_ANCESTORS);
    Ok(ancestry)
}

/// A member at the other end of a bond, by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BondReport {
    /// The node.
    #[serde(with = "wire::peer_id")]
    pub peer: PeerId,
    /// The history that it belongs to.
    pub lineage: Option<Digest>,
    /// True if that is another history than the reporting member's, and neither continues the other.
    pub rival: bool,
    /// Commands that it had applied when it last told.
    pub committed: u64,
    /// True while it fetches history.
    pub catching_up: bool,
    /// True if it only observes.
    pub observes: bool,
}

codes! {
    /// Part that a node takes in a group.
    pub enum GroupRole {
        /// Another one.
        Unknown = "unknown",
        /// It leads.
        Leader = "leader",
        /// It votes.
        Voter = "voter",
        /// It replicates without a vote.
        Learner = "learner",
        /// It follows from outside.
        Observer = "observer",
        /// It has joined, and does not belong to the group yet.
        Joining = "joining",
    }
}

codes! {
    /// Place where a member keeps its state.
    pub enum GroupStorage {
        /// Another one.
        Unknown = "unknown",
        /// In memory: it ends with the node.
        Memory = "memory",
        /// On disk.
        Durable = "durable",
    }
}
