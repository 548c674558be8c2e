//! Linearizable reads: up to where must be applied, to see all that was acknowledged before?
//!
//! A leader answers once a majority of voters stands by its term *after* the read began. Standing
//! by a term means: to have given no vote for a later one. Votes are stored before they are given,
//! so looking at the stored vote is enough, and no log entry and no turn of the consensus core is
//! needed. A leader that was elected in a later term before the read had the vote of one member of
//! every majority; that member would not confirm any more. So nobody else can have
//! acknowledged anything, and what this leader itself made known as committed is all there is.
//!
//! ```text
//! leader:    read ──► Confirm(term) to all voters ──► majority stands by it ──► index
//! others:    read ──► ReadIndex(term they stand by) to the leader ────────────► index
//! ```
//!
//! A member that asks the leader names the term that it confirms, and so counts itself: in a group
//! of three voters that is a majority together with the leader, and one round trip is enough.
//!
//! An observer without a bond with the leader asks its source, which asks in turn.
//!
//! Reads that wait at the same time share a round; one that began before a read is of no use to it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use super::{
    core::NodeCore,
    elections::is_majority,
    replication::peers::Peers,
    state::confirmations::Round,
    wire::{self, Request, Response},
};
use crate::groups::model::{lineage::MemberId, member_stream::Gone};

/// A leader's question whether it still leads.
struct Majority {
    leader: MemberId,
    term: u64,
    /// Consensus index behind the last entry that a read that began before has to see.
    next: u64,
    /// The voters, of both memberships during a change.
    configs: Vec<BTreeSet<MemberId>>,
    confirmed: BTreeSet<MemberId>,
}

impl NodeCore {
    /// Waits until everything is applied that was acknowledged anywhere before the call.
    pub(super) async fn confirm_read(&self) -> Result<(), Gone> {
        let next = self.join_round().await?;
        if let Some(index) = next.checked_sub(1) {
            self.applied.wait_applied(index).await;
        }
        Ok(())
    }

    /// Takes part in a round that begins now or later.
    fn join_round(&self) -> Round {
        let node = self.this.clone();
        self.confirmations.join(
            || self.begin_round(),
            move || match node.upgrade() {
                Some(node) => {
                    node.confirmations.begin_waiting();
                    node.begin_round()
                }
                None => std::future::ready(Err(Gone)).boxed(),
            },
        )
    }

    fn begin_round(&self) -> BoxFuture<'static, Result<u64, Gone>> {
        // A round trip may take as long as a leader may be silent.
        let limit = self.timing.election;
        match self.remote_leader() {
            // Two of them: one to the leader, and one from there to the voters.
            Some(leader) => {
                let (asked, steps) = self.way_to(leader);
                self.ask_leader(asked, leader, limit * (steps + 1))
            }
            None => match self.majority() {
                Ok(majority) => majority.confirm(self.peers.clone(), limit),
                Err(Gone) => std::future::ready(Err(Gone)).boxed(),
            },
        }
    }

    /// Member to ask in place of the leader, and the steps in which that reaches it: an observer asks
    /// its source, unless it has a bond with the leader.
    fn way_to(&self, leader: MemberId) -> (MemberId, u32) {
        let source = self.feed.source().filter(|_| self.feed.observes());
        match source {
            Some(source) if !self.peers.members().contains(&leader) => {
                (source, self.feed.steps() + 1)
            }
            _ => (leader, 1),
        }
    }

    fn ask_leader(
        &self,
        asked: MemberId,
        leader: MemberId,
        limit: Duration,
    ) -> BoxFuture<'static, Result<u64, Gone>> {
        let vote = self.log.stored_vote();
        let term = vote.and_then(|(term, voted_for)| (voted_for == leader).then_some(term));
        let asked = wire::encode(&Request::ReadIndex { term })
            .map(|request| self.peers.ask(asked, request));
        async move {
            let answer = tokio::time::timeout(limit, asked?);
            match wire::decode(&answer.await.map_err(|_| Gone)??)? {
                Response::ReadIndex { next } => Ok(next),
                _ => Err(Gone),
            }
        }
        .boxed()
    }

    /// Facts that this member needs for a read, if it leads.
    fn majority(&self) -> Result<Majority, Gone> {
        let term = self.leader.term().ok_or(Gone)?;
        let leader = self.member;
        if !self.stands_by(leader, term) {
            return Err(Gone);
        }
        let configs = {
            let view = self.view();
            // A change of the membership that consensus has begun but not reported yet.
            if self.log.last_membership() > view.membership {
                return Err(Gone);
            }
            view.configs.clone()
        };
        // Others have learnt of commits from here, this node from its own machine.
        let told = self.commit_notices.next();
        let applied = self.applied.last_index().map_or(0, |index| index + 1);
        Ok(Majority {
            leader,
            term,
            next: told.max(applied),
            configs,
            confirmed: BTreeSet::from([leader]),
        })
    }

    /// Returns whether this member has given no vote after the one for this leader.
    pub(super) fn stands_by(&self, leader: MemberId, term: u64) -> bool {
        self.log.stored_vote() == Some((term, leader))
    }

    /// Answers a member's read-index request; with `term`, that member has given no vote after the
    /// one for the leader of that term.
    pub(super) async fn answer_read_index(
        &self,
        from: MemberId,
        term: Option<u64>,
    ) -> Result<Response, Gone> {
        if self.leader.term().is_none() && self.remote_leader().is_some() {
            // An observer asks its source, which asks the leader: later than the read began.
            return Ok(Response::ReadIndex {
                next: self.join_round().await?,
            });
        }
        let mut majority = self.majority()?;
        if term == Some(majority.term) {
            majority.confirmed.insert(from);
        }
        let next = if majority.is_reached() {
            majority.next
        } else {
            self.join_round().await?
        };
        self.commit_notices.hurry();
        Ok(Response::ReadIndex { next })
    }
}

impl Majority {
    fn is_reached(&self) -> bool {
        is_majority(&self.configs, &self.confirmed)
    }

    /// Asks all voters, until enough of them confirm the leader.
    fn confirm(
        mut self,
        peers: Arc<dyn Peers>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<u64, Gone>> {
        if self.is_reached() {
            return std::future::ready(Ok(self.next)).boxed();
        }
        let voters: BTreeSet<_> = self.configs.iter().flatten().copied().collect();
        let request = wire::encode(&Request::Confirm { term: self.term });
        async move {
            let request = request?;
            let others = voters.into_iter().filter(|voter| *voter != self.leader);
            let mut answers: FuturesUnordered<_> = others
                .map(|voter| peers.ask(voter, request.clone()).map(move |a| (voter, a)))
                .collect();
            let confirming = async {
                while let Some((voter, answer)) = answers.next().await {
                    let response = answer.and_then(|answer| wire::decode(&answer));
                    if matches!(response, Ok(Response::Confirmed(by)) if by == voter) {
                        self.confirmed.insert(voter);
                    }
                    if self.is_reached() {
                        return Ok(self.next);
                    }
                }
                Err(Gone)
            };
            let confirmed = tokio::time::timeout(limit, confirming).await;
            confirmed.unwrap_or(Err(Gone))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8) -> MemberId {
        MemberId::fresh(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    #[test]
    fn both_memberships_of_a_change_must_agree() {
        let all = [1, 2, 3, 4, 5].map(member);
        let mut majority = Majority {
            leader: all[0],
            term: 1,
            next: 0,
            configs: vec![
                all[..3].iter().copied().collect(),
                all[2..].iter().copied().collect(),
            ],
            confirmed: BTreeSet::from([all[0]]),
        };
        majority.confirmed.insert(all[1]);
        assert!(!majority.is_reached(), "the new voters were not asked");
        majority.confirmed.extend(&all[3..]);
        assert!(majority.is_reached());
        majority.configs.clear();
        assert!(!majority.is_reached(), "nobody is no majority");
    }
}
