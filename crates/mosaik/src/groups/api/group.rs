//! A member's handle to its group.

use core::{fmt, marker::PhantomData, time::Duration};
use std::sync::{Arc, Weak, atomic::AtomicU64};

use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};
use tracing::{Instrument, Span};

use crate::{
    discovery::Discovery,
    groups::{
        Bonds, CommandError, Consistency, Cursor, GroupConfig, Index, IndexRange, Membership,
        QueryError, QueryResultAt, StateMachine, Term, When,
        consensus::pending_commands::{CommandOutcome, CommandRoute, WaitFor},
        instance::{
            Instance,
            registry::{Handles, LEAVE_TIMEOUT, Registry},
        },
        machine::{commands, replica::MachineReplica},
        model::event::Event,
    },
    primitives::{
        Bytes, Digest, GroupId, NetworkId, Opaque, PeerId, Scope, ShortFmtExt,
        encoding::EncodeError,
    },
};

/// Retry interval for confirming a strong read during an election.
const READ_RETRY: Duration = Duration::from_millis(20);

/// A member's handle to its group, from [`GroupBuilder::join`](crate::groups::GroupBuilder::join).
///
/// Any member may call anything: followers pass commands on to the leader. The futures don't borrow
/// the handle, so many calls can be under way at a time. When the group ends on this node, because
/// the network is shut down, the machine or the log storage panics, or the store fails, calls answer
/// `GroupTerminated`, no leader is known, and what [`when`](Self::when) gives stays pending.
///
/// **Two voters tolerate no crash, three tolerate one.** A group that has lost its majority halts
/// until members come back, [`reform_after`](crate::groups::ConsensusConfig::reform_after) is over,
/// or an operator calls [`reform`](Self::reform).
///
/// # Examples
///
/// ```no_run
/// # use mosaik::{Group, groups::NoOp};
/// use mosaik::{Strong, Weak};
///
/// # async fn example(group: Group<NoOp>) -> anyhow::Result<()> {
/// group.when().online().await;
/// group.execute(()).await?;
/// let (local, agreed) = (group.query((), Weak).await?, group.query((), Strong).await?);
/// assert!(local.state_position() <= agreed.state_position());
/// group.leave().await;
/// # Ok(())
/// # }
/// ```
///
/// # On drop
///
/// Dropping the last handle leaves the group: leadership is handed over, the node is removed from
/// the membership, bonds close. It happens in the background and takes seconds at most;
/// [`leave`](Self::leave) waits for it. A handle that is dropped while others of the group live
/// changes nothing.
pub struct Group<M: StateMachine> {
    shared: Arc<Handles>,
    replica: Arc<MachineReplica<M>>,
    when: When,
    reported: Arc<AtomicU64>,
}

impl<M: StateMachine> Group<M> {
    pub(super) fn new(shared: Arc<Handles>, replica: Arc<MachineReplica<M>>) -> Self {
        Self {
            when: When::new(shared.instance.status().clone()),
            shared,
            replica,
            reported: Arc::default(),
        }
    }

    /// Looks at this member's copy of the machine, which waits for it with applying.
    pub(crate) fn with_machine<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        self.replica.with_machine(look)
    }

    /// The network that the group belongs to.
    pub(crate) fn network_id(&self) -> &NetworkId {
        self.instance().discovery().network_id()
    }

    /// The group's id: a digest of the key and of everything else that members must agree on.
    pub fn id(&self) -> &GroupId {
        self.instance().config().group_id()
    }

    /// Returns whether this node leads, and has heard from a majority within `election_timeout`.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.instance().local())
    }

    /// Leader of the group; `None` while that is not known, as during an election.
    pub fn leader(&self) -> Option<PeerId> {
        self.instance().status().leader()
    }

    /// The direct connections with other members.
    pub fn bonds(&self) -> Bonds<M> {
        Bonds::new(self.instance().clone(), self.reported.clone())
    }

    /// Membership of the group: voters, and members that only replicate, as far as this member
    /// knows; see [`When::membership_changed`].
    pub fn membership(&self) -> Membership {
        self.instance().status().watch_membership().borrow().clone()
    }

    /// The configuration in use.
    pub fn config(&self) -> &GroupConfig {
        self.instance().config()
    }

    /// Waits for conditions: leaders, being online, positions.
    pub fn when(&self) -> &When {
        &self.when
    }

    /// The position of the last command applied locally; 0 before the first. It goes back only when
    /// this member gives up its history for a rival one.
    pub fn committed(&self) -> Index {
        self.instance().status().committed()
    }

    /// The position of the last command in the local log. It may not be committed yet, and then
    /// another leader may still replace it.
    pub fn log_position(&self) -> Cursor {
        self.instance().status().log_position()
    }

    /// Carries out a command: resolves with its index when it is committed and applied locally.
    ///
    /// Submitted when this is called, not when the future is polled; calls on one node take effect
    /// in call order, and each once, also when the leader changes meanwhile. Any member may call.
    /// [`When::online`] need not have resolved; a known leader is enough. Acceptance by a leader is
    /// awaited for `forward_timeout` (2 s), the commit for as long as it takes.
    ///
    /// # Errors
    ///
    /// - [`CommandError::Offline`] with the command: no leader has accepted it in time; at once
    ///   before this member has known its first leader, and when 64 MiB of commands or 262 144
    ///   calls wait on this node already. It is not applied and never will be: safe to call again,
    ///   the only error that is ([`CommandError::is_retryable`]).
    /// - [`CommandError::Unknown`] with the command: a leader may have had it when
    ///   `forward_timeout` was over, so it may have been applied, or still be. Called again, it may
    ///   take effect twice: safe only if that makes no difference.
    /// - [`CommandError::Undecodable`] with the command: it has a place in the log and no effect,
    ///   as no member can decode it. The same again ends the same.
    /// - [`CommandError::Encoding`] with the command: it has no encoding, or takes more than
    ///   32 MiB. Nothing was sent; the same again ends the same.
    /// - [`CommandError::GroupTerminated`]: the group has ended on this node. The command may have
    ///   been applied where others go on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels nothing.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mosaik::{Group, groups::{CommandError, NoOp}};
    /// # async fn example(group: Group<NoOp>) -> Result<(), CommandError<NoOp>> {
    /// let index = group.execute(()).await?;
    /// assert!(group.committed() >= index);
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute(
        &self,
        command: M::Command,
    ) -> impl Future<Output = Result<Index, CommandError<M>>> + Send + Sync + 'static + use<M> {
        let done = self.submit(vec![command], WaitFor::Applied);
        async move { done.await.map(|range| *range.start()) }
    }

    /// Carries out commands as one: they take a contiguous range of indices, in order, all or none
    /// of them.
    ///
    /// Otherwise as [`execute`](Self::execute), also when the future is dropped.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), with all commands in order, which must not take more than
    /// 32 MiB together; [`CommandError::NoCommands`] for none. [`CommandError::Undecodable`] has
    /// only those that could not be decoded: the others were applied, so the call is not to be made
    /// again as it was.
    pub fn execute_many(
        &self,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static {
        self.submit(commands.into_iter().collect(), WaitFor::Applied)
    }

    /// Hands a command over: resolves with its index when the leader has accepted it, without a
    /// promise that it commits.
    ///
    /// Otherwise as [`execute`](Self::execute), also when the future is dropped.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), with the same to call again. A command that was accepted may
    /// still be lost with its leader, which nothing tells.
    pub fn feed(
        &self,
        command: M::Command,
    ) -> impl Future<Output = Result<Index, CommandError<M>>> + Send + Sync + 'static + use<M> {
        let done = self.submit(vec![command], WaitFor::Accepted);
        async move { done.await.map(|range| *range.start()) }
    }

    /// Hands commands over as one, as [`feed`](Self::feed) does with one.
    ///
    /// # Errors
    ///
    /// As [`execute_many`](Self::execute_many).
    pub fn feed_many(
        &self,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static {
        self.submit(commands.into_iter().collect(), WaitFor::Accepted)
    }

    /// Asks this member's copy of the machine. Begins when the future is polled.
    ///
    /// A [weak](Consistency::Weak) query needs nobody else and may be stale, also far behind, while
    /// this member is not online. A [strong](Consistency::Strong) one waits until everything is
    /// applied here that was acknowledged anywhere before; that costs one or two round trips.
    ///
    /// # Errors
    ///
    /// - [`QueryError::Offline`] with the query: a strong one was not confirmed within
    ///   `query_timeout` (2 s); or the machine holds commands of a history that was given up, and
    ///   can't be [reset](StateMachine::reset).
    /// - [`QueryError::GroupTerminated`]: the group has ended on this node.
    ///
    /// # Panics
    ///
    /// With the panic of [`StateMachine::query`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use mosaik::{Group, groups::{NoOp, QueryError}};
    /// # async fn example(group: Group<NoOp>) -> Result<(), QueryError<NoOp>> {
    /// let answer = group.query((), mosaik::Strong).await?;
    /// println!("after {} commands: {:?}", answer.state_position(), answer.result());
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(
        &self,
        query: M::Query,
        consistency: Consistency,
    ) -> impl Future<Output = Result<QueryResultAt<M>, QueryError<M>>> + Send + Sync + 'static + use<M>
    {
        let (status, replica) = (self.instance().status().clone(), self.replica.clone());
        let confirmed = (consistency == Consistency::Strong).then(|| confirmation(self.instance()));
        let answered = async move {
            if status.is_terminated() {
                return Err(QueryError::GroupTerminated);
            }
            if let Some(confirmed) = confirmed
                && !confirmed.await
            {
                return Err(if status.is_terminated() {
                    QueryError::GroupTerminated
                } else {
                    QueryError::Offline(query)
                });
            }
            let (result, at_position) = replica.query(query).map_err(QueryError::Offline)?;
            Ok(QueryResultAt {
                result,
                at_position,
            })
        };
        answered.instrument(query_span(self.instance(), consistency))
    }

    /// Founds a new history from this member's log and state: the way out for a group that has lost
    /// the majority of its voters for good. The others follow within some election timeouts and keep
    /// their state. To be called on any survivor, and on the next one where it answers `false`: a
    /// member that has a bond with another whose log goes further does nothing, and names that one
    /// in its log. One that can't be reached meanwhile and has more in its log gives that up when it
    /// is back, and resets its machine, after `evict_after`; if it is durable, not before its
    /// operator says so.
    ///
    /// Returns whether it was done. Not while a leader with a majority is known, here or to a member
    /// that this one has a bond with; not before this member has a history, not on an observer, and
    /// not with a machine that could not be reset.
    ///
    /// **Availability over consistency**: if the lost majority still lives, both sides go on, and
    /// the commands of one side are discarded when they meet: of the one with fewer. An operator's
    /// decision, to be made on one member.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll; once begun it is carried out, also when the future is
    /// dropped.
    pub fn reform(&self) -> impl Future<Output = bool> + Send + Sync + 'static + use<M> {
        reformed(self.instance().clone())
    }

    /// Gives up the history that this member holds, and joins the group as a new member, with nothing:
    /// the operator's way out when a durable member holds a history that lives nowhere else, or that
    /// the others have replaced. Its machine is reset, what it kept on disk is deleted, and all
    /// commands that only it held are lost.
    ///
    /// Members in memory give way by themselves when two histories of a group meet; durable ones
    /// never do, and say so in their log. Returns whether there was a history to give up.
    ///
    /// Where the group has ended because this member can't go on from what it kept
    /// ([`StoreError::SetBack`](crate::groups::StoreError::SetBack) or
    /// [`Incompatible`](crate::groups::StoreError::Incompatible) in the log), that is deleted, and
    /// the node may join anew, as another member.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll; once begun it is carried out, also when the future is
    /// dropped.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(group: mosaik::Group<mosaik::groups::NoOp>) {
    /// // After looking at both histories, and deciding for the other one:
    /// if group.abandon_history().await {
    ///     group.when().online().await;
    /// }
    /// # }
    /// ```
    pub fn abandon_history(&self) -> impl Future<Output = bool> + Send + Sync + 'static + use<M> {
        abandoned(self.instance().clone(), self.shared.registry.clone())
    }

    /// The history and the term in which this member leads, if it does, both from one instant: for
    /// the fault harness, which checks that no term has two leaders.
    #[doc(hidden)]
    pub fn __tenure(&self) -> Option<(Digest, Term)> {
        let node = self.instance().node()?;
        let view = node.view();
        let view = view.borrow();
        view.leading.then(|| (node.lineage(), Term(view.term)))
    }

    /// Leaves the group on this node, for all its handles: leadership is handed over, the node is
    /// removed from the membership, bonds close. Begins when this is called; the future resolves
    /// when the others know: on a fast network within a second or two, and after 8.5 s and some
    /// round trips (10 s of them at most) in any case.
    ///
    /// A durable member forgets what it kept, and comes back as another one. Other handles of the
    /// group answer `GroupTerminated` from now on; joining anew starts afresh.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels nothing.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(network: mosaik::Network) {
    /// let group = network.groups().with_key("a secret text").join();
    /// group.when().online().await;
    /// group.leave().await;
    /// # }
    /// ```
    pub fn leave(self) -> impl Future<Output = ()> + Send + Sync + 'static + use<M> {
        left(&self.shared)
    }

    /// Returns whether this node would admit a member with tickets like its own.
    pub(crate) fn admits_itself(&self) -> bool {
        self.instance().admits_itself()
    }

    /// Returns whether this member is kept on disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.instance().is_durable()
    }

    /// Returns whether commands of this node are refused, because others have a write key and it has
    /// none or another one.
    pub(crate) fn is_write_refused(&self) -> bool {
        self.instance().is_write_refused()
    }

    /// Peers that would write as this node does, and have another write key, or alone have one or none.
    pub(crate) fn peers_with_another_key(&self) -> Vec<PeerId> {
        self.instance().peers_with_another_key()
    }

    /// Returns whether this member knows a leader and is in sync with it.
    pub(crate) fn is_online(&self) -> bool {
        self.instance().status().is_online()
    }

    /// Submits commands without keeping the node in the group.
    pub(crate) fn proposer(&self) -> Proposer<M> {
        Proposer {
            instance: self.instance().clone(),
            machine: PhantomData,
        }
    }

    /// Describes what is in the group, for reports; the first description stays.
    pub(crate) fn set_content(&self, content: Arc<dyn core::any::Any + Send + Sync>) {
        self.instance().profile().set_content(content);
    }

    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.shared.instance
    }

    fn submit(
        &self,
        commands: Vec<M::Command>,
        until: WaitFor,
    ) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static + use<M>
    {
        submit(self.instance(), commands, until)
    }
}

/// Submits commands to a group as long as the node is in it, which is not up to the proposer.
pub(crate) struct Proposer<M: StateMachine> {
    instance: Arc<Instance>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Proposer<M> {
    pub(crate) fn local(&self) -> PeerId {
        self.instance.local()
    }

    /// Scope of tasks that end with the group on this node.
    pub(crate) fn scope(&self) -> &Scope {
        self.instance.scope()
    }

    pub(crate) fn group_id(&self) -> GroupId {
        self.instance.id()
    }

    pub(crate) fn discovery(&self) -> &Discovery {
        self.instance.discovery()
    }

    /// As [`Group::admits_itself`].
    pub(crate) fn admits_itself(&self) -> bool {
        self.instance.admits_itself()
    }

    /// As [`Group::is_write_refused`].
    pub(crate) fn is_write_refused(&self) -> bool {
        self.instance.is_write_refused()
    }

    pub(crate) fn watch_leader(&self) -> watch::Receiver<Option<PeerId>> {
        self.instance.status().watch_leader()
    }

    pub(crate) fn watch_membership(&self) -> watch::Receiver<Membership> {
        self.instance.status().watch_membership()
    }

    pub(crate) fn watch_terminated(&self) -> watch::Receiver<bool> {
        self.instance.status().watch_terminated()
    }

    /// As [`Group::execute`].
    pub(crate) fn execute(
        &self,
        command: M::Command,
    ) -> impl Future<Output = Result<Index, CommandError<M>>> + Send + Sync + 'static + use<M> {
        let done = submit(&self.instance, vec![command], WaitFor::Applied);
        async move { done.await.map(|range| *range.start()) }
    }
}

fn submit<M: StateMachine>(
    instance: &Arc<Instance>,
    commands: Vec<M::Command>,
    until: WaitFor,
) -> impl Future<Output = Result<IndexRange, CommandError<M>>> + Send + Sync + 'static + use<M> {
    let span = span(instance, until, commands.len());
    let submitted = try_submit::<M>(instance, &commands, until);
    let executed = async move {
        let outcome = match submitted {
            Ok(outcome) => outcome.await.unwrap_or(CommandOutcome::Terminated),
            Err(Refusal::NoCommands) => return Err(CommandError::NoCommands),
            Err(Refusal::Encoding(error)) => {
                return Err(CommandError::Encoding(commands, error));
            }
        };
        match outcome {
            CommandOutcome::Done(range) => Ok(range),
            CommandOutcome::Offline => Err(CommandError::Offline(commands)),
            CommandOutcome::Unknown => Err(CommandError::Unknown(commands)),
            CommandOutcome::Undecodable(places) => {
                Err(CommandError::Undecodable(at(commands, &places)))
            }
            CommandOutcome::Terminated => Err(CommandError::GroupTerminated),
        }
    };
    executed.instrument(span)
}

/// The span of commands that are handed over.
fn span(instance: &Instance, until: WaitFor, commands: usize) -> Span {
    let id = instance.id();
    let group = id.short();
    match until {
        WaitFor::Applied => tracing::info_span!("execute", %group, commands),
        WaitFor::Accepted => tracing::info_span!("feed", %group, commands),
    }
}

/// The span of a query.
fn query_span(instance: &Instance, consistency: Consistency) -> Span {
    tracing::info_span!("query", group = %instance.id().short(), ?consistency)
}

fn try_submit<M: StateMachine>(
    instance: &Instance,
    commands: &[M::Command],
    until: WaitFor,
) -> Result<oneshot::Receiver<CommandOutcome>, Refusal> {
    if commands.is_empty() {
        return Err(Refusal::NoCommands);
    }
    let count = u32::try_from(commands.len())
        .map_err(|_| Refusal::Encoding(EncodeError::SerializeBufferFull))?;
    let row = commands::encode(commands).map_err(Refusal::Encoding)?;
    Ok(hand_over(instance, count, row, until))
}

/// Queues encoded commands.
fn hand_over(
    instance: &Instance,
    count: u32,
    row: Bytes,
    until: WaitFor,
) -> oneshot::Receiver<CommandOutcome> {
    let (outcome, route) = instance.pending_commands().submit(count, row, until);
    if route == CommandRoute::Local {
        instance.pump();
    }
    outcome
}

/// The commands at these places, which are in order.
fn at<C>(commands: Vec<C>, places: &[u32]) -> Vec<C> {
    let is_named = |place: u32| places.binary_search(&place).is_ok();
    let numbered = (0..).zip(commands);
    numbered
        .filter(|(place, _)| is_named(*place))
        .map(|(_, command)| command)
        .collect()
}

/// Reasons for which commands were not submitted.
enum Refusal {
    NoCommands,
    Encoding(EncodeError),
}

/// As [`confirm`].
fn confirmation(instance: &Arc<Instance>) -> Opaque<'static, bool> {
    Opaque::new(confirm(instance.clone()))
}

/// Waits until the local state reflects everything acknowledged before the call.
async fn confirm(instance: Arc<Instance>) -> bool {
    let status = instance.status();
    let mut terminated = status.watch_terminated();
    let confirmed = async {
        loop {
            if instance.node().is_none() {
                // It may be about to start again.
                drop(instance.freeze().await);
            }
            let Some(node) = instance.node() else {
                return false;
            };
            if node.confirm_read().await.is_ok() {
                let current = instance.node();
                return current.is_some_and(|current| current.lineage() == node.lineage());
            }
            sleep(READ_RETRY).await;
        }
    };
    let limit = instance.config().consensus().query_timeout;
    tokio::select! {
        confirmed = timeout(limit, confirmed) => confirmed.unwrap_or(false),
        _ = terminated.wait_for(|terminated| *terminated) => false,
    }
}

/// As [`Group::reform`].
fn reformed(instance: Arc<Instance>) -> Opaque<'static, bool> {
    Opaque::new(async move {
        let (reply, reformed) = oneshot::channel();
        instance.tell(Event::Reform(reply)).await;
        reformed.await.unwrap_or(false)
    })
}

/// As [`Group::abandon_history`].
fn abandoned(instance: Arc<Instance>, registry: Weak<Registry>) -> Opaque<'static, bool> {
    Opaque::new(async move {
        let (reply, abandoned) = oneshot::channel();
        instance.tell(Event::AbandonHistory(reply)).await;
        if let Ok(abandoned) = abandoned.await {
            return abandoned;
        }
        // The member has ended.
        let abandoning = registry.upgrade().map(|all| all.abandon_kept(instance));
        match abandoning {
            Some(abandoned) => abandoned.await.unwrap_or(false),
            None => false,
        }
    })
}

/// As [`Group::leave`].
fn left(shared: &Handles) -> Opaque<'static, ()> {
    let instance = shared.instance.clone();
    let limit = LEAVE_TIMEOUT + instance.parting_trips() * 2;
    if let Some(registry) = shared.registry.upgrade() {
        registry.leave(&instance);
    }
    Opaque::new(async move {
        // Whoever has not heard of it by then removes an unreachable member instead.
        let _ = timeout(limit, instance.scope().cancelled()).await;
    })
}

impl<M: StateMachine> fmt::Display for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({})", self.id().short())
    }
}

impl<M: StateMachine> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", self.id())
            .field("leader", &self.leader())
            .field("committed", &self.committed())
            .field("bonds", &self.instance().bonds().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(feature = "storage")]
#[path = "recovery_tests.rs"]
mod recovery_tests;
