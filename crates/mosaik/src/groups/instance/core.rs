//! One group on one node: what all its parts share.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::mpsc, time::Instant};

use super::{persistent_identity::PersistentIdentity, profile::Profile};
use crate::{
    discovery::Discovery,
    groups::{
        GroupConfig, GroupKey, LeadershipPreference, WriteKey,
        bond::{keep_alive::KeepAlive, set::BondSet},
        consensus::{Node, pending_commands::PendingCommands},
        machine::{log_storage::CommandStore, preference::Preference, replica::Replica},
        model::{
            config::Timing,
            event::Event,
            lineage::{Ancestry, MemberId},
            member_info::{LineageStanding, MemberInfo, Willingness},
            metrics::GroupMetrics,
            status::Status,
        },
        store::NodeStore,
    },
    net::Links,
    primitives::{GroupId, PeerId, Scope},
    tickets::{InvalidTicket, LimitError, PeerEntry, Validity},
};

/// Services of a node for all its groups.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) discovery: Discovery,
    pub(crate) links: Links,
    pub(crate) beats: KeepAlive,
    pub(crate) handshake_timeout: Duration,
    /// The node's store, if it has one.
    pub(crate) store: Option<NodeStore>,
}

/// A group on this node, from joining until leaving.
pub(crate) struct Instance {
    pub(super) host: Host,
    pub(super) config: GroupConfig,
    pub(super) timing: Timing,
    pub(super) local: PeerId,
    /// Random for each joining.
    pub(crate) session: u64,
    pub(super) preference: Arc<Preference>,
    /// The first one that any handle has brought.
    pub(super) write_key: Mutex<Option<WriteKey>>,
    /// True once the lack of the right to write counts: see [`Instance::settle_right`].
    pub(super) refusal_settled: AtomicBool,
    /// Members that must have met before one is founded: the most that any handle has asked for.
    min_members: AtomicUsize,
    pub(super) status: Arc<Status>,
    pub(super) pending_commands: Arc<PendingCommands>,
    pub(super) replica: Arc<dyn Replica>,
    pub(super) commands: Option<Arc<dyn CommandStore>>,
    /// Persistent identity of a durable member.
    pub(super) keeper: Option<PersistentIdentity>,
    pub(super) bonds: BondSet,
    /// Peers that are being dialled, and since when.
    pub(super) dialling: Mutex<HashMap<PeerId, Instant>>,
    pub(super) member: Mutex<MemberId>,
    pub(super) node: RwLock<Option<Node>>,
    /// Held while the history is being changed.
    pub(super) switch: tokio::sync::Mutex<()>,
    /// This member does not want to be added to the membership yet.
    pub(super) catching_up: AtomicBool,
    /// The histories that this member's current one continues.
    pub(super) ancestry: Mutex<Ancestry>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) leaving: AtomicBool,
    /// Failure for which this member can't take part in any history.
    failure: Mutex<Option<String>>,
    pub(super) metrics: Arc<GroupMetrics>,
    profile: Profile,
    pub(super) joined: Instant,
    pub(super) scope: Scope,
    pub(super) this: Weak<Self>,
}

pub(crate) struct InstanceOptions {
    pub(crate) host: Host,
    pub(crate) config: GroupConfig,
    pub(crate) preference: LeadershipPreference,
    pub(crate) write_key: Option<WriteKey>,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) commands: Option<Arc<dyn CommandStore>>,
    /// True if the member is to be kept in the node's store.
    pub(crate) durable: bool,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) scope: Scope,
}

/// Requests of a further handle of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    pub(crate) preference: LeadershipPreference,
    pub(crate) min_members: usize,
    pub(crate) write_key: Option<WriteKey>,
}

/// Role of a member, as far as its node's handles decide it: they may make more of it at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Role {
    preference: LeadershipPreference,
    has_write_key: bool,
    min_members: usize,
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
        let kept =
            store.map(|store| PersistentIdentity::open(store, *options.config.group_id(), local));
        let (keeper, member) = match kept {
            Some((keeper, member)) => (Some(keeper), member),
            None => (None, MemberId::fresh(local)),
        };
        let ancestry = keeper
            .as_ref()
            .map(PersistentIdentity::ancestry)
            .unwrap_or_default();
        let restored = keeper.as_ref().and_then(PersistentIdentity::restored);
        // Of this joining alone: a directory that was set back would bring numbers back with it that
        // the group has seen.
        let origin = MemberId::fresh(local);
        let pending_commands = Arc::new(PendingCommands::new(origin, patience, PARCELS_UNDER_WAY));
        let watched = pending_commands.clone();
        options.scope.spawn(async move { watched.watch().await });
        Arc::new_cyclic(|this| Self {
            timing,
            local,
            session: rand::random(),
            preference: Arc::new(Preference::new(options.preference)),
            write_key: Mutex::new(options.write_key),
            refusal_settled: AtomicBool::new(false),
            min_members: AtomicUsize::new(options.config.consensus().min_members),
            status,
            pending_commands,
            replica: options.replica,
            commands: options.commands,
            keeper,
            bonds: BondSet::default(),
            dialling: Mutex::default(),
            member: Mutex::new(member),
            node: RwLock::new(None),
            switch: tokio::sync::Mutex::new(()),
            catching_up: AtomicBool::new(restored.is_none()),
            ancestry: Mutex::new(ancestry),
            events: options.events,
            leaving: AtomicBool::new(false),
            failure: Mutex::default(),
            metrics: Arc::new(metrics),
            profile: Profile::default(),
            joined: Instant::now(),
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
        self.preference.get()
    }

    /// Number of members that must have met before the group is founded.
    pub(crate) fn min_members(&self) -> usize {
        self.min_members.load(Ordering::Relaxed)
    }

    /// Number of voters, this member included, without which a leader takes no commands.
    pub(crate) fn needed_voters(&self) -> usize {
        if self.config.needs_min_members {
            // No more ever vote.
            self.min_members().min(self.config.consensus().max_voters)
        } else {
            1
        }
    }

    /// Another handle of this node has come. The one that was first must not take its guarantees
    /// away: an observer takes part fully from now on, and a founding waits for as many members as
    /// the most careful handle asks for.
    pub(crate) fn take_part_as(&self, wishes: Wishes) {
        let Wishes {
            preference,
            min_members,
            write_key,
        } = wishes;
        if let Some(key) = write_key {
            self.learn_write_key(key);
        }
        self.min_members.fetch_max(min_members, Ordering::Relaxed);
        if self.preference.raise(preference) {
            self.discovery().remove_group(self.observer_mark());
        }
    }

    /// The present role.
    pub(crate) fn role(&self) -> Role {
        Role {
            preference: self.preference(),
            has_write_key: self.write_key().is_some(),
            min_members: self.min_members(),
        }
    }

    pub(crate) fn observes(&self) -> bool {
        self.preference.observes()
    }

    /// An entry that lists this beside the group is an observer's: members leave it to that to make
    /// bonds.
    pub(crate) fn observer_mark(&self) -> GroupId {
        self.id().derive("mosaik.groups.observer.v1")
    }

    /// Returns whether this entry is an observer's of this group.
    pub(crate) fn is_observers(&self, entry: &PeerEntry) -> bool {
        entry.groups().contains(&self.observer_mark())
    }

    /// Puts the group into this node's entry.
    pub(crate) fn list(&self) -> Result<(), LimitError> {
        if self.observes() {
            self.discovery().add_group(self.observer_mark())?;
            if !self.observes() {
                // Another handle has come meanwhile, and may have found no mark to remove.
                self.discovery().remove_group(self.observer_mark());
            }
        }
        let listed = self.discovery().add_group(self.id());
        if listed.is_err() {
            self.unlist();
        }
        listed
    }

    /// Takes the group out of this node's entry.
    pub(crate) fn unlist(&self) {
        self.discovery().remove_group(self.id());
        self.discovery().remove_group(self.observer_mark());
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    pub(crate) fn pending_commands(&self) -> &Arc<PendingCommands> {
        &self.pending_commands
    }

    pub(crate) fn bonds(&self) -> &BondSet {
        &self.bonds
    }

    pub(crate) fn metrics(&self) -> &Arc<GroupMetrics> {
        &self.metrics
    }

    /// This member's copy of the machine.
    pub(crate) fn replica(&self) -> &Arc<dyn Replica> {
        &self.replica
    }

    /// Names of this group, for people.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn links(&self) -> &Links {
        &self.host.links
    }

    pub(crate) fn beats(&self) -> &KeepAlive {
        &self.host.beats
    }

    pub(crate) fn discovery(&self) -> &Discovery {
        &self.host.discovery
    }

    /// The node's store.
    #[cfg(all(test, feature = "storage"))]
    pub(crate) fn node_store(&self) -> Option<&NodeStore> {
        self.host.store.as_ref()
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        self.host.handshake_timeout
    }

    pub(crate) fn authorize(&self, entry: &PeerEntry) -> Result<Validity, InvalidTicket> {
        self.host
            .discovery
            .authorize(entry, self.config.validators())
    }

    /// Returns whether this node would admit a member with tickets like its own.
    pub(crate) fn admits_itself(&self) -> bool {
        self.config.validators().is_empty() || self.authorize(&self.discovery().me()).is_ok()
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

    pub(crate) fn node(&self) -> Option<Node> {
        self.node.read().clone()
    }

    pub(crate) fn member(&self) -> MemberId {
        *self.member.lock()
    }

    /// Info of this member, as told to others.
    pub(crate) fn standing(&self) -> MemberInfo {
        let willingness = match self.preference() {
            LeadershipPreference::Observer => Willingness::Observer,
            // It could answer nothing, and hand on nothing.
            _ if self.replica.is_stale() || self.lacks_right() => Willingness::Never,
            LeadershipPreference::Normal => Willingness::Normal,
            LeadershipPreference::Reluctant { .. } => Willingness::Reluctant,
        };
        MemberInfo {
            member: self.member(),
            willingness,
            catching_up: self.is_catching_up(),
            lineage: self.lineage_standing(),
            feeds: self.node().and_then(|node| node.core().offers_to_feed()),
        }
    }

    /// Returns whether this member fetches history by itself, or does not know yet whether it has
    /// to.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.catching_up.load(Ordering::Acquire)
    }

    /// This member wants to be added to the membership.
    pub(crate) fn set_caught_up(&self) {
        self.catching_up.store(false, Ordering::Release);
    }

    /// Returns whether the machine holds a state that was given up, and could not be reset.
    pub(crate) fn is_stale(&self) -> bool {
        self.replica.is_stale()
    }

    /// Amount of history, in commands, that is too much for the leader to send by itself.
    pub(crate) fn batch_size(&self) -> u64 {
        self.replica.terms().batch_size
    }

    /// True if this member joins by a snapshot, also where the log would do.
    pub(crate) fn wants_snapshot(&self) -> bool {
        self.replica.terms().snapshot_first
    }

    pub(crate) fn lineage_standing(&self) -> Option<LineageStanding> {
        let Some(node) = self.node() else {
            return self.kept_lineage();
        };
        let leader = self.status.leader();
        Some(LineageStanding {
            id: node.lineage(),
            ancestry: self.ancestry.lock().clone(),
            committed: self.status.committed().0,
            last: node.last_entry(),
            alive: leader.is_some(),
            leading: leader == Some(self.local),
        })
    }

    /// The history on this member's disk while it is being taken up again: others must neither found
    /// another one meanwhile nor take this member for one without any.
    fn kept_lineage(&self) -> Option<LineageStanding> {
        let keeper = self.keeper.as_ref()?;
        Some(LineageStanding {
            id: keeper.kept()?,
            ancestry: keeper.ancestry(),
            committed: 0,
            last: None,
            alive: false,
            leading: false,
        })
    }

    /// Number of commands in this member's log, committed or not.
    pub(crate) fn commands_held(&self) -> u64 {
        let logged = self.status.log_position().index();
        logged.max(self.status.committed()).0
    }

    /// Forgets the consensus instance, at the end.
    pub(crate) fn take_node(&self) -> Option<Node> {
        self.node.write().take()
    }

    /// Reports that the persistent state, or the user's storage, can't be used.
    pub(super) fn fail(&self, reason: &str) {
        match &self.keeper {
            Some(keeper) => keeper.fail(reason),
            None => drop(self.failure.lock().get_or_insert_with(|| reason.to_owned())),
        }
    }

    /// Failure for which this member can't go on, whatever history it belongs to; `None` while
    /// there is none.
    pub(crate) fn failure(&self) -> Option<String> {
        let stored = self.keeper.as_ref().and_then(PersistentIdentity::failure);
        let stored = stored.map(|failure| failure.to_string());
        stored.or_else(|| self.failure.lock().clone())
    }

    /// The [failure](Self::failure) without paths of this machine, which are nobody else's business.
    pub(super) fn failure_for_others(&self) -> Option<String> {
        let stored = self.keeper.as_ref().and_then(PersistentIdentity::failure);
        let stored = stored.map(|failure| failure.without_path());
        stored.or_else(|| self.failure.lock().clone())
    }

    /// The group has ended for its handles.
    pub(crate) fn terminate(&self) {
        self.pending_commands.close();
        self.status.terminate();
        self.metrics.settle();
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
            node.propose_pending();
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
