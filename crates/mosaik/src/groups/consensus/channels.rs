//! Server of the streams that other members and observers open.

use std::sync::Arc;

use super::core::NodeCore;
use crate::groups::model::{
    lineage::MemberId,
    member_stream::{Channel, Gone, MemberStream},
};

impl NodeCore {
    /// Serves a stream until it ends, or this instance does: what is left of a history that was given
    /// up must not go on.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        from: MemberId,
        channel: Channel,
        stream: MemberStream,
    ) {
        let serving = async {
            match channel {
                Channel::Append => self.serve_append(stream).await,
                Channel::Snapshot => drop(self.serve_snapshot_of(from, stream).await),
                Channel::Fetch => drop(self.serve_fetch(from, stream).await),
                Channel::Forward(origin) if origin.is_beside(&from) => {
                    // However it ends: what was not applied is sent again.
                    let _ = self.serve_forward(origin, stream).await;
                }
                Channel::Forward(_) => {}
                // However it ends: the newcomer asks again, or takes the log.
                Channel::Offer => drop(self.serve_offer(from, stream).await),
                // However it ends: the observer looks for another source.
                Channel::Follow => drop(self.serve_follow(from, stream).await),
            }
        };
        tokio::select! {
            biased;
            () = self.scope.cancelled() => {}
            () = serving => {}
        }
    }

    /// Takes a snapshot from a member. An observer takes it from its source only, one at a time, and
    /// for as long as that is its source: others would bring it the same once more.
    async fn serve_snapshot_of(&self, from: MemberId, stream: MemberStream) -> Result<(), Gone> {
        if !self.feed.observes() {
            return self.serve_snapshot(stream).await;
        }
        let fetching = self.feed.fetch_from(from).ok_or(Gone)?;
        self.feed.arrived();
        tokio::select! {
            biased;
            () = fetching.ended() => Err(Gone),
            served = self.serve_snapshot(stream) => served,
        }
    }
}
