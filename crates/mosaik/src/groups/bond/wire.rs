//! Everything that members say to each other, except for consensus messages.
//!
//! ```text
//! dialler ── Opening::Bond(proof) ─────────────► acceptor      up to 1 KiB, nothing revealed
//! dialler ◄─ Welcome(proof, introduction) ────── acceptor      the dialler has proven the key
//! dialler ── Introduction ─────────────────────► acceptor
//! dialler ◄─ Established ─────────────────────── acceptor      from here on: Control, both ways
//! ```
//!
//! A member with a write key proves that as well, in its introduction. Whoever has the key itself
//! takes a peer that has not proven it as a reader: see [`Access`](super::access::Access).

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    groups::model::{
        lineage::{Lineage, MemberId},
        member_info::{LineageStanding, MemberInfo},
        member_stream::Channel,
    },
    primitives::{Bytes, Digest, GroupId, PeerId},
    tickets::{SignedPeerEntry, wire::peers},
};

/// The protocol's name.
pub(crate) const ALPN: &[u8] = b"/mosaik/groups/1";
/// Largest frame of an established bond's control stream: an entry and little else.
pub(crate) const MAX_CONTROL_FRAME_BYTES: usize = 1024 * 1024;
/// Largest frame of a stream that carries commands or snapshots.
pub(crate) const MAX_CHANNEL_FRAME_BYTES: usize = 64 * 1024 * 1024;
/// Members that are named in one roster.
pub(crate) const MAX_ROSTER: usize = 256;

/// The first frame of every stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Opening {
    /// Asks for a bond.
    Bond {
        group: GroupId,
        /// Random; makes the bond's id its own.
        nonce: [u8; 16],
        proof: [u8; 32],
    },
    /// Opens a stream on an established bond.
    Channel {
        group: GroupId,
        bond: Digest,
        lineage: Lineage,
        from: MemberId,
        /// The peer may be another member by now.
        to: MemberId,
        channel: Channel,
    },
    /// Signs of life from now on: one for all groups that the two share.
    KeepAlive,
}

/// The acceptor's side of the proof.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) nonce: [u8; 16],
    pub(crate) proof: [u8; 32],
    pub(crate) introduction: Introduction,
}

/// Introduction of a member, sent after the proof.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Introduction {
    pub(crate) entry: SignedPeerEntry,
    /// Random for each joining of the group: tells a restarted member from a reconnected one.
    pub(crate) session: u64,
    pub(crate) standing: MemberInfo,
    /// That the sender has the write key, if it has one.
    pub(crate) write_proof: Option<[u8; 32]>,
}

/// The acceptor has taken the bond in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Established;

/// Messages on a bond.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// The sender's standing changed. Messages may overtake each other: the one with the highest
    /// number counts.
    MemberInfo { number: u64, standing: MemberInfo },
    /// The sender's discovery entry changed.
    Entry(Box<SignedPeerEntry>),
    /// Peers that the sender has bonds with.
    Roster(#[serde(serialize_with = "peers::serialize", deserialize_with = "roster")] Vec<PeerId>),
    /// A question of the sender's consensus instance.
    Ask {
        id: u64,
        lineage: Lineage,
        from: MemberId,
        /// The receiver may be another member by now.
        to: MemberId,
        request: Bytes,
    },
    /// The answer; `None` when there is no such instance.
    Answer { id: u64, response: Option<Bytes> },
    /// The sender wants to leave the membership.
    Leaving(MemberId),
    /// The receiver is no longer in the membership.
    Removed(MemberId),
    /// A rival history that the sender has met, told to its leader.
    Rival(LineageStanding),
    /// Sent by this history's leader of that term: the history has lost against another one.
    Dissolved {
        lineage: Lineage,
        term: u64,
        winner: LineageStanding,
    },
}

/// Each id costs its receiver a point decompression.
fn roster<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PeerId>, D::Error> {
    peers::bounded(deserializer, MAX_ROSTER)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
