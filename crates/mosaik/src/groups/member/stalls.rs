//! Voters that seem to be there and acknowledge nothing: the disk hangs, or a log is replayed for long.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::groups::model::lineage::MemberId;

/// Voters that acknowledge nothing of what they lack, each with the time since when.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    lacking: BTreeMap<MemberId, Lacking>,
    news: Vec<MemberId>,
}

#[derive(Debug)]
struct Lacking {
    acknowledged: Option<u64>,
    since: Instant,
    stalled: bool,
}

impl Stalls {
    /// Takes in what voters lack, with the last entry that each has acknowledged. Returns those that
    /// have lacked something for so long without any progress.
    pub(super) fn observe(
        &mut self,
        lacking: &BTreeMap<MemberId, Option<u64>>,
        now: Instant,
        patience: Duration,
    ) -> BTreeSet<MemberId> {
        self.lacking
            .retain(|member, _| lacking.contains_key(member));
        for (member, acknowledged) in lacking {
            let fresh = || Lacking {
                acknowledged: *acknowledged,
                since: now,
                stalled: false,
            };
            let known = self.lacking.entry(*member).or_insert_with(fresh);
            if known.acknowledged != *acknowledged {
                *known = fresh();
            } else if !known.stalled && now.saturating_duration_since(known.since) >= patience {
                known.stalled = true;
                self.news.push(*member);
            }
        }
        let stalled = self.lacking.iter().filter(|(_, known)| known.stalled);
        stalled.map(|(member, _)| *member).collect()
    }

    /// Those that have stalled since this was last asked.
    pub(super) fn news(&mut self) -> Vec<MemberId> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_voter_has_stalled_when_it_lacks_entries_and_acknowledges_none() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let [slow, hung] =
            [1, 2].map(|n| MemberId::fresh(iroh::SecretKey::from_bytes(&[n; 32]).public()));
        let begin = Instant::now();
        let mut stalls = Stalls::default();
        let mut observe = |second: u64, lacking: &[(MemberId, Option<u64>)]| {
            let lacking = lacking.iter().copied().collect();
            let now = begin + Duration::from_secs(second);
            let stalled = stalls.observe(&lacking, now, PATIENCE);
            (stalled, stalls.news())
        };
        let none = (BTreeSet::new(), Vec::new());
        assert_eq!(observe(0, &[(slow, Some(1)), (hung, None)]), none);
        assert_eq!(observe(29, &[(slow, Some(2)), (hung, None)]), none);
        let stalled = observe(30, &[(slow, Some(2)), (hung, None)]);
        assert_eq!(stalled, (BTreeSet::from([hung]), vec![hung]));
        let stalled = observe(31, &[(slow, Some(2)), (hung, None)]);
        assert_eq!(stalled, (BTreeSet::from([hung]), Vec::new()), "no news");
        // It acknowledges something, or there is nothing to acknowledge.
        assert_eq!(observe(32, &[(slow, Some(3)), (hung, Some(1))]), none);
        assert_eq!(observe(50, &[(slow, Some(3))]), none);
        assert_eq!(observe(61, &[(slow, Some(4)), (hung, Some(1))]), none);
    }
}
