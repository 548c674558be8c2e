//! One group on one node: what all its parts share.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use iroh::endpoint::ApplicationClose;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;

use crate::{
    discovery::Discovery,
    groups::{
        GroupConfig, GroupKey, Index, LeadershipPreference,
        bond::{
            beats::Beats,
            core::BondCore,
            set::{Admission, BondSet},
            wire::{
                ALPN, Control, Introduction, LineageStanding, MAX_CHANNEL_FRAME_BYTES, Opening,
                Parent, Standing, Willingness,
            },
        },
        close::AlreadyBonded,
        config::Timing,
        duplex::{Duplex, Gone},
        durable::{Identity, Keeper},
        member::{Lineage, MemberId, worker::Event},
        metrics::GroupMetrics,
        raft::{Channel, Inheritance, Node, NodeCore, NodeOptions, Peers, Stopped},
        replica::{CommandStore, Replica},
        status::Status,
        store::{NodeStore, StoreError},
        submissions::Submissions,
    },
    net::{Link, Links, close::GracefulShutdown},
    primitives::{Bytes, GroupId, PeerId, Scope, ShortFmtExt},
    tickets::{Expiration, InvalidTicket, PeerEntry},
};

/// Histories that were given up and are not taken part in again.
const MAX_ABANDONED: usize = 64;

/// What a node provides to all its groups.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) discovery: Discovery,
    pub(crate) links: Links,
    pub(crate) beats: Beats,
    pub(crate) handshake_timeout: Duration,
    /// The node's store, if it has one.
    pub(crate) store: Option<NodeStore>,
}

/// A group on this node, from joining until leaving.
pub(crate) struct Instance {
    host: Host,
    config: GroupConfig,
    timing: Timing,
    local: PeerId,
    /// Random for each joining.
    pub(crate) session: u64,
    preference: LeadershipPreference,
    status: Arc<Status>,
    submissions: Arc<Submissions>,
    replica: Arc<dyn Replica>,
    commands: Option<Arc<dyn CommandStore>>,
    /// What a durable member keeps.
    keeper: Option<Keeper>,
    bonds: BondSet,
    dialling: Mutex<HashSet<PeerId>>,
    member: Mutex<MemberId>,
    node: RwLock<Option<Node>>,
    /// Held while the history is being changed.
    switch: tokio::sync::Mutex<()>,
    abandoned: Mutex<Vec<Lineage>>,
    /// This member does not want to be added to the membership yet.
    catching_up: AtomicBool,
    /// The history that this member's current one continues.
    parent: Mutex<Option<Parent>>,
    events: mpsc::Sender<Event>,
    leaving: AtomicBool,
    metrics: Arc<GroupMetrics>,
    scope: Scope,
    this: Weak<Self>,
}

pub(crate) struct InstanceOptions {
    pub(crate) host: Host,
    pub(crate) config: GroupConfig,
    pub(crate) preference: LeadershipPreference,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) commands: Option<Arc<dyn CommandStore>>,
    /// Whether the member is to be kept in the node's store.
    pub(crate) durable: bool,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) scope: Scope,
}

/// Log entries that may be under way from this member's queue. Few, so that commands that arrive
/// meanwhile are put together.
const PARCELS_UNDER_WAY: usize = 8;

impl Instance {
    pub(crate) fn new(options: InstanceOptions) -> Arc<Self> {
        let local = options.host.links.id();
        let status = Arc::new(Status::new(local));
        let metrics = GroupMetrics::register(
            options.host.discovery.network_id(),
            options.config.group_id(),
        );
        let timing = options.config.consensus().timing();
        let patience = options.config.consensus().forward_timeout;
        let store = options.host.store.clone().filter(|_| options.durable);
        let kept = store.map(|store| Keeper::open(store, *options.config.group_id(), local));
        let (keeper, member) = match kept {
            Some((keeper, member)) => (Some(keeper), member),
            None => (None, MemberId::fresh(local)),
        };
        let parent = keeper.as_ref().and_then(Keeper::parent);
        let restored = keeper.as_ref().and_then(Keeper::restored);
        Arc::new_cyclic(|this| Self {
            timing,
            local,
            session: rand::random(),
            preference: options.preference,
            status,
            submissions: Arc::new(Submissions::new(patience, PARCELS_UNDER_WAY)),
            replica: options.replica,
            commands: options.commands,
            keeper,
            bonds: BondSet::default(),
            dialling: Mutex::default(),
            member: Mutex::new(member),
            node: RwLock::new(None),
            switch: tokio::sync::Mutex::new(()),
            abandoned: Mutex::default(),
            catching_up: AtomicBool::new(restored.is_none()),
            parent: Mutex::new(parent),
            events: options.events,
            leaving: AtomicBool::new(false),
            metrics: Arc::new(metrics),
            scope: options.scope,
            host: options.host,
            config: options.config,
            this: this.clone(),
        })
    }

    pub(crate) fn id(&self) -> GroupId {
        *self.config.group_id()
    }

    pub(crate) fn config(&self) -> &GroupConfig {
        &self.config
    }

    pub(crate) fn key(&self) -> &GroupKey {
        self.config.key()
    }

    pub(crate) fn timing(&self) -> &Timing {
        &self.timing
    }

    pub(crate) fn local(&self) -> PeerId {
        self.local
    }

    pub(crate) fn preference(&self) -> LeadershipPreference {
        self.preference
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    pub(crate) fn submissions(&self) -> &Arc<Submissions> {
        &self.submissions
    }

    pub(crate) fn bonds(&self) -> &BondSet {
        &self.bonds
    }

    pub(crate) fn metrics(&self) -> &Arc<GroupMetrics> {
        &self.metrics
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn links(&self) -> &Links {
        &self.host.links
    }

    pub(crate) fn beats(&self) -> &Beats {
        &self.host.beats
    }

    pub(crate) fn discovery(&self) -> &Discovery {
        &self.host.discovery
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.host.handshake_timeout
    }

    pub(crate) fn authorize(&self, entry: &PeerEntry) -> Result<Option<Expiration>, InvalidTicket> {
        self.host
            .discovery
            .authorize(entry, self.config.validators())
    }

    /// Tells the member's worker; waits while it is busy.
    pub(crate) async fn tell(&self, event: Event) {
        // The worker ends only with the group.
        let _ = self.events.send(event).await;
    }

    /// Tells the worker from where waiting is impossible.
    pub(crate) fn tell_soon(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event)
            && let Some(instance) = self.this.upgrade()
        {
            self.scope.spawn(async move { instance.tell(event).await });
        }
    }

    // ---- bonds

    pub(crate) fn introduction(&self) -> Introduction {
        Introduction {
            entry: self.host.discovery.me(),
            session: self.session,
            standing: self.standing(),
        }
    }

    pub(crate) fn is_dialling(&self, peer: &PeerId) -> bool {
        self.dialling.lock().contains(peer)
    }

    /// Marks a peer as being dialled, until the guard is dropped.
    pub(crate) fn dialling(self: &Arc<Self>, peer: PeerId) -> Dialling {
        self.dialling.lock().insert(peer);
        Dialling(self.clone(), peer)
    }

    /// Takes in a bond that both sides have agreed to.
    pub(crate) fn admit_bond(&self, bond: &Arc<BondCore>) -> Admission {
        if self.is_leaving() {
            return Admission::Refused;
        }
        let admission = self.bonds.insert(bond.clone());
        if matches!(admission, Admission::Taken) {
            self.metrics.bonds.increment(1);
        }
        if !matches!(admission, Admission::Refused) {
            self.tell_soon(Event::BondUp(bond.peer));
        }
        admission
    }

    /// Ends a bond whose place another one has taken.
    pub(crate) fn end_replaced(&self, old: &Arc<BondCore>) {
        let reason = AlreadyBonded.into();
        if old.set_ended(&reason) {
            let old = old.clone();
            self.scope.spawn(async move { old.shut(&reason).await });
        }
    }

    /// Ends a bond, tells the peer why, and forgets it.
    pub(crate) fn end_bond(&self, bond: &Arc<BondCore>, reason: &ApplicationClose) {
        if self.bonds.remove(bond) {
            self.metrics.bonds.decrement(1);
        }
        if bond.set_ended(reason) {
            tracing::debug!(
                group = %self.id().short(), peer = %bond.peer.short(), %reason, "bond ended"
            );
            let graceful = GracefulShutdown == *reason;
            self.tell_soon(Event::BondDown(bond.peer, graceful));
            let (bond, reason) = (bond.clone(), reason.clone());
            self.scope
                .spawn_orderly(async move { bond.shut(&reason).await });
        }
    }

    /// Tells all members.
    pub(crate) fn broadcast(&self, message: impl Fn() -> Control) {
        for bond in self.bonds.all() {
            bond.post(message());
        }
    }

    /// Serves a stream that a bonded peer has opened.
    pub(crate) async fn serve_channel(
        self: Arc<Self>,
        link: Link,
        bond: crate::Digest,
        lineage: Lineage,
        from: MemberId,
        channel: Channel,
    ) {
        let peer = link.peer();
        let bonded = self
            .bonds
            .get(&peer)
            .filter(|found| found.id == bond && from.is_of(&peer));
        let Some(bonded) = bonded else { return };
        let Some(core) = self.core_of(lineage).await else {
            return;
        };
        let stream = Duplex::over(link, MAX_CHANNEL_FRAME_BYTES);
        let serving = async move {
            match channel {
                Channel::Append => core.serve_append(stream).await,
                Channel::Snapshot => drop(core.serve_snapshot(stream).await),
                Channel::Fetch => drop(core.serve_fetch(stream).await),
                Channel::Forward => drop(core.serve_forward(from, stream).await),
            }
        };
        tokio::select! {
            () = bonded.scope.cancelled() => {}
            () = serving => {}
        }
    }

    // ---- histories

    pub(crate) fn node(&self) -> Option<Node> {
        self.node.read().clone()
    }

    pub(crate) fn member(&self) -> MemberId {
        *self.member.lock()
    }

    /// Where this member stands, as told to others.
    pub(crate) fn standing(&self) -> Standing {
        let willingness = match self.preference {
            LeadershipPreference::Normal => Willingness::Normal,
            LeadershipPreference::Reluctant { .. } => Willingness::Reluctant,
            LeadershipPreference::Observer => Willingness::Never,
        };
        Standing {
            member: self.member(),
            willingness,
            catching_up: self.is_catching_up(),
            lineage: self.lineage_standing(),
        }
    }

    /// Whether this member fetches history by itself, or does not know yet whether it has to.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.catching_up.load(Ordering::Acquire)
    }

    /// This member wants to be added to the membership.
    pub(crate) fn set_caught_up(&self) {
        self.catching_up.store(false, Ordering::Release);
    }

    /// How much history is too much for the leader to send by itself.
    pub(crate) fn batch_size(&self) -> u64 {
        self.replica.terms().batch_size
    }

    pub(crate) fn lineage_standing(&self) -> Option<LineageStanding> {
        let node = self.node()?;
        let leader = self.status.leader();
        Some(LineageStanding {
            id: node.lineage(),
            parent: *self.parent.lock(),
            committed: self.status.committed().0,
            alive: leader.is_some(),
            leading: leader == Some(self.local),
        })
    }

    /// The consensus instance for a history; a member without history takes part from now on.
    pub(crate) async fn core_of(&self, lineage: Lineage) -> Option<Arc<NodeCore>> {
        if let Some(node) = self.node() {
            return (node.lineage() == lineage).then(|| node.core().clone());
        }
        self.take_part(lineage)
            .await
            .map(|node| node.core().clone())
    }

    /// Begins to take part in a history, unless this member belongs to one already.
    pub(crate) async fn take_part(&self, lineage: Lineage) -> Option<Node> {
        let _switching = self.switch.lock().await;
        if let Some(node) = self.node() {
            return (node.lineage() == lineage).then_some(node);
        }
        if self.is_leaving() || self.abandoned.lock().contains(&lineage) {
            return None;
        }
        if let Some(keeper) = &self.keeper {
            if !keeper.is_settled() {
                return None;
            }
            keeper.begin(lineage).await.ok()?;
        }
        self.start(lineage, None).await
    }

    /// Starts a consensus instance. The switch is held.
    async fn start(&self, lineage: Lineage, inheritance: Option<Inheritance>) -> Option<Node> {
        let options = NodeOptions {
            member: self.member(),
            lineage,
            group: self.id(),
            network: *self.host.discovery.network_id(),
            timing: self.timing,
            elects: self.preference == LeadershipPreference::Normal,
            replica: self.replica.clone(),
            commands: self.commands.clone(),
            store: self.keeper.as_ref().and_then(Keeper::store),
            submissions: self.submissions.clone(),
            status: self.status.clone(),
            inheritance,
            peers: Arc::new(BondedPeers {
                instance: self.this.clone(),
                member: self.member(),
                lineage,
            }),
        };
        match Node::start(options, &self.scope).await {
            Ok(node) => {
                tracing::debug!(
                    group = %self.id().short(), lineage = %lineage.short(),
                    member = %node.member(), "taking part in a history"
                );
                *self.node.write() = Some(node.clone());
                self.tell_soon(Event::HistoryChanged);
                Some(node)
            }
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "consensus does not start");
                if let Some(keeper) = &self.keeper {
                    keeper.fail(&error.to_string());
                }
                None
            }
        }
    }

    // ---- durability

    pub(crate) fn is_durable(&self) -> bool {
        self.keeper.is_some()
    }

    /// Takes up what a durable member was before its node stopped.
    pub(crate) async fn restore(&self) -> Result<(), StoreError> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        if let Some(failure) = keeper.failure() {
            return Err(failure);
        }
        let first = keeper.settle(self.member()).await?;
        self.submissions.start_at(first);
        if let Some(lineage) = keeper.restored() {
            self.take_part(lineage).await;
        }
        Ok(())
    }

    /// The history that a durable member has brought along from before its node stopped.
    pub(crate) fn restored(&self) -> Option<Lineage> {
        self.keeper.as_ref()?.restored()
    }

    /// Why the store no longer works, once that is so.
    pub(crate) fn storage_failure(&self) -> Option<StoreError> {
        self.keeper.as_ref()?.failure()
    }

    /// The member leaves: another joining on this node must not take it up again.
    pub(crate) fn retire(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.retire();
        }
    }

    /// The member has left.
    pub(crate) async fn forget(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.forget().await;
        }
    }

    /// Makes the change to a history that continues the old one permanent.
    async fn succeed(&self, lineage: Lineage, inheritance: &Inheritance) -> Result<(), Stopped> {
        let Some(keeper) = &self.keeper else {
            return Ok(());
        };
        let identity = Identity {
            member: self.member(),
            lineage,
            parent: *self.parent.lock(),
        };
        let rewrite = inheritance.rewrite()?;
        keeper
            .succeed(identity, rewrite)
            .await
            .map_err(Stopped::because)
    }

    /// Founds a new history from this member's state, when the old one has lost its majority.
    pub(crate) async fn reform(&self) -> bool {
        let _switching = self.switch.lock().await;
        let Some(old) = self.node() else { return false };
        if self.is_leaving() || self.status.leader().is_some() {
            return false;
        }
        let shared = old.applied_index().unwrap_or(0);
        *self.node.write() = None;
        old.shutdown().await;
        self.remember_abandoned(old.lineage());
        *self.member.lock() = MemberId::fresh(self.local);
        self.submissions.renumber();
        let lineage = Lineage::random();
        *self.parent.lock() = Some(Parent {
            lineage: old.lineage(),
            shared,
        });
        let inherited = async {
            let inheritance = old.bequeath(true).await?;
            inheritance.claim(self.member())?;
            self.succeed(lineage, &inheritance).await?;
            Ok::<_, Stopped>(inheritance)
        };
        let inheritance = match inherited.await {
            Ok(inheritance) => inheritance,
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "the group can't be reformed");
                return false;
            }
        };
        tracing::warn!(
            group = %self.id().short(), lineage = %old.lineage().short(),
            "the group is reformed from this member's state"
        );
        self.start(lineage, Some(inheritance)).await.is_some()
    }

    /// Follows a history that continues this member's own: nothing needs to be discarded, because
    /// all that was applied here is part of it. Returns whether that was possible.
    pub(crate) async fn follow(&self, child: Lineage, parent: &Parent) -> bool {
        let _switching = self.switch.lock().await;
        let old = self.node().filter(|node| node.lineage() == parent.lineage);
        let Some(old) = old else { return false };
        if old
            .applied_index()
            .is_some_and(|applied| applied > parent.shared)
        {
            return false;
        }
        *self.node.write() = None;
        old.shutdown().await;
        self.remember_abandoned(old.lineage());
        *self.member.lock() = MemberId::fresh(self.local);
        self.submissions.renumber();
        *self.parent.lock() = Some(*parent);
        let inherited = async {
            let inheritance = old.bequeath(false).await?;
            self.succeed(child, &inheritance).await?;
            Ok::<_, Stopped>(inheritance)
        };
        match inherited.await {
            Ok(inheritance) => self.start(child, Some(inheritance)).await.is_some(),
            Err(error) => {
                tracing::error!(group = %self.id().short(), %error, "the log can't be taken over");
                false
            }
        }
    }

    fn remember_abandoned(&self, lineage: Lineage) {
        let mut abandoned = self.abandoned.lock();
        if abandoned.len() == MAX_ABANDONED {
            abandoned.remove(0);
        }
        abandoned.push(lineage);
    }

    /// Gives up the current history, for good or until somebody asks for this member again: its
    /// commands are discarded here, and the machine is reset.
    pub(crate) async fn abandon(&self, lineage: Lineage, for_good: bool) {
        let _switching = self.switch.lock().await;
        let Some(node) = self.node().filter(|node| node.lineage() == lineage) else {
            return;
        };
        *self.node.write() = None;
        if for_good {
            self.remember_abandoned(lineage);
        }
        node.shutdown().await;
        let discarded = node.applied_commands();
        self.status.set_online(false);
        self.status.set_leader(None);
        if !discarded.is_zero() {
            self.metrics.discarded.increment(discarded.0);
            tracing::warn!(
                group = %self.id().short(), lineage = %lineage.short(), commands = discarded.0,
                "this member's history has lost against a rival one: its commands are discarded"
            );
        }
        if !self.replica.reset() {
            tracing::error!(
                group = %self.id().short(),
                "the state machine can't be reset: this member stays offline and answers no query"
            );
        }
        self.submissions.renumber();
        self.status.set_committed(Index::zero());
        self.status.set_log_position(crate::groups::Cursor::zero());
        *self.parent.lock() = None;
        let member = MemberId::fresh(self.local);
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.renew(member).await
        {
            tracing::error!(group = %self.id().short(), %error, "the store does not work");
        }
        *self.member.lock() = member;
        self.catching_up.store(true, Ordering::Release);
        self.tell_soon(Event::HistoryChanged);
    }

    /// Waits until a change of history that is under way is done, and keeps others from starting.
    pub(crate) async fn freeze(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.switch.lock().await
    }

    /// Forgets the consensus instance, at the end.
    pub(crate) fn take_node(&self) -> Option<Node> {
        self.node.write().take()
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Marks the beginning of the end; returns whether it had not begun.
    pub(crate) fn begin_leaving(&self) -> bool {
        !self.leaving.swap(true, Ordering::AcqRel)
    }

    /// Puts queued commands into the log, if this member leads.
    pub(crate) fn pump(&self) {
        if let Some(node) = &*self.node.read() {
            node.pump();
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id())
            .field("member", &self.member())
            .field("bonds", &self.bonds.len())
            .finish_non_exhaustive()
    }
}

/// Says that a peer is being dialled, for as long as it exists.
pub(crate) struct Dialling(Arc<Instance>, PeerId);

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dialling.lock().remove(&self.1);
    }
}

/// Reaches other members over their bonds, within one history.
struct BondedPeers {
    instance: Weak<Instance>,
    member: MemberId,
    lineage: Lineage,
}

impl BondedPeers {
    fn bond_with(&self, member: &MemberId) -> Result<(Arc<Instance>, Arc<BondCore>), Gone> {
        let instance = self.instance.upgrade().ok_or(Gone)?;
        let bond = instance.bonds.of_member(member).ok_or(Gone)?;
        Ok((instance, bond))
    }
}

impl Peers for BondedPeers {
    fn ask(&self, member: MemberId, request: Bytes) -> BoxFuture<'static, Result<Bytes, Gone>> {
        let bond = self.bond_with(&member);
        let (lineage, from) = (self.lineage, self.member);
        async move { bond?.1.ask(lineage, from, request).await }.boxed()
    }

    fn members(&self) -> Vec<MemberId> {
        let Some(instance) = self.instance.upgrade() else {
            return Vec::new();
        };
        let bonds = instance.bonds.all();
        let standings = bonds.iter().map(|bond| bond.standing());
        standings
            .filter(|standing| {
                let theirs = standing.lineage.as_ref();
                !standing.catching_up && theirs.is_some_and(|theirs| theirs.id == self.lineage)
            })
            .map(|standing| standing.member)
            .collect()
    }

    fn open(&self, member: MemberId, channel: Channel) -> BoxFuture<'static, Result<Duplex, Gone>> {
        let bond = self.bond_with(&member);
        let (lineage, from) = (self.lineage, self.member);
        async move {
            let (instance, bond) = bond?;
            let link = instance.links().open_beside(ALPN, &bond.connection).await;
            let mut link = link.ok_or(Gone)?;
            // Goes out together with the first message.
            link.sender
                .queue(&Opening::Channel {
                    group: instance.id(),
                    bond: bond.id,
                    lineage,
                    from,
                    channel,
                })
                .map_err(|_| Gone)?;
            Ok(Duplex::until(link, MAX_CHANNEL_FRAME_BYTES, &bond.streams))
        }
        .boxed()
    }
}
