//! State shared by all parts of a consensus instance, and values derived from the library's state.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use openraft::{
    Instant as _, ServerState,
    alias::{LogIdOf, WatchReceiverOf},
    async_runtime::watch::WatchReceiver,
    error::Fatal,
    metrics::RaftServerMetrics,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    apply::applied::Applied,
    leader::Leader,
    library::{Consensus, caught},
    pending_commands::PendingCommands,
    replication::{acks::Acks, commit_notices::CommitNotices, peers::Peers, progress::Progress},
    state::{
        candidacy::Candidacy, confirmations::LeadershipConfirmations, feed::Feed, health::Health,
        supply_limits::SupplyLimits, view::View,
    },
};
use crate::{
    groups::{
        catch_up::snapshot_data::Partial,
        log::{raft_log::RaftLog, types::Types},
        model::{
            config::Timing,
            lineage::{Lineage, MemberId},
            status::Status,
        },
    },
    primitives::{PeerId, Scope},
};

/// State shared by all parts of a consensus instance.
pub(crate) struct NodeCore {
    pub(super) member: MemberId,
    pub(super) lineage: Lineage,
    pub(super) timing: Timing,
    pub(super) raft: Consensus,
    pub(super) log: RaftLog,
    pub(super) commit_notices: Arc<CommitNotices>,
    pub(super) acks: Arc<Acks>,
    /// Progress of the others, if this member leads.
    pub(super) progress: Progress,
    /// Observers that are fed from here, and the source of an observer.
    pub(super) feed: Feed,
    pub(super) candidacy: Candidacy,
    pub(super) confirmations: LeadershipConfirmations,
    pub(super) applied: Arc<Applied>,
    pub(super) pending_commands: Arc<PendingCommands>,
    pub(super) status: Arc<Status>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) leader: Arc<Leader>,
    pub(super) health: Health,
    /// True if this instance has ended. Held while it publishes what it knows.
    pub(super) over: Mutex<bool>,
    /// Bounds what is prepared for members that catch up.
    pub(super) supplies: Semaphore,
    /// Bounds what they have prepared and not taken.
    pub(super) supply_limits: SupplyLimits,
    /// The last entry that was taken as committed from others than the leader. Held while more is.
    pub(super) committed: tokio::sync::Mutex<Option<LogIdOf<Types>>>,
    /// Snapshot that was fetched in part.
    pub(super) partial: Mutex<Option<Partial>>,
    /// Carries the instance's own tasks.
    pub(super) scope: Scope,
    pub(super) this: Weak<Self>,
}

impl NodeCore {
    /// Waits for the consensus library's answer to others; `None` from when this instance is to
    /// stop. Calls that still wait then don't see that end, which the library would log as an
    /// error.
    pub(super) async fn while_running<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = self.scope.cancelled() => None,
            answer = caught(call) => answer?.ok(),
        }
    }

    /// Follows the consensus library's view of roles and membership. Ends with the scope, or when
    /// the library can't go on.
    pub(super) async fn follow_role(&self) {
        let mut server = self.server.clone();
        while WatchReceiver::changed(&mut server).await.is_ok() {
            self.refresh();
        }
        let stopped = self.raft.metrics().borrow_watched().running_state.clone();
        match stopped {
            Err(Fatal::Panicked) | Ok(()) => self.applied.crash("a task of consensus panicked"),
            Err(fatal) => self.applied.fail(fatal),
        }
    }

    /// Takes in what the library says about roles, and brings everything derived up to date.
    pub(super) fn refresh(&self) {
        // Looked at under the lock: of two that come at a time, the later one has the later view.
        let changed = self.view.send_if_modified(|current| {
            let view = self.current_view();
            let changed = **current != view;
            if changed {
                *current = Arc::new(view);
            }
            changed
        });
        if changed {
            self.publish_membership();
        }
        self.reconsider();
    }

    fn publish_membership(&self) {
        let over = self.over.lock();
        let membership = self.view.borrow().membership();
        if let (false, Some(membership)) = (*over, membership) {
            self.status.set_membership(membership);
        }
    }

    /// Brings everything derived from roles and from the clock up to date.
    pub(super) fn reconsider(&self) {
        let view = self.view.borrow().clone();
        self.health.leads(view.leading);
        let holds_lease = self.holds_lease(&view);
        let has_voters = self.has_voters(&view, holds_lease);
        self.leader.update(&view, holds_lease, has_voters);
        self.assess();
    }

    /// Entries were applied.
    pub(super) fn on_applied(&self) {
        let leads = self.view.borrow().leading;
        let accepts = self.leader.accepts_commands();
        if accepts {
            self.leader.propose_pending();
        }
        if leads != accepts || !self.status.is_online() {
            self.refresh();
        }
    }

    /// The fate of a proposal is known; `none_is_open` if a tenure may begin because of that.
    pub(super) fn on_decided(&self, none_is_open: bool) {
        if none_is_open {
            self.refresh();
        }
        self.assess();
    }

    fn current_view(&self) -> View {
        let server = self.server.borrow_watched();
        let membership = server.membership_config.membership();
        let vote = server.vote.leader_id;
        View {
            term: vote.term,
            leader: server.current_leader,
            leading: server.state == ServerState::Leader,
            stood: if vote.voted_for == self.member {
                vote.term
            } else {
                0
            },
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            joint: membership.get_joint_config().len() > 1,
            configs: membership.get_joint_config().clone(),
            membership: server
                .membership_config
                .log_id()
                .as_ref()
                .map(openraft::LogId::index),
            settled: server.membership_config.log_id()
                == server.committed_membership_config.log_id(),
        }
    }

    pub(super) fn current_leader(&self) -> Option<MemberId> {
        self.view.borrow().leader
    }

    pub(super) fn view(&self) -> watch::Ref<'_, Arc<View>> {
        self.view.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Notes a contact with a leader.
    pub(super) fn on_contact(&self, term: u64, commit: Option<u64>) {
        self.on_contact_at(term, commit, Instant::now());
    }

    /// Notes that there was a sign of life of a leader at some time.
    pub(super) fn on_contact_at(&self, term: u64, commit: Option<u64>, at: Instant) {
        // Who has voted for a later one does not follow it any more.
        let deposed = self
            .log
            .stored_vote()
            .is_some_and(|(voted, _)| voted > term);
        if deposed || !self.health.heard(term, commit, at) {
            return;
        }
        self.feed.sign();
        if !self.status.is_online() {
            self.assess();
        }
    }

    /// Returns whether this leader has a majority behind it, or has only begun to lead.
    pub(super) fn has_majority(&self, view: &View) -> bool {
        self.health.has_majority(self.quorum_silence(view))
    }

    /// Returns whether a majority was heard of lately, so that commands may be accepted.
    pub(super) fn holds_lease(&self, view: &View) -> bool {
        self.health.holds_lease(self.quorum_silence(view))
    }

    /// Returns whether as many voters are present as this member needs to take commands. During a
    /// change of the membership as many in both: what is taken then may be committed in the later one.
    fn has_voters(&self, view: &View, holds_lease: bool) -> bool {
        let needed = self.peers.needed_voters();
        view.configs.iter().all(|voters| {
            // A majority is behind the lease, also one that has acknowledged entries instead of
            // heartbeats.
            holds_lease && needed <= voters.len() / 2 + 1
                || self.acks.present(&self.member, voters) >= needed
        })
    }

    /// Time since a majority was heard of.
    fn quorum_silence(&self, view: &View) -> Option<Duration> {
        if view.voters.len() == 1 && view.voters.contains(&self.member) {
            return Some(Duration::ZERO);
        }
        let data = self.raft.data_metrics();
        let data = data.borrow_watched();
        let entries = data.last_quorum_acked.as_ref().map(|at| at.elapsed());
        let beats = self.acks.silence(&self.member, &view.configs);
        entries.into_iter().chain(beats).min()
    }

    /// Brings the published state up to date: who leads, and whether this member is online.
    pub(super) fn assess(&self) {
        let view = self.view.borrow().clone();
        let (leader, online) = if view.leading {
            let lives = self.has_majority(&view);
            (
                lives.then_some(self.member),
                lives && self.leader.accepts_commands(),
            )
        } else {
            let leader = view.leader.filter(|_| self.health.hears_leader());
            (leader, leader.is_some() && self.has_caught_up(&view))
        };
        if leader.is_none() {
            self.health.falls_behind();
        } else {
            self.pending_commands.leader_is_known();
        }
        let leader = leader.and_then(|leader| self.peer_of(&leader));
        let online = online && !self.applied.replica.is_stale();
        let over = self.over.lock();
        if *over {
            // The status is another instance's by now.
            return;
        }
        // The leader first: who sees this member go online or offline finds it as it is then.
        self.status.set_leader(leader);
        self.status.set_online(online);
    }

    /// Returns whether this member has once applied everything, and has kept up since then.
    fn has_caught_up(&self, view: &View) -> bool {
        let takes_part = self.feed.observes() || view.contains(&self.member);
        let has_applied = |index| self.applied.has_applied(index);
        self.health.has_caught_up(takes_part, has_applied)
    }

    /// Notes that this member lacks so many entries that the leader sends a snapshot.
    pub(super) fn falls_behind(&self) {
        self.health.falls_behind();
        self.assess();
    }

    fn peer_of(&self, member: &MemberId) -> Option<PeerId> {
        // Usually unchanged: spares making a public key of raw bytes.
        let known = self.status.leader().filter(|known| member.is_of(known));
        known.or_else(|| member.peer())
    }
}
