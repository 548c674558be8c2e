//! Histories of the group: founding one, catching up with one, meeting a rival one.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    rules::{self, Founding},
    worker::{NodeWatch, Worker},
};
use crate::{
    groups::{
        bond::{core::BondCore, wire::Control},
        event::Event,
        lineage::Lineage,
        standing::{LineageStanding, Standing, Willingness},
    },
    primitives::{Digest, PeerId, ShortFmtExt},
};

/// A view in which nothing happened for so long has settled.
const QUIET: Duration = Duration::from_millis(150);
/// Standings that concern a rival history are repeated so often.
const RIVAL_INTERVAL: Duration = Duration::from_millis(250);

impl Worker {
    pub(super) fn watch_node(&mut self) {
        self.changing = None;
        self.departed.clear();
        self.unreachable.clear();
        self.stand_at = None;
        self.last_news = Instant::now();
        let restored = self.instance.restored();
        self.node = self.instance.node().map(|node| NodeWatch {
            // What it did in an earlier run is not counted again.
            stood: match restored {
                Some(lineage) if lineage == node.lineage() => node.view().borrow().stood,
                _ => 0,
            },
            view: node.view(),
            failure: node.failure(),
            node,
            since: Instant::now(),
            alive: false,
            leader: None,
        });
        let lineage = self.node.as_ref().map(|watch| watch.node.lineage());
        self.fetching.take_if(|fetching| lineage != Some(*fetching));
        self.tell_standing();
    }

    /// A member without history finds out whether there is much of it: then it fetches that before
    /// it lets the leader add it.
    pub(super) async fn catch_up(&mut self) {
        let instance = self.instance.clone();
        if !instance.is_catching_up() || self.fetching.is_some() || instance.is_leaving() {
            return;
        }
        if let Some(watch) = &self.node
            && watch.view.borrow().contains(&watch.node.member())
        {
            instance.set_caught_up();
            return self.tell_standing();
        }
        let own = self.node.as_ref().map(|watch| watch.node.lineage());
        let bonds = instance.bonds().all();
        let known = bonds.iter().filter_map(|bond| bond.standing().lineage);
        let known = known
            .filter(|theirs| theirs.alive && own.is_none_or(|own| own == theirs.id))
            .max_by_key(|theirs| theirs.committed);
        let Some(known) = known else { return };
        let node = if known.committed > instance.batch_size() {
            instance.take_part(known.id).await
        } else {
            None
        };
        let Some(node) = node else {
            instance.set_caught_up();
            return self.tell_standing();
        };
        self.fetching = Some(known.id);
        node.fetch_log(move || instance.tell_soon(Event::CaughtUp(known.id)));
    }

    pub(super) fn on_view(&mut self) {
        let metrics = self.instance.metrics();
        if let Some(watch) = &mut self.node {
            let view = watch.view.borrow_and_update().clone();
            if view.leader != watch.leader {
                watch.leader = view.leader;
                let group = self.instance.id();
                let group = group.short();
                if let Some(leader) = view.leader {
                    metrics.leader_changes.increment(1);
                    tracing::debug!(%group, %leader, term = view.term, "the group has a leader");
                } else {
                    tracing::debug!(%group, term = view.term, "the group has no leader");
                }
            }
            // A candidature may be over before it is seen; its term stays.
            if view.stood > watch.stood {
                watch.stood = view.stood;
                metrics.elections.increment(1);
            }
            metrics.committee(view.voters.len(), view.learners.len());
        }
        self.tell_standing();
        self.work_on_membership();
    }

    /// A bonded peer's standing is known or has changed.
    pub(super) async fn consider(&mut self, peer: &PeerId) {
        self.last_news = Instant::now();
        let Some(bond) = self.instance.bonds().get(peer) else {
            return;
        };
        self.unreachable.remove(&bond.member());
        let (own, theirs) = (self.instance.lineage_standing(), bond.standing().lineage);
        if let (Some(own), Some(theirs)) = (own, theirs)
            && own.id != theirs.id
        {
            self.on_rival(&theirs).await;
        }
        self.catch_up().await;
        self.work_on_membership();
    }

    /// Another history of this group exists.
    pub(super) async fn on_rival(&mut self, rival: &LineageStanding) {
        let Some(own) = self.instance.lineage_standing() else {
            return;
        };
        if own.id == rival.id {
            return;
        }
        if own.alive && !own.leading {
            // Only the leader can tell how far this history has come.
            let leader = self.instance.status().leader();
            let bond = leader.and_then(|leader| self.instance.bonds().get(&leader));
            if let Some(bond) = bond {
                bond.post(Control::Rival(*rival));
            }
            return;
        }
        if rules::gives_way(&own, rival) && !self.awaits_members(&own) {
            let (lineage, winner) = (own.id, rival.id);
            if own.leading {
                self.instance
                    .broadcast(|| Control::Dissolved { lineage, winner });
            }
            if let Some(parent) = &rival.parent
                && parent.lineage == lineage
                && self.instance.follow(winner, parent).await
            {
                return self.watch_node();
            }
            self.abandon(lineage, true).await;
        }
    }

    /// Whether this history has just come back from the disk: its majority may still be starting,
    /// and until then it must not lose against one that was founded in its absence.
    fn awaits_members(&self, own: &LineageStanding) -> bool {
        let patience = self.instance.config().consensus().evict_after;
        let restored = self.instance.restored() == Some(own.id);
        restored && !own.alive && self.joined.elapsed() < patience
    }

    pub(super) async fn reform(&mut self) -> bool {
        self.node = None;
        self.changing = None;
        let reformed = self.instance.reform().await;
        self.watch_node();
        reformed
    }

    /// Reforms the group when it had no leader for as long as the configuration allows.
    pub(super) async fn reform_if_due(&mut self, now: Instant) {
        let Some(limit) = self.instance.config().consensus().reform_after else {
            return;
        };
        if self.instance.status().leader().is_some() || self.instance.preference().is_observer() {
            self.leaderless_since = None;
            return;
        }
        let since = *self.leaderless_since.get_or_insert(now);
        let own = self.instance.lineage_standing();
        let is_ahead = |bond: &Arc<BondCore>| {
            let theirs = bond.standing();
            theirs.willingness != Willingness::Never
                && theirs.lineage.zip(own).is_some_and(|(theirs, own)| {
                    theirs.id == own.id
                        && (theirs.committed, bond.peer) > (own.committed, self.instance.local())
                })
        };
        // Whoever has most goes first.
        let wait = if self.instance.bonds().all().iter().any(is_ahead) {
            limit * 2
        } else {
            limit
        };
        if now - since >= wait {
            self.leaderless_since = None;
            self.reform().await;
        }
    }

    pub(super) async fn abandon(&mut self, lineage: Lineage, for_good: bool) {
        self.node = None;
        self.changing = None;
        self.instance.abandon(lineage, for_good).await;
        self.watch_node();
    }

    /// Founds a group, if that is this member's part.
    pub(super) async fn found(&mut self, now: Instant) {
        let instance = self.instance.clone();
        let consensus = instance.config().consensus();
        let bonded: Vec<_> = instance
            .bonds()
            .all()
            .iter()
            .map(|bond| bond.standing())
            .collect();
        let limit = consensus.bootstrap_delay.saturating_mul(self.factor);
        let quiet = now - self.last_news >= QUIET && !self.dials.is_first_attempt_pending();
        let own = instance.standing();
        let voters = rules::found(&Founding {
            own: &own,
            bonded: &bonded,
            min_members: consensus.min_members,
            max_voters: consensus.max_voters,
            settled: (self.discovery_settled && quiet) || now - self.joined >= limit,
        });
        let Some(voters) = voters else { return };
        // Whoever lacks the tickets itself would be alone for ever with what it founds.
        if instance.authorize(&instance.discovery().me()).is_err() {
            return;
        }
        tracing::debug!(
            group = %instance.id().short(), voters = voters.len(), "founding the group"
        );
        let Some(node) = instance.take_part(Digest::random()).await else {
            return;
        };
        if let Err(error) = node.found(voters).await {
            tracing::warn!(group = %instance.id().short(), %error, "founding failed");
        }
        self.watch_node();
    }

    /// Where this member stands, to be told to somebody.
    pub(super) fn next_standing(&mut self) -> (u64, Standing) {
        self.told_count += 1;
        (self.told_count, self.instance.standing())
    }

    /// Tells the others where this member stands, when that has changed in a way that matters.
    pub(super) fn tell_standing(&mut self) {
        let standing = self.instance.standing();
        let rivals = self.instance.bonds().all().iter().any(|bond| {
            let theirs = bond.standing().lineage;
            theirs.is_some() && theirs.map(|l| l.id) != standing.lineage.map(|l| l.id)
        });
        let mut comparable = standing.clone();
        if let (Some(new), Some(old)) = (&mut comparable.lineage, &self.told.lineage) {
            new.committed = old.committed;
        }
        let due = rivals && self.told_at.elapsed() >= RIVAL_INTERVAL && standing != self.told;
        if comparable != self.told || due {
            self.told = standing.clone();
            self.told_at = Instant::now();
            self.told_count += 1;
            let number = self.told_count;
            self.instance.broadcast(|| Control::Standing {
                number,
                standing: standing.clone(),
            });
        }
    }
}
