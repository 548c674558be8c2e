//! Info of a member: what it tells every other member about itself.

use serde::{Deserialize, Serialize};

use super::lineage::{Ancestry, Lineage, LogPoint, MemberId};

/// Info of a member, as it tells it to every other one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberInfo {
    pub(crate) member: MemberId,
    pub(crate) willingness: Willingness,
    /// The member lacks history, and fetches it before it wants to be added to the membership.
    pub(crate) catching_up: bool,
    /// The history that the member belongs to, if any.
    pub(crate) lineage: Option<LineageStanding>,
    /// Offer to feed an observer; `None` if the member would feed none.
    pub(crate) feeds: Option<Feeds>,
}

/// Offer to feed an observer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feeds {
    /// Number of observers between the membership and the one that would be fed.
    pub(crate) depth: u8,
    /// False if there is only room for one that has proven the sender's write key.
    pub(crate) takes_guests: bool,
}

/// Willingness of a member to vote and lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Willingness {
    #[default]
    Normal,
    Reluctant,
    /// A member whose machine holds a state that was given up.
    Never,
    /// An observer: it is no member, and is fed by whoever is near.
    Observer,
}

impl Willingness {
    /// True of a member that would vote, and lead if need be.
    pub(crate) fn votes(self) -> bool {
        matches!(self, Self::Normal | Self::Reluctant)
    }
}

/// A history as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineageStanding {
    pub(crate) id: Lineage,
    /// The histories that this one continues, after their majorities were lost.
    pub(crate) ancestry: Ancestry,
    /// Commands that the member has applied.
    pub(crate) committed: u64,
    /// The last entry of its log, committed or not.
    pub(crate) last: Option<LogPoint>,
    /// True if a live leader with a majority is known.
    pub(crate) alive: bool,
    pub(crate) leading: bool,
}
