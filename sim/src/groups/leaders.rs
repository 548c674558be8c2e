//! Leaders by term.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use super::control::Tenure;

/// Every leadership that anybody has seen in itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaders(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Members by history and term. A member that lost its disk is another one afterwards.
    leaders: HashMap<Tenure, BTreeSet<(usize, u32)>>,
    latest: Option<(u64, usize)>,
}

impl Leaders {
    /// Notes that a member leads, in its `life`-th life with an empty disk.
    pub(super) fn note(&self, tenure: Tenure, member: usize, life: u32) {
        let mut seen = self.0.lock();
        seen.leaders
            .entry(tenure)
            .or_default()
            .insert((member, life));
        seen.latest = seen.latest.max(Some((tenure.term, member)));
    }

    /// Leader of the last term.
    pub(super) fn latest(&self) -> Option<usize> {
        self.0.lock().latest.map(|(_, member)| member)
    }

    /// Member, of these, that led in the latest term.
    pub(super) fn latest_of(&self, members: &[usize]) -> Option<usize> {
        let seen = self.0.lock();
        let tenures = seen.leaders.iter().flat_map(|(tenure, leaders)| {
            let of_term = |(member, _): &(usize, u32)| (tenure.term, *member);
            leaders.iter().map(of_term).collect::<Vec<_>>()
        });
        let latest = tenures.filter(|(_, member)| members.contains(member)).max();
        latest.map(|(_, member)| member)
    }

    /// Number of terms that have had a leader.
    pub(super) fn terms(&self) -> usize {
        self.0.lock().leaders.len()
    }

    /// Terms with more than one leader, in words.
    pub(super) fn rivals(&self) -> Vec<String> {
        let seen = self.0.lock();
        let rivals = seen.leaders.iter().filter(|(_, leaders)| leaders.len() > 1);
        rivals
            .map(|(tenure, leaders)| {
                format!("term {} has had the leaders {leaders:?}", tenure.term)
            })
            .collect()
    }

    /// Number of histories (foundings) that have had a leader.
    pub(super) fn histories(&self) -> usize {
        let seen = self.0.lock();
        let histories: BTreeSet<_> = seen.leaders.keys().map(|t| t.history).collect();
        histories.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let leaders = Leaders::default();
        let tenure = |history, term| Tenure {
            history: [history; 32],
            term,
        };
        leaders.note(tenure(1, 1), 0, 0);
        leaders.note(tenure(1, 1), 0, 0);
        leaders.note(tenure(1, 2), 1, 0);
        leaders.note(tenure(2, 1), 2, 0);
        assert_eq!((leaders.terms(), leaders.histories()), (3, 2));
        assert!(leaders.rivals().is_empty());
        leaders.note(tenure(1, 2), 2, 0);
        assert_eq!(leaders.rivals().len(), 1);
    }
}
