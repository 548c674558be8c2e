//! The way to the other members, as far as consensus needs it.

use futures::future::BoxFuture;

use crate::{
    groups::model::{
        lineage::MemberId,
        member_stream::{Channel, Gone, MemberStream},
    },
    primitives::Bytes,
};

/// Reaches the other members of one lineage.
pub(crate) trait Peers: Send + Sync + 'static {
    /// Asks a member; fails when there is no bond with it or it is lost meanwhile.
    fn ask(&self, member: MemberId, request: Bytes) -> BoxFuture<'static, Result<Bytes, Gone>>;

    /// Members that take part in this history and can be reached, this one excluded.
    fn members(&self) -> Vec<MemberId>;

    /// Has an observer make a bond with a member that it has none with. Other members have one, or
    /// make it by themselves.
    fn reach(&self, member: MemberId);

    /// True of a member whose vote counts; not of one that can't be reached.
    fn may_vote(&self, member: &MemberId) -> bool {
        let _ = member;
        true
    }

    /// True of a leader that takes commands of this member, as far as this one can tell.
    fn takes_commands(&self, leader: &MemberId) -> bool {
        let _ = leader;
        true
    }

    /// Number of voters, this member included, without which it takes no commands as the leader.
    fn needed_voters(&self) -> usize {
        1
    }

    /// Opens a stream to a member.
    fn open(
        &self,
        member: MemberId,
        channel: Channel,
    ) -> BoxFuture<'static, Result<MemberStream, Gone>>;
}
