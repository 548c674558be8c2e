//! The rhythm of a consensus instance.
//!
//! The library would look at its clock many times per heartbeat, which is most of what an idle group
//! costs. Instead a leader is told when to send heartbeats, and the others stand for
//! [election](super::elections) when none come.

use tokio::time::sleep;

use super::core::NodeCore;

impl NodeCore {
    /// Sends heartbeats, and stands for election when none come. Ends with the scope.
    pub(super) async fn beat(&self) {
        let mut campaign = self.new_campaign();
        loop {
            let view = self.view().clone();
            let leads = view.leading;
            if leads {
                self.acks.set_backed(self.has_majority(&view));
                self.feed.sign();
                if self.raft.trigger().heartbeat().await.is_err() {
                    // Consensus has stopped.
                    return;
                }
            }
            let pause = if leads {
                self.timing.beat
            } else {
                self.campaign(&mut campaign).await.min(self.timing.beat)
            };
            sleep(pause).await;
        }
    }
}
