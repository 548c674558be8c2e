//! Server of the streams that other members and observers open.

use std::sync::Arc;

use super::core::NodeCore;
use crate::groups::model::{
    lineage::MemberId,
    member_stream::{Channel, MemberStream},
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
                Channel::Snapshot => drop(self.serve_snapshot(stream).await),
                Channel::Fetch => drop(self.serve_fetch(stream).await),
                Channel::Forward(origin) if origin.is_beside(&from) => {
                    // However it ends: what was not applied is sent again.
                    let _ = self.serve_forward(origin, stream).await;
                }
                Channel::Forward(_) => {}
                // However it ends: the newcomer asks again, or takes the log.
                Channel::Offer => drop(self.serve_offer(stream).await),
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
}
