//! Budgets of askers: the rule, with time as an argument.

use std::collections::HashMap;

use tokio::time::Instant;

use super::limits::{
    MAX_BURST_BYTES, MAX_BYTES_PER_SECOND, MAX_REMEMBERED, MAX_SERVED, MAX_SERVED_PER_PEER,
    MIN_ANSWER_BYTES,
};
use crate::primitives::PeerId;

/// Budgets of all peers.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    peers: HashMap<PeerId, Budget>,
    served: usize,
}

#[derive(Debug)]
struct Budget {
    /// Bytes that it may take; it may overdraw this by one answer, which it pays for in time.
    bytes: i64,
    /// Time at which that was so.
    at: Instant,
    served: usize,
}

impl Budget {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let earned = passed.saturating_mul(MAX_BYTES_PER_SECOND) / 1000;
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(MAX_BURST_BYTES);
            self.at = now;
        }
    }
}

impl Budgets {
    /// Begins to serve a peer, if there is a place for it.
    pub(super) fn enter(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.served >= MAX_SERVED {
            return false;
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= MAX_REMEMBERED {
            self.peers.retain(|_, budget| {
                budget.refill(now);
                budget.served > 0 || budget.bytes < MAX_BURST_BYTES
            });
            if self.peers.len() >= MAX_REMEMBERED {
                return false;
            }
        }
        let budget = self.peers.entry(peer).or_insert(Budget {
            bytes: MAX_BURST_BYTES,
            at: now,
            served: 0,
        });
        if budget.served >= MAX_SERVED_PER_PEER {
            return false;
        }
        budget.served += 1;
        self.served += 1;
        true
    }

    /// Ends to serve a peer that was let in.
    pub(super) fn leave(&mut self, peer: &PeerId) {
        if let Some(budget) = self.peers.get_mut(peer) {
            budget.served -= 1;
            self.served -= 1;
        }
    }

    /// Returns whether a peer may have another answer.
    pub(super) fn may_ask(&mut self, peer: &PeerId, now: Instant) -> bool {
        self.peers.get_mut(peer).is_some_and(|budget| {
            budget.refill(now);
            budget.bytes > 0
        })
    }

    /// Charges a peer for an answer.
    pub(super) fn charge(&mut self, peer: &PeerId, bytes: usize) {
        if let Some(budget) = self.peers.get_mut(peer) {
            let cost = i64::try_from(bytes).unwrap_or(i64::MAX);
            budget.bytes = budget.bytes.saturating_sub(cost.max(MIN_ANSWER_BYTES));
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn peer(n: u64) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        iroh::SecretKey::from_bytes(&bytes).public()
    }

    #[test]
    fn a_peer_has_few_places_and_leaves_some_to_others() {
        let (mut budgets, now) = (Budgets::default(), Instant::now());
        for _ in 0..MAX_SERVED_PER_PEER {
            assert!(budgets.enter(peer(0), now));
        }
        assert!(!budgets.enter(peer(0), now));
        assert!(budgets.enter(peer(1), now));
        budgets.leave(&peer(0));
        assert!(budgets.enter(peer(0), now));
        let others = (2..1_000)
            .take_while(|n| budgets.enter(peer(*n), now))
            .count();
        assert_eq!(others + MAX_SERVED_PER_PEER + 1, MAX_SERVED);
    }

    #[test]
    fn a_peer_that_takes_much_waits() {
        let (mut budgets, now) = (Budgets::default(), Instant::now());
        assert!(budgets.enter(peer(0), now));
        let answers = (0..).take_while(|_| {
            let may = budgets.may_ask(&peer(0), now);
            budgets.charge(&peer(0), 1);
            may
        });
        assert_eq!(
            answers.count(),
            usize::try_from(MAX_BURST_BYTES / MIN_ANSWER_BYTES).unwrap()
        );
        budgets.leave(&peer(0));
        assert!(
            budgets.enter(peer(0), now),
            "another stream is no other budget"
        );
        assert!(!budgets.may_ask(&peer(0), now));
        let later = now + Duration::from_secs(1);
        assert!(budgets.may_ask(&peer(0), later));
        budgets.charge(&peer(0), usize::try_from(MAX_BYTES_PER_SECOND).unwrap());
        assert!(!budgets.may_ask(&peer(0), later));
    }

    #[test]
    fn those_who_took_nothing_lately_are_forgotten_first() {
        let (mut budgets, now) = (Budgets::default(), Instant::now());
        for n in 0..MAX_REMEMBERED as u64 {
            assert!(budgets.enter(peer(n), now));
            budgets.charge(&peer(n), 1);
            budgets.leave(&peer(n));
        }
        let newcomer = peer(u64::MAX);
        assert!(
            !budgets.enter(newcomer, now),
            "nobody escapes by another name"
        );
        assert!(budgets.enter(newcomer, now + Duration::from_secs(1)));
        assert_eq!(budgets.peers.len(), 1);
    }
}
