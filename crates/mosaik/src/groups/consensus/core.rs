//! State shared by all parts of a consensus instance, and values derived from the library's state.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use openraft::{
    Instant as _, Raft, ServerState,
    alias::{LogIdOf, WatchReceiverOf},
    async_runtime::watch::WatchReceiver,
    metrics::RaftServerMetrics,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    apply::{applied::Applied, task::Applier},
    feed::Feed,
    leadership::LeadershipConfirmations,
    pending_commands::PendingCommands,
    replication::{acks::Acks, commit_notices::CommitNotices, peers::Peers, progress::Progress},
    view::View,
};
use crate::{
    groups::{
        Index,
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

/// A follower that needs this many election timeouts to apply a commit has fallen behind.
const KEEP_UP: u32 = 2;

pub(super) type Consensus = Raft<Types, Applier>;

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
    /// True if this member stands for election by itself.
    pub(super) elects: AtomicBool,
    /// This member asks others for pre-votes, and has let none of them go first.
    pub(super) polling: AtomicBool,
    pub(super) rounds: Mutex<LeadershipConfirmations>,
    pub(super) applied: Arc<Applied>,
    pub(super) pending_commands: Arc<PendingCommands>,
    pub(super) status: Arc<Status>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) tenure: Mutex<Option<Leadership>>,
    /// The number of the current tenure; 0 while there is none.
    pub(super) tenures: watch::Sender<u64>,
    pub(super) tenure_count: AtomicU64,
    /// Time until which this leader takes no commands.
    pub(super) rests_until: Mutex<Option<Instant>>,
    /// CachedSnapshot while commands are taken from the queue and proposed: they must not overtake.
    pub(super) propose_pending: Mutex<()>,
    /// Proposals whose fate is not known yet.
    pub(super) undecided: AtomicUsize,
    pub(super) contact: Mutex<Contact>,
    /// True if this instance has ended. CachedSnapshot while it publishes what it knows.
    pub(super) over: Mutex<bool>,
    pub(super) caught_up: AtomicBool,
    /// Bounds what is prepared for members that catch up.
    pub(super) supplies: Semaphore,
    /// The last entry that was taken as committed from others than the leader. Held while more is.
    pub(super) committed: tokio::sync::Mutex<Option<LogIdOf<Types>>>,
    /// Snapshot that was fetched in part.
    pub(super) partial: Mutex<Option<Partial>>,
    /// Carries the instance's own tasks.
    pub(super) scope: Scope,
    pub(super) this: Weak<Self>,
}

/// The time in which this member may put commands into the log: it leads, and has applied all
/// that its predecessors committed.
pub(super) struct Leadership {
    pub(super) number: u64,
    pub(super) term: u64,
    /// The index of the next command.
    pub(super) next: Index,
    /// The last sequence number in the log, per member.
    pub(super) sequences: HashMap<MemberId, u64>,
}

/// Last contact with a leader.
#[derive(Default)]
pub(super) struct Contact {
    pub(super) at: Option<Instant>,
    pub(super) term: u64,
    /// The consensus index that it had committed.
    pub(super) commit: Option<u64>,
    /// Time since which this member leads.
    pub(super) leading_since: Option<Instant>,
    /// Sample of the leader's commit index, with its time, to see how long this member takes to
    /// apply it.
    sample: Option<(u64, Instant)>,
}

impl Contact {
    /// Returns whether this member needs longer than `patience` to apply what its leader has
    /// committed. A busy one is always a little behind; what counts is that it keeps up.
    fn is_lagging(&mut self, applied: &Applied, patience: Duration) -> bool {
        match self.sample {
            Some((commit, at)) if !applied.has_applied(commit) => at.elapsed() >= patience,
            _ => {
                self.sample = self.commit.map(|commit| (commit, Instant::now()));
                false
            }
        }
    }
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
            answer = call => answer.ok(),
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
        let reason = match stopped {
            Err(fatal) => fatal.to_string(),
            Ok(()) => "a task of consensus panicked".to_owned(),
        };
        self.applied.fail(reason);
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
        {
            let mut contact = self.contact.lock();
            if !view.leading {
                contact.leading_since = None;
            } else if contact.leading_since.is_none() {
                contact.leading_since = Some(Instant::now());
            }
        }
        self.update_tenure(&view);
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
        let mut contact = self.contact.lock();
        if deposed || term < contact.term {
            return;
        }
        contact.term = term;
        contact.at = contact.at.max(Some(at));
        contact.commit = commit.max(contact.commit);
        drop(contact);
        self.feed.sign();
        if !self.status.is_online() {
            self.assess();
        }
    }

    /// Time since a leader was heard of.
    pub(super) fn contact_age(&self) -> Option<Duration> {
        self.contact.lock().at.map(|at| at.elapsed())
    }

    /// Returns whether a leader was heard of within its time.
    fn leader_lives(&self) -> bool {
        self.contact_age()
            .is_some_and(|age| age < self.timing.election)
    }

    /// Returns whether this leader has heard of a majority within its time, or has only begun to
    /// lead.
    pub(super) fn quorum_lives(&self, view: &View) -> bool {
        let fresh = |elapsed: Duration| elapsed < self.timing.election;
        let since = self.contact.lock().leading_since;
        since.is_some_and(|since| fresh(since.elapsed()))
            || self.quorum_silence(view).is_some_and(fresh)
    }

    /// Returns whether a majority was heard of lately, so that commands may be accepted.
    pub(super) fn holds_lease(&self, view: &View) -> bool {
        self.quorum_silence(view)
            .is_some_and(|silence| silence < self.timing.election)
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
            let lives = self.quorum_lives(&view);
            (
                lives.then_some(self.member),
                lives && *self.tenures.borrow() != 0,
            )
        } else {
            let leader = view.leader.filter(|_| self.leader_lives());
            (leader, leader.is_some() && self.has_caught_up(&view))
        };
        if leader.is_none() {
            self.caught_up.store(false, Ordering::Relaxed);
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
        let mut contact = self.contact.lock();
        let lagging = contact.is_lagging(&self.applied, self.timing.election * KEEP_UP);
        let commit = contact.commit;
        drop(contact);
        if self.caught_up.load(Ordering::Relaxed) {
            self.caught_up.store(!lagging, Ordering::Relaxed);
            return !lagging;
        }
        let takes_part = self.feed.observes() || view.contains(&self.member);
        let caught_up = takes_part && commit.is_some_and(|at| self.applied.has_applied(at));
        self.caught_up.store(caught_up, Ordering::Relaxed);
        caught_up
    }

    /// Notes that this member lacks so many entries that the leader sends a snapshot.
    pub(super) fn falls_behind(&self) {
        self.caught_up.store(false, Ordering::Relaxed);
        self.assess();
    }

    fn peer_of(&self, member: &MemberId) -> Option<PeerId> {
        // Usually unchanged: spares making a public key of raw bytes.
        let known = self.status.leader().filter(|known| member.is_of(known));
        known.or_else(|| member.peer())
    }
}
