//! Common parts of every handle of a collection: the group, this node's replica, and waiters.

use core::{fmt, pin::Pin};
use std::sync::Arc;

use futures::future::Either;
use tokio::sync::oneshot;

use crate::{
    collections_layer::{
        CollectionConfig, Error, Ingredient, Mismatch, OpenError, Status, StoreId, Version, Watch,
        When,
        adverts::Advert,
        engine::{
            command::{Command, Request},
            describe::{Described, Profile},
            keeper,
            kind::{Kind, Limits},
            machine::{Machine, Settings},
            mismatches::{Published, mismatches},
            observer::{Observer, Select},
            replica::{Live, Replica, Shown, Verdict},
        },
        identity,
    },
    groups::{
        CommandError, ConsensusConfig, Consistency, Group, GroupBuilder, GroupId, Groups,
        InMemoryLogStore, Index, LeadershipPreference, Proposer, QueryError,
    },
    primitives::{Bytes, ShortFmtExt, encoding::EncodeError},
};

/// The part of a collection's handle that all kinds share.
pub(crate) struct Handle<K: Kind> {
    submitter: Submitter<K>,
    when: When,
    advert: Advert,
}

type Joining<'a, K> = GroupBuilder<'a, InMemoryLogStore<Command<K>>, Machine<K>>;

/// Submits operations; keeps the node in the collection's group as a handle does.
pub(crate) struct Submitter<K: Kind> {
    group: Arc<Group<Machine<K>>>,
    replica: Arc<Replica<K>>,
}

impl<K: Kind> Clone for Submitter<K> {
    fn clone(&self) -> Self {
        Self {
            group: self.group.clone(),
            replica: self.replica.clone(),
        }
    }
}

/// Outcome of a mutation, and the version that it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<T> {
    /// The version that the mutation made, also when it had no effect.
    pub version: Version,
    /// Outcome of the mutation.
    pub value: T,
}

/// Future of a mutation whose arguments were consumed at the call: it borrows neither the handle nor
/// what an iterator or a range among them borrowed.
///
/// Boxed, as the type of any other such future names the types of all arguments, with their
/// lifetimes.
pub type MutationFuture<R, T> = Pin<Box<dyn Future<Output = Result<R, Error<T>>> + Send + Sync>>;

/// A collection that is about to be opened.
pub(crate) struct Opening<'a> {
    pub(crate) groups: &'a Groups,
    pub(crate) store_id: StoreId,
    pub(crate) types: &'a [&'a str],
    pub(crate) capacity: Option<u64>,
    pub(crate) config: &'a CollectionConfig,
    pub(crate) is_writer: bool,
}

impl<K: Kind> Handle<K> {
    /// Joins the collection's group, or finds it joined on this node. What can't be had of the
    /// configuration is logged.
    pub(crate) fn open(opening: Opening<'_>) -> Self {
        if opening.lacks_storage() {
            tracing::error!(
                store = %opening.store_id.short(),
                "a durable collection without storage: its content is kept in memory; give the \
                 node a directory with NetworkBuilder::with_storage"
            );
        }
        let (builder, own) = opening.prepare();
        Self::start(builder.join(), own, &opening)
    }

    /// Joins the collection's group as configured, or finds it joined so on this node.
    pub(crate) fn try_open(opening: Opening<'_>) -> Result<Self, OpenError> {
        if opening.lacks_storage() {
            return Err(OpenError::NoStorage);
        }
        let (builder, own) = opening.prepare();
        Ok(Self::start(builder.try_join()?, own, &opening))
    }

    fn start(group: Group<Machine<K>>, own: Arc<Replica<K>>, opening: &Opening<'_>) -> Self {
        let advert = opening.advert::<K>();
        // Another handle may have joined before: this one shares its replica.
        let replica = group.with_machine(|machine| machine.replica().clone());
        if Arc::ptr_eq(&own, &replica) {
            replica.show_once(|| Shown::register::<K>(group.network_id(), group.id()));
            let discovery = group.proposer().discovery().clone();
            let profile = Profile::new(&replica, opening.types, discovery.clone(), advert);
            group.set_content(Arc::new(Described::new(profile)));
            let published = Published::new(discovery, opening.store_id, advert);
            keeper::start(group.proposer(), replica.clone(), published);
        } else {
            replica.ring().enlarge(opening.config.watch_buffer);
        }
        let when = When::new(group.when().clone(), replica.watch_version());
        let submitter = Submitter {
            group: Arc::new(group),
            replica,
        };
        Self {
            submitter,
            when,
            advert,
        }
    }

    pub(crate) const fn submitter(&self) -> &Submitter<K> {
        &self.submitter
    }

    pub(crate) const fn when(&self) -> &When {
        &self.when
    }

    pub(crate) fn group_id(&self) -> &GroupId {
        self.submitter.group.id()
    }

    pub(crate) fn status(&self) -> Status {
        let group = &self.submitter.group;
        let (version, entries) = self
            .submitter
            .replica
            .observe(|live, _| (live.version, K::len(&live.state)));
        Status {
            is_online: group.is_online(),
            is_admitted: group.admits_itself(),
            may_write: !group.is_write_refused(),
            is_durable: group.is_durable(),
            leader: group.leader(),
            membership: group.membership(),
            log_position: group.log_position(),
            version,
            entries,
            mismatches: self.mismatches(),
        }
    }

    /// Collections of others that differ, and those that differ in their write key alone: these find
    /// each other.
    fn mismatches(&self) -> Vec<Mismatch> {
        let group = &self.submitter.group;
        let mut all = mismatches(group.proposer().discovery(), &self.advert);
        for peer in group.peers_with_another_key() {
            match all.iter_mut().find(|mismatch| mismatch.peer == peer) {
                Some(mismatch) => mismatch.ingredients.push(Ingredient::WriteKey),
                None => all.push(Mismatch {
                    peer,
                    ingredients: vec![Ingredient::WriteKey],
                }),
            }
        }
        all
    }

    pub(crate) fn version(&self) -> Version {
        self.submitter.replica.version()
    }

    /// Reads the content as it is now.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&K::State) -> R) -> R {
        self.submitter.replica.read(read)
    }

    pub(crate) fn snapshot(&self) -> Live<K> {
        self.submitter.replica.snapshot()
    }

    /// Reads the content beside the log's clock, as this node extrapolates it.
    pub(crate) fn read_at<R>(&self, read: impl FnOnce(&K::State, u64) -> R) -> R {
        self.submitter.replica.read_at(read)
    }

    /// Watches what is selected, from now on.
    pub(crate) fn watch<S: Send + Sync + 'static>(
        &self,
        select: impl Select<K>,
        show: fn(Live<K>) -> S,
    ) -> Watch<S, K::Change> {
        Observer::start(self.submitter.replica.clone(), select, show)
    }

    /// Watches everything after a version.
    pub(crate) fn watch_from<S: Send + Sync + 'static>(
        &self,
        version: Version,
        show: fn(Live<K>) -> S,
    ) -> Watch<S, K::Change> {
        Observer::resume(self.submitter.replica.clone(), version, show)
    }

    /// See [`Group::reform`](crate::groups::Group::reform).
    pub(crate) fn reform(&self) -> impl Future<Output = bool> + Send + Sync + 'static + use<K> {
        self.submitter.group.reform()
    }

    /// See [`Group::abandon_history`](crate::groups::Group::abandon_history).
    pub(crate) fn abandon_history(
        &self,
    ) -> impl Future<Output = bool> + Send + Sync + 'static + use<K> {
        self.submitter.group.abandon_history()
    }

    /// A barrier: afterwards the local content reflects all that was acknowledged before the call.
    pub(crate) fn sync(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<K> {
        let confirmed = self.submitter.group.query((), Consistency::Strong);
        let replica = self.submitter.replica.clone();
        async move {
            match confirmed.await {
                Ok(_) => Ok(replica.version()),
                Err(QueryError::GroupTerminated) => Err(Error::NetworkDown),
                Err(_) => Err(Error::Offline(())),
            }
        }
    }

    /// Submits an operation on many elements; with none of them it resolves with the version at the
    /// call.
    pub(crate) fn submit_some<T: Send + Sync + 'static>(
        &self,
        op: Option<Result<Bytes, EncodeError>>,
        arguments: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<K, T> {
        match op {
            Some(op) => Either::Left(self.submit(op, arguments)),
            None => Either::Right(core::future::ready(Ok(self.version()))),
        }
    }

    /// See [`Submitter::submit`].
    pub(crate) fn submit<T: Send + Sync + 'static>(
        &self,
        op: Result<Bytes, EncodeError>,
        arguments: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<K, T> {
        self.submitter.submit(op, arguments)
    }

    /// See [`Submitter::submit_returning`].
    pub(crate) fn submit_returning<T: Send + Sync + 'static, R: 'static>(
        &self,
        op: Result<Bytes, EncodeError>,
        arguments: T,
        value: fn(K::Outcome) -> R,
    ) -> impl Future<Output = Result<Outcome<R>, Error<T>>> + Send + Sync + 'static + use<K, T, R>
    {
        self.submitter.submit_returning(op, arguments, value)
    }

    pub(crate) fn fmt_as(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("group", &self.group_id().short())
            .field("version", &self.version())
            .field("entries", &self.read(K::len))
            .finish_non_exhaustive()
    }
}

impl<'a> Opening<'a> {
    /// Returns whether the content is to be kept on disk, by a node that has none. Without the feature
    /// `storage` that can't be asked for.
    fn lacks_storage(&self) -> bool {
        #[cfg(feature = "storage")]
        let lacks = self.config.durable && !self.groups.has_storage();
        #[cfg(not(feature = "storage"))]
        let lacks = self.config.durable;
        lacks
    }

    fn advert<K: Kind>(&self) -> Advert {
        Advert::new(
            self.store_id,
            K::NAME,
            self.types,
            self.capacity,
            self.config,
        )
    }

    /// The way to join the group, and the replica of a handle that is the first on its node.
    fn prepare<K: Kind>(&self) -> (Joining<'a, K>, Arc<Replica<K>>) {
        let config = self.config;
        let settings = Settings {
            signature: identity::signature(K::NAME, self.types, self.capacity, config),
            sync: config.sync.clone(),
            preference: if self.is_writer {
                LeadershipPreference::Normal
            } else {
                LeadershipPreference::Observer
            },
        };
        let limits = Limits {
            entries: config.max_entries,
            bytes: config.max_bytes,
        };
        let consensus = ConsensusConfig {
            min_members: config.min_writers,
            ..ConsensusConfig::default()
        };
        let mut builder = self
            .groups
            .with_key(identity::group_key(self.store_id))
            .with_consensus_config(consensus)
            .founding_unadmitted()
            .needing_min_members();
        for validator in &config.validators {
            builder = builder.require_ticket(validator.clone());
        }
        #[cfg(feature = "storage")]
        if config.durable && self.groups.has_storage() {
            builder = builder.kept_on_disk();
        }
        if let Some(label) = &config.label {
            builder = builder.with_label(label);
        }
        if let Some(key) = config.write_key {
            builder = builder.with_write_key(key);
        }
        let own = Arc::new(Replica::new(limits, config.watch_buffer));
        let machine = Machine::new(own.clone(), settings);
        (builder.with_state_machine(machine), own)
    }
}

impl<K: Kind> Submitter<K> {
    /// Reads the content as it is now.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&K::State) -> R) -> R {
        self.replica.read(read)
    }

    /// Submits an operation that tells its version only.
    pub(crate) fn submit<T: Send + Sync + 'static>(
        &self,
        op: Result<Bytes, EncodeError>,
        arguments: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<K, T> {
        let limited = self.replica.limits() != Limits::NONE;
        let submitted = self.start(op, limited);
        async move {
            match submitted.finish().await {
                // A snapshot tells that it was applied, and not whether there was room.
                Ok((_, None)) if limited => Err(Error::Unknown(arguments)),
                Ok((version, _)) => Ok(version),
                Err(error) => Err(error.map(|()| arguments)),
            }
        }
    }

    /// Submits an operation that tells what it did.
    pub(crate) fn submit_returning<T: Send + Sync + 'static, R: 'static>(
        &self,
        op: Result<Bytes, EncodeError>,
        arguments: T,
        value: fn(K::Outcome) -> R,
    ) -> impl Future<Output = Result<Outcome<R>, Error<T>>> + Send + Sync + 'static + use<K, T, R>
    {
        let submitted = self.start(op, true);
        async move {
            match submitted.finish().await {
                Ok((version, Some(outcome))) => Ok(Outcome {
                    version,
                    value: value(outcome),
                }),
                // Applied, but within a snapshot that tells no outcomes.
                Ok((_, None)) => Err(Error::Unknown(arguments)),
                Err(error) => Err(error.map(|()| arguments)),
            }
        }
    }

    fn start(&self, op: Result<Bytes, EncodeError>, wants_outcome: bool) -> Submitted<K> {
        let op = match op {
            Ok(op) => op,
            Err(error) => return Submitted::Unencodable(error),
        };
        let caller = wants_outcome.then(|| Caller::new(self.replica.clone()));
        let request = caller.as_ref().map(|caller| caller.request);
        Submitted::Executing {
            executed: Box::pin(self.group.execute(Command::new(request, op))),
            caller,
            proposer: self.group.proposer(),
        }
    }
}

/// An operation that was submitted, or could not be.
enum Submitted<K: Kind> {
    Unencodable(EncodeError),
    Executing {
        executed: Pin<Box<dyn Future<Output = Executed<K>> + Send + Sync>>,
        caller: Option<Caller<K>>,
        proposer: Proposer<Machine<K>>,
    },
}

type Executed<K> = Result<Index, CommandError<Machine<K>>>;

impl<K: Kind> Submitted<K> {
    /// The version, and what the operation did, if that was asked for and is known.
    async fn finish(self) -> Result<(Version, Option<K::Outcome>), Error<()>> {
        let (executed, caller, proposer) = match self {
            Self::Unencodable(error) => return Err(Error::Encoding((), error)),
            Self::Executing {
                executed,
                caller,
                proposer,
            } => (executed, caller, proposer),
        };
        let index = executed.await.map_err(|error| match error {
            CommandError::Encoding(_, error) => Error::Encoding((), error),
            CommandError::GroupTerminated => Error::NetworkDown,
            CommandError::Unknown(_) => Error::Unknown(()),
            CommandError::Undecodable(_) => Error::Encoding((), EncodeError::SerdeDeCustom),
            CommandError::Offline(_) if proposer.is_write_refused() => Error::WriteRefused(()),
            CommandError::Offline(_) | CommandError::NoCommands => Error::Offline(()),
        })?;
        // Applied here before the group resolves the call.
        let verdict = caller.and_then(|mut caller| caller.verdict.try_recv().ok());
        match verdict {
            Some(Verdict::Applied(outcome)) => Ok((Version(index), Some(outcome))),
            Some(Verdict::Full) => Err(Error::Full(())),
            None => Ok((Version(index), None)),
        }
    }
}

/// A caller that waits for what its operation did; forgotten when it is dropped.
struct Caller<K: Kind> {
    replica: Arc<Replica<K>>,
    request: Request,
    verdict: oneshot::Receiver<Verdict<K>>,
}

impl<K: Kind> Caller<K> {
    fn new(replica: Arc<Replica<K>>) -> Self {
        let (request, verdict) = replica.expect();
        Self {
            replica,
            request,
            verdict,
        }
    }
}

impl<K: Kind> Drop for Caller<K> {
    fn drop(&mut self) {
        self.replica.forget(self.request);
    }
}
