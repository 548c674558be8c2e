//! Everything that members say to each other, except for consensus messages.
//!
//! ```text
//! dialler ── Opening::Bond(proof) ─────────────► acceptor      up to 1 KiB, nothing revealed
//! dialler ◄─ Welcome(proof, introduction) ────── acceptor      the dialler has proven the key
//! dialler ── Introduction ─────────────────────► acceptor
//! dialler ◄─ Established ─────────────────────── acceptor      from here on: Control, both ways
//! ```

use serde::{Deserialize, Serialize};

use crate::{
    groups::{
        member::{Lineage, MemberId},
        raft::Channel,
    },
    primitives::{Bytes, Digest, GroupId, PeerId},
    tickets::SignedPeerEntry,
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
        channel: Channel,
    },
    /// Signs of life from now on: one for all groups that the two share.
    Beats,
}

/// The acceptor's side of the proof.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) nonce: [u8; 16],
    pub(crate) proof: [u8; 32],
    pub(crate) introduction: Introduction,
}

/// Who one is, told after the proof.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Introduction {
    pub(crate) entry: SignedPeerEntry,
    /// Random for each joining of the group: tells a restarted member from a reconnected one.
    pub(crate) session: u64,
    pub(crate) standing: Standing,
}

/// The acceptor has taken the bond in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Established;

/// Where a member stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) member: MemberId,
    pub(crate) willingness: Willingness,
    /// The member lacks history, and fetches it before it wants to be added to the membership.
    pub(crate) catching_up: bool,
    /// The history that the member belongs to, if any.
    pub(crate) lineage: Option<LineageStanding>,
}

/// Whether a member would lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Willingness {
    #[default]
    Normal,
    Reluctant,
    Never,
}

/// A history as one member sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineageStanding {
    pub(crate) id: Lineage,
    /// The history that this one continues, after its majority was lost.
    pub(crate) parent: Option<Parent>,
    /// Commands that the member has applied.
    pub(crate) committed: u64,
    /// Whether a live leader with a majority is known.
    pub(crate) alive: bool,
    pub(crate) leading: bool,
}

/// Where a history branched off from an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) lineage: Lineage,
    /// The consensus index up to which the two are surely the same.
    pub(crate) shared: u64,
}

/// What is said on a bond.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Control {
    /// The sender's standing changed. Messages may overtake each other: the one with the highest
    /// number counts.
    Standing { number: u64, standing: Standing },
    /// The sender's discovery entry changed.
    Entry(Box<SignedPeerEntry>),
    /// Peers that the sender has bonds with.
    Roster(Vec<PeerId>),
    /// A question of the sender's consensus instance.
    Ask {
        id: u64,
        lineage: Lineage,
        from: MemberId,
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
    /// This history has lost against another one.
    Dissolved { lineage: Lineage, winner: Lineage },
}
