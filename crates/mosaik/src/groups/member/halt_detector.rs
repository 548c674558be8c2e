//! Halt detector: reports that a group can't go on.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    groups::{consensus::Node, instance::Instance, model::lineage::MemberId},
    primitives::ShortFmtExt,
};

/// Elections that fail one after the other before the group counts as halted.
const ELECTIONS: u32 = 4;

/// Halt detection: the member's own view of whether the group goes on.
#[derive(Debug, Default)]
pub(super) struct HaltDetector {
    /// Time since which no leader is known.
    leaderless_since: Option<Instant>,
    /// This was noticed, and said.
    halted: bool,
}

impl HaltDetector {
    /// Returns whether that is news.
    fn observe(&mut self, has_leader: bool, now: Instant, patience: Duration) -> bool {
        let halted = if has_leader {
            self.leaderless_since = None;
            false
        } else {
            let since = *self.leaderless_since.get_or_insert(now);
            self.halted || now - since >= patience
        };
        let news = halted != self.halted;
        self.halted = halted;
        news
    }

    /// Says once that the group has halted, and what helps; and that it goes on.
    pub(super) fn watch(&mut self, instance: &Instance, node: &Node, now: Instant) {
        let view = node.view().borrow().clone();
        let own = node.member();
        let timing = instance.timing();
        let patience = (timing.election + timing.election_jitter).saturating_mul(ELECTIONS);
        let goes_on = instance.status().leader().is_some() || !view.contains(&own);
        if !self.observe(goes_on, now, patience) {
            return;
        }
        instance.metrics().halted(self.halted);
        let group = instance.id();
        let group = group.short();
        if !self.halted {
            tracing::info!(%group, "the group goes on");
            return;
        }
        let bonds = instance.bonds();
        let here = |member: &&MemberId| **member == own || bonds.of_member(member).is_some();
        tracing::warn!(
            %group, voters = view.voters.len(), reached = view.voters.iter().filter(here).count(),
            needed = view.voters.len() / 2 + 1,
            "the group has halted: no leader can be elected. It goes on by itself when a majority \
             of its voters is back: wait, or restart them. If they are lost for good, call \
             Group::reform() on one survivor after the other until one answers true"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_halt_is_news_once_and_so_is_its_end() {
        let mut quorum = HaltDetector::default();
        let patience = Duration::from_secs(3);
        let mut observe = |has_leader, millis| {
            let at = Instant::now() + Duration::from_millis(millis);
            quorum.observe(has_leader, at, patience)
        };
        assert!(!observe(true, 0) && !observe(false, 100));
        assert!(!observe(true, 3000), "an election");
        assert!(!observe(false, 3100) && !observe(false, 6000));
        assert!(observe(false, 6200) && !observe(false, 9000));
        assert!(observe(true, 9100) && !observe(true, 9200));
    }
}
