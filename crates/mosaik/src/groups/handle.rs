//! Joining groups.

use core::{any::Any, fmt, marker::PhantomData};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    discovery::Discovery,
    groups::{
        Config, ConsensusConfig, Group, GroupConfig, GroupKey, InMemoryLogStore, NoOp,
        StateMachine, StateSync, Storage,
        bond::{
            beats::Beats,
            handshake, reader,
            wire::{ALPN, Opening},
        },
        close::{GroupNotFound, InvalidHandshake},
        group::Shared,
        instance::{Host, Instance, InstanceOptions},
        member::worker::{Event, Worker},
        replica::{CommandStore, MachineReplica, StorageAdapter},
        store::NodeStore,
    },
    net::{Acceptor, Link, Links, Router, close::Cancelled},
    primitives::{Digest, GroupId, PeerId, Scope, ShortFmtExt},
    tickets::TicketValidator,
};

/// The first message of a stream is small.
const MAX_OPENING_BYTES: usize = 1024;
/// Messages that a member's worker has not looked at yet; bonds wait when there are more.
const MAX_EVENTS: usize = 1024;
/// How long the groups of a node may take to leave in order.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_millis(2500);

/// Joins groups.
#[derive(Clone)]
pub struct Groups(Arc<Registry>);

/// The groups that a node has joined.
pub(crate) struct Registry {
    host: Host,
    joined: Mutex<HashMap<GroupId, Joined>>,
    /// Those that are being left: they take part until they are out of the membership.
    departing: Mutex<Vec<Arc<Instance>>>,
    scope: Scope,
}

struct Joined {
    instance: Arc<Instance>,
    events: mpsc::Sender<Event>,
    /// The typed part, which handles keep alive.
    shared: Weak<dyn Any + Send + Sync>,
}

impl Groups {
    /// Starts to serve bonds; groups are joined later.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a subsystem owns its configuration"
    )]
    pub(crate) fn start(
        config: Config,
        discovery: &Discovery,
        links: &Links,
        router: &Router,
        store: Option<NodeStore>,
        scope: &Scope,
    ) -> Self {
        let scope = scope.child();
        let registry = Arc::new(Registry {
            host: Host {
                discovery: discovery.clone(),
                links: links.clone(),
                beats: Beats::new(links.clone(), scope.clone()),
                handshake_timeout: config.handshake_timeout,
                store,
            },
            joined: Mutex::default(),
            departing: Mutex::default(),
            scope,
        });
        router.install(ALPN, Doorman(Arc::downgrade(&registry)));
        Self(registry)
    }

    /// Starts to join the group of this key. The id also depends on what is configured next.
    pub fn with_key(&self, key: impl Into<GroupKey>) -> GroupBuilder<'_> {
        GroupBuilder {
            groups: self,
            key: key.into(),
            consensus: ConsensusConfig::default(),
            validators: Vec::new(),
            storage: (),
            machine: (),
            durable: false,
            lifetime: PhantomData,
        }
    }

    /// Leaves all groups in order; durable members only stop, and stay members. They have ended for their handles when this returns; the future
    /// waits, for a bounded time, until the other members know.
    pub(crate) fn shutdown(&self) -> BoxFuture<'static, ()> {
        let joined: Vec<_> = {
            let mut joined = self.0.joined.lock();
            joined.drain().map(|(_, joined)| joined).collect()
        };
        for joined in &joined {
            let stays = joined.instance.is_durable();
            let how = if stays { Event::Stop } else { Event::Leave };
            self.0.begin_leaving(joined, how);
        }
        let departing = self.0.departing.lock().clone();
        let scope = self.0.scope.clone();
        Box::pin(async move {
            let left = futures::future::join_all(
                departing
                    .iter()
                    .map(|instance| instance.scope().cancelled()),
            );
            if tokio::time::timeout(LEAVE_TIMEOUT, left).await.is_err() {
                tracing::debug!("not every group was left in order");
            }
            scope.cancel();
        })
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("joined", &self.0.joined.lock().len())
            .finish()
    }
}

impl Joined {
    fn begin_leaving(&self, how: Event) {
        let instance = &self.instance;
        if !instance.begin_leaving() {
            return;
        }
        if matches!(how, Event::Leave) {
            instance.retire();
        }
        instance.discovery().remove_group(instance.id());
        instance.submissions().close();
        instance.status().terminate();
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(how) {
            let events = self.events.clone();
            instance.scope().spawn(async move {
                // The worker has ended already.
                let _ = events.send(event).await;
            });
        }
    }
}

impl Registry {
    /// The last handle to this instance is gone.
    pub(crate) fn leave(&self, instance: &Arc<Instance>) {
        let mut joined = self.joined.lock();
        let is_current = joined
            .get(&instance.id())
            .is_some_and(|joined| joined.instance.session == instance.session);
        if is_current && let Some(joined) = joined.remove(&instance.id()) {
            self.begin_leaving(&joined, Event::Leave);
        }
    }

    fn begin_leaving(&self, joined: &Joined, how: Event) {
        let mut departing = self.departing.lock();
        departing.retain(|instance| !instance.scope().is_cancelled());
        departing.push(joined.instance.clone());
        drop(departing);
        joined.begin_leaving(how);
    }

    /// The instance that has this bond with a peer.
    fn bonded(&self, group: &GroupId, peer: &PeerId, bond: &Digest) -> Option<Arc<Instance>> {
        let has_bond = |instance: &Arc<Instance>| {
            let found = instance.bonds().get(peer);
            instance.id() == *group && found.is_some_and(|found| found.id == *bond)
        };
        let joined = self
            .joined
            .lock()
            .get(group)
            .map(|joined| joined.instance.clone());
        joined.filter(has_bond).or_else(|| {
            let departing = self.departing.lock();
            departing
                .iter()
                .find(|instance| has_bond(instance))
                .cloned()
        })
    }

    fn find(&self, group: &GroupId) -> Option<Arc<Instance>> {
        let joined = self.joined.lock();
        let instance = &joined.get(group)?.instance;
        (!instance.is_leaving()).then(|| instance.clone())
    }

    /// Joins a group, or finds it joined.
    fn join<M: StateMachine>(
        self: &Arc<Self>,
        config: GroupConfig,
        machine: M,
        commands: Option<Arc<dyn CommandStore>>,
        durable: bool,
    ) -> Group<M> {
        let id = *config.group_id();
        let mut joined = self.joined.lock();
        if let Some(existing) = joined.get(&id)
            && !existing.instance.status().is_terminated()
            && let Some(shared) = existing.shared.upgrade()
        {
            drop(joined);
            let shared = shared.downcast::<Shared<M>>().unwrap_or_else(|_| {
                panic!(
                    "group {} is joined on this node with another type of state machine",
                    id.short()
                )
            });
            return Group::new(shared);
        }
        let preference = machine.leadership_preference();
        let replica = Arc::new(MachineReplica::new(machine));
        let (events, inbox) = mpsc::channel(MAX_EVENTS);
        let instance = Instance::new(InstanceOptions {
            host: self.host.clone(),
            config,
            preference,
            replica: replica.clone(),
            commands,
            durable,
            events: events.clone(),
            scope: self.scope.child(),
        });
        let shared = Arc::new(Shared {
            instance: instance.clone(),
            replica,
            registry: Arc::downgrade(self),
        });
        let any: Arc<dyn Any + Send + Sync> = shared.clone();
        let replaced = joined.insert(
            id,
            Joined {
                instance: instance.clone(),
                events,
                shared: Arc::downgrade(&any),
            },
        );
        drop(joined);
        if let Some(replaced) = replaced {
            self.begin_leaving(&replaced, Event::Leave);
        }
        if self.scope.is_cancelled() {
            instance.submissions().close();
            instance.status().terminate();
            return Group::new(shared);
        }
        self.warn_about_own_tickets(&instance);
        self.host.discovery.add_group(id);
        let worker = Worker::new(instance.clone());
        instance
            .scope()
            .spawn(async move { worker.run(inbox).await });
        Group::new(shared)
    }

    fn warn_about_own_tickets(&self, instance: &Instance) {
        if instance.authorize(&self.host.discovery.me()).is_err() {
            tracing::warn!(
                group = %instance.id().short(),
                "this node lacks a ticket that the group requires: nobody will bond with it"
            );
        }
    }
}

/// Joins a group of a key.
///
/// First the machine is chosen, then, if need be, the storage; the rest in any order.
#[must_use = "a group is joined by `join`"]
pub struct GroupBuilder<'g, S = (), M = ()> {
    groups: &'g Groups,
    key: GroupKey,
    consensus: ConsensusConfig,
    validators: Vec<Arc<dyn TicketValidator>>,
    storage: S,
    machine: M,
    durable: bool,
    lifetime: PhantomData<&'g ()>,
}

impl<S, M> fmt::Debug for GroupBuilder<'_, S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBuilder")
            .field("key", &self.key)
            .field("consensus", &self.consensus)
            .field("validators", &self.validators.len())
            .finish_non_exhaustive()
    }
}

impl<'g> GroupBuilder<'g, (), ()> {
    /// Chooses the machine that the group replicates. Commands are kept in memory.
    pub fn with_state_machine<SM: StateMachine>(
        self,
        state_machine: SM,
    ) -> GroupBuilder<'g, InMemoryLogStore<SM::Command>, SM> {
        self.with_parts(InMemoryLogStore::default(), state_machine)
    }

    /// Joins a group that only elects a leader and knows its members.
    pub fn join(self) -> Group<NoOp> {
        self.with_state_machine(NoOp).join()
    }
}

impl<'g, M: StateMachine> GroupBuilder<'g, InMemoryLogStore<M::Command>, M> {
    /// Chooses where commands are kept.
    pub fn with_log_storage<S: Storage<M::Command>>(self, storage: S) -> GroupBuilder<'g, S, M> {
        let (parts, machine) = self.split();
        parts.with_parts(storage, machine)
    }
}

impl<'g, S, M> GroupBuilder<'g, S, M> {
    /// Sets the group's settings; the last call counts.
    pub const fn with_consensus_config(mut self, consensus: ConsensusConfig) -> Self {
        self.consensus = consensus;
        self
    }

    /// Admits only peers with a ticket that satisfies this validator. Every call adds one, and all
    /// must be satisfied.
    pub fn require_ticket(mut self, auth: impl TicketValidator) -> Self {
        self.validators.push(Arc::new(auth));
        self
    }

    /// Keeps this member on disk, in the node's storage: log, votes, membership and snapshots, each
    /// written before it is acknowledged. The member survives crashes and restarts of its node, and
    /// takes part again as itself when the node is started with the same storage and joins the group
    /// anew. Members of one group may differ in this.
    ///
    /// A durable member stays a member when its node stops. Only leaving ends that: dropping the
    /// last [`Group`] handle while the [`Network`](crate::Network) lives, so shut the network down
    /// first. A machine without snapshots is rebuilt from the whole log at each start.
    ///
    /// # Errors
    ///
    /// When the node has no storage, see `NetworkBuilder::with_storage`.
    #[cfg(feature = "storage")]
    pub fn durable(mut self) -> Result<Self, NoStorage> {
        if self.groups.0.host.store.is_none() {
            return Err(NoStorage);
        }
        self.durable = true;
        Ok(self)
    }

    fn split(self) -> (GroupBuilder<'g, (), ()>, M) {
        let parts = GroupBuilder {
            groups: self.groups,
            key: self.key,
            consensus: self.consensus,
            validators: self.validators,
            storage: (),
            machine: (),
            durable: self.durable,
            lifetime: PhantomData,
        };
        (parts, self.machine)
    }

    fn with_parts<S2, M2>(self, storage: S2, machine: M2) -> GroupBuilder<'g, S2, M2> {
        GroupBuilder {
            groups: self.groups,
            key: self.key,
            consensus: self.consensus,
            validators: self.validators,
            storage,
            machine,
            durable: self.durable,
            lifetime: PhantomData,
        }
    }
}

impl<S: Storage<M::Command>, M: StateMachine> GroupBuilder<'_, S, M> {
    /// Joins the group. Returns at once; everything else happens in the background.
    ///
    /// Joining a group that this node has joined already gives another handle to it; machine,
    /// storage and settings of this builder are dropped then.
    ///
    /// # Panics
    ///
    /// When the group is joined with another type of machine, or outside a Tokio runtime.
    pub fn join(self) -> Group<M> {
        let config = GroupConfig::new(
            self.key,
            self.consensus,
            self.validators,
            self.machine.signature(),
            self.machine.state_sync().signature(),
        );
        // The default storage needs no adapter: the log itself keeps commands in memory.
        let is_default = (&self.storage as &dyn Any).is::<InMemoryLogStore<M::Command>>();
        let commands: Option<Arc<dyn CommandStore>> = if is_default {
            None
        } else {
            Some(Arc::new(StorageAdapter::new(self.storage)))
        };
        self.groups
            .0
            .join(config, self.machine, commands, self.durable)
    }
}

/// The node has nothing to keep a durable member in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node has no storage: give it a directory with NetworkBuilder::with_storage")]
pub struct NoStorage;

/// Takes the streams that peers open.
struct Doorman(Weak<Registry>);

impl Acceptor for Doorman {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let registry = self.0.clone();
        Box::pin(async move {
            if let Some(registry) = registry.upgrade() {
                registry.receive(link).await;
            }
        })
    }
}

impl Registry {
    async fn receive(self: Arc<Self>, mut link: Link) {
        link.receiver.set_max_frame_bytes(MAX_OPENING_BYTES);
        let limit = self.host.handshake_timeout;
        let opening = match link.recv_within(limit).await {
            Ok(opening) => opening,
            Err(error) => {
                let reason = handshake::reason(&error).unwrap_or(InvalidHandshake.into());
                return link.close(reason);
            }
        };
        match opening {
            Opening::Beats => {
                let beats = self.host.beats.clone();
                drop(self);
                beats.listen(link).await;
            }
            Opening::Bond {
                group,
                nonce,
                proof,
            } => {
                let Some(instance) = self.find(&group) else {
                    return link.close(GroupNotFound);
                };
                let peer = link.peer();
                match handshake::accept(&instance, link, nonce, proof).await {
                    Ok(bonded) => reader::spawn(&instance, bonded),
                    Err(error) => tracing::debug!(
                        group = %group.short(), peer = %peer.short(), %error, "no bond"
                    ),
                }
            }
            Opening::Channel {
                group,
                bond,
                lineage,
                from,
                channel,
            } => {
                let instance = self.bonded(&group, &link.peer(), &bond);
                drop(self);
                match instance {
                    Some(instance) => {
                        instance
                            .serve_channel(link, bond, lineage, from, channel)
                            .await;
                    }
                    None => link.close(Cancelled),
                }
            }
        }
    }
}
