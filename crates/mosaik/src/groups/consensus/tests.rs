//! Three members in one process, connected by channels that can be cut.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use openraft::{
    EntryPayload,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, VoteOf},
    async_runtime::watch::WatchReceiver,
    entry::RaftEntry,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Failure, Node, NodeCore, NodeOptions, Peers,
    follow::PART_BYTES,
    leader::Proposed,
    pending_commands::{CommandOutcome, CommandRoute, PendingCommands, WaitFor},
    wire::{self, Fed, Follow, Layout, Request},
};
use crate::{
    Digest, UniqueId,
    groups::{
        ApplyContext, ConsensusConfig, Cursor, InMemoryLogStore, Index, LeadershipPreference,
        LogReplaySync, Snapshot, SnapshotStateMachine, SnapshotSync, StateMachine, Storage,
        catch_up::wire::{Answer, Ask, Manifest, SnapshotHeader, SnapshotId, Whole},
        log::types::{Batch, Types},
        machine::{
            commands,
            log_storage::{CommandStore, StorageAdapter},
            preference::Preference,
            replica::MachineReplica,
        },
        model::{
            lineage::MemberId,
            member_stream::{Channel, Gone, MemberStream},
            status::Status,
        },
        store::GroupStore,
    },
    primitives::{Bytes, Scope, encoding},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Log entries that a member may have under way from its queue.
const WINDOW: usize = 4;

/// Records what was applied, and where.
#[derive(Default)]
struct Journal(Vec<(u64, Cursor, Cursor)>);

macro_rules! journal {
    ([$($generics:tt)*] $machine:ty, $sync:ident, $settings:expr) => {
        impl<$($generics)*> StateMachine for $machine {
            type Command = u64;
            type Query = ();
            type QueryResult = Vec<u64>;
            type StateSync = $sync<Self>;

            fn signature(&self) -> UniqueId {
                Digest::from("journal")
            }

            fn apply(&mut self, command: u64, ctx: &dyn ApplyContext) {
                assert!(command != u64::MAX, "told to panic");
                self.0.push((command, ctx.committed(), ctx.log_position()));
            }

            fn query(&self, (): ()) -> Vec<u64> {
                self.0.iter().map(|(command, ..)| *command).collect()
            }

            fn state_sync(&self) -> Self::StateSync {
                $settings
            }
        }
    };
}

journal!([] Journal, LogReplaySync, LogReplaySync::default());

/// Fetches this many bytes a second.
#[derive(Default)]
struct Paced<const RATE: u64>(Vec<(u64, Cursor, Cursor)>);

journal!(
    [const RATE: u64] Paced<RATE>,
    LogReplaySync,
    LogReplaySync::default().with_fetch_rate(std::num::NonZero::new(RATE).unwrap())
);

mod compacting {
    use std::num::NonZero;

    use super::{
        ApplyContext, Cursor, Digest, Snapshot, SnapshotStateMachine, SnapshotSync, StateMachine,
        UniqueId,
    };

    /// A machine that takes a snapshot every `COMMANDS` commands.
    #[derive(Default, Clone)]
    pub(super) struct Every<const COMMANDS: u64>(pub(super) Vec<(u64, Cursor, Cursor)>);

    journal!(
        [const COMMANDS: u64] Every<COMMANDS>,
        SnapshotSync,
        SnapshotSync::default()
            .with_interval(NonZero::new(COMMANDS).unwrap())
            .with_batch_size(NonZero::new(7).unwrap())
            .with_kept_commands(COMMANDS * 2 / 5)
    );

    impl<const COMMANDS: u64> SnapshotStateMachine for Every<COMMANDS> {
        type Snapshot = Self;

        fn create_snapshot(&self) -> Self {
            self.clone()
        }

        fn install_snapshot(&mut self, snapshot: Self) {
            *self = snapshot;
        }
    }

    impl<const COMMANDS: u64> Snapshot for Every<COMMANDS> {
        type Item = (u64, Cursor, Cursor);

        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn iter_range(
            &self,
            range: std::ops::Range<u64>,
        ) -> Option<impl Iterator<Item = Self::Item>> {
            let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
            Some(self.0.get(range)?.iter().copied())
        }

        fn append(&mut self, items: impl IntoIterator<Item = Self::Item>) {
            self.0.extend(items);
        }
    }
}

use compacting::Every;

type Compacting = Every<50>;
/// Takes no snapshot because of the number of commands.
type Seldom = Every<1_000_000_000>;

/// Connects the members of one test.
#[derive(Clone, Default)]
struct Mesh(Arc<MeshState>);

#[derive(Default)]
struct MeshState {
    nodes: Mutex<HashMap<MemberId, Arc<NodeCore>>>,
    cut: Mutex<HashSet<MemberId>>,
    /// Members that get no entries and no snapshot.
    starved: Mutex<HashSet<MemberId>>,
    /// Members that answer no heartbeats.
    mute: Mutex<HashSet<MemberId>>,
    /// Number of voters without which a leader takes no commands.
    needed: AtomicUsize,
    /// Members whose requests for pieces nobody answers.
    stalled: Mutex<HashSet<MemberId>>,
    /// Pairs of which the first has no bond with the second.
    hidden: Mutex<HashSet<(MemberId, MemberId)>>,
    scopes: Mutex<Vec<Scope>>,
    /// Latency of everything that is sent.
    latency: Mutex<Duration>,
    /// Number of times that an observer was asked for a bond with a leader.
    reached: AtomicUsize,
}

struct End {
    mesh: Mesh,
    local: MemberId,
    scope: Scope,
}

impl End {
    fn find(&self, member: &MemberId) -> Result<Arc<NodeCore>, Gone> {
        let cut = self.mesh.0.cut.lock();
        let hidden = self.mesh.0.hidden.lock().contains(&(self.local, *member));
        if hidden || cut.contains(member) || cut.contains(&self.local) {
            return Err(Gone);
        }
        self.mesh.0.nodes.lock().get(member).cloned().ok_or(Gone)
    }
}

impl Peers for End {
    fn ask(&self, member: MemberId, request: Bytes) -> BoxFuture<'static, Result<Bytes, Gone>> {
        let (target, from) = (self.find(&member), self.local);
        let latency = *self.mesh.0.latency.lock();
        let mute = self.mesh.0.mute.lock().contains(&member);
        async move {
            let target = target?;
            if mute && matches!(wire::decode(&request)?, Request::Heartbeat { .. }) {
                return Err(Gone);
            }
            tokio::time::sleep(latency).await;
            let answer = target.answer(from, &request).await;
            tokio::time::sleep(latency).await;
            answer
        }
        .boxed()
    }

    fn members(&self) -> Vec<MemberId> {
        let cut = self.mesh.0.cut.lock();
        let nodes = self.mesh.0.nodes.lock();
        let others = nodes.keys().filter(|member| **member != self.local);
        others
            .filter(|member| {
                let hidden = self.mesh.0.hidden.lock().contains(&(self.local, **member));
                !hidden && !cut.contains(member)
            })
            .copied()
            .collect()
    }

    fn needed_voters(&self) -> usize {
        self.mesh.0.needed.load(Ordering::Relaxed)
    }

    fn reach(&self, _: MemberId) {
        self.mesh.0.reached.fetch_add(1, Ordering::Relaxed);
    }

    fn open(
        &self,
        member: MemberId,
        channel: Channel,
    ) -> BoxFuture<'static, Result<MemberStream, Gone>> {
        let from = self.local;
        let feeds = matches!(channel, Channel::Append | Channel::Snapshot);
        let starved = feeds && self.mesh.0.starved.lock().contains(&member);
        let target = self
            .find(&member)
            .and_then(|core| if starved { Err(Gone) } else { Ok(core) });
        let is_fetch = matches!(channel, Channel::Fetch);
        let stalled = is_fetch && self.mesh.0.stalled.lock().contains(&self.local);
        let (scope, mesh) = (self.scope.child(), self.mesh.clone());
        async move {
            let target = target?;
            let latency = *mesh.0.latency.lock();
            let (ours, theirs) = delayed(&scope, latency);
            mesh.0.scopes.lock().push(scope.clone());
            scope.spawn(async move {
                if stalled {
                    let _open = theirs;
                    return std::future::pending().await;
                }
                target.serve(from, channel, theirs).await;
            });
            Ok(ours)
        }
        .boxed()
    }
}

/// A pair of streams between which every frame takes its time.
fn delayed(scope: &Scope, latency: Duration) -> (MemberStream, MemberStream) {
    let (ours, near) = MemberStream::pair();
    if latency.is_zero() {
        return (ours, near);
    }
    let (far, theirs) = MemberStream::pair();
    for (mut rx, mut tx) in [(near.rx, far.tx), (far.rx, near.tx)] {
        let (queue, mut queued) = tokio::sync::mpsc::channel(1024);
        scope.spawn(async move {
            while let Ok(frame) = rx.recv().await {
                if queue.send((Instant::now() + latency, frame)).await.is_err() {
                    return;
                }
            }
        });
        scope.spawn(async move {
            while let Some((due, frame)) = queued.recv().await {
                tokio::time::sleep_until(due).await;
                if tx.send(&frame).await.is_err() {
                    return;
                }
            }
        });
    }
    (ours, theirs)
}

impl Mesh {
    /// Takes a member off the network: whatever it had open ends.
    fn cut(&self, member: MemberId) {
        self.0.cut.lock().insert(member);
        self.end_streams();
    }

    /// Lets a member hear of the leader, and reach it, but get nothing of the log.
    fn starve(&self, member: MemberId) {
        self.0.starved.lock().insert(member);
        self.end_streams();
    }

    fn end_streams(&self) {
        for scope in self.0.scopes.lock().drain(..) {
            scope.cancel();
        }
    }

    fn heal(&self) {
        self.0.cut.lock().clear();
        self.0.starved.lock().clear();
    }
}

/// The queue of a member that has not been anywhere yet.
fn pending_commands() -> Arc<PendingCommands> {
    let patience = ConsensusConfig::default().forward_timeout;
    Arc::new(PendingCommands::new(somebody(), patience, WINDOW))
}

struct Member<M: StateMachine> {
    node: Node,
    replica: Arc<MachineReplica<M>>,
    pending_commands: Arc<PendingCommands>,
    status: Arc<Status>,
    _scope: Scope,
}

impl<M: StateMachine<Command = u64, Query = (), QueryResult = Vec<u64>>> Member<M> {
    async fn start(mesh: &Mesh, machine: M, commands: Option<Arc<dyn CommandStore>>) -> Self {
        Self::start_as(mesh, machine, commands, false).await
    }

    async fn start_as(
        mesh: &Mesh,
        machine: M,
        commands: Option<Arc<dyn CommandStore>>,
        observes: bool,
    ) -> Self {
        Self::start_with(mesh, machine, commands, observes, pending_commands()).await
    }

    /// Starts a member, with commands that wait already.
    async fn start_with(
        mesh: &Mesh,
        machine: M,
        commands: Option<Arc<dyn CommandStore>>,
        observes: bool,
        pending_commands: Arc<PendingCommands>,
    ) -> Self {
        Self::start_on(None, mesh, machine, commands, observes, pending_commands).await
    }

    /// Starts a member, which is durable if it has a store.
    async fn start_on(
        store: Option<GroupStore>,
        mesh: &Mesh,
        machine: M,
        commands: Option<Arc<dyn CommandStore>>,
        observes: bool,
        pending_commands: Arc<PendingCommands>,
    ) -> Self {
        let member = pending_commands.origin();
        let peer = member.peer().unwrap();
        let scope = Scope::new();
        let consensus = ConsensusConfig::default();
        let replica = Arc::new(MachineReplica::new(machine));
        let status = Arc::new(Status::new(peer));
        let node = Node::start(
            NodeOptions {
                member,
                lineage: Digest::zero(),
                group: Digest::zero(),
                network: Digest::zero(),
                timing: consensus.timing(),
                preference: Arc::new(Preference::new(if observes {
                    LeadershipPreference::Observer
                } else {
                    LeadershipPreference::Normal
                })),
                replica: replica.clone(),
                commands,
                store,
                inheritance: None,
                pending_commands: pending_commands.clone(),
                status: status.clone(),
                undecodable: metrics::Counter::noop(),
                peers: Arc::new(End {
                    mesh: mesh.clone(),
                    local: member,
                    scope: scope.clone(),
                }),
            },
            &scope,
        )
        .await
        .unwrap();
        mesh.0.nodes.lock().insert(member, node.core().clone());
        let ticking = node.clone();
        scope.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                ticking.tick(Instant::now());
            }
        });
        Self {
            node,
            replica,
            pending_commands,
            status,
            _scope: scope,
        }
    }

    fn id(&self) -> MemberId {
        self.node.member()
    }

    fn submit(&self, commands: &[u64], until: WaitFor) -> oneshot::Receiver<CommandOutcome> {
        let row = commands::encode(commands).unwrap();
        let count = u32::try_from(commands.len()).unwrap();
        let (outcome, route) = self.pending_commands.submit(count, row, until);
        if route == CommandRoute::Local {
            self.node.propose_pending();
        }
        outcome
    }

    async fn execute(&self, commands: &[u64]) -> CommandOutcome {
        self.submit(commands, WaitFor::Applied).await.unwrap()
    }

    fn state(&self) -> Vec<u64> {
        self.replica.query(()).unwrap().0
    }

    async fn leads(&self) {
        let mut leader = self.status.watch_leader();
        let own = self.status.local();
        let led = leader.wait_for(|leader| *leader == Some(own));
        within(led).await.unwrap();
        self.online().await;
    }

    async fn online(&self) {
        let mut online = self.status.watch_online();
        within(online.wait_for(|online| online.on)).await.unwrap();
    }

    async fn reaches(&self, index: u64) {
        let mut committed = self.status.watch_committed().current;
        within(committed.wait_for(|at| *at >= index)).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("in time")
}

fn leader<M: StateMachine>(members: &[Member<M>]) -> usize {
    members
        .iter()
        .position(|member| member.status.leader() == Some(member.status.local()))
        .expect("somebody leads")
}

async fn three() -> (Mesh, Vec<Member<Journal>>) {
    group_of(3).await
}

async fn group_of(count: usize) -> (Mesh, Vec<Member<Journal>>) {
    let mesh = Mesh::default();
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(Member::start(&mesh, Journal::default(), None).await);
    }
    let voters = members.iter().map(Member::id).collect();
    members[0].node.found(voters).await.unwrap();
    for member in &members {
        member.online().await;
    }
    (mesh, members)
}

fn done(range: std::ops::RangeInclusive<u64>) -> CommandOutcome {
    CommandOutcome::Done(Index(*range.start())..=Index(*range.end()))
}

#[tokio::test(start_paused = true)]
async fn commands_from_every_member_take_effect_in_order() {
    let (_mesh, members) = three().await;
    let leading = leader(&members);
    let following = (leading + 1) % 3;
    assert_eq!(members[leading].execute(&[1, 2, 3]).await, done(1..=3));
    assert_eq!(within(members[following].execute(&[4])).await, done(4..=4));
    let calls: Vec<_> = (5..105)
        .map(|n| members[following].submit(&[n], WaitFor::Applied))
        .collect();
    for (n, call) in (5..).zip(calls) {
        assert_eq!(within(call).await.unwrap(), done(n..=n));
    }
    let fed = members[following].submit(&[105, 106], WaitFor::Accepted);
    assert_eq!(within(fed).await.unwrap(), done(105..=106));
    for member in &members {
        member.reaches(106).await;
        assert_eq!(member.state(), (1..=106).collect::<Vec<_>>());
        assert_eq!(member.status.log_position(), Index(106));
    }
    let places = |member: &Member<Journal>| {
        let core = member.replica.query(()).unwrap();
        core.1
    };
    assert_eq!(places(&members[0]), places(&members[2]));
}

#[tokio::test(start_paused = true)]
async fn strong_reads_see_what_was_acknowledged_anywhere() {
    let (_mesh, members) = three().await;
    let leading = leader(&members);
    for n in 0..20u64 {
        let writer = &members[(leading + 1) % 3];
        assert_ne!(within(writer.execute(&[n])).await, CommandOutcome::Offline);
        for member in &members {
            within(member.node.confirm_read()).await.unwrap();
            assert_eq!(member.state().last(), Some(&n));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_the_leader_costs_one_election_and_no_command() {
    let (mesh, members) = three().await;
    let leading = leader(&members);
    let survivors: Vec<_> = (0..3).filter(|i| *i != leading).collect();
    let before = members[survivors[0]].execute(&[1]);
    assert_eq!(within(before).await, done(1..=1));
    mesh.cut(members[leading].id());
    let start = Instant::now();
    let call = members[survivors[0]].submit(&[2], WaitFor::Applied);
    assert_eq!(within(call).await.unwrap(), done(2..=2));
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        within(members[survivors[1]].execute(&[3])).await,
        done(3..=3)
    );

    // The old leader is alone: it answers offline, and says so.
    let mut online = members[leading].status.watch_online();
    within(online.wait_for(|online| !online.on)).await.unwrap();
    assert_eq!(members[leading].status.leader(), None);
    let refused = within(members[leading].execute(&[99])).await;
    assert_eq!(refused, CommandOutcome::Offline);
    assert!(
        tokio::time::timeout(Duration::from_secs(5), members[leading].node.confirm_read())
            .await
            .map_or(true, |read| read.is_err()),
        "a deposed leader must not confirm a read"
    );

    mesh.heal();
    members[leading].online().await;
    members[leading].reaches(3).await;
    assert_eq!(members[leading].state(), [1, 2, 3]);
}

/// A follower whose heartbeats are late while it acknowledges entries counted as absent.
#[tokio::test(start_paused = true)]
async fn voters_that_acknowledge_entries_are_there_for_a_leader_that_needs_a_majority() {
    let (mesh, members) = three().await;
    let leading = &members[leader(&members)];
    let others = members.iter().map(Member::id);
    let others = others.filter(|member| *member != leading.id());
    mesh.0.mute.lock().extend(others);
    mesh.0.needed.store(2, Ordering::Relaxed);
    let step = Duration::from_millis(50);
    let steps = 4 * ConsensusConfig::default().election_timeout.as_millis() / step.as_millis();
    for number in 0..steps {
        let command = u64::try_from(number).unwrap();
        let outcome = within(leading.execute(&[command])).await;
        assert!(matches!(outcome, CommandOutcome::Done(_)), "{outcome:?}");
        tokio::time::sleep(step).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_lacks_voters_takes_commands_when_they_are_back() {
    let (mesh, members) = three().await;
    let place = leader(&members);
    let leading = &members[place];
    mesh.0.needed.store(3, Ordering::Relaxed);
    mesh.cut(members[(place + 1) % 3].id());
    let mut online = leading.status.watch_online();
    within(online.wait_for(|online| !online.on)).await.unwrap();
    assert!(leading.node.is_in_office(), "it changes the membership");
    assert_eq!(within(leading.execute(&[1])).await, CommandOutcome::Offline);
    mesh.heal();
    leading.online().await;
    assert_eq!(within(leading.execute(&[2])).await, done(1..=1));
}

#[tokio::test(start_paused = true)]
async fn commands_that_are_sent_twice_take_effect_once() {
    let (_mesh, members) = three().await;
    let leading = &members[leader(&members)];
    let origin = MemberId::fresh(members[0].status.local());
    let parcel = |first, values: &[u64]| crate::groups::consensus::pending_commands::Parcel {
        first,
        count: u32::try_from(values.len()).unwrap(),
        row: commands::encode(values).unwrap(),
        again: true,
    };
    let core = leading.node.core();
    assert_eq!(
        core.leader.propose(origin, parcel(1, &[10, 11])),
        Ok(Proposed::New(1, Index(1)))
    );
    let repeated = core.leader.propose(origin, parcel(1, &[10, 11]));
    assert_eq!(repeated, Ok(Proposed::Known));
    assert_eq!(
        core.leader.propose(origin, parcel(2, &[11, 12])),
        Ok(Proposed::New(3, Index(3))),
        "only the new one goes in"
    );
    leading.reaches(3).await;
    assert_eq!(leading.state(), [10, 11, 12]);
}

/// The table of sessions is bounded: a command of somebody it has forgotten may be in the log.
#[tokio::test(start_paused = true)]
async fn commands_that_can_not_be_told_from_repetitions_are_not_applied_again() {
    let (_mesh, members) = three().await;
    let origin = || MemberId::fresh(members[0].status.local());
    let parcel = |first, value, again| crate::groups::consensus::pending_commands::Parcel {
        first,
        count: 1,
        row: commands::encode(&[value]).unwrap(),
        again,
    };
    let forgotten = origin();
    let old = leader(&members);
    let core = members[old].node.core();
    let applied = core.leader.propose(forgotten, parcel(1, 10, false));
    assert_eq!(applied, Ok(Proposed::New(1, Index(1))));
    // More than are remembered. As long as all are, who sends again is believed to be new.
    let others = 20;
    for n in 1..=others {
        let proposed = core.leader.propose(origin(), parcel(1, 10 + n, n < 10));
        assert_eq!(proposed, Ok(Proposed::New(1, Index(1 + n))));
        members[old].reaches(1 + n).await;
    }
    let next = (old + 1) % 3;
    members[old].node.hand_over(members[next].id()).await;
    members[next].reaches(1 + others).await;
    let core = members[next].node.core();
    within(async {
        while core.leader.term().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let repeated = core.leader.propose(forgotten, parcel(1, 10, true));
    assert_eq!(repeated, Ok(Proposed::Forgotten));
    let fresh = core.leader.propose(forgotten, parcel(2, 99, false));
    assert_eq!(fresh, Ok(Proposed::New(2, Index(2 + others))));
    members[next].reaches(2 + others).await;
    let expected: Vec<_> = (10..=10 + others).chain([99]).collect();
    assert_eq!(members[next].state(), expected);
}

/// Regression: what was queued before an instance began lay there until its time was over.
#[tokio::test(start_paused = true)]
async fn commands_that_wait_when_an_instance_begins_are_sent() {
    let (mesh, members) = three().await;
    let waiting = pending_commands();
    waiting.leader_is_known();
    let row = commands::encode(&[7_u64]).unwrap();
    let (outcome, route) = waiting.submit(1, row, WaitFor::Applied);
    assert_eq!(route, CommandRoute::Hold);
    // An earlier instance was woken for it.
    waiting.wait_unsent().await;
    let next = Member::start_with(&mesh, Journal::default(), None, false, waiting).await;
    let added = BTreeSet::from([next.id()]);
    let leading = &members[leader(&members)];
    leading.node.add_learners(added).await.unwrap();
    assert_eq!(within(outcome).await.unwrap(), done(1..=1));
}

#[tokio::test(start_paused = true)]
async fn leadership_can_be_handed_over() {
    let (_mesh, members) = three().await;
    let leading = leader(&members);
    within(members[leading].execute(&[1])).await;
    let heir = &members[(leading + 1) % 3];
    let start = Instant::now();
    members[leading].node.hand_over(heir.id()).await;
    let mut leader = heir.status.watch_leader();
    within(leader.wait_for(|leader| *leader == Some(heir.status.local())))
        .await
        .unwrap();
    assert_eq!(within(heir.execute(&[2])).await, done(2..=2));
    assert!(
        start.elapsed() < Duration::from_millis(200),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_panicking_machine_ends_the_group_on_its_node() {
    let (_mesh, members) = three().await;
    let mut failure = members[0].node.failure();
    let leading = &members[leader(&members)];
    assert_eq!(within(leading.execute(&[1])).await, done(1..=1));
    let _call = leading.submit(&[2, u64::MAX], WaitFor::Applied);
    let reason = within(failure.wait_for(Option::is_some))
        .await
        .unwrap()
        .clone();
    assert!(matches!(reason, Some(Failure::Broken(reason)) if reason.contains("panicked")));
    // Half of what was applied last is in the state.
    assert!(members[0].replica.query(()).is_err());
    assert!(members[0].replica.with_machine(|journal| journal.0.len()) > 1);
}

#[tokio::test(start_paused = true)]
async fn commands_are_written_to_the_users_storage() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<InMemoryLogStore<u64>>>);

    impl Storage<u64> for Shared {
        fn append(&mut self, command: u64, term: crate::groups::Term) -> Index {
            self.0.lock().append(command, term)
        }
        fn available(&self) -> std::ops::RangeInclusive<Index> {
            self.0.lock().available()
        }
        fn get(&self, index: Index) -> Option<(u64, crate::groups::Term)> {
            self.0.lock().get(index)
        }
        fn get_range(
            &self,
            range: &std::ops::RangeInclusive<Index>,
        ) -> Vec<(crate::groups::Term, Index, u64)> {
            self.0.lock().get_range(range)
        }
        fn truncate(&mut self, at: Index) {
            self.0.lock().truncate(at);
        }
        fn last(&self) -> Cursor {
            self.0.lock().last()
        }
        fn prune_prefix(&mut self, up_to: Index) {
            self.0.lock().prune_prefix(up_to);
        }
    }

    let mesh = Mesh::default();
    let storage = Shared::default();
    let adapter = Arc::new(StorageAdapter::new(storage.clone()));
    let member = Member::start(&mesh, Journal::default(), Some(adapter)).await;
    member
        .node
        .found(BTreeSet::from([member.id()]))
        .await
        .unwrap();
    member.online().await;
    assert_eq!(within(member.execute(&[7, 8, 9])).await, done(1..=3));
    assert_eq!(storage.last(), Index(3));
    assert_eq!(storage.get(Index(2)).unwrap().0, 8);
}

/// Regression: the part of a snapshot that it went on fetching perhaps kept a member from writing its
/// own, for a minute.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_fetched_snapshot_keeps_no_member_from_writing_its_own() {
    let (mesh, dir) = (Mesh::default(), tempfile::tempdir().unwrap());
    let node = crate::groups::NodeStore::open(dir.path()).unwrap();
    let store = Some(node.group(Digest::from("group")));
    let (machine, pending) = (Compacting::default(), pending_commands());
    let member = Member::start_on(store, &mesh, machine, None, false, pending).await;
    let voters = BTreeSet::from([member.id()]);
    member.node.found(voters).await.unwrap();
    member.online().await;
    let core = member.node.core();
    let writer = within(core.log.begin_snapshot(1)).await.unwrap();
    assert!(writer.is_some(), "none is written yet");
    *core.partial.lock() = Some(crate::groups::catch_up::snapshot_data::Partial {
        id: SnapshotId { term: 1, index: 1 },
        digest: [0; 32],
        taken: 0,
        assembly: core.applied.assembly().unwrap(),
        writer,
        since: Instant::now(),
    });
    let commands: Vec<_> = (0..60).collect();
    for some in commands.chunks(10) {
        let done = within(member.execute(some)).await;
        assert!(matches!(done, CommandOutcome::Done(_)), "{done:?}");
    }
    within(async {
        while core.applied.compacted().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A lone member with this many commands, and nothing but a snapshot of most of them.
async fn compacted(mesh: &Mesh, commands: u64) -> Member<Compacting> {
    let first = Member::start(mesh, Compacting::default(), None).await;
    first
        .node
        .found(BTreeSet::from([first.id()]))
        .await
        .unwrap();
    first.online().await;
    for n in 0..commands {
        assert_eq!(within(first.execute(&[n])).await, done(n + 1..=n + 1));
    }
    first.log_begins_after(commands - 100).await;
    first
}

impl<const COMMANDS: u64> Member<Every<COMMANDS>> {
    async fn log_begins_after(&self, index: u64) {
        let log = &self.node.core().log;
        within(async {
            while log.first_index() <= index {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_gets_a_snapshot_when_the_log_is_gone() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 3000).await;
    let second = Member::start(&mesh, Compacting::default(), None).await;
    first
        .node
        .add_learners(BTreeSet::from([second.id()]))
        .await
        .unwrap();
    second.online().await;
    second.reaches(3000).await;
    assert_eq!(second.state(), (0..3000).collect::<Vec<_>>());
    assert!(second.node.core().log.first_index() > 2900, "no log before");
    first
        .node
        .change_voters(BTreeSet::from([second.id()]), BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(within(second.execute(&[3000])).await, done(3001..=3001));
    assert_eq!(first.state().len(), 3001);

    // Both take the next snapshot at the same place.
    for n in 3001..3060 {
        within(second.execute(&[n])).await;
    }
    first.reaches(3060).await;
    let newest =
        |member: &Member<Compacting>| member.node.core().applied.snapshot_cache.newest().unwrap();
    let (ours, theirs) = (newest(&first), newest(&second));
    assert_eq!(ours.id, theirs.id);
    assert_eq!(ours.head, theirs.head);
    assert_eq!(ours.pieces().await.unwrap(), theirs.pieces().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lagged_too_far_gets_a_snapshot() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 200).await;
    let mut others = Vec::new();
    for _ in 0..2 {
        let member = Member::start(&mesh, Compacting::default(), None).await;
        let id = BTreeSet::from([member.id()]);
        first.node.add_learners(id.clone()).await.unwrap();
        member.online().await;
        first.node.change_voters(id, BTreeSet::new()).await.unwrap();
        others.push(member);
    }
    let away = others.pop().unwrap();
    mesh.cut(away.id());
    for n in 200..700 {
        within(first.execute(&[n])).await;
    }
    // What the others fetched before is kept for a while.
    tokio::time::sleep(Duration::from_secs(40)).await;
    first.log_begins_after(600).await;
    mesh.heal();
    away.reaches(700).await;
    away.online().await;
    assert_eq!(away.state(), (0..700).collect::<Vec<_>>());
}

impl Member<Seldom> {
    /// Executes commands of some 14 KB in one entry, beginning with this one.
    async fn execute_many(&self, first: u64) {
        let commands = [[first].as_slice(), &[1 << 63; 999]].concat();
        let done = within(self.execute(&commands)).await;
        assert!(matches!(done, CommandOutcome::Done(_)), "{done:?}");
    }

    /// Size of the commands in the log.
    async fn log_bytes(&self) -> usize {
        let log = &self.node.core().log;
        let entries = log.read(0..u64::MAX, usize::MAX).await.unwrap();
        entries
            .iter()
            .map(crate::groups::log::memory_tail::weight)
            .sum()
    }
}

/// A few large commands once took as much of the memory as the whole interval of small ones.
#[tokio::test(start_paused = true)]
async fn the_log_is_bounded_in_bytes_and_who_lags_within_gets_entries() {
    // And an entry more, at most.
    const BOUND: usize = (64 + 14 + 1) * 1024;
    let mesh = Mesh::default();
    let first = Member::start(&mesh, Seldom::default(), None).await;
    let voters = BTreeSet::from([first.id()]);
    first.node.found(voters).await.unwrap();
    first.online().await;
    let other = Member::start(&mesh, Seldom::default(), None).await;
    let id = BTreeSet::from([other.id()]);
    first.node.add_learners(id).await.unwrap();
    other.online().await;
    let first_missing =
        |member: &Member<Seldom>| member.node.core().log.last_id().unwrap().index() + 1;

    for call in 0..20 {
        first.execute_many(call).await;
    }
    first.log_begins_after(10).await;
    let bytes = first.log_bytes().await;
    assert!(bytes < BOUND, "the log takes {bytes} bytes");
    other.reaches(20_000).await;

    // It lags a little: what it lacks is in the log.
    mesh.cut(other.id());
    for call in 20..22 {
        first.execute_many(call).await;
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(first.node.core().log.first_index() <= first_missing(&other));
    mesh.heal();
    other.reaches(22_000).await;
    assert_eq!(first_missing(&other), first_missing(&first));

    // It lags too much.
    mesh.cut(other.id());
    for call in 22..42 {
        first.execute_many(call).await;
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    first.log_begins_after(first_missing(&other)).await;
    let bytes = first.log_bytes().await;
    assert!(bytes < BOUND, "the log takes {bytes} bytes");
    mesh.heal();
    other.reaches(42_000).await;
    assert_eq!(other.state(), first.state());

    // Both take the next snapshot at the same place.
    for call in 42..45 {
        first.execute_many(call).await;
    }
    other.reaches(45_000).await;
    let newest = |member: &Member<Seldom>| {
        member
            .node
            .core()
            .applied
            .snapshot_cache
            .newest()
            .unwrap()
            .id
    };
    assert_eq!(newest(&first), newest(&other));
}

#[tokio::test(start_paused = true)]
async fn who_learns_of_its_commands_from_a_snapshot_goes_on_sending() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 200).await;
    let other = Member::start(&mesh, Compacting::default(), None).await;
    let id = BTreeSet::from([other.id()]);
    first.node.add_learners(id).await.unwrap();
    other.online().await;
    mesh.starve(other.id());
    // One after the other, so that each is under way by itself: as many as may be at all.
    for n in 200..200 + WINDOW as u64 {
        let accepted = other.submit(&[n], WaitFor::Accepted);
        assert_eq!(within(accepted).await.unwrap(), done(n + 1..=n + 1));
    }
    for n in 200 + WINDOW as u64..700 {
        within(first.execute(&[n])).await;
    }
    // What the other fetched before is kept for a while.
    tokio::time::sleep(Duration::from_secs(40)).await;
    first.log_begins_after(600).await;
    mesh.heal();
    other.reaches(700).await;
    assert_eq!(within(other.execute(&[700])).await, done(701..=701));
    assert_eq!(other.state(), (0..=700).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_fetches_the_log_before_it_is_added() {
    let (mesh, members) = three().await;
    let leading = &members[leader(&members)];
    for n in 0..2000u64 {
        within(leading.execute(&[n])).await;
    }
    for member in &members {
        member.reaches(2000).await;
    }
    let newcomer = Member::start(&mesh, Journal::default(), None).await;
    let (tx, rx) = oneshot::channel();
    newcomer.node.fetch_log(move || tx.send(()).unwrap());
    within(rx).await.unwrap();
    newcomer.reaches(1900).await;
    assert_eq!(newcomer.status.leader(), Some(leading.status.local()));
    assert!(!newcomer.status.is_online(), "not a member yet");
    let id = BTreeSet::from([newcomer.id()]);
    leading.node.add_learners(id).await.unwrap();
    newcomer.online().await;
    newcomer.reaches(2000).await;
    assert_eq!(newcomer.state(), (0..2000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_nonsense_is_not_answered() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 200).await;
    let core = first.node.core();
    let held = core.applied.snapshot_cache.newest().unwrap();
    let pieces = |of, from, ends| Ask::Pieces { of, from, ends };
    let snapshot = Whole::Snapshot(held.id);
    let unknown = Whole::Snapshot(SnapshotId { term: 9, index: 9 });
    let last = core.applied.last_index().unwrap();
    let missing = [
        pieces(snapshot, 0, vec![u64::MAX]),
        pieces(snapshot, 1 << 40, vec![1 << 41]),
        pieces(unknown, 0, vec![1]),
        pieces(Whole::Log, 0, vec![1]),
        pieces(Whole::Log, last, vec![last + 2]),
        pieces(Whole::Log, u64::MAX - 1, vec![u64::MAX]),
    ];
    for ask in missing {
        let frame = encoding::try_serialize(&ask).unwrap();
        let answer = answer(core, frame).await.unwrap();
        let answer: Answer = encoding::deserialize(answer).unwrap();
        assert_eq!(answer, Answer::Missing, "{ask:?}");
    }
    let violations = [
        pieces(snapshot, 0, vec![]),
        pieces(snapshot, 5, vec![5]),
        pieces(snapshot, 0, (1..1000).collect()),
    ];
    let frames = violations.map(|ask| encoding::try_serialize(&ask).unwrap());
    for frame in frames.into_iter().chain([Bytes::from_static(b"garbage")]) {
        assert_eq!(answer(core, frame).await, Err(Gone));
    }
    // A leader that talks nonsense of a snapshot.
    for frame in [Bytes::new(), Bytes::from_static(b"\x07garbage")] {
        let (mut ours, theirs) = MemberStream::pair();
        ours.tx.send(&frame).await.unwrap();
        assert_eq!(within(core.serve_snapshot(theirs)).await, Err(Gone));
    }
    assert_eq!(within(first.execute(&[200])).await, done(201..=201));
}

fn somebody() -> MemberId {
    MemberId::fresh(iroh::SecretKey::from_bytes(&rand::random()).public())
}

/// A lone member with a log of so many commands, and how that is laid out.
async fn laid_out(mesh: &Mesh, commands: u64) -> (Member<Journal>, Layout) {
    let first = Member::start(mesh, Journal::default(), None).await;
    let voters = BTreeSet::from([first.id()]);
    first.node.found(voters).await.unwrap();
    first.online().await;
    let all: Vec<_> = (0..commands).collect();
    for some in all.chunks(1000) {
        assert!(matches!(
            within(first.execute(some)).await,
            CommandOutcome::Done(_)
        ));
    }
    let ask = encoding::try_serialize(&Ask::Layout { from: 0 }).unwrap();
    let layout = answer(first.node.core(), ask).await.unwrap();
    (first, super::wire::decode(&layout).unwrap())
}

/// A peer once had all of the log encoded as one piece, and held in memory.
#[tokio::test(start_paused = true)]
async fn a_piece_that_nobody_would_cut_is_not_given() {
    let (first, layout) = laid_out(&Mesh::default(), 150_000).await;
    let core = first.node.core();
    let mut ends: Vec<_> = layout.pieces.unwrap().iter().map(|p| p.units).collect();
    for n in 1..ends.len() {
        ends[n] += ends[n - 1];
    }
    let asked = |ends: Vec<u64>| Ask::Pieces {
        of: Whole::Log,
        from: 0,
        ends,
    };
    for (ask, expected) in [
        (asked(ends[..2].to_vec()), Answer::Coming),
        (asked(vec![ends[ends.len() - 1]]), Answer::Missing),
    ] {
        let frame = encoding::try_serialize(&ask).unwrap();
        let given = answer(core, frame).await.unwrap();
        let given: Answer = encoding::deserialize(given).unwrap();
        assert_eq!(given, expected, "{ask:?}");
    }
}

/// Answers once stayed in memory for as long as a peer took nothing, on any number of streams.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_answers_has_few_prepared_and_loses_them() {
    let (first, layout) = laid_out(&Mesh::default(), 150_000).await;
    let pieces = layout.pieces.unwrap();
    let first_two = pieces[0].units + pieces[1].units;
    let ask = Ask::Pieces {
        of: Whole::Log,
        from: 0,
        ends: vec![pieces[0].units, first_two],
    };
    let ask = encoding::try_serialize(&ask).unwrap();
    let (greedy, mut streams) = (somebody(), Vec::new());
    for _ in 0..5 {
        let (mut ours, theirs) = MemberStream::narrow_pair(1);
        let core = first.node.core().clone();
        tokio::spawn(async move { core.serve_fetch(greedy, theirs).await });
        ours.tx.send(&ask).await.unwrap();
        streams.push(ours);
    }
    let other = within(Box::pin(answer(first.node.core(), ask)))
        .await
        .unwrap();
    assert_eq!(
        encoding::deserialize::<Answer>(&other).unwrap(),
        Answer::Coming
    );
    let begin = Instant::now();
    let mut last = streams.pop().unwrap();
    let coming = tokio::time::timeout(Duration::from_secs(600), last.rx.recv()).await;
    let coming = coming.unwrap().unwrap();
    assert_eq!(
        encoding::deserialize::<Answer>(&coming).unwrap(),
        Answer::Coming
    );
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(50), "{waited:?}");
}

/// Regression: a peer that did not take a layout kept others from being given theirs.
#[tokio::test(start_paused = true)]
async fn peers_that_take_no_layouts_delay_nobody() {
    let (first, _) = laid_out(&Mesh::default(), 10).await;
    let core = first.node.core();
    let ask = encoding::try_serialize(&Ask::Layout { from: 0 }).unwrap();
    let mut streams = Vec::new();
    for _ in 0..8 {
        let (mut ours, theirs) = MemberStream::narrow_pair(1);
        let (core, greedy) = (core.clone(), somebody());
        tokio::spawn(async move { core.serve_fetch(greedy, theirs).await });
        // There is room for one answer.
        for _ in 0..2 {
            ours.tx.send(&ask).await.unwrap();
        }
        streams.push(ours);
    }
    tokio::time::sleep(PATIENCE).await;
    assert!(answer(core, ask).await.is_ok());
}

/// The first frame that a member answers with.
async fn answer(core: &Arc<NodeCore>, frame: Bytes) -> Result<Bytes, Gone> {
    let (mut ours, theirs) = MemberStream::pair();
    ours.tx.send(&frame).await?;
    within(async {
        tokio::select! {
            _ = Box::pin(core.serve_fetch(somebody(), theirs)) => Err(Gone),
            frame = ours.rx.recv() => frame,
        }
    })
    .await
}

/// No vote was counted before, and no leader kept its lease.
#[tokio::test(start_paused = true)]
async fn members_that_are_far_apart_elect_work_and_elect_again() {
    let mesh = Mesh::default();
    *mesh.0.latency.lock() = Duration::from_millis(100);
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(Member::start(&mesh, Journal::default(), None).await);
    }
    let voters = members.iter().map(Member::id).collect();
    members[0].node.found(voters).await.unwrap();
    for member in &members {
        member.online().await;
    }
    let first = leader(&members);
    for n in 1..=5 {
        // Idle for longer than an election takes: the leader must be believed all the time.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(leader(&members), first);
        assert!(members.iter().all(|member| member.status.is_online()));
        let caller = &members[(first + n) % 3];
        let n = n as u64;
        assert_eq!(within(caller.execute(&[n])).await, done(n..=n));
    }
    mesh.cut(members[first].id());
    let survivor = &members[(first + 1) % 3];
    // An election at this distance may take longer than a call waits.
    let elected =
        async { while !matches!(survivor.execute(&[6]).await, CommandOutcome::Done(_)) {} };
    within(elected).await;
}

/// Keeps a store's disk so busy that each write takes this long, until it is dropped.
#[cfg(feature = "storage")]
struct SlowDisk(Arc<std::sync::atomic::AtomicBool>);

#[cfg(feature = "storage")]
impl SlowDisk {
    fn of(store: &crate::groups::NodeStore, sync: Duration) -> Self {
        fn write(group: GroupStore, ends: Arc<std::sync::atomic::AtomicBool>, sync: Duration) {
            let next = group.clone();
            let done = Box::new(move |written: Result<(), _>| {
                #[allow(clippy::disallowed_methods, reason = "the thread of the disk")]
                std::thread::sleep(sync);
                if written.is_ok() && !ends.load(Ordering::Relaxed) {
                    write(next, ends, sync);
                }
            });
            let row = (0, Bytes::from_static(b"row"));
            let queued = group.append([row], done).now_or_never();
            assert!(queued.is_some(), "there is room");
        }
        let ends = Arc::default();
        write(store.group(Digest::from("busy")), Arc::clone(&ends), sync);
        Self(ends)
    }
}

#[cfg(feature = "storage")]
impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Votes and entries count once they are on the disk, and the leader is believed meanwhile.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_slow_disks_that_are_far_apart_elect_work_and_elect_again() {
    const LIMIT: Duration = Duration::from_secs(60);
    let mesh = Mesh::default();
    *mesh.0.latency.lock() = Duration::from_millis(50);
    let (mut disks, mut members) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let node = crate::groups::NodeStore::open(dir.path()).unwrap();
        let store = Some(node.group(Digest::from("group")));
        let slow = SlowDisk::of(&node, Duration::from_millis(100));
        disks.push((slow, dir));
        let (machine, pending) = (Journal::default(), pending_commands());
        members.push(Member::start_on(store, &mesh, machine, None, false, pending).await);
    }
    let voters = members.iter().map(Member::id).collect();
    members[0].node.found(voters).await.unwrap();
    let works = async {
        for member in &members {
            let mut online = member.status.watch_online();
            online.wait_for(|online| online.on).await.unwrap();
        }
        for (n, member) in members.iter().enumerate() {
            let n = n as u64 + 1;
            while !matches!(member.execute(&[n]).await, CommandOutcome::Done(_)) {}
        }
    };
    tokio::time::timeout(LIMIT, works).await.expect("in time");
    let leads = members.iter().map(|member| {
        let mut view = member.node.view();
        Box::pin(async move { view.wait_for(|view| view.leading).await.map(drop) })
    });
    let leads = futures::future::select_all(leads);
    let (_, first, _) = tokio::time::timeout(LIMIT, leads).await.expect("in time");
    mesh.cut(members[first].id());
    let survivor = &members[(first + 1) % 3];
    let elected =
        async { while !matches!(survivor.execute(&[9]).await, CommandOutcome::Done(_)) {} };
    tokio::time::timeout(LIMIT, elected).await.expect("in time");
    assert_eq!(survivor.state().last(), Some(&9));
}

/// Regression: members that stood within a trip of each other split the votes, and one that had voted
/// while it asked for pre-votes deposed the leader that it had helped to elect.
#[tokio::test(start_paused = true)]
async fn an_election_at_a_distance_takes_one_round() {
    const ELECTIONS: u64 = 20;
    let (mesh, members) = group_of(3).await;
    *mesh.0.latency.lock() = Duration::from_millis(100);
    let term = |n: usize| members[n].node.view().borrow().term;
    let mut rounds = 0;
    for _ in 0..ELECTIONS {
        let former = leader(&members);
        let before = term(former);
        mesh.cut(members[former].id());
        let elected = async {
            loop {
                let leads =
                    |n: &usize| members[*n].status.leader() == Some(members[*n].status.local());
                if let Some(next) = (0..3).filter(|n| *n != former).find(leads) {
                    return next;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let next = tokio::time::timeout(6 * PATIENCE, elected)
            .await
            .expect("in a few rounds");
        rounds += term(next) - before;
        // The former leader has noticed that it is cut off before it is back.
        tokio::time::sleep(Duration::from_secs(2)).await;
        mesh.heal();
        for member in &members {
            member.online().await;
        }
    }
    // It was 45.
    assert!(rounds <= ELECTIONS + 3, "{rounds} rounds");
}

/// A stream that missed the end of a tenure took the next for the same one, and waited for ever.
#[tokio::test(start_paused = true)]
async fn a_stream_of_commands_ends_with_its_tenure_also_when_the_next_begins_at_once() {
    let (_mesh, members) = three().await;
    let leading = &members[leader(&members)];
    let core = leading.node.core();
    let (_ours, theirs) = MemberStream::pair();
    let origin = MemberId::fresh(members[0].status.local());
    let mut serving = Box::pin(core.serve_forward(origin, theirs));
    assert!(serving.as_mut().now_or_never().is_none());
    core.leader.end();
    core.refresh();
    assert!(leading.node.is_in_office());
    assert_eq!(within(serving).await, Err(Gone));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_has_ended_says_nothing_of_its_member_any_more() {
    let (_mesh, members) = three().await;
    let follower = &members[(leader(&members) + 1) % 3];
    follower.node.shutdown().await;
    follower.status.set_online(false);
    follower.status.set_leader(None);
    // An append of the old leader that was late.
    follower.node.core().on_contact(1, Some(1));
    follower.node.core().refresh();
    follower.node.core().assess();
    assert_eq!(follower.status.leader(), None);
    assert!(!follower.status.is_online());
}

/// It took the leader's signs of life for those of one with a majority.
#[tokio::test(start_paused = true)]
async fn who_is_cut_off_together_with_the_leader_knows_of_no_leader() {
    let (mesh, members) = group_of(5).await;
    let leading = leader(&members);
    let [leading, following] = [0, 1].map(|n| &members[(leading + n) % 5]);
    for other in &members {
        if ![leading.id(), following.id()].contains(&other.id()) {
            mesh.cut(other.id());
        }
    }
    for member in [leading, following] {
        let mut online = member.status.watch_online();
        let offline = online.wait_for(|online| !online.on);
        let limit = Duration::from_secs(3);
        assert!(tokio::time::timeout(limit, offline).await.is_ok());
        assert_eq!(member.status.leader(), None);
    }
    // Both still talk to each other.
    let before = following.status.watch_online().borrow().count;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(following.status.watch_online().borrow().count, before);
    mesh.heal();
    for member in &members {
        member.online().await;
    }
    assert_eq!(within(following.execute(&[1])).await, done(1..=1));
}

/// Its leader once discarded the log behind the snapshot without a word, and offered the next one,
/// and so on for as long as commands came.
#[tokio::test(start_paused = true)]
async fn a_newcomer_that_is_too_slow_for_a_snapshot_is_told_and_left_alone_for_a_while() {
    let mesh = Mesh::default();
    let first = Member::start(&mesh, Seldom::default(), None).await;
    let voters = BTreeSet::from([first.id()]);
    first.node.found(voters).await.unwrap();
    first.online().await;
    let mut call = 0;
    while first.node.core().log.first_index() < 3 {
        first.execute_many(call).await;
        call += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let newcomer = Member::start(&mesh, Seldom::default(), None).await;
    mesh.0.stalled.lock().insert(newcomer.id());
    let id = BTreeSet::from([newcomer.id()]);
    first.node.add_learners(id).await.unwrap();
    let snapshot_cache = &first.node.core().applied.snapshot_cache;
    let offered = within(async {
        loop {
            if let Some(offered) = snapshot_cache.in_use().pop() {
                return offered;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    // The log behind the snapshot that it fetches is kept for a while, far beyond what is kept
    // otherwise.
    for _ in 0..20 {
        first.execute_many(call).await;
        call += 1;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let log = &first.node.core().log;
    assert!(log.first_index() <= offered.id.index + 1);

    // But not without end.
    for _ in 0..60 {
        first.execute_many(call).await;
        call += 1;
    }
    let overrun = within(offered.given_up()).await;
    assert!(overrun.log_bytes > overrun.limit_bytes);
    first.log_begins_after(offered.id.index).await;
    let rest = || first.node.core().progress.rest(newcomer.id());
    within(async {
        while rest() <= Instant::now() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(newcomer.state().len(), 0);

    mesh.0.stalled.lock().clear();
    newcomer.reaches(call * 1000).await;
    assert_eq!(newcomer.state(), first.state());
}

#[tokio::test(start_paused = true)]
async fn whoever_fetches_a_snapshot_in_vain_gets_the_numbers() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 200).await;
    let held = first.node.core().applied.snapshot_cache.newest().unwrap();
    let (ours, mut theirs) = MemberStream::pair();
    let vote = first.node.core().server.borrow_watched().vote;
    let offering =
        super::replication::network::offer_snapshot(&held, vote, held.meta.clone(), ours);
    let overrun = crate::groups::catch_up::wire::Overrun {
        log_bytes: 2,
        limit_bytes: 1,
    };
    let taking = async {
        let _header = theirs.rx.recv().await.unwrap();
        let _manifest = theirs.rx.recv().await.unwrap();
        held.give_up(overrun);
        super::wire::decode::<crate::groups::catch_up::wire::Overrun>(
            &theirs.rx.recv().await.unwrap(),
        )
        .unwrap()
    };
    let (offered, told) = within(Box::pin(futures::future::join(offering, taking))).await;
    assert_eq!(told, overrun);
    assert!(matches!(
        offered,
        Err(super::replication::network::NotTaken::Overrun)
    ));
    let in_use = first.node.core().applied.snapshot_cache.in_use();
    assert!(in_use.iter().all(|other| other.id != held.id));
}

/// An observer and the task that has it follow a source.
struct Observing<M: StateMachine> {
    member: Member<M>,
    following: Mutex<Option<Scope>>,
}

impl<M: StateMachine<Command = u64, Query = (), QueryResult = Vec<u64>>> Observing<M> {
    async fn start(mesh: &Mesh, machine: M) -> Self {
        Self {
            member: Member::start_as(mesh, machine, None, true).await,
            following: Mutex::default(),
        }
    }

    /// Follows a source in place of the one before; resolves when the stream ends.
    fn follow(&self, source: MemberId) -> oneshot::Receiver<()> {
        let (ended, end) = oneshot::channel();
        let scope = self.member.node.follow(source, move || drop(ended));
        if let Some(before) = self.following.lock().replace(scope) {
            before.cancel();
        }
        end
    }
}

#[tokio::test(start_paused = true)]
async fn observers_are_fed_by_a_follower_and_by_each_other_and_the_leader_has_no_part_in_it() {
    let (mesh, members) = three().await;
    let leads = leader(&members);
    let source = &members[(leads + 1) % 3];
    assert_eq!(within(members[leads].execute(&[1, 2])).await, done(1..=2));
    let near = Observing::start(&mesh, Journal::default()).await;
    let far = Observing::start(&mesh, Journal::default()).await;
    let (_near, _far) = (near.follow(source.id()), far.follow(near.member.id()));
    near.member.online().await;
    // Before its source had one itself, it was sent away.
    let _far = far.follow(near.member.id());
    far.member.online().await;
    assert_eq!(far.member.status.leader(), members[leads].id().peer());
    for n in 3..200 {
        assert_eq!(within(source.execute(&[n])).await, done(n..=n));
    }
    for observer in [&near, &far] {
        observer.member.reaches(199).await;
        assert_eq!(observer.member.state(), members[leads].state());
        let view = observer.member.node.view().borrow().clone();
        assert_eq!((view.voters.len(), view.learners.len()), (3, 0));
    }
    let core = |member: &Member<Journal>| member.node.core().clone();
    assert_eq!(core(source).children(), [near.member.id()]);
    assert_eq!(core(&near.member).children(), [far.member.id()]);
    assert!(core(&members[leads]).children().is_empty());
    let depth = |member| core(member).offers_to_feed().map(|feeds| feeds.depth);
    assert_eq!(depth(source), Some(0));
    assert_eq!(depth(&near.member), Some(1));
    assert_eq!(depth(&far.member), Some(2));

    // A read asks its way up, and sees what was acknowledged.
    mesh.0
        .hidden
        .lock()
        .insert((far.member.id(), members[leads].id()));
    assert_eq!(
        within(members[leads].execute(&[200])).await,
        done(200..=200)
    );
    within(far.member.node.confirm_read()).await.unwrap();
    assert_eq!(far.member.state().len(), 200);

    // It goes on from another source, of which it needs nothing that it has.
    mesh.cut(source.id());
    let _near = near.follow(members[(leads + 2) % 3].id());
    assert_eq!(
        within(members[leads].execute(&[201])).await,
        done(201..=201)
    );
    near.member.reaches(201).await;
    let _far = far.follow(near.member.id());
    far.member.reaches(201).await;
    assert_eq!(far.member.state(), members[leads].state());
}

#[tokio::test(start_paused = true)]
async fn an_observer_knows_of_no_leader_that_its_source_does_not_hear_of() {
    let (mesh, members) = three().await;
    let leads = leader(&members);
    let source = &members[(leads + 1) % 3];
    let near = Observing::start(&mesh, Journal::default()).await;
    let far = Observing::start(&mesh, Journal::default()).await;
    let _near = near.follow(source.id());
    near.member.online().await;
    let _far = far.follow(near.member.id());
    far.member.online().await;
    mesh.cut(members[leads].id());
    mesh.cut(members[(leads + 2) % 3].id());
    let mut online = far.member.status.watch_online();
    within(online.wait_for(|online| !online.on)).await.unwrap();
    assert_eq!(far.member.status.leader(), None);
    assert_eq!(far.member.node.core().offers_to_feed(), None);
    mesh.heal();
    let _near = near.follow(source.id());
    near.member.online().await;
    let _far = far.follow(near.member.id());
    far.member.online().await;
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_finds_itself_upstream_leaves_its_source() {
    let (mesh, members) = three().await;
    let source = members[leader(&members)].id();
    let [one, two] = [
        Observing::start(&mesh, Journal::default()).await,
        Observing::start(&mesh, Journal::default()).await,
    ];
    let end = one.follow(source);
    one.member.online().await;
    let _two = two.follow(one.member.id());
    two.member.online().await;
    let circle = one.follow(two.member.id());
    drop(end);
    assert!(within(circle).await.is_err(), "nothing is sent, it ends");
    let _one = one.follow(source);
    one.member.online().await;
}

#[tokio::test(start_paused = true)]
async fn an_observer_gets_a_snapshot_when_its_source_has_no_log_any_more() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 3000).await;
    let near = Observing::start(&mesh, Compacting::default()).await;
    let _near = near.follow(first.id());
    near.member.online().await;
    near.member.reaches(3000).await;
    assert_eq!(near.member.state(), (0..3000).collect::<Vec<_>>());
    let far = Observing::start(&mesh, Compacting::default()).await;
    let _far = far.follow(near.member.id());
    far.member.online().await;
    assert_eq!(far.member.state(), near.member.state());
    for n in 3000..3200 {
        assert_eq!(within(first.execute(&[n])).await, done(n + 1..=n + 1));
    }
    far.member.reaches(3200).await;
    let newest =
        |member: &Member<Compacting>| member.node.core().applied.snapshot_cache.newest().unwrap();
    assert_eq!(newest(&far.member).id, newest(&first).id);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_takes_nothing_delays_nobody() {
    let mesh = Mesh::default();
    let first = Member::start(&mesh, Journal::default(), None).await;
    let voters = BTreeSet::from([first.id()]);
    first.node.found(voters).await.unwrap();
    first.online().await;
    let quick = Observing::start(&mesh, Journal::default()).await;
    let _quick = quick.follow(first.id());
    quick.member.online().await;
    // One that opens the stream and then never reads or answers.
    let (mut ours, theirs) = MemberStream::pair();
    let core = first.node.core().clone();
    let asleep = MemberId::fresh(iroh::SecretKey::from_bytes(&rand::random()).public());
    let serving = tokio::spawn(async move { core.serve_follow(asleep, theirs).await });
    ours.tx.send(&follow()).await.unwrap();
    for n in 1..=2000 {
        assert_eq!(within(first.execute(&[n])).await, done(n..=n));
    }
    quick.member.reaches(2000).await;
    assert!(!serving.is_finished());
    // So much and no more is sent without an answer.
    let mut batches = 0;
    while let Some(Ok(frame)) = ours.rx.recv().now_or_never() {
        if let Fed::Part { is_last, .. } = super::wire::decode(&frame).unwrap() {
            batches += usize::from(is_last);
        }
    }
    assert_eq!(batches, 4);
    drop(ours);
    assert!(within(serving).await.unwrap().is_err());
}

/// Entry of one command that a leader of this term has put at an index.
fn entry(term: u64, index: u64, command: u64) -> EntryOf<Types> {
    let id = LogIdOf::<Types>::new(CommittedLeaderIdOf::<Types>::new(term), index);
    let batch = Batch {
        origin: MemberId::default(),
        first: index,
        count: 1,
        row: commands::encode(&[command]).unwrap(),
    };
    EntryOf::<Types>::new(id, EntryPayload::Normal(batch))
}

impl<M: StateMachine<Command = u64, Query = (), QueryResult = Vec<u64>>> Member<M> {
    fn vote(&self) -> VoteOf<Types> {
        self.node.core().server.borrow_watched().vote
    }

    /// Copy of its log.
    async fn log(&self) -> Vec<EntryOf<Types>> {
        let log = &self.node.core().log;
        log.read(0..u64::MAX, usize::MAX).await.unwrap()
    }

    /// Takes a log that begins with the first entry, of which this much is committed, from a leader
    /// with this vote.
    async fn append(&self, vote: VoteOf<Types>, log: Vec<EntryOf<Types>>, committed: usize) {
        let request = AppendEntriesRequest {
            vote,
            prev_log_id: None,
            leader_commit: committed.checked_sub(1).map(|last| log[last].log_id),
            entries: log,
        };
        let appended = self.node.core().raft.append_entries(request).await;
        assert!(matches!(appended, Ok(AppendEntriesResponse::Success)));
    }
}

/// It once took the entries behind what its source had sent for committed, whoever had written them.
#[tokio::test(start_paused = true)]
async fn an_observer_drops_what_it_has_from_a_leader_that_could_not_commit_it() {
    let (mesh, members) = three().await;
    let [old, new] = [0, 1].map(|n| (leader(&members) + n) % 3);
    assert_eq!(within(members[old].execute(&[1, 2])).await, done(1..=2));
    let restarted = Observing::start(&mesh, Journal::default()).await;
    let vote = members[old].vote();
    let mut log = members[old].log().await;
    let (term, next) = (vote.leader_id.term, log.len() as u64);
    log.extend([entry(term, next, 91), entry(term, next + 1, 92)]);
    restarted.member.append(vote, log, 0).await;

    members[old].node.hand_over(members[new].id()).await;
    members[new].leads().await;
    for n in 3..=6 {
        assert_eq!(within(members[new].execute(&[n])).await, done(n..=n));
    }
    let _following = restarted.follow(members[new].id());
    restarted.member.reaches(6).await;
    assert_eq!(restarted.member.state(), members[new].state());
}

/// As after a crash: what is committed is told on the disk a little later than it is written there.
#[tokio::test(start_paused = true)]
async fn an_observer_whose_log_is_ahead_of_what_it_knows_to_be_committed_comes_online() {
    let (mesh, members) = three().await;
    let leads = &members[leader(&members)];
    assert_eq!(within(leads.execute(&[1, 2])).await, done(1..=2));
    assert_eq!(within(leads.execute(&[3])).await, done(3..=3));
    let restarted = Observing::start(&mesh, Journal::default()).await;
    let log = leads.log().await;
    let committed = log.len() - 1;
    restarted.member.append(leads.vote(), log, committed).await;
    restarted.member.reaches(2).await;
    let _following = restarted.follow(leads.id());
    restarted.member.reaches(3).await;
    restarted.member.online().await;
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_changes_its_source_keeps_those_that_it_feeds() {
    let (mesh, members) = three().await;
    *mesh.0.latency.lock() = Duration::from_millis(40);
    let leads = leader(&members);
    let [one, two] = [1, 2].map(|n| members[(leads + n) % 3].id());
    let near = Observing::start(&mesh, Journal::default()).await;
    let far = Observing::start(&mesh, Journal::default()).await;
    let _near = near.follow(one);
    near.member.online().await;
    let mut end = far.follow(near.member.id());
    far.member.online().await;
    for n in 1..=6 {
        let _near = near.follow(if n % 2 == 0 { one } else { two });
        assert_eq!(within(members[leads].execute(&[n])).await, done(n..=n));
        far.member.reaches(n).await;
    }
    assert!(
        end.try_recv()
            .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
    );
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_takes_little_at_a_time_hears_of_the_leader_all_the_while() {
    let (mesh, members) = three().await;
    let leads = &members[leader(&members)];
    let slow = Observing::start(&mesh, Paced::<100>::default()).await;
    let _following = slow.follow(leads.id());
    slow.member.online().await;
    let online = slow.member.status.watch_online();
    let before = online.borrow().count;
    // Each batch is worth a few seconds at this rate.
    for n in 1..=20 {
        assert_eq!(
            within(leads.execute(&[n; 40])).await,
            done(n * 40 - 39..=n * 40)
        );
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(slow.member.status.leader().is_some());
    }
    slow.member.reaches(800).await;
    assert_eq!(online.borrow().count, before, "it has gone offline");
}

#[tokio::test(start_paused = true)]
async fn who_is_fed_by_an_instance_that_has_ended_is_told() {
    let (mesh, members) = three().await;
    let source = &members[(leader(&members) + 1) % 3];
    let near = Observing::start(&mesh, Journal::default()).await;
    let end = near.follow(source.id());
    near.member.online().await;
    source.node.shutdown().await;
    assert!(within(end).await.is_err());
}

/// The bond that an observer has made for its commands is given up after a minute.
#[tokio::test(start_paused = true)]
async fn an_observer_that_goes_on_writing_goes_on_asking_for_a_bond_with_the_leader() {
    let (mesh, members) = three().await;
    let leads = &members[leader(&members)];
    let writing = Observing::start(&mesh, Journal::default()).await;
    let _following = writing.follow(leads.id());
    writing.member.online().await;
    for n in 1..=90 {
        assert_eq!(within(writing.member.execute(&[n])).await, done(n..=n));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let reached = mesh.0.reached.load(Ordering::Relaxed);
    assert!((2..20).contains(&reached), "{reached} times");
}

/// The consensus library takes it for granted that nobody sends such a snapshot, and panics.
#[tokio::test(start_paused = true)]
async fn a_snapshot_that_no_honest_member_sends_is_refused() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 200).await;
    let victim = Observing::start(&mesh, Compacting::default()).await;
    let _following = victim.follow(first.id());
    victim.member.online().await;
    victim.member.reaches(200).await;
    let held = first.node.core().applied.snapshot_cache.newest().unwrap();
    let mut vote = first.vote();
    let term = vote.leader_id.term;
    let at = |term, index| LogIdOf::<Types>::new(CommittedLeaderIdOf::<Types>::new(term), index);
    for (given, last) in [(term, at(term + 1, 100_000)), (term + 9, at(term + 9, 3))] {
        vote.leader_id.term = given;
        let mut meta = held.meta.clone();
        meta.last_log_id = Some(last);
        let header = SnapshotHeader {
            vote,
            meta: meta.into(),
            head: held.head.clone(),
        };
        let (mut ours, theirs) = MemberStream::pair();
        for frame in [
            super::wire::encode(&header).unwrap(),
            super::wire::encode(&Manifest(Vec::new())).unwrap(),
        ] {
            ours.tx.send(&frame).await.unwrap();
        }
        let core = victim.member.node.core().clone();
        assert!(within(core.serve_snapshot(theirs)).await.is_err());
        assert!(victim.member.node.failure().borrow().is_none());
    }
    assert_eq!(within(first.execute(&[200])).await, done(201..=201));
    victim.member.reaches(201).await;
}

/// The library takes up the leadership that a vote gives to its member, whoever tells of it, though a
/// leader that was restarted may lack entries of its own term.
#[tokio::test(start_paused = true)]
async fn a_vote_for_this_member_makes_no_leader_of_it() {
    let (_mesh, members) = three().await;
    let leads = leader(&members);
    let follower = &members[(leads + 1) % 3];
    let core = follower.node.core();
    let mut vote = members[leads].vote();
    vote.leader_id.term += 1;
    vote.leader_id.voted_for = follower.id();
    assert_eq!(core.take_committed(vote, Vec::new()).await, Err(Gone));
    let sign = super::wire::Sign {
        vote,
        age_ms: Some(0),
        commit: None,
        path: vec![members[leads].id()],
    };
    assert!(core.check_sign(members[leads].id(), &sign).is_err());
    let append = AppendEntriesRequest::<Types> {
        vote,
        prev_log_id: None,
        leader_commit: None,
        entries: Vec::new(),
    };
    let heartbeat = super::wire::Request::Heartbeat {
        append: append.into(),
        backed: false,
    };
    let asked = encoding::try_serialize(&heartbeat).unwrap();
    let refused = within(Box::pin(core.answer(members[leads].id(), &asked)))
        .await
        .unwrap();
    let refused: super::wire::Response = super::wire::decode(&refused).unwrap();
    assert!(matches!(refused, super::wire::Response::Refused));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let view = follower.node.view().borrow().clone();
    assert!(!view.leading && view.term < vote.leader_id.term, "{view:?}");
    assert_eq!(within(follower.execute(&[1])).await, done(1..=1));
}

/// It follows nobody, and once said nothing of it.
#[tokio::test(start_paused = true)]
async fn an_observer_that_has_voted_for_itself_in_a_later_term_says_so() {
    let (mesh, members) = three().await;
    let leads = &members[leader(&members)];
    let observer = Observing::start(&mesh, Journal::default()).await;
    let core = observer.member.node.core();
    let mut vote = leads.vote();
    vote.leader_id.term += 3;
    vote.leader_id.voted_for = observer.member.id();
    vote.committed = false;
    let request = openraft::raft::VoteRequest::<Types>::new(vote, None);
    let _granted = core.raft.vote(request).await.unwrap();
    assert!(within(observer.follow(leads.id())).await.is_err());
    assert!(!core.feed.is_first_report(), "it was reported");
    assert!(!observer.member.status.is_online());
}

/// It once sent nothing more when it had lost its own source.
#[tokio::test(start_paused = true)]
async fn an_observer_without_a_source_hands_on_all_that_it_has() {
    let (mesh, members) = three().await;
    let leads = &members[leader(&members)];
    let near = Observing::start(&mesh, Journal::default()).await;
    let far = Observing::start(&mesh, Paced::<2000>::default()).await;
    let _near = near.follow(leads.id());
    near.member.online().await;
    let _far = far.follow(near.member.id());
    far.member.online().await;
    for n in 1..=20 {
        let last = n * 40;
        assert_eq!(
            within(leads.execute(&[n; 40])).await,
            done(last - 39..=last)
        );
        near.member.reaches(last).await;
        tokio::time::sleep(Duration::from_millis(6)).await;
    }
    let has = *far.member.status.watch_committed().current.borrow();
    assert!(has < 800, "{has}");
    near.following.lock().take().unwrap().cancel();
    far.member.reaches(800).await;
    assert_eq!(far.member.state(), leads.state());
}

/// Entries without commands once counted for nothing: a log of them was never cut off.
#[tokio::test(start_paused = true)]
async fn a_log_of_changes_of_the_membership_is_cut_off() {
    let mesh = Mesh::default();
    let first = Member::start(&mesh, Seldom::default(), None).await;
    let voters = BTreeSet::from([first.id()]);
    first.node.found(voters).await.unwrap();
    first.online().await;
    for _ in 0..200 {
        let learner = BTreeSet::from([somebody()]);
        within(first.node.add_learners(learner.clone()))
            .await
            .unwrap();
        within(first.node.remove_learners(learner)).await.unwrap();
    }
    first.log_begins_after(100).await;
    assert_eq!(within(first.execute(&[1])).await, done(1..=1));
}

/// The first frame of an observer without anything.
fn follow() -> Bytes {
    super::wire::encode(&Follow {
        from: 0,
        snapshot: false,
    })
    .unwrap()
}

/// A frame that took longer than an observer waits for something once never arrived.
#[tokio::test(start_paused = true)]
async fn a_large_entry_comes_in_parts_with_signs_between_them() {
    let mesh = Mesh::default();
    let first = Member::start(&mesh, Journal::default(), None).await;
    let voters = BTreeSet::from([first.id()]);
    first.node.found(voters).await.unwrap();
    first.online().await;
    let commands: Vec<_> = (0..150_000).collect();
    assert_eq!(within(first.execute(&commands)).await, done(1..=150_000));

    let peer = iroh::SecretKey::from_bytes(&rand::random()).public();
    let (mut ours, theirs) = MemberStream::narrow_pair(2);
    let core = first.node.core().clone();
    let serving = async move { core.serve_follow(MemberId::fresh(peer), theirs).await };
    let taking = async {
        ours.tx.send(&follow()).await.unwrap();
        let (mut bytes, mut signs) = (0, 0);
        loop {
            let frame = ours.rx.recv().await.unwrap();
            assert!(frame.len() < PART_BYTES + 16, "a frame of {}", frame.len());
            match super::wire::decode(&frame).unwrap() {
                Fed::Sign(_) => signs += 1,
                Fed::Part {
                    bytes: part,
                    is_last,
                } => {
                    bytes += part.len();
                    if is_last && bytes > 900_000 {
                        return signs;
                    }
                }
            }
            // The link is slow.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let signs = tokio::select! {
        signs = tokio::time::timeout(Duration::from_secs(600), taking) => signs.unwrap(),
        served = serving => panic!("{served:?}"),
    };
    assert!(signs > 3, "{signs} signs");

    let observer = Observing::start(&mesh, Journal::default()).await;
    let before = observer.member.node.core().arrivals();
    let _following = observer.follow(first.id());
    observer.member.reaches(150_000).await;
    assert!(
        observer.member.node.core().arrivals() - before > 12,
        "each part counts"
    );
}

/// Each attempt once began at once, and kept the snapshot, and the log behind it.
#[tokio::test(start_paused = true)]
async fn an_observer_that_takes_no_snapshot_gets_the_next_one_ever_later() {
    let mesh = Mesh::default();
    let first = compacted(&mesh, 200).await;
    let peer = iroh::SecretKey::from_bytes(&rand::random()).public();
    // Nobody can bring it anything.
    let child = MemberId::fresh(peer);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let (mut ours, theirs) = MemberStream::pair();
        ours.tx.send(&follow()).await.unwrap();
        let core = first.node.core().clone();
        let begin = Instant::now();
        assert!(within(core.serve_follow(child, theirs)).await.is_err());
        waits.push(begin.elapsed().as_secs());
        let mut signs = 0;
        while let Some(Ok(frame)) = ours.rx.recv().now_or_never() {
            signs += u64::from(matches!(super::wire::decode(&frame).unwrap(), Fed::Sign(_)));
        }
        assert!(
            signs >= waits[waits.len() - 1],
            "it hears of the leader meanwhile"
        );
    }
    assert_eq!(waits, [0, 0, 0, 1, 2, 4]);
}
