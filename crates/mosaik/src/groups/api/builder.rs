//! Joining a group: what is chosen for it, and how this node becomes a member.

use core::{any::Any, fmt};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    groups::{
        ConsensusConfig, Group, GroupConfig, GroupKey, InMemoryLogStore, JoinError,
        LeadershipPreference, NoOp, StateMachine, StateSync, Storage, WriteKey,
        instance::{
            Instance, InstanceOptions, Wishes,
            registry::{Handles, Joined, Registry},
        },
        machine::{
            log_storage::{CommandStore, StorageAdapter},
            replica::{MachineReplica, Replica},
        },
        member::worker::Worker,
        model::event::Event,
    },
    primitives::{GroupId, ShortFmtExt, names},
    tickets::{LimitError, TicketValidator},
};

/// Limit on the messages that a member's worker has not handled yet; bonds wait when there are
/// more.
const MAX_EVENTS: usize = 1024;

/// Joins a group of a key; made by [`Groups::with_key`](crate::groups::Groups::with_key).
///
/// First the machine is chosen, then, if need be, the storage; the rest in any order. Without
/// further calls: the defaults of [`ConsensusConfig`], no tickets, commands in memory, and no
/// machine but [`NoOp`].
///
/// # Examples
///
/// A durable member of a group that starts only when three have met:
///
/// ```no_run
/// # use mosaik::groups::NoOp;
/// use mosaik::groups::ConsensusConfig;
///
/// # async fn example(network: mosaik::Network, machine: NoOp) -> anyhow::Result<()> {
/// let builder = network
///     .groups()
///     .with_key("a secret text")
///     .with_consensus_config(ConsensusConfig::builder().with_min_members(3).build()?);
/// # #[cfg(feature = "storage")]
/// let builder = builder.durable()?;
/// let group = builder.with_state_machine(machine).join();
/// group.when().online().await;
/// # Ok(())
/// # }
/// ```
#[must_use = "a group is joined by `join`"]
pub struct GroupBuilder<'g, S = (), M = ()> {
    registry: &'g Arc<Registry>,
    key: GroupKey,
    consensus: ConsensusConfig,
    validators: Vec<Arc<dyn TicketValidator>>,
    storage: S,
    machine: M,
    durable: bool,
    write_key: Option<WriteKey>,
    founds_unadmitted: bool,
    needs_min_members: bool,
    label: Option<String>,
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
    pub(super) fn new(registry: &'g Arc<Registry>, key: GroupKey) -> Self {
        Self {
            registry,
            key,
            consensus: ConsensusConfig::default(),
            validators: Vec::new(),
            storage: (),
            machine: (),
            durable: false,
            write_key: None,
            founds_unadmitted: false,
            needs_min_members: false,
            label: None,
        }
    }

    /// Chooses the machine that the group replicates. Commands are kept in memory.
    pub fn with_state_machine<SM: StateMachine>(
        self,
        state_machine: SM,
    ) -> GroupBuilder<'g, InMemoryLogStore<SM::Command>, SM> {
        self.with_parts(InMemoryLogStore::default(), state_machine)
    }

    /// Joins a group that only elects a leader and knows its members.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn join(self) -> Group<NoOp> {
        self.with_state_machine(NoOp).join()
    }
}

impl<'g, M: StateMachine> GroupBuilder<'g, InMemoryLogStore<M::Command>, M> {
    /// Chooses where commands are kept; each member's own affair. Votes, membership and internal
    /// entries are kept apart, so this alone makes no member durable: see
    /// [`durable`](Self::durable). What the storage holds already is
    /// [dropped](Storage#a-storage-begins-empty).
    pub fn with_log_storage<S: Storage<M::Command>>(self, storage: S) -> GroupBuilder<'g, S, M> {
        let (parts, machine) = self.split();
        parts.with_parts(storage, machine)
    }
}

impl<'g, S, M> GroupBuilder<'g, S, M> {
    /// Sets the group's settings; the last call counts. Default: [`ConsensusConfig::default`]. Its
    /// three heartbeat fields are part of the group id.
    pub const fn with_consensus_config(mut self, consensus: ConsensusConfig) -> Self {
        self.consensus = consensus;
        self
    }

    /// Admits only peers with a ticket that satisfies this validator. Every call adds one, and all
    /// must be satisfied. Part of the group id, in call order. Default: none, the key suffices.
    ///
    /// A bond ends as soon as its peer's tickets are withdrawn or have expired. A node that lacks
    /// the tickets itself is warned in its log, and founds no group.
    pub fn require_ticket(mut self, auth: impl TicketValidator) -> Self {
        self.validators.push(Arc::new(auth));
        self
    }

    /// Names the group for people who look at the network's status, where every member of the network
    /// sees it: the key is shown to nobody. Changes nothing else. Default: none. The first handle of a
    /// node that has one decides. Cut at 64 characters.
    pub fn with_label(mut self, label: impl AsRef<str>) -> Self {
        self.label = names::label(label.as_ref());
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
    /// When the node has no storage, see
    /// [`NetworkBuilder::with_storage`](crate::network::NetworkBuilder::with_storage).
    #[cfg(feature = "storage")]
    pub fn durable(self) -> Result<Self, NoStorage> {
        if self.registry.host.store.is_none() {
            return Err(NoStorage);
        }
        Ok(self.kept_on_disk())
    }

    /// As [`durable`](Self::durable), on a node that has storage.
    #[cfg(feature = "storage")]
    pub(crate) fn kept_on_disk(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Lets only members that have proven this key vote, lead and submit commands, as far as this
    /// member can tell. Not part of the group id.
    pub(crate) const fn with_write_key(mut self, key: WriteKey) -> Self {
        self.write_key = Some(key);
        self
    }

    /// Founds the group also while this node lacks a ticket that the group requires, and then works
    /// alone. Not a durable member: what it founded would never give way to the others' history.
    pub(crate) const fn founding_unadmitted(mut self) -> Self {
        self.founds_unadmitted = true;
        self
    }

    /// Takes no commands, as the leader, while fewer voters than `min_members` are present.
    pub(crate) const fn needing_min_members(mut self) -> Self {
        self.needs_min_members = true;
        self
    }

    fn split(self) -> (GroupBuilder<'g, (), ()>, M) {
        let parts = GroupBuilder {
            registry: self.registry,
            key: self.key,
            consensus: self.consensus,
            validators: self.validators,
            storage: (),
            machine: (),
            durable: self.durable,
            write_key: self.write_key,
            founds_unadmitted: self.founds_unadmitted,
            needs_min_members: self.needs_min_members,
            label: self.label,
        };
        (parts, self.machine)
    }

    fn with_parts<S2, M2>(self, storage: S2, machine: M2) -> GroupBuilder<'g, S2, M2> {
        GroupBuilder {
            registry: self.registry,
            key: self.key,
            consensus: self.consensus,
            validators: self.validators,
            storage,
            machine,
            durable: self.durable,
            write_key: self.write_key,
            founds_unadmitted: self.founds_unadmitted,
            needs_min_members: self.needs_min_members,
            label: self.label,
        }
    }
}

impl<S: Storage<M::Command>, M: StateMachine> GroupBuilder<'_, S, M> {
    /// Joins the group. Returns at once; everything else happens in the background: until
    /// [`When::online`](crate::groups::When::online) resolves, no leader is known and nothing has
    /// been applied. This node's entry lists the group from now on.
    ///
    /// Joining a group that this node has joined already gives another handle to it; machine,
    /// storage and settings of this builder are dropped then. Two wishes count all the same: an
    /// observer is made to take part as this machine prefers, and a larger `min_members` holds from
    /// now on, as long as the group is not founded. A member that is in memory stays so: a handle
    /// that asks for a [durable](Self::durable) one is to come first. If it does not, this logs an
    /// error, and [`try_join`](Self::try_join) returns it.
    ///
    /// If the node's entry has no room for another group, the group that comes back has ended, with
    /// an error in the log; [`try_join`](Self::try_join) returns it.
    ///
    /// # Panics
    ///
    /// When the group is joined with another type of machine, or outside a Tokio runtime.
    pub fn join(self) -> Group<M> {
        handle(self.enter().unwrap_or_else(Refused::into_handle))
    }

    /// Joins the group like [`join`](Self::join), or says why that is impossible.
    ///
    /// # Errors
    ///
    /// [`JoinError::EntryFull`] when the node's entry has no room for another group: nobody would
    /// find this member. [`JoinError::NotDurable`] when a durable member is asked for and the group
    /// is joined on this node in memory. [`JoinError::OtherMachine`] when it is joined with another
    /// type of machine.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn try_join(self) -> Result<Group<M>, JoinError> {
        self.enter().map(handle).map_err(Refused::into_error)
    }

    fn enter(self) -> Result<Arc<Handles>, Refused> {
        let mut config = GroupConfig::new(
            self.key,
            self.consensus,
            self.validators,
            self.machine.signature(),
            self.machine.state_sync().signature(),
        );
        config.founds_unadmitted = self.founds_unadmitted && !self.durable;
        config.needs_min_members = self.needs_min_members;
        // The default storage needs no adapter: the log itself keeps commands in memory.
        let is_default = (&self.storage as &dyn Any).is::<InMemoryLogStore<M::Command>>();
        let commands: Option<Arc<dyn CommandStore>> = if is_default {
            None
        } else {
            Some(Arc::new(StorageAdapter::new(self.storage)))
        };
        self.registry.join(Joining {
            config,
            preference: self.machine.leadership_preference(),
            machine: core::any::type_name::<M>(),
            replica: Arc::new(MachineReplica::new(self.machine)),
            commands,
            durable: self.durable,
            write_key: self.write_key,
            label: self.label,
        })
    }
}

/// A handle to a group that was joined with this type of machine.
fn handle<M: StateMachine>(shared: Arc<Handles>) -> Group<M> {
    let replica: Arc<dyn Any + Send + Sync> = shared.instance.replica().clone();
    let replica = replica.downcast();
    Group::new(
        shared,
        replica.expect("the registry refuses other types of machines"),
    )
}

/// Ends the group on this node if its worker panics: nobody else would.
struct EndOfWorker(Arc<Instance>);

impl Drop for EndOfWorker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let instance = &self.0;
            instance.begin_leaving();
            instance.unlist();
            instance.terminate();
            let ending = instance.clone();
            instance.scope().spawn_orderly(async move {
                let frozen = ending.freeze().await;
                if let Some(node) = ending.take_node() {
                    node.shutdown().await;
                }
                drop(frozen);
                ending.scope().cancel();
            });
        }
    }
}

/// Failures to join a group, with what the infallible form returns.
enum Refused {
    /// The entry has no room: the group has ended.
    Full(Arc<Handles>, LimitError),
    /// It is joined in memory; the handle's other wishes have not been heard.
    NotDurable(Arc<Handles>, Wishes),
    OtherMachine(GroupId),
}

impl Refused {
    /// The group as the infallible form returns it.
    fn into_handle(self) -> Arc<Handles> {
        match self {
            Self::Full(shared, error) => {
                let group = shared.instance.id();
                tracing::error!(group = %group.short(), %error, "the group is not joined");
                shared
            }
            Self::NotDurable(shared, wishes) => {
                tracing::error!(
                    group = %shared.instance.id().short(),
                    "the group is joined on this node in memory, so a member that was to be durable \
                     loses everything with its node: join it as durable first, or drop the other \
                     handles before"
                );
                shared.instance.take_part_as(wishes);
                shared
            }
            Self::OtherMachine(id) => panic!("{}", JoinError::OtherMachine(id)),
        }
    }

    fn into_error(self) -> JoinError {
        match self {
            Self::Full(_, LimitError { what, len, max }) => JoinError::EntryFull { what, len, max },
            Self::NotDurable(shared, _) => JoinError::NotDurable(shared.instance.id()),
            Self::OtherMachine(id) => JoinError::OtherMachine(id),
        }
    }
}

/// A handle's part in joining, without the type of its machine.
struct Joining {
    config: GroupConfig,
    preference: LeadershipPreference,
    /// Name of the machine's type.
    machine: &'static str,
    replica: Arc<dyn Replica>,
    commands: Option<Arc<dyn CommandStore>>,
    // Traits of this member alone, on which the others need not agree:
    durable: bool,
    write_key: Option<WriteKey>,
    label: Option<String>,
}

/// The node has nothing to keep a durable member in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node has no storage: give it a directory with NetworkBuilder::with_storage")]
pub struct NoStorage;

/// Returns whether two machines are of one type.
fn is_same_type(one: &dyn Any, other: &dyn Any) -> bool {
    one.type_id() == other.type_id()
}

impl Registry {
    /// Joins a group, or finds it joined.
    fn join(self: &Arc<Self>, joining: Joining) -> Result<Arc<Handles>, Refused> {
        let Joining {
            config,
            preference,
            machine,
            replica,
            commands,
            durable,
            write_key,
            label,
        } = joining;
        let id = *config.group_id();
        let mut joined = self.joined.lock();
        if let Some(existing) = joined.get(&id)
            && !existing.instance.status().is_terminated()
            && let Some(shared) = existing.shared.upgrade()
        {
            let instance = existing.instance.clone();
            drop(joined);
            if !is_same_type(&**instance.replica(), &*replica) {
                return Err(Refused::OtherMachine(id));
            }
            let wishes = Wishes {
                preference,
                min_members: config.consensus().min_members,
                write_key,
            };
            if durable && !instance.is_durable() {
                return Err(Refused::NotDurable(shared, wishes));
            }
            if let Some(label) = label {
                instance.profile().set_label(label);
            }
            instance.take_part_as(wishes);
            return Ok(shared);
        }
        let (events, inbox) = mpsc::channel(MAX_EVENTS);
        let instance = Instance::new(InstanceOptions {
            host: self.host.clone(),
            config,
            preference,
            write_key,
            replica,
            commands,
            durable,
            events: events.clone(),
            scope: self.scope.child(),
        });
        let machine = names::short_type_name(machine);
        let bare = machine.split('<').next().unwrap_or_default();
        instance.profile().set_machine(bare.to_owned());
        if let Some(label) = label {
            instance.profile().set_label(label);
        }
        let shared = Arc::new(Handles {
            instance: instance.clone(),
            registry: Arc::downgrade(self),
        });
        let replaced = joined.insert(
            id,
            Joined {
                instance: instance.clone(),
                events,
                shared: Arc::downgrade(&shared),
            },
        );
        drop(joined);
        if let Some(replaced) = replaced {
            self.begin_leaving(&replaced, Event::Leave);
        }
        if self.scope.is_cancelled() {
            instance.terminate();
            return Ok(shared);
        }
        self.warn_about_own_tickets(&instance);
        if let Err(error) = instance.list() {
            // Unlisted, nobody would bond with it, and it would found a history of its own.
            self.joined.lock().remove(&id);
            instance.terminate();
            instance.scope().cancel();
            return Err(Refused::Full(shared, error));
        }
        let former = self.former(&id);
        let joining = instance.clone();
        instance.scope().spawn(async move {
            // A bond of this joining would take the place of the former one's, whose vote may be
            // needed to remove it.
            for former in former {
                former.cancelled().await;
            }
            let _end = EndOfWorker(joining.clone());
            Worker::new(joining).run(inbox).await;
        });
        Ok(shared)
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
