//! Histories of the group: founding one, catching up with one, meeting a rival one.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    rules::{self, Founding, Patience, Stake, Turn, Verdict},
    stalls::Stalls,
    worker::{NodeWatch, Worker},
};
use crate::{
    groups::{
        bond::{core::BondCore, wire::Control},
        consensus::Node,
        model::{
            event::Event,
            lineage::{Lineage, MemberId},
            member_info::{LineageStanding, MemberInfo},
        },
    },
    primitives::{Digest, PeerId, ShortFmtExt},
};

/// Time without an event after which a view has settled.
const QUIET: Duration = Duration::from_millis(150);
/// Number of election timeouts without a majority after which a member follows a history that
/// continues its own.
const FOLLOW_ELECTIONS: u32 = 4;
/// Number of election timeouts for which a rival history must have been alive, lest it is a dead
/// one and a member does not know yet.
const CONFIRM_ELECTIONS: u32 = 2;
/// Number of election timeouts for which a leader takes no commands, so that a rival one sees how
/// far it is.
const REST_ELECTIONS: u32 = 2;
/// Time without news after which nothing is known any more of a rival history.
const SILENCE: Duration = Duration::from_secs(1);
/// Rival histories that are known at a time.
const MAX_RIVALS: usize = 64;
/// Interval at which standings that concern a rival history are repeated, and judged again.
const RIVAL_INTERVAL: Duration = Duration::from_millis(250);

impl Worker {
    pub(super) fn watch_node(&mut self) {
        self.changing = None;
        self.unreachable.clear();
        let identity = |node: &Node| (node.lineage(), node.member());
        let before = self.node.take().map(|watch| identity(&watch.node));
        if before.is_none() || self.instance.node().as_ref().map(identity) != before {
            // They were told of members of another history.
            self.departed.clear();
            self.stopped.clear();
            // The crashed instance is not what this member goes on with.
            self.crashes.pause_ends = None;
        }
        self.stand_at = None;
        self.halted_since = None;
        self.kept_from = None;
        self.rivals_seen.clear();
        self.rested = None;
        self.stalls = Stalls::default();
        self.last_news = Instant::now();
        let restored = self.instance.restored();
        self.node = self.instance.node().map(|node| {
            let mut view = node.view();
            // It may have led before anyone looked, and nothing may change afterwards.
            view.mark_changed();
            NodeWatch {
                // What it did in an earlier run is not counted again.
                stood: match restored {
                    Some(lineage) if lineage == node.lineage() => node.view().borrow().stood,
                    _ => 0,
                },
                view,
                failure: node.failure(),
                node,
                since: Instant::now(),
                alive: false,
                leader: None,
            }
        });
        let lineage = self.node.as_ref().map(|watch| watch.node.lineage());
        self.fetching.take_if(|fetching| lineage != Some(*fetching));
        self.tell_standing();
    }

    /// A member without history finds out whether there is much of it: then it fetches that before
    /// it lets the leader add it.
    pub(super) async fn catch_up(&mut self) {
        if self.crashes.pause_ends.is_some() {
            return;
        }
        let instance = self.instance.clone();
        if instance.observes() {
            // It gets what it lacks from its source, like anything new.
            instance.set_caught_up();
            return;
        }
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
        let bonds = instance.trusted_bonds();
        let known = bonds.iter().filter_map(|bond| bond.standing().lineage);
        let known = known
            .filter(|theirs| theirs.alive && own.is_none_or(|own| own == theirs.id))
            .max_by_key(|theirs| theirs.committed);
        let Some(known) = known else { return };
        let least = if instance.wants_snapshot() {
            0
        } else {
            instance.batch_size()
        };
        let node = if known.committed > least {
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
        self.halted_for(Instant::now());
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
            && !self.instance.is_guest(&bond)
        {
            self.on_rival(&theirs).await;
        }
        self.catch_up().await;
        self.feed(self.last_news).await;
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
                bond.post(Control::Rival(rival.clone()));
            }
            return;
        }
        let now = Instant::now();
        let seen = self.seen_alive(rival, now);
        let consensus = self.instance.config().consensus();
        let continued = self.instance.timing().election * FOLLOW_ELECTIONS;
        let patience = Patience {
            confirmed: self.instance.timing().election * CONFIRM_ELECTIONS,
            // Sooner than it would found one of its own.
            continued: consensus
                .reform_after
                .map_or(continued, |reform| continued.min(reform)),
            replaced: consensus.evict_after,
        };
        let held = self.instance.commands_held();
        let outranked = self.instance.is_outranked_by(rival);
        if outranked
            && own.leading
            && let Some(watch) = &self.node
        {
            // What is acknowledged from now on would be lost. Until it is judged the next time.
            watch.node.rest(RIVAL_INTERVAL * 4);
        }
        let verdict = rules::judge(
            &Stake {
                own: &own,
                outranked,
                held,
                position: self.instance.status().log_position(),
                halted: self.halted_for(now),
                seen,
                durable: self.instance.is_durable(),
                patience,
            },
            rival,
        );
        match verdict {
            Verdict::Stays => {}
            Verdict::Rests => self.rest(now),
            Verdict::GivesWay => {
                if outranked && held > 0 {
                    tracing::error!(
                        group = %self.instance.id().short(), lineage = %own.id.short(),
                        rival = %rival.id.short(), held, committed = rival.committed,
                        "holders of a write key write another history: this one, which was written \
                         without the key, is given up with all its commands"
                    );
                }
                if own.leading
                    && let Some(watch) = &self.node
                {
                    let term = watch.view.borrow().term;
                    self.tell_dissolved(own.id, term, rival);
                }
                self.give_way(own.id, rival).await;
            }
            Verdict::IsKept => self.keep(own.id, rival),
        }
    }

    /// Takes no commands for a moment, at most once in `evict_after`: should the rival one not have
    /// changed by then, that was not the reason.
    fn rest(&mut self, now: Instant) {
        let pause = self.instance.config().consensus().evict_after;
        let recent = |rested: Instant| now.saturating_duration_since(rested) < pause;
        let Some(watch) = &self.node else { return };
        if !self.rested.is_some_and(recent) {
            self.rested = Some(now);
            watch
                .node
                .rest(self.instance.timing().election * REST_ELECTIONS);
        }
    }

    /// Says once that this member's history stays, though another one of the group lives.
    fn keep(&mut self, own: Lineage, rival: &LineageStanding) {
        if self.kept_from.replace(rival.id) != Some(rival.id) {
            tracing::error!(
                group = %self.instance.id().short(), lineage = %own.short(),
                rival = %rival.id.short(), held = self.instance.commands_held(),
                committed = rival.committed,
                "another history of this group lives; this member's is on its disk, and is kept. \
                 Bring its majority back, or give it up by `Group::abandon_history` on this member"
            );
        }
    }

    /// Time for which a rival history has been said to be alive, as of now; zero if it is said to
    /// be dead.
    fn seen_alive(&mut self, rival: &LineageStanding, now: Instant) -> Duration {
        let says = |alive: bool| {
            let bonds = self.instance.trusted_bonds();
            let standings = bonds.iter().filter_map(|bond| bond.standing().lineage);
            standings
                .filter(|s| s.id == rival.id && s.alive == alive)
                .count()
        };
        let dead = says(true) == 0 && (!rival.alive || says(false) > 0);
        if dead {
            self.rivals_seen.remove(&rival.id);
            return Duration::ZERO;
        }
        if self.rivals_seen.len() >= MAX_RIVALS && !self.rivals_seen.contains_key(&rival.id) {
            let fresh = |last: &Instant| now.saturating_duration_since(*last) <= SILENCE;
            self.rivals_seen.retain(|_, (_, last)| fresh(last));
            if self.rivals_seen.len() >= MAX_RIVALS {
                return Duration::ZERO;
            }
        }
        let (first, last) = self.rivals_seen.entry(rival.id).or_insert((now, now));
        if now.saturating_duration_since(*last) > SILENCE {
            *first = now;
        }
        *last = now;
        now.saturating_duration_since(*first)
    }

    /// Judges rival histories again: what becomes of them also depends on time.
    pub(super) async fn reconsider_rivals(&mut self, now: Instant) {
        self.halted_for(now);
        if now < self.rivals_at {
            return;
        }
        self.rivals_at = now + RIVAL_INTERVAL;
        for bond in self.instance.trusted_bonds() {
            if let Some(theirs) = bond.standing().lineage {
                self.on_rival(&theirs).await;
            }
        }
    }

    /// The leader of this history, or who was it in that term, has given it up.
    pub(super) async fn on_dissolved(
        &mut self,
        lineage: Lineage,
        term: u64,
        winner: LineageStanding,
    ) {
        let Some(watch) = &self.node else { return };
        // Who has voted since then does not follow that leader any more; its own may have gone on.
        if watch.node.lineage() != lineage || watch.view.borrow().term > term {
            return;
        }
        tracing::debug!(
            group = %self.instance.id().short(), winner = %winner.id.short(),
            "this history is dissolved"
        );
        // Who follows the same leader and has no bond with it has to know as well.
        self.tell_dissolved(lineage, term, &winner);
        self.give_way(lineage, &winner).await;
    }

    fn tell_dissolved(&self, lineage: Lineage, term: u64, winner: &LineageStanding) {
        self.instance.broadcast(|| Control::Dissolved {
            lineage,
            term,
            winner: winner.clone(),
        });
    }

    /// Gives the own history up for another one, without discarding anything if possible.
    async fn give_way(&mut self, lineage: Lineage, winner: &LineageStanding) {
        if self.instance.follow(winner).await {
            return self.watch_node();
        }
        if self.instance.is_durable() && self.instance.commands_held() > 0 {
            return self.keep(lineage, winner);
        }
        self.yielded = Some(Instant::now());
        self.abandon(lineage).await;
    }

    /// Gives the history up that this member holds, as its operator has decided. Returns whether
    /// it had one.
    pub(super) async fn abandon_history(&mut self) -> bool {
        let Some(watch) = &self.node else {
            return false;
        };
        let lineage = watch.node.lineage();
        self.yielded = Some(Instant::now());
        self.abandon(lineage).await;
        true
    }

    /// Returns whether a leader of this history with a majority is known, here or to a bonded
    /// member.
    fn is_led(&self) -> bool {
        let Some(own) = self.instance.lineage_standing() else {
            return false;
        };
        let knows = |bond: &Arc<BondCore>| {
            let theirs = bond.standing().lineage;
            theirs.is_some_and(|theirs| theirs.alive && theirs.id == own.id)
        };
        own.alive || self.instance.trusted_bonds().iter().any(knows)
    }

    /// Returns whether a majority of the voters is there, so that a leader will be elected.
    fn has_quorum(&self) -> bool {
        let Some(watch) = &self.node else {
            return false;
        };
        let own = watch.node.lineage();
        let bonds = self.instance.trusted_bonds();
        let standings = bonds.iter().map(|bond| bond.standing());
        let present = standings
            .filter(|theirs| {
                theirs
                    .lineage
                    .as_ref()
                    .is_some_and(|theirs| theirs.id == own)
            })
            .map(|theirs| theirs.member)
            .chain([watch.node.member()])
            .collect();
        rules::is_quorum(&watch.view.borrow().configs, &present)
    }

    /// Time for which this history has had neither a leader nor a majority; `None` if it has one of
    /// them.
    pub(super) fn halted_for(&mut self, now: Instant) -> Option<Duration> {
        if self.node.is_none() || self.is_led() || self.has_quorum() {
            self.halted_since = None;
            return None;
        }
        let since = *self.halted_since.get_or_insert(now);
        Some(now.saturating_duration_since(since))
    }

    /// A member that can be reached and has entries behind this one's last: acknowledged commands may
    /// be among them.
    fn survivor_ahead(&self) -> Option<MemberId> {
        let bonds = self.instance.trusted_bonds();
        let bonded: Vec<_> = bonds.iter().map(|bond| bond.standing()).collect();
        rules::survivor_ahead(&self.instance.standing(), &bonded)
    }

    /// As [`reform`](Self::reform), for an operator: not if another survivor has more of the history.
    pub(super) async fn reform_on_request(&mut self) -> bool {
        if let Some(ahead) = self.survivor_ahead() {
            tracing::warn!(
                group = %self.instance.id().short(), member = %ahead,
                "not reformed from this member: that one has more of the log"
            );
            return false;
        }
        self.reform().await
    }

    /// Founds a new history from this member's, unless that has a leader.
    pub(super) async fn reform(&mut self) -> bool {
        if self.is_led() {
            return false;
        }
        self.node = None;
        self.changing = None;
        let reformed = self.instance.reform().await;
        self.watch_node();
        reformed
    }

    /// Reforms the group when it was halted for as long as the configuration allows.
    pub(super) async fn reform_if_due(&mut self, now: Instant) {
        let Some(limit) = self.instance.config().consensus().reform_after else {
            return;
        };
        let Some(halted) = self.halted_for(now) else {
            return;
        };
        // It may be led by members with another write key, or without one.
        if self.instance.lacks_right() {
            return;
        }
        let Some(watch) = &self.node else { return };
        let bonds = self.instance.trusted_bonds();
        let bonded: Vec<_> = bonds.iter().map(|bond| bond.standing()).collect();
        let own = self.instance.standing();
        // The others wait until it has had its chance.
        let wait = match rules::reforms(&own, &bonded, &watch.view.borrow().voters) {
            Turn::First => limit,
            Turn::Later => limit.saturating_mul(2),
            Turn::Never => return,
        };
        if halted >= wait {
            self.reform().await;
        }
    }

    /// Starts consensus again with what this member has, after a pause where it has crashed before.
    /// Returns whether that is possible.
    pub(super) async fn recover(&mut self, reason: &str, now: Instant) -> bool {
        let instance = self.instance.clone();
        if instance.is_leaving() {
            // What is left of the group ends in order.
            return true;
        }
        let Some(at) = self.crashes.pause_ends else {
            let pause = self.crashes.note(now);
            tracing::error!(
                group = %instance.id().short(), %reason, ?pause,
                "consensus has crashed, and starts again after a pause"
            );
            self.changing = None;
            // Tasks of that instance will not tell any more that they are done.
            self.fetching = None;
            self.feeding.following = None;
            instance.suspend().await;
            return true;
        };
        if now < at {
            instance.pending_commands().expire(now);
            self.tell_standing();
            return true;
        }
        self.crashes.pause_ends = None;
        let recovered = instance.resume().await;
        self.watch_node();
        recovered
    }

    pub(super) async fn abandon(&mut self, lineage: Lineage) {
        self.node = None;
        self.changing = None;
        self.instance.abandon(lineage).await;
        self.watch_node();
    }

    /// Founds a group, if that is this member's part.
    pub(super) async fn found(&mut self, now: Instant) {
        let instance = self.instance.clone();
        let consensus = instance.config().consensus();
        // Whoever has given way joins the winner, which it may not have found yet. A third history
        // would be given up in turn.
        let waits =
            |yielded: Instant| now.saturating_duration_since(yielded) < consensus.evict_after;
        if self.yielded.is_some_and(waits) {
            return;
        }
        let bonded = instance.standings_for_founding();
        let limit = consensus.bootstrap_delay.saturating_mul(self.factor());
        let own = instance.standing();
        // Behind all that was looked at: it counts for the role in which the member has waited.
        self.renew_wait(now);
        let quiet = now - self.last_news >= QUIET && !self.dials.is_first_attempt_pending();
        let voters = rules::found(&Founding {
            own: &own,
            bonded: &bonded,
            min_members: instance.min_members(),
            max_voters: consensus.max_voters,
            settled: (self.discovery_settled && quiet && !self.has_changed_role)
                || now - self.waiting_since >= limit,
        });
        let Some(voters) = voters else { return };
        // Whoever lacks the tickets itself is alone with what it founds, as long as that is so.
        if !instance.config().founds_unadmitted && !instance.admits_itself() {
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

    /// Begins to wait anew if this member is another one than before: others may become what it has
    /// become at the same time, and the bonds on which it would hear of them may have to be made. It
    /// waits for as long as that may take, since what it knows of them is of observers.
    fn renew_wait(&mut self, now: Instant) {
        let role = self.instance.role();
        if role != self.role {
            self.role = role;
            self.has_changed_role = true;
            (self.waiting_since, self.last_news) = (now, now);
        }
    }

    /// Info of this member and its number, for the next message.
    pub(super) fn next_standing(&mut self) -> (u64, MemberInfo) {
        self.told_count += 1;
        (self.told_count, self.instance.standing())
    }

    /// Tells the others this member's standing, when that has changed in a way that matters.
    pub(super) fn tell_standing(&mut self) {
        let standing = self.instance.standing();
        let own = standing.lineage.as_ref().map(|own| own.id);
        let rivals = self.instance.bonds().all().iter().any(|bond| {
            let theirs = bond.standing().lineage;
            theirs.is_some_and(|theirs| Some(theirs.id) != own)
        });
        let mut comparable = standing.clone();
        // While there is a leader, it knows how far the others are.
        if let (Some(new), Some(old)) = (&mut comparable.lineage, &self.told.lineage)
            && new.alive
        {
            (new.committed, new.last) = (old.committed, old.last);
        }
        let due = rivals && self.told_at.elapsed() >= RIVAL_INTERVAL && standing != self.told;
        if comparable != self.told || due {
            self.told = standing.clone();
            self.told_at = Instant::now();
            self.told_count += 1;
            let number = self.told_count;
            self.instance.broadcast(|| Control::MemberInfo {
                number,
                standing: standing.clone(),
            });
        }
    }
}
