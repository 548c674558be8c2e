//! Events for a member's worker.

use tokio::sync::oneshot;

use super::{
    lineage::{Lineage, MemberId},
    member_info::LineageStanding,
};
use crate::primitives::PeerId;

/// Events for the worker.
#[derive(Debug)]
pub(crate) enum Event {
    BondUp(PeerId),
    /// A bond has ended; true if the peer announced that it leaves.
    BondDown(PeerId, bool),
    /// A bonded peer's standing changed.
    MemberInfo(PeerId),
    /// A bonded peer's entry changed.
    Entry(PeerId),
    /// Peers that a bonded peer has bonds with.
    Roster(PeerId, Vec<PeerId>),
    Leaving(MemberId),
    /// Another member says that this one is out of the membership.
    Removed {
        member: MemberId,
        by: MemberId,
    },
    Rival(LineageStanding),
    /// The leader of a history in a term has given it up for another one.
    Dissolved {
        lineage: Lineage,
        term: u64,
        winner: LineageStanding,
    },
    /// An observer needs a bond with this peer.
    Reach(PeerId),
    /// An observer has lost the source with this number.
    SourceLost(u64),
    /// This member has begun or given up a history.
    HistoryChanged,
    /// This member has fetched what it lacked of this history.
    CaughtUp(Lineage),
    /// Found a new history from this member's state; answers whether that was done.
    Reform(oneshot::Sender<bool>),
    /// Give up the history that this member holds; answers whether it had one.
    AbandonHistory(oneshot::Sender<bool>),
    /// Has the worker panic.
    #[cfg(all(test, feature = "storage"))]
    Panic,
    /// Leave the group; the worker ends.
    Leave,
    /// Hand over and stop, but stay a member; the worker ends.
    Stop,
}
