//! One member's consensus instance, in one lineage.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Weak},
    time::Duration,
};

use metrics::Counter;
use openraft::{
    ChangeMembers,
    alias::{LogIdOf, StoredMembershipOf},
    async_runtime::watch::WatchReceiver,
};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    apply::{
        applied::{Applied, AppliedOptions, Failure, State},
        task::Applier,
    },
    config::raft_config,
    core::NodeCore,
    leader::Leader,
    library::{Consensus, caught},
    pending_commands::PendingCommands,
    replication::{
        acks::Acks, commit_notices::CommitNotices, network::ClientFactory, peers::Peers,
    },
    state::{
        candidacy::Candidacy, confirmations::LeadershipConfirmations, feed::Feed, health::Health,
        supply_limits::SupplyLimits, view::View,
    },
};
use crate::{
    groups::{
        Index,
        catch_up::snapshot_cache::CachedSnapshot,
        log::{
            raft_log::RaftLog,
            types::{Types, term_of},
        },
        machine::{log_storage::CommandStore, preference::Preference, replica::Replica},
        model::{
            config::Timing,
            lineage::{Branch, Lineage, LogPoint, MemberId},
            member_stream::Gone,
            status::Status,
        },
        store::{GroupStore, Rewrite},
    },
    primitives::{GroupId, NetworkId, Scope},
};

/// Answers to members that catch up which may be prepared at a time.
const MAX_SUPPLIES: usize = 4;

/// Options of a member's consensus instance.
pub(crate) struct NodeOptions {
    pub(crate) member: MemberId,
    pub(crate) lineage: Lineage,
    pub(crate) group: GroupId,
    pub(crate) network: NetworkId,
    pub(crate) timing: Timing,
    /// Says whether the instance stands for election by itself, and whether it is an observer's, which
    /// is no member.
    pub(crate) preference: Arc<Preference>,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) commands: Option<Arc<dyn CommandStore>>,
    /// Store of a durable member.
    pub(crate) store: Option<GroupStore>,
    pub(crate) pending_commands: Arc<PendingCommands>,
    pub(crate) status: Arc<Status>,
    /// Counts commands that can't be read here.
    pub(crate) undecodable: Counter,
    pub(crate) peers: Arc<dyn Peers>,
    /// State that an earlier instance leaves to this one.
    pub(crate) inheritance: Option<Inheritance>,
}

/// Log and applied state of an instance whose history has ended, for one that continues it.
pub(crate) struct Inheritance {
    log: RaftLog,
    state: State,
    /// The snapshot behind which the log was discarded, for the same history, and its size on the disk.
    compacted: Option<(Arc<CachedSnapshot>, u64)>,
}

impl Inheritance {
    /// Content of the store: at first an empty log.
    async fn stored(
        store: Option<GroupStore>,
        commands: Option<Arc<dyn CommandStore>>,
        status: &Arc<Status>,
    ) -> Result<Self, Stopped> {
        let log = RaftLog::open(store, commands, status.clone()).await;
        Ok(Self {
            log: log.map_err(Stopped::because)?,
            state: State::default(),
            compacted: None,
        })
    }

    /// Makes the heir the only voter: the beginning of a new history.
    pub(crate) fn claim(&self, heir: MemberId) -> Result<(), Stopped> {
        self.log.claim(heir).map_err(Stopped::because)
    }

    /// Difference between the new history's log and the old one's on disk, if it is durable.
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

fn crashed() -> Stopped {
    Stopped::because("a task of consensus panicked")
}

/// A member's consensus instance.
#[derive(Clone)]
pub(crate) struct Node(Arc<NodeCore>);

impl Node {
    /// Starts an instance, with an empty log, what the store holds, or an inherited log.
    pub(crate) async fn start(options: NodeOptions, scope: &Scope) -> Result<Self, Stopped> {
        let inherited = match options.inheritance {
            Some(inheritance) => inheritance,
            None => Inheritance::stored(options.store, options.commands, &options.status).await?,
        };
        let (log, state) = (inherited.log, inherited.state);
        let mut stored = log.stored_snapshot().await.map_err(Stopped::because)?;
        // Whoever continues an earlier instance has it applied.
        stored.take_if(|stored| state.has_applied(stored.meta.last_log_id.as_ref()));
        let is_all = state.last.is_none() && stored.is_none();
        let applied = Applied::new(AppliedOptions {
            group: options.group,
            network: options.network,
            replica: options.replica,
            pending_commands: options.pending_commands.clone(),
            status: options.status.clone(),
            log: log.clone(),
            undecodable: options.undecodable,
            state,
            stored,
            replayed_to: if is_all { end_of(&log) } else { 0 },
        });
        applied.inherit_compacted(inherited.compacted);
        let commit_notices = Arc::new(CommitNotices::default());
        let acks = Arc::new(Acks::new(options.timing));
        let network = ClientFactory::new(
            options.member,
            options.peers.clone(),
            commit_notices.clone(),
            acks.clone(),
        );
        let progress = network.progress();
        let raft = Consensus::new(
            options.member,
            Arc::new(raft_config()),
            network,
            log.clone(),
            Applier(applied.clone()),
        )
        .await
        .map_err(Stopped::because)?;
        progress.follow(raft.metrics());
        let core = Arc::new_cyclic(|this: &Weak<NodeCore>| NodeCore {
            leader: Leader::new(
                raft.clone(),
                applied.clone(),
                options.pending_commands.clone(),
                {
                    let node = this.clone();
                    move |none_is_open| {
                        if let Some(node) = node.upgrade() {
                            node.on_decided(none_is_open);
                        }
                    }
                },
            ),
            member: options.member,
            lineage: options.lineage,
            timing: options.timing,
            server: raft.server_metrics(),
            raft,
            log,
            commit_notices,
            acks,
            progress,
            feed: Feed::new(options.preference.clone()),
            candidacy: Candidacy::new(options.preference),
            confirmations: LeadershipConfirmations::default(),
            applied,
            pending_commands: options.pending_commands,
            status: options.status,
            peers: options.peers,
            view: watch::Sender::new(Arc::default()),
            health: Health::new(options.timing.election),
            over: Mutex::new(false),
            supplies: Semaphore::new(MAX_SUPPLIES),
            supply_limits: SupplyLimits::default(),
            committed: tokio::sync::Mutex::default(),
            partial: Mutex::new(None),
            scope: scope.child(),
            this: this.clone(),
        });
        let proposing = Arc::downgrade(&core);
        core.applied.listen(move || {
            if let Some(core) = proposing.upgrade() {
                core.on_applied();
            }
        });
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

    /// Returns whether this member votes.
    pub(crate) fn votes(&self) -> bool {
        self.0.view().voters.contains(&self.0.member)
    }

    /// Current view of consensus, and every change of it.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.0.view.subscribe()
    }

    /// Failure for which this member can't go on; `None` while there is none.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.0.applied.failure()
    }

    /// The consensus core, for the serving side.
    pub(crate) fn core(&self) -> &Arc<NodeCore> {
        &self.0
    }

    /// Proposes what is queued, if this member may.
    pub(crate) fn propose_pending(&self) {
        self.0.leader.propose_pending();
    }

    /// Looks at the clock: notices lost leaders, gives up calls that wait too long.
    pub(crate) fn tick(&self, now: Instant) {
        self.0.pending_commands.expire(now);
        self.0.expire_partial(now);
        self.0.reconsider();
    }

    /// Notes that the leader announced its departure.
    pub(crate) fn leader_left(&self) {
        self.0.health.leader_left();
        self.0.assess();
    }

    /// Returns whether this member leads, and has applied all that its predecessors committed; also
    /// while it takes no commands for want of voters, which it may have to add.
    pub(crate) fn is_in_office(&self) -> bool {
        self.0.leader.accepts_commands() || self.0.leader.lacks_voters()
    }

    /// Founds the group with these voters. To be called once, on one of them.
    #[allow(
        clippy::zero_sized_map_values,
        reason = "the library maps ids to nodes, and ours are empty"
    )]
    pub(crate) async fn found(&self, voters: BTreeSet<MemberId>) -> Result<(), Stopped> {
        let founded = caught(self.0.raft.initialize(voters)).await;
        founded.ok_or_else(crashed)?.map_err(Stopped::because)?;
        self.stand();
        Ok(())
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
        let mut voters: BTreeSet<_> = self.0.view().voters.difference(&removed).copied().collect();
        voters.extend(&promoted);
        if voters.len() < self.0.peers.needed_voters() {
            // Entries behind the change are committed by those that are left alone.
            self.rest(self.0.timing.election);
        }
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
        let changed = caught(self.0.raft.change_membership(changes, retain)).await;
        changed
            .ok_or_else(crashed)?
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

    /// Voters, without this leader, that have not acknowledged its whole log, and up to which entry they
    /// have.
    pub(crate) fn lacking(&self) -> BTreeMap<MemberId, Option<u64>> {
        let voters = self.0.view().voters.clone();
        let data = self.0.raft.data_metrics();
        let data = data.borrow_watched();
        let last = data.last_log.as_ref().map(openraft::LogId::index);
        let replication = data.replication.iter().flatten();
        replication
            .map(|(member, matched)| (*member, matched.as_ref().map(openraft::LogId::index)))
            .filter(|(member, matched)| {
                *member != self.0.member && *matched < last && voters.contains(member)
            })
            .collect()
    }

    /// Hands leadership to a voter whose log is complete. Watch the view for the outcome.
    pub(crate) async fn hand_over(&self, to: MemberId) {
        // Fails only when consensus has stopped; then there is nothing to hand over.
        let trigger = self.0.raft.trigger();
        let _ = caught(trigger.transfer_leader(to)).await;
    }

    /// Follows a source in the background; runs `done` when that has ended.
    pub(crate) fn follow(&self, source: MemberId, done: impl FnOnce() + Send + 'static) -> Scope {
        let (core, scope) = (self.0.clone(), self.0.scope.child());
        scope.spawn(async move {
            if core.follow(source).await.is_err() {
                tracing::debug!(member = %core.member, %source, "a source is lost");
            }
            done();
        });
        scope
    }

    /// Takes no commands for a while, though this member leads: they wait.
    pub(crate) fn rest(&self, time: Duration) {
        self.0.leader.rest(time);
        self.0.reconsider();
    }

    /// Stands for election, unless a leader lives.
    pub(crate) fn stand(&self) {
        let core = self.0.clone();
        self.0.scope.spawn(async move {
            core.refresh();
            core.stand().await;
        });
    }

    /// Tries members again at once that could not be reached.
    pub(crate) async fn retry(&self, member: MemberId) {
        // Fails only when consensus has stopped.
        let trigger = self.0.raft.trigger();
        let _ = caught(trigger.reset_backoff([member])).await;
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
        // Nothing is applied any more after the end of this instance.
        self.0
            .while_running(self.0.confirm_read())
            .await
            .ok_or(Gone)
    }

    /// The last entry of this member's log, committed or not.
    pub(crate) fn last_entry(&self) -> Option<LogPoint> {
        self.0.log.last_id().as_ref().map(point_of)
    }

    /// Applies nothing further, if every command that was applied is in a history that branched off
    /// from this one; otherwise nothing changes, and the answer is `false`.
    pub(crate) async fn stop_for(&self, branch: &Branch) -> bool {
        self.0.stop_for(branch).await
    }

    /// Has the consensus library panic.
    #[cfg(all(test, feature = "storage"))]
    pub(crate) async fn crash(&self) {
        let planted = self.0.raft.external_request(|_| panic!("a planted panic"));
        let _ = planted.await;
    }

    /// Stops taking part. What comes back is all that is left: from then on nothing of this instance
    /// changes the machine, the log, or what the member says of itself. Waits for a command that is
    /// being applied.
    pub(crate) async fn shutdown(&self) -> Ended {
        self.0.scope.cancel();
        self.0.leader.end();
        *self.0.over.lock() = true;
        // A task of the library that panicked has been reported by the runtime.
        let _ = caught(self.0.raft.shutdown()).await;
        // The library's apply task goes on by itself.
        self.0.applied.end().await;
        Ended(self.0.clone())
    }
}

/// A consensus instance that has ended.
pub(crate) struct Ended(Arc<NodeCore>);

impl Ended {
    /// Number of applied commands.
    pub(crate) fn applied_commands(&self) -> Index {
        self.0.applied.position().index()
    }

    /// Leaves log and state to another instance of the same member in the same history, once the disk
    /// holds all of the log.
    pub(crate) async fn resume(&self) -> Result<Inheritance, Stopped> {
        self.0.log.settle().await.map_err(Stopped::because)?;
        Ok(Inheritance {
            log: self.0.log.clone(),
            state: self.0.applied.inheritance(),
            compacted: self.0.applied.compacted_with_size(),
        })
    }

    /// Leaves log and state to a successor, with what might have been committed elsewhere.
    pub(crate) async fn bequeath(&self) -> Result<Inheritance, Stopped> {
        let state = self.0.applied.inheritance();
        self.leave(state, u64::MAX - 1).await
    }

    /// Leaves log and state to a successor in a history that branched off from this one, which
    /// [`Node::stop_for`] has found to be possible: of what was applied, all that is part of it.
    pub(crate) async fn bequeath_to(&self, branch: &Branch) -> Result<Inheritance, Stopped> {
        let mut state = self.0.applied.inheritance();
        if state.last.as_ref().map(point_of) > branch.last {
            let index = branch.last.map_or(0, |last| last.index);
            let last = self.0.log.id_at(index).await.map_err(Stopped::because)?;
            // None of the entries behind it has a command. A later membership counts for nothing:
            // the new history begins with its own.
            if state.membership.log_id() > &last {
                let later = state.membership.membership().clone();
                state.membership = StoredMembershipOf::<Types>::new(last, later);
            }
            state.last = last;
        }
        let kept = state.last.as_ref().map_or(0, openraft::LogId::index);
        self.leave(state, kept).await
    }

    async fn leave(&self, state: State, kept: u64) -> Result<Inheritance, Stopped> {
        let log = self.0.log.inherit(kept).await.map_err(Stopped::because)?;
        Ok(Inheritance {
            log,
            state,
            compacted: None,
        })
    }
}

impl NodeCore {
    async fn stop_for(&self, branch: &Branch) -> bool {
        let mut turn = self.applied.turn.lock().await;
        let follows = match self.applied.last_id() {
            last if last.as_ref().map(point_of) <= branch.last => true,
            // What was applied behind the branch must be nothing but entries without commands.
            _ if self.applied.position().index() > branch.position.index() => false,
            _ => self.has_branch(branch).await.unwrap_or(false),
        };
        turn.is_over |= follows;
        follows
    }

    /// Returns whether the log goes on from the very entry at which another history has branched
    /// off.
    async fn has_branch(&self, branch: &Branch) -> io::Result<bool> {
        let Some(last) = branch.last else {
            return Ok(false);
        };
        let stored = self.log.stored_snapshot().await?;
        let stored = stored.and_then(|stored| stored.meta.last_log_id);
        let found = self.log.id_at(last.index).await?;
        Ok(found.as_ref().map(point_of) == Some(last)
            && stored.as_ref().map(point_of) <= Some(last))
    }
}

/// The consensus index behind a log that is replayed as a whole. An inherited one's commands were taken
/// already, and a snapshot shows that the program is the right one, however few commands are left
/// behind it.
fn end_of(log: &RaftLog) -> u64 {
    log.last_id().map_or(0, |last| last.index() + 1)
}

fn point_of(id: &LogIdOf<Types>) -> LogPoint {
    LogPoint {
        term: term_of(id),
        index: id.index(),
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
