//! Elections: the times at which a member stands, and the candidates it votes for.
//!
//! The library's own clock stands still: its time limits for votes follow from its election timeout,
//! and would bound the distance between members. Here it only counts votes and keeps terms.
//!
//! | event | reaction |
//! |---|---|
//! | no leader was heard of, and no vote given, for `election_timeout` and a random time | ask all voters whether they would vote (pre-vote, dissertation 9.6) |
//! | a majority would | stand, in a new term, unless it has voted or let another one go first meanwhile |
//! | asked for a pre-vote while asking others | refused if the own log's end, then the own id, is the greater; else granted, and the asker goes first |
//! | asked for a vote or a pre-vote while a leader lives | refused (dissertation 4.2.3), unless that leader hands over |
//! | stood in vain | wait again, for another random time |
//!
//! Members that stand within a trip of each other split the votes, which the random time avoids only
//! where it is long against the distance (dissertation 9.3). Pre-votes that cross are a round earlier,
//! and both sides decide alike who of them goes on: at 200 ms and the default times, 199 of 200
//! elections among two survivors of three are over after one round, instead of 85.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use openraft::{alias::LogIdOf, raft::VoteRequest};
use rand::Rng;
use tokio::time::Instant;

use super::{
    core::NodeCore,
    wire::{self, Request, Response},
};
use crate::groups::{log::types::Types, model::lineage::MemberId};

/// Schedule of a member's candidacy, if nothing happens before.
pub(super) struct Campaign {
    /// The last time at which a leader was heard of, or a vote given.
    heard: Option<Instant>,
    vote: Option<(u64, MemberId)>,
    due: Instant,
}

impl NodeCore {
    /// The plan of a member that starts: nobody is waited for that it has not heard of.
    pub(super) fn new_campaign(&self) -> Campaign {
        Campaign {
            heard: None,
            vote: self.log.stored_vote(),
            due: Instant::now() + self.election_jitter(),
        }
    }

    fn election_jitter(&self) -> Duration {
        let jitter = self.timing.election_jitter;
        jitter.mul_f64(rand::rng().random())
    }

    /// Stands for election when its time has come. Returns how long nothing is to be done.
    pub(super) async fn campaign(&self, campaign: &mut Campaign) -> Duration {
        let now = Instant::now();
        let vote = self.log.stored_vote();
        let voted = (vote != campaign.vote).then_some(now);
        campaign.vote = vote;
        let heard = self.health.heard_at().max(voted);
        if heard > campaign.heard {
            campaign.heard = heard;
            let patience = self.timing.election + self.election_jitter();
            campaign.due = heard.unwrap_or(now) + patience;
        }
        let (votes, alone) = {
            let view = self.view();
            (view.voters.contains(&self.member), view.voters.len() == 1)
        };
        if !self.candidacy.elects() || !votes {
            return self.timing.beat;
        }
        if alone || now >= campaign.due {
            campaign.due = now + self.timing.election + self.election_jitter();
            self.stand().await;
        }
        campaign.due.saturating_duration_since(Instant::now())
    }

    /// Stands for election, if a majority would vote for this member.
    pub(super) async fn stand(&self) {
        let (leading, configs) = {
            let view = self.view();
            (view.leading, view.configs.clone())
        };
        let votes = configs.iter().any(|voters| voters.contains(&self.member));
        if leading || !votes {
            return;
        }
        let mut view = self.subscribe();
        let vote = self.log.stored_vote();
        self.candidacy.begin_poll();
        let wanted = tokio::select! {
            biased;
            // Somebody has handed over meanwhile.
            _ = view.wait_for(|view| view.leading) => false,
            wanted = self.is_wanted(&configs) => wanted,
        };
        let goes_first = self.candidacy.end_poll();
        // Who has voted since it asked would depose the one that it has helped to elect.
        if wanted && goes_first && self.log.stored_vote() == vote {
            // Fails only when consensus has stopped.
            let _ = self.raft.trigger().elect(false).await;
        }
    }

    /// Returns whether a majority would vote for this member.
    async fn is_wanted(&self, configs: &[BTreeSet<MemberId>]) -> bool {
        let mut granted = BTreeSet::from([self.member]);
        if is_majority(configs, &granted) {
            return true;
        }
        let last = self.log.last_id();
        let Ok(request) = wire::encode(&Request::PreVote { last }) else {
            return false;
        };
        let others: BTreeSet<_> = configs.iter().flatten().copied().collect();
        let others = others
            .into_iter()
            .filter(|voter| *voter != self.member && self.peers.may_vote(voter));
        let mut answers: FuturesUnordered<_> = others
            .map(|voter| {
                let answer = self.peers.ask(voter, request.clone());
                async move { (voter, answer.await) }
            })
            .collect();
        let counting = async {
            while let Some((voter, answer)) = answers.next().await {
                let response = answer.and_then(|answer| wire::decode(&answer));
                if matches!(response, Ok(Response::PreVote { granted: true })) {
                    granted.insert(voter);
                }
                if is_majority(configs, &granted) {
                    return true;
                }
            }
            false
        };
        let limit = self.timing.election * 2;
        tokio::time::timeout(limit, counting).await.unwrap_or(false)
    }

    /// Returns whether this member would vote for a candidate whose log ends like this. If so, it
    /// asks for no votes of its own any more.
    pub(super) fn would_vote(&self, candidate: MemberId, last: Option<&LogIdOf<Types>>) -> bool {
        let own = self.log.last_id();
        let own = own.as_ref();
        if self.is_led() || last < own {
            return false;
        }
        if self.candidacy.polls() && (last, candidate) < (own, self.member) {
            return false;
        }
        self.candidacy.end_poll();
        true
    }

    /// A request for a vote as the library is to see it: whether a leader lives is decided here.
    pub(super) fn admitted(&self, mut request: VoteRequest<Types>) -> VoteRequest<Types> {
        request.leadership_transfer |= !self.is_led();
        request
    }

    /// Returns whether this member leads or follows somebody who does. Those that follow the same
    /// leader have not heard of it at the same time: who gives up first is not to be refused.
    fn is_led(&self) -> bool {
        let view = self.view().clone();
        if view.leading {
            return self.has_majority(&view);
        }
        let lease = self.timing.election * 4 / 5;
        self.health.hears_leader_within(lease)
    }
}

/// Returns whether these are a majority of the voters, of both memberships during a change.
pub(super) fn is_majority(configs: &[BTreeSet<MemberId>], members: &BTreeSet<MemberId>) -> bool {
    let reached =
        |voters: &BTreeSet<MemberId>| 2 * voters.intersection(members).count() > voters.len();
    !configs.is_empty() && configs.iter().all(reached)
}
