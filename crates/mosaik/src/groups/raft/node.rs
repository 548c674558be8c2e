//! One member's consensus instance, in one lineage.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use openraft::{
    ChangeMembers, Instant as _, Raft, ServerState, SnapshotPolicy,
    alias::{CommittedLeaderIdOf, WatchReceiverOf},
    async_runtime::watch::WatchReceiver,
    metrics::RaftServerMetrics,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    apply::{Applied, AppliedOptions, Applier, State},
    intake::Partial,
    log::Log,
    network::{Network, Peers},
    reads::{Rounds, Told},
    types::{Batch, OnCompletion, Types},
};
use crate::{
    groups::{
        Index,
        config::Timing,
        duplex::Gone,
        member::{Lineage, MemberId},
        replica::{CommandStore, Replica},
        status::Status,
        store::{GroupStore, Rewrite},
        submissions::{Parcel, Route, Submissions},
    },
    primitives::{GroupId, NetworkId, PeerId, Scope},
};

/// Consensus entries per append request.
const MAX_ENTRIES_PER_REQUEST: u64 = 4096;
/// Answers to members that catch up which may be prepared at a time.
const MAX_SUPPLIES: usize = 4;

pub(super) type Consensus = Raft<Types, Applier>;

/// What a member's consensus instance is made of.
pub(crate) struct NodeOptions {
    pub(crate) member: MemberId,
    pub(crate) lineage: Lineage,
    pub(crate) group: GroupId,
    pub(crate) network: NetworkId,
    pub(crate) timing: Timing,
    /// Whether the library itself may stand for election; reluctant members do it by themselves.
    pub(crate) elects: bool,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) commands: Option<Arc<dyn CommandStore>>,
    /// Where a durable member keeps what must survive.
    pub(crate) store: Option<GroupStore>,
    pub(crate) submissions: Arc<Submissions>,
    pub(crate) status: Arc<Status>,
    pub(crate) peers: Arc<dyn Peers>,
    /// What an earlier instance leaves to this one.
    pub(crate) inheritance: Option<Inheritance>,
}

/// Log and applied state of an instance whose history has ended, for one that continues it.
pub(crate) struct Inheritance {
    log: Log,
    state: State,
}

impl Inheritance {
    /// Makes the heir the only voter: the beginning of a new history.
    pub(crate) fn claim(&self, heir: MemberId) -> Result<(), Stopped> {
        self.log.claim(heir).map_err(Stopped::because)
    }

    /// How the new history's log differs from what is on disk of the old one's, if it is durable.
    pub(crate) fn rewrite(&self) -> Result<Option<Rewrite>, Stopped> {
        self.log.rewrite().map_err(Stopped::because)
    }
}

/// The consensus instance failed to start, or has stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[error("consensus has stopped: {0}")]
pub(crate) struct Stopped(String);

impl Stopped {
    pub(crate) fn because(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A member's consensus instance.
#[derive(Clone)]
pub(crate) struct Node(Arc<NodeCore>);

pub(crate) struct NodeCore {
    pub(super) member: MemberId,
    lineage: Lineage,
    pub(super) timing: Timing,
    pub(super) raft: Consensus,
    pub(super) log: Log,
    pub(super) told: Arc<Told>,
    pub(super) rounds: Mutex<Rounds>,
    pub(super) applied: Arc<Applied>,
    pub(super) submissions: Arc<Submissions>,
    pub(super) status: Arc<Status>,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) server: WatchReceiverOf<Types, RaftServerMetrics<Types>>,
    view: watch::Sender<Arc<View>>,
    tenure: Mutex<Option<Tenure>>,
    /// Counts tenures; 0 while there is none.
    pub(super) tenures: watch::Sender<u64>,
    /// Held while commands are taken from the queue and proposed: they must not overtake.
    pump: Mutex<()>,
    /// Proposals whose fate is not known yet.
    undecided: AtomicUsize,
    contact: Mutex<Contact>,
    caught_up: AtomicBool,
    /// Set when this member's machine must not be shown.
    barred: bool,
    /// Bounds what is prepared for members that catch up.
    pub(super) supplies: Semaphore,
    /// A snapshot of which a part was fetched.
    pub(super) partial: Mutex<Option<Partial>>,
    /// Carries the instance's own tasks.
    scope: Scope,
}

/// What consensus says about the group, as seen by this member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts, not a state machine"
)]
pub(crate) struct View {
    pub(crate) term: u64,
    pub(crate) leader: Option<MemberId>,
    /// This member leads, as far as it knows.
    pub(crate) leading: bool,
    pub(crate) candidate: bool,
    /// Members with a vote, in the latest membership.
    pub(crate) voters: BTreeSet<MemberId>,
    /// Members without.
    pub(crate) learners: BTreeSet<MemberId>,
    /// Whether that membership is committed, so that another change may be made.
    pub(crate) settled: bool,
    /// Whether it is a transition between two memberships, which must be brought to its end.
    pub(crate) joint: bool,
    /// The voters of that membership; during a transition, of both.
    pub(crate) configs: Vec<BTreeSet<MemberId>>,
    /// The consensus index of that membership.
    pub(crate) membership: Option<u64>,
}

impl View {
    pub(crate) fn contains(&self, member: &MemberId) -> bool {
        self.voters.contains(member) || self.learners.contains(member)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.voters.iter().chain(&self.learners)
    }
}

/// The time in which this member may put commands into the log: it leads, and has applied all
/// that its predecessors committed.
struct Tenure {
    term: u64,
    /// The index of the next command.
    next: Index,
    /// The last sequence number in the log, per member.
    sequences: HashMap<MemberId, u64>,
}

/// The last sign of life of a leader.
struct Contact {
    at: Option<Instant>,
    term: u64,
    /// The consensus index that it had committed.
    commit: Option<u64>,
    /// Since when this member leads.
    leading_since: Option<Instant>,
}

/// Why commands were not proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This member does not lead, or is not ready to.
    NotLeading,
    /// Too much is under way.
    Busy,
}

impl Node {
    /// Starts an instance, with an empty log, what the store holds, or an inherited log.
    pub(crate) async fn start(options: NodeOptions, scope: &Scope) -> Result<Self, Stopped> {
        let barred = options.replica.is_stale();
        let Inheritance { log, state } = match options.inheritance {
            Some(inheritance) => inheritance,
            None => Inheritance {
                log: Log::open(options.store, options.commands, options.status.clone())
                    .await
                    .map_err(Stopped::because)?,
                state: State::default(),
            },
        };
        let mut stored = log.stored_snapshot().await.map_err(Stopped::because)?;
        // Whoever continues an earlier instance has it applied.
        stored.take_if(|stored| state.has_applied(stored.meta.last_log_id.as_ref()));
        let config = raft_config(&options.timing, options.elects);
        let applied = Applied::new(AppliedOptions {
            member: options.member,
            group: options.group,
            network: options.network,
            replica: options.replica,
            submissions: options.submissions.clone(),
            status: options.status.clone(),
            log: log.clone(),
            state,
            stored,
        });
        let told = Arc::new(Told::default());
        let raft = Consensus::new(
            options.member,
            Arc::new(config),
            Network::new(options.peers.clone(), told.clone()),
            log.clone(),
            Applier(applied.clone()),
        )
        .await
        .map_err(Stopped::because)?;
        let core = Arc::new(NodeCore {
            member: options.member,
            lineage: options.lineage,
            timing: options.timing,
            server: raft.server_metrics(),
            raft,
            log,
            told,
            rounds: Mutex::default(),
            applied,
            submissions: options.submissions,
            status: options.status,
            peers: options.peers,
            view: watch::Sender::new(Arc::default()),
            tenure: Mutex::new(None),
            tenures: watch::Sender::new(0),
            pump: Mutex::new(()),
            undecided: AtomicUsize::new(0),
            contact: Mutex::new(Contact {
                at: None,
                term: 0,
                commit: None,
                leading_since: None,
            }),
            caught_up: AtomicBool::new(false),
            barred,
            supplies: Semaphore::new(MAX_SUPPLIES),
            partial: Mutex::new(None),
            scope: scope.child(),
        });
        core.applied.attach(Arc::downgrade(&core));
        core.refresh();
        let watched = core.clone();
        core.scope.spawn(async move { watched.follow_role().await });
        let beating = core.clone();
        core.scope.spawn(async move { beating.beat().await });
        let forwarding = core.clone();
        core.scope
            .spawn(async move { forwarding.forward_commands().await });
        let compacting = core.clone();
        core.scope.spawn(async move { compacting.compact().await });
        Ok(Self(core))
    }

    pub(crate) fn member(&self) -> MemberId {
        self.0.member
    }

    pub(crate) fn lineage(&self) -> Lineage {
        self.0.lineage
    }

    /// What consensus currently says, and every change of it.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.0.view.subscribe()
    }

    /// Why this member can't go on, once that is so.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.0.applied.failure()
    }

    /// The consensus core, for the serving side.
    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        &self.0
    }

    /// Proposes what is queued, if this member may.
    pub(crate) fn pump(&self) {
        self.0.pump();
    }

    /// Looks at the clock: notices lost leaders, gives up calls that wait too long.
    pub(crate) fn tick(&self, now: Instant) {
        self.0.submissions.expire(now);
        self.0.expire_partial(now);
        self.0.reconsider();
    }

    /// The leader has said goodbye.
    pub(crate) fn leader_left(&self) {
        self.0.contact.lock().at = None;
        self.0.assess();
    }

    /// How many commands this member has applied.
    pub(crate) fn applied_commands(&self) -> Index {
        self.0.applied.position().index()
    }

    /// Founds the group with these voters. To be called once, on one of them.
    #[allow(
        clippy::zero_sized_map_values,
        reason = "the library maps ids to nodes, and ours are empty"
    )]
    pub(crate) async fn found(&self, voters: BTreeSet<MemberId>) -> Result<(), Stopped> {
        self.0
            .raft
            .initialize(voters)
            .await
            .map_err(Stopped::because)
    }

    /// Adds members that replicate and don't vote.
    pub(crate) async fn add_learners(&self, members: BTreeSet<MemberId>) -> Result<(), Stopped> {
        let members = members.into_iter().map(|member| (member, ())).collect();
        self.change(ChangeMembers::AddNodes(members), true).await
    }

    /// Gives members a vote and takes it from others, who leave the group, in one change.
    pub(crate) async fn change_voters(
        &self,
        promoted: BTreeSet<MemberId>,
        removed: BTreeSet<MemberId>,
    ) -> Result<(), Stopped> {
        let changes = ChangeMembers::Batch(vec![
            ChangeMembers::AddVoterIds(promoted),
            ChangeMembers::RemoveVoters(removed),
        ]);
        self.change(changes, false).await
    }

    /// Removes members that don't vote.
    pub(crate) async fn remove_learners(&self, members: BTreeSet<MemberId>) -> Result<(), Stopped> {
        self.change(ChangeMembers::RemoveNodes(members), true).await
    }

    async fn change(
        &self,
        changes: ChangeMembers<MemberId, ()>,
        retain: bool,
    ) -> Result<(), Stopped> {
        self.0
            .raft
            .change_membership(changes, retain)
            .await
            .map(drop)
            .map_err(Stopped::because)
    }

    /// Members whose log reaches to the end of this leader's, or nearly so.
    pub(crate) fn matched(&self, within: u64) -> BTreeSet<MemberId> {
        let data = self.0.raft.data_metrics();
        let data = data.borrow_watched();
        let last = data.last_log.as_ref().map_or(0, openraft::LogId::index);
        let Some(replication) = &data.replication else {
            return BTreeSet::new();
        };
        replication
            .iter()
            .filter(|(_, matched)| {
                matched
                    .as_ref()
                    .is_some_and(|id| id.index() + within >= last)
            })
            .map(|(member, _)| *member)
            .collect()
    }

    /// Hands leadership to a voter whose log is complete. Watch the view for the outcome.
    pub(crate) async fn hand_over(&self, to: MemberId) {
        // Fails only when consensus has stopped; then there is nothing to hand over.
        let _ = self.0.raft.trigger().transfer_leader(to).await;
    }

    /// Stands for election, unless a leader lives.
    pub(crate) async fn stand(&self) {
        // Fails only when consensus has stopped.
        let _ = self.0.raft.trigger().elect(true).await;
    }

    /// Tries members again at once that could not be reached.
    pub(crate) async fn retry(&self, member: MemberId) {
        // Fails only when consensus has stopped.
        let _ = self.0.raft.trigger().reset_backoff([member]).await;
    }

    /// Fetches the committed log from several members, before this one is added to the membership;
    /// runs `done` when little is left, or when nobody can help.
    pub(crate) fn fetch_log(&self, done: impl FnOnce() + Send + 'static) {
        let core = self.0.clone();
        self.0.scope.spawn(async move {
            core.fetch_log().await;
            done();
        });
    }

    /// Waits until everything is applied that was acknowledged anywhere before the call.
    pub(crate) async fn confirm_read(&self) -> Result<(), Gone> {
        self.0.confirm_read().await
    }

    /// The consensus index up to which this member has applied.
    pub(crate) fn applied_index(&self) -> Option<u64> {
        self.0.applied.last_index()
    }

    /// Leaves log and state to a successor; to be called after the end. Only what was applied is
    /// kept, or also what might have been committed elsewhere.
    pub(crate) async fn bequeath(&self, with_uncommitted: bool) -> Result<Inheritance, Stopped> {
        let state = self.0.applied.inheritance();
        let applied = self.0.applied.last_index().unwrap_or(0);
        let kept = if with_uncommitted {
            u64::MAX - 1
        } else {
            applied
        };
        let log = self.0.log.inherit(kept).await.map_err(Stopped::because)?;
        Ok(Inheritance { log, state })
    }

    /// Stops taking part.
    pub(crate) async fn shutdown(&self) {
        self.0.scope.cancel();
        self.0.end_tenure();
        // A task of the library that panicked has been reported by the runtime.
        let _ = self.0.raft.shutdown().await;
    }
}

impl NodeCore {
    /// What the consensus library answers to others; `None` from when this instance is to stop.
    /// Whoever still waits then is not told of that end, which the library would log as an error.
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

    /// Follows the consensus library's view of roles and membership.
    async fn follow_role(&self) {
        let mut server = self.server.clone();
        while WatchReceiver::changed(&mut server).await.is_ok() {
            self.refresh();
        }
    }

    /// Takes in what the library says about roles, and brings everything derived up to date.
    fn refresh(&self) {
        let view = Arc::new(self.current_view());
        self.view.send_if_modified(|current| {
            let changed = *current != view;
            if changed {
                *current = view;
            }
            changed
        });
        self.reconsider();
    }

    /// Brings everything derived from roles and from the clock up to date.
    fn reconsider(&self) {
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
        View {
            term: server.vote.leader_id.term,
            leader: server.current_leader,
            leading: server.state == ServerState::Leader,
            candidate: server.state == ServerState::Candidate,
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

    /// Begins or ends this member's tenure.
    fn update_tenure(&self, view: &View) {
        let mut tenure = self.tenure.lock();
        if let Some(current) = &*tenure {
            if view.leading && view.term == current.term {
                return;
            }
            *tenure = None;
            drop(tenure);
            self.tenure_ended();
            return;
        }
        let ready = view.leading
            && self.applied.blank_term() == view.term
            && self.holds_lease(view)
            && self.undecided.load(Ordering::Acquire) == 0;
        if !ready {
            return;
        }
        *tenure = Some(Tenure {
            term: view.term,
            next: self.applied.position().index().next(),
            sequences: HashMap::new(),
        });
        drop(tenure);
        self.tenures.send_modify(|count| *count = view.term.max(1));
        self.submissions.leader_is_known();
        self.submissions.set_route(Route::Local);
        self.pump();
    }

    /// The term in which this member leads and has applied all that its predecessors committed.
    pub(super) fn tenure_term(&self) -> Option<u64> {
        self.tenure.lock().as_ref().map(|tenure| tenure.term)
    }

    fn end_tenure(&self) {
        if self.tenure.lock().take().is_some() {
            self.tenure_ended();
        }
    }

    fn tenure_ended(&self) {
        self.tenures.send_modify(|count| *count = 0);
        if self.submissions.route() == Route::Local {
            self.submissions.set_route(Route::Hold);
        }
    }

    /// Entries were applied.
    pub(super) fn on_applied(&self) {
        let leads = self.view.borrow().leading;
        let in_office = *self.tenures.borrow() != 0;
        if in_office {
            self.pump();
        }
        if leads != in_office || !self.status.is_online() {
            self.refresh();
        }
    }

    /// Puts queued commands of this member into its log, if it leads.
    pub(super) fn pump(&self) {
        let _in_order = self.pump.lock();
        while let Some(parcel) = self.submissions.take(Route::Local) {
            let (first, count) = (parcel.first, parcel.count);
            match self.propose(self.member, parcel) {
                Ok(index) => self.submissions.accepted(first, count, index),
                Err(_) => {
                    // They are sent again when a tenure begins.
                    self.end_tenure();
                    return;
                }
            }
        }
    }

    /// Puts commands into the log, as the leader. Returns the index of the first, or `None` when
    /// they had been there already.
    pub(super) fn propose(
        self: &NodeCore,
        origin: MemberId,
        mut parcel: Parcel,
    ) -> Result<Option<Index>, Refusal> {
        let mut tenure = self.tenure.lock();
        let tenure = tenure.as_mut().ok_or(Refusal::NotLeading)?;
        let known = tenure
            .sequences
            .entry(origin)
            .or_insert_with(|| self.applied.last_sequence_of(&origin));
        let repeated = (*known + 1).saturating_sub(parcel.first);
        if repeated >= u64::from(parcel.count) {
            return Ok(None);
        }
        let repeated = u32::try_from(repeated).unwrap_or(0);
        if repeated > 0 {
            let rest = crate::groups::commands::skip(&parcel.row, repeated as usize);
            parcel.row = rest.map_err(|_| Refusal::NotLeading)?;
            parcel.first += u64::from(repeated);
            parcel.count -= repeated;
        }
        let batch = Batch {
            origin,
            first: parcel.first,
            count: parcel.count,
            row: parcel.row,
        };
        self.write(batch, tenure.term)?;
        *known = parcel.first + u64::from(parcel.count) - 1;
        let index = tenure.next;
        tenure.next = index + parcel.count;
        Ok(Some(index))
    }

    /// Hands an entry to the consensus library without waiting.
    fn write(&self, batch: Batch, term: u64) -> Result<(), Refusal> {
        let node: Weak<Self> = self.applied.attached().unwrap_or_default();
        let decided = OnCompletion::new(move |result: Result<_, _>| {
            if let Some(node) = node.upgrade() {
                node.on_decided(term, result.is_err());
            }
        });
        let write = self
            .raft
            .write(batch)
            .with_leader(CommittedLeaderIdOf::<Types>::new(term))
            .responder(decided);
        self.undecided.fetch_add(1, Ordering::AcqRel);
        // The queue is deep; when it is full nothing is sent.
        let sent = tokio::task::unconstrained(write.into_future()).now_or_never();
        match sent {
            Some(Ok(())) => Ok(()),
            refused => {
                self.undecided.fetch_sub(1, Ordering::AcqRel);
                Err(refused.map_or(Refusal::Busy, |_| Refusal::NotLeading))
            }
        }
    }

    /// The fate of a proposal is known.
    fn on_decided(&self, term: u64, rejected: bool) {
        let left = self.undecided.fetch_sub(1, Ordering::AcqRel) - 1;
        if rejected {
            let mut tenure = self.tenure.lock();
            if tenure.as_ref().is_some_and(|tenure| tenure.term == term) {
                *tenure = None;
                drop(tenure);
                self.tenure_ended();
            }
        }
        // After a rejection the next tick tries again: the lease is over, nothing changes now.
        if left == 0 && !rejected && *self.tenures.borrow() == 0 {
            self.refresh();
        }
    }

    /// Notes a sign of life of a leader.
    pub(super) fn on_contact(&self, term: u64, commit: Option<u64>) {
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
        contact.at = Some(Instant::now());
        contact.commit = commit.max(contact.commit);
        drop(contact);
        if !self.status.is_online() {
            self.assess();
        }
    }

    /// How long ago a leader was heard of.
    pub(super) fn contact_age(&self) -> Option<Duration> {
        self.contact.lock().at.map(|at| at.elapsed())
    }

    /// Whether a leader was heard of within its time.
    fn leader_lives(&self) -> bool {
        self.contact_age()
            .is_some_and(|age| age < self.timing.election)
    }

    /// Whether this leader has heard of a majority within its time, or has only begun to lead.
    fn quorum_lives(&self, view: &View) -> bool {
        let fresh = |elapsed: Duration| elapsed < self.timing.election;
        let since = self.contact.lock().leading_since;
        since.is_some_and(|since| fresh(since.elapsed()))
            || self.quorum_silence(view).is_some_and(fresh)
    }

    /// Whether the consensus library accepts proposals.
    fn holds_lease(&self, view: &View) -> bool {
        let lease = Duration::from_millis(self.raft.config().election_timeout_max);
        self.quorum_silence(view)
            .is_some_and(|silence| silence < lease)
    }

    /// How long ago a majority was heard of.
    fn quorum_silence(&self, view: &View) -> Option<Duration> {
        if view.voters.len() == 1 && view.voters.contains(&self.member) {
            return Some(Duration::ZERO);
        }
        let data = self.raft.data_metrics();
        let data = data.borrow_watched();
        data.last_quorum_acked.as_ref().map(|at| at.elapsed())
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
            self.submissions.leader_is_known();
        }
        let leader = leader.and_then(|leader| self.peer_of(&leader));
        let online = online && !self.barred;
        // The leader first: who sees this member go online or offline finds it as it is then.
        self.status.set_leader(leader);
        self.status.set_online(online);
    }

    fn has_caught_up(&self, view: &View) -> bool {
        if self.caught_up.load(Ordering::Relaxed) {
            return true;
        }
        let commit = self.contact.lock().commit;
        let caught_up =
            view.contains(&self.member) && commit.is_some_and(|at| self.applied.has_applied(at));
        self.caught_up.store(caught_up, Ordering::Relaxed);
        caught_up
    }

    fn peer_of(&self, member: &MemberId) -> Option<PeerId> {
        // Usually unchanged: spares making a public key of raw bytes.
        let known = self.status.leader().filter(|known| member.is_of(known));
        known.or_else(|| member.peer())
    }
}

/// The consensus library's configuration.
///
/// It waits a lease of `election_timeout_max` and then a random timeout between `min` and `max`
/// before an election; the two together are to lie between `election` and
/// `election + election_jitter`.
fn raft_config(timing: &Timing, elects: bool) -> openraft::Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 8);
    let election = millis(timing.election).max(4);
    let max = u64::midpoint(election, millis(timing.election_jitter)) + 1;
    let min = election.saturating_sub(max).clamp(1, max - 1);
    openraft::Config {
        heartbeat_interval: millis(timing.beat).max(1),
        election_timeout_min: min,
        election_timeout_max: max,
        enable_elect: elects,
        enable_pre_vote: Some(true),
        // A restarted leader may lack entries that others have committed in its term.
        enable_leader_restore: Some(false),
        max_payload_entries: MAX_ENTRIES_PER_REQUEST,
        broadcast_submitted_on_append: Some(true),
        // Snapshots are taken while commands are applied, and the log is discarded behind them:
        // see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Members that lag get entries for as long as there are any: a snapshot is sent only when
        // the log was discarded.
        replication_lag_threshold: u64::MAX / 2,
        install_snapshot_timeout: 60_000,
        api_channel_size: Some(8192),
        notification_channel_size: Some(8192),
        state_machine_channel_size: Some(1024),
        ..openraft::Config::default()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("member", &self.0.member)
            .field("view", &*self.0.view.borrow())
            .finish_non_exhaustive()
    }
}
