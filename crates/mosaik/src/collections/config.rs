//! Settings of a collection.

use core::{fmt, num::NonZero, time::Duration};
use std::{borrow::Cow, sync::Arc};

use crate::{
    groups::{SnapshotStateMachine, SnapshotSync, WriteKey},
    primitives::names,
    tickets::TicketValidator,
};

/// Settings of a collection on this node.
///
/// Default: no tickets, the default [`SyncConfig`], content in memory, no limits.
///
/// # Examples
///
/// ```
/// use mosaik::collections::{CollectionConfig, SyncConfig};
///
/// let config = CollectionConfig::default()
///     .with_sync(SyncConfig::default().with_fetch_batch_size(500))
///     .with_max_entries(10_000);
/// ```
#[derive(Clone)]
pub struct CollectionConfig {
    pub(super) sync: SyncConfig,
    pub(super) validators: Vec<Arc<dyn TicketValidator>>,
    pub(super) durable: bool,
    pub(super) min_writers: usize,
    pub(super) max_entries: u64,
    pub(super) max_bytes: u64,
    pub(super) type_tag: Option<Cow<'static, str>>,
    pub(super) watch_buffer: usize,
    pub(super) write_key: Option<WriteKey>,
    pub(super) label: Option<String>,
}

/// Bytes of changes that are kept for watches by default.
const WATCH_BUFFER: usize = 8 * 1024 * 1024;

impl Default for CollectionConfig {
    fn default() -> Self {
        Self {
            sync: SyncConfig::default(),
            validators: Vec::new(),
            durable: false,
            min_writers: 1,
            max_entries: u64::MAX,
            max_bytes: u64::MAX,
            type_tag: None,
            watch_buffer: WATCH_BUFFER,
            write_key: None,
            label: None,
        }
    }
}

impl CollectionConfig {
    /// The way in which a member that lacks content gets it. Part of the collection's identity,
    /// except for the [strategy](SyncConfig::with_strategy).
    #[must_use]
    pub const fn with_sync(mut self, sync: SyncConfig) -> Self {
        self.sync = sync;
        self
    }

    /// Admits only members with a ticket that satisfies this validator. Every call adds one, and all
    /// must be satisfied. Part of the collection's identity, in call order. Default: none.
    ///
    /// A node does not check itself: a writer that lacks the ticket works alone, in memory, warns
    /// in its log, and says so in its [`Status`](super::Status). Once it has the ticket, its content
    /// and that of the others are merged, of which the one with fewer mutations is given up. A
    /// durable writer waits for its ticket instead, as its content would never be given up.
    #[must_use]
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.validators.push(Arc::new(validator));
        self
    }

    /// Keeps this member's content in the node's storage, as
    /// [`GroupBuilder::durable`](crate::groups::GroupBuilder::durable) does: what was acknowledged
    /// survives a restart of all members that are durable. Each member's own affair.
    ///
    /// It needs the node's
    /// [storage](crate::network::NetworkBuilder::with_storage), and the first handle of a collection
    /// on a node decides: beside one without it, readers included, the content stays in memory. So
    /// ask for it on every handle of the node. Where it can't be had, `try_writer_with_config`,
    /// `try_reader_with_config` and their like of the definitions return
    /// [`OpenError::NoStorage`](super::OpenError::NoStorage) or
    /// [`NotDurable`](super::OpenError::NotDurable); the other ways to open a collection never fail:
    /// they keep the content in memory, with an error in the log and
    /// [`Status::is_durable`](super::Status::is_durable) `false`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use mosaik::collections::{CollectionConfig, Map};
    ///
    /// # fn example(network: mosaik::Network) -> anyhow::Result<()> {
    /// let config = CollectionConfig::default().durable();
    /// let prices = Map::<String, u64>::try_writer_with_config(&network, "prices", config)?;
    /// assert!(prices.status().is_durable);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "storage")]
    #[must_use]
    pub const fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Number of writers below which nothing is acknowledged: as many must have met before the
    /// collection comes into being, and as many voting ones, the leader included, must be there for a
    /// mutation to be accepted. Default 1: a lone writer works alone. Zero counts as one. At most five
    /// writers vote, so that of a larger number five must be there.
    ///
    /// While there are fewer, reading goes on, and mutations wait for up to two seconds: then they are
    /// [`Error::Offline`](super::Error::Offline), or [`Error::Unknown`](super::Error::Unknown) where
    /// this node had sent them to the leader: a node that doesn't lead stays online meanwhile, and can't
    /// know that the leader takes nothing. The leader warns in its log.
    ///
    /// Set it to a majority of the intended writers where nothing acknowledged may be lost when writers
    /// start apart or are cut off from each other: then no two parts of them acknowledge at a time, but
    /// for the half a second within which a leader notices that one is missing. A larger number stops
    /// all mutations when fewer writers fail; the number of all of them does so when one fails. Each
    /// member goes by its own number, and the leader's counts, so give all writers the same. Of several
    /// handles on a node, readers included, the largest holds.
    #[must_use]
    pub const fn with_min_writers(mut self, min_writers: usize) -> Self {
        self.min_writers = if min_writers == 0 { 1 } else { min_writers };
        self
    }

    /// The most entries that the collection holds; a mutation that would exceed it is
    /// [`Error::Full`](super::Error::Full). Default: no limit. Part of the collection's identity.
    #[must_use]
    pub const fn with_max_entries(mut self, max_entries: u64) -> Self {
        self.max_entries = max_entries;
        self
    }

    /// The most bytes of encoded elements that the collection holds; a mutation that would exceed it
    /// is [`Error::Full`](super::Error::Full). Default: no limit. Part of the collection's identity.
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Bytes of changes that this node keeps for watches of the collection: of what was replaced,
    /// and about 100 for each change. A [`Watch`](super::Watch) that falls behind by more goes on
    /// from a snapshot. Default 8 MiB; of several handles on a node the largest counts. Each
    /// member's own affair.
    #[must_use]
    pub const fn with_watch_buffer(mut self, bytes: usize) -> Self {
        self.watch_buffer = bytes;
        self
    }

    /// Names the collection for people who look at the network's status, where every member of the
    /// network sees it: the store id itself is shown to nobody, as it is what lets others in. Changes
    /// nothing else. Default: none. The first handle of a node that has one decides. Cut at 64
    /// characters.
    #[must_use]
    pub fn with_label(mut self, label: impl AsRef<str>) -> Self {
        self.label = names::label(label.as_ref());
        self
    }

    /// Names the collection unless it has a label, for declarations.
    #[doc(hidden)]
    #[must_use]
    pub fn __or_label(mut self, label: &str) -> Self {
        self.label = self.label.or_else(|| names::label(label));
        self
    }

    /// Lets only nodes that have this key write: the store id finds the collection, and is enough to
    /// read it. Not part of the collection's identity, so that readers need no key. Default: none,
    /// whoever can read can write.
    ///
    /// Members prove the key to each other on every connection; it never travels. Those that have it
    /// take nothing from those that don't but requests to read: no mutation, no vote, no leader. All
    /// writers are to have the same key. Of several handles on a node the first key counts, for all
    /// of them.
    ///
    /// A mutation of a writer that lacks the key is [`Error::WriteRefused`](super::Error::WriteRefused),
    /// and [`Status::may_write`](super::Status::may_write) is `false` there. A writer without any key
    /// reads as a reader does. One with *another* key follows nobody and stays offline, with an error
    /// in its log. So do all that have a key, as long as none of them holds the content and a writer
    /// without the key does: a key that is brought to a collection in operation takes no content over.
    /// The book has the ways of introducing and replacing a key without a loss.
    ///
    /// A reader without the key can't tell a writer from a member that poses as one: give it the key
    /// as well where that matters, and it follows holders of the key only. Members are those who know
    /// the store id, and have the [tickets](Self::require_ticket) if some are required.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use mosaik::collections::{CollectionConfig, Map, WriteKey};
    ///
    /// # fn example(network: mosaik::Network, key: WriteKey) {
    /// let config = CollectionConfig::default().with_write_key(key);
    /// let writer = Map::<String, u64>::writer_with_config(&network, "prices", config);
    /// // Anywhere else, without the key:
    /// let reader = Map::<String, u64>::reader(&network, "prices");
    /// assert_eq!(reader.group_id(), writer.group_id());
    /// # }
    /// ```
    #[must_use]
    pub fn with_write_key(mut self, key: impl Into<WriteKey>) -> Self {
        self.write_key = Some(key.into());
        self
    }

    /// Names the element types in the collection's identity, in place of the names that Rust gives
    /// them: a type that is moved or renamed keeps its collection. Default: the types' names.
    #[must_use]
    pub fn with_type_tag(mut self, type_tag: impl Into<Cow<'static, str>>) -> Self {
        self.type_tag = Some(type_tag.into());
        self
    }
}

impl From<SyncConfig> for CollectionConfig {
    fn from(sync: SyncConfig) -> Self {
        Self::default().with_sync(sync)
    }
}

impl fmt::Debug for CollectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectionConfig")
            .field("sync", &self.sync)
            .field("validators", &self.validators.len())
            .field("durable", &self.durable)
            .field("min_writers", &self.min_writers)
            .field("max_entries", &self.max_entries)
            .field("max_bytes", &self.max_bytes)
            .field("type_tag", &self.type_tag)
            .field("watch_buffer", &self.watch_buffer)
            .field("write_key", &self.write_key)
            .finish()
    }
}

/// The way in which a member that lacks content gets it from the others.
///
/// All but the strategy is part of the collection's identity. Two of the times have no other effect.
#[derive(Debug, Clone)]
pub struct SyncConfig {
    fetch_batch_size: u64,
    snapshot_ttl: Duration,
    snapshot_request_timeout: Duration,
    fetch_timeout: Duration,
    strategy: SyncStrategy,
}

/// Preferred way in which a node that joins a collection gets the content. Each member's own affair;
/// of several handles on a node the first one's counts.
///
/// Both lead to the same content and version. The log tells a [`Watch`](super::Watch) every change on
/// the way; a snapshot is quicker where much was written and little is left of it, and a watch tells
/// it as [`Lagged`](super::Event::Lagged) or [`Compacted`](super::Event::Compacted). A member that has
/// the content and was away gets what it lacks by the log under both, as long as the others keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyncStrategy {
    /// All mutations, in order, as long as the others keep them; otherwise a snapshot.
    #[default]
    LogReplay,
    /// A snapshot of the content, which the leader takes for it if it has no recent one, and the
    /// mutations after it. Where no snapshot can be had, the mutations.
    Snapshot,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            fetch_batch_size: 2000,
            snapshot_ttl: Duration::from_secs(10),
            snapshot_request_timeout: Duration::from_secs(15),
            fetch_timeout: Duration::from_secs(5),
            strategy: SyncStrategy::LogReplay,
        }
    }
}

impl SyncConfig {
    /// The most items that are transferred at a time. Default 2000; zero counts as one.
    #[must_use]
    pub const fn with_fetch_batch_size(mut self, fetch_batch_size: u64) -> Self {
        self.fetch_batch_size = fetch_batch_size;
        self
    }

    /// Lifetime of a snapshot that nobody asks for. Default 10 s. **No effect but on the identity**:
    /// the newest snapshot is what the log begins with, so it is kept until there is a later one; one
    /// that a member has fetched is kept for 30 s more, with the log behind it.
    #[must_use]
    pub const fn with_snapshot_ttl(mut self, snapshot_ttl: Duration) -> Self {
        self.snapshot_ttl = snapshot_ttl;
        self
    }

    /// Timeout for the first offer of a snapshot. Default 15 s. **No effect but on the identity**: the
    /// leader offers a snapshot unasked to a member that needs one, and a member that
    /// [prefers](SyncStrategy::Snapshot) one asks for it with the
    /// [timeout of a batch](Self::with_fetch_timeout).
    #[must_use]
    pub const fn with_snapshot_request_timeout(
        mut self,
        snapshot_request_timeout: Duration,
    ) -> Self {
        self.snapshot_request_timeout = snapshot_request_timeout;
        self
    }

    /// The time to wait for one batch, or for the offer of a snapshot, before another member is tried.
    /// Default 5 s.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }

    /// Sets the strategy that this member prefers. Default [`SyncStrategy::LogReplay`]. Not part of
    /// the collection's identity.
    #[must_use]
    pub const fn with_strategy(mut self, strategy: SyncStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// The numbers that all members must agree on.
    pub(super) fn shared(&self) -> [u64; 4] {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        [
            self.fetch_batch_size,
            millis(self.snapshot_ttl),
            millis(self.snapshot_request_timeout),
            millis(self.fetch_timeout),
        ]
    }

    /// The synchronisation of the group's members.
    pub(super) fn group_sync<M: SnapshotStateMachine>(&self) -> SnapshotSync<M> {
        SnapshotSync::default()
            .with_batch_size(NonZero::new(self.fetch_batch_size).unwrap_or(NonZero::<u64>::MIN))
            .with_fetch_timeout(self.fetch_timeout)
            .with_snapshot_first(self.strategy == SyncStrategy::Snapshot)
    }
}
