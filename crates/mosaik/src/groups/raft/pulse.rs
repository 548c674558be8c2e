//! The rhythm of a consensus instance.
//!
//! The library looks at its clock many times per heartbeat, which is most of what an idle group
//! costs. A leader needs it only to send heartbeats, and a follower only to notice that they fail
//! to come. So a leader is told when to send them, and a follower's clock stands still for as long
//! as its leader is heard of.

use tokio::time::sleep;

use super::core::NodeCore;

impl NodeCore {
    /// Sends heartbeats, and lets the library's clock run while an election may be due. Ends with
    /// the scope.
    pub(super) async fn beat(&self) {
        loop {
            let leads = self.view().leading;
            // A heartbeat may be late by a little. After that the clock runs again well before the
            // lease of the leader is over.
            let silent = self
                .contact_age()
                .is_none_or(|age| age > self.timing.beat * 5 / 4);
            self.raft.runtime_config().tick(!leads && silent);
            if leads && self.raft.trigger().heartbeat().await.is_err() {
                // Consensus has stopped.
                return;
            }
            sleep(self.timing.beat).await;
        }
    }
}
