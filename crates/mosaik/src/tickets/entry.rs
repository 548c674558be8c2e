//! Entry of a node in the catalog (a node record).

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use chrono::{DateTime, Utc};
use iroh::EndpointAddr;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{
    primitives::{
        Digest, FunctionId, GroupId, IntoIterOrSingle, NetworkId, PeerId, StreamId, Tag, Tagged,
        UniqueId,
    },
    tickets::{
        MAX_FUNCTIONS, MAX_GROUPS, MAX_STREAMS, MAX_TAGS, PeerEntryVersion, Ticket, system_now_ms,
        wire,
    },
};

const CONTENT_CONTEXT: &str = "mosaik discovery entry content v1";
const ENTRY_CONTEXT: &str = "mosaik discovery entry v1";

static PROTOCOL_VERSION: LazyLock<Version> = LazyLock::new(|| {
    Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo accepts semantic versions only")
});

/// Entry of a node in the catalog: its addresses and its offers, as the node itself states them.
///
/// Every field is also an accessor of the same name. The modifiers consume the entry and raise its
/// version if, and only if, they changed something; writing a field raises nothing.
///
/// Limits: 1024 each of tags, streams, functions and groups, 64 tickets of up to 64 KiB, 64
/// transport addresses, 256 KiB encoded.
///
/// # Examples
///
/// ```
/// use mosaik::{Tag, id, primitives::PeerId, tickets::PeerEntry};
///
/// # let peer: PeerId = iroh::SecretKey::from_bytes(&[1; 32]).public();
/// let entry = PeerEntry::new(id!("network"), peer).add_tags(["a", "b"]);
/// assert!(entry.tags.contains(&"a".into()) && entry.tags().contains(&"b".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PeerEntry {
    /// The crate version of the owner, fixed for a run.
    #[serde(with = "wire::version")]
    pub protocol_version: Version,
    /// The network that the owner is a member of.
    pub network_id: NetworkId,
    /// Start time of the owner's run, and the time of the last update of this entry.
    pub version: PeerEntryVersion,
    /// The owner's id, and where it can be reached.
    #[serde(with = "wire::address")]
    pub address: EndpointAddr,
    /// Labels that the owner put on itself.
    #[serde(deserialize_with = "wire::ids::<_, MAX_TAGS>")]
    pub tags: BTreeSet<Tag>,
    /// The streams that the owner produces.
    #[serde(deserialize_with = "wire::ids::<_, MAX_STREAMS>")]
    pub streams: BTreeSet<StreamId>,
    /// The functions that the owner handles.
    #[serde(deserialize_with = "wire::ids::<_, MAX_FUNCTIONS>")]
    pub functions: BTreeSet<FunctionId>,
    /// The groups that the owner is a member of.
    #[serde(deserialize_with = "wire::ids::<_, MAX_GROUPS>")]
    pub groups: BTreeSet<GroupId>,
    /// The owner's credentials, by [`Ticket::id`].
    #[serde(
        serialize_with = "wire::serialize_tickets",
        deserialize_with = "wire::tickets"
    )]
    pub tickets: BTreeMap<UniqueId, Ticket>,
}

impl PeerEntry {
    /// An entry that offers nothing yet, of a run that starts now.
    pub fn new(network_id: NetworkId, address: impl Into<EndpointAddr>) -> Self {
        Self {
            protocol_version: PROTOCOL_VERSION.clone(),
            network_id,
            version: PeerEntryVersion::default(),
            address: address.into(),
            tags: BTreeSet::new(),
            streams: BTreeSet::new(),
            functions: BTreeSet::new(),
            groups: BTreeSet::new(),
            tickets: BTreeMap::new(),
        }
    }

    /// The owner.
    pub const fn id(&self) -> &PeerId {
        &self.address.id
    }

    /// The same as [`id`](Self::id).
    pub const fn peer_id(&self) -> &PeerId {
        self.id()
    }

    /// The crate version of the owner.
    pub const fn protocol_version(&self) -> &Version {
        &self.protocol_version
    }

    /// The network that the owner is a member of.
    pub const fn network_id(&self) -> &NetworkId {
        &self.network_id
    }

    /// The version of this entry.
    pub const fn version(&self) -> PeerEntryVersion {
        self.version
    }

    /// The same as [`version`](Self::version).
    pub const fn update_version(&self) -> PeerEntryVersion {
        self.version
    }

    /// The owner's id, and where it can be reached.
    pub const fn address(&self) -> &EndpointAddr {
        &self.address
    }

    /// The same as [`address`](Self::address).
    pub const fn addr(&self) -> &EndpointAddr {
        self.address()
    }

    /// Labels that the owner put on itself.
    pub const fn tags(&self) -> &BTreeSet<Tag> {
        &self.tags
    }

    /// The streams that the owner produces.
    pub const fn streams(&self) -> &BTreeSet<StreamId> {
        &self.streams
    }

    /// The functions that the owner handles.
    pub const fn functions(&self) -> &BTreeSet<FunctionId> {
        &self.functions
    }

    /// The groups that the owner is a member of.
    pub const fn groups(&self) -> &BTreeSet<GroupId> {
        &self.groups
    }

    /// The owner's credentials, by [`Ticket::id`].
    pub const fn tickets(&self) -> &BTreeMap<UniqueId, Ticket> {
        &self.tickets
    }

    /// Time of the last update of the entry, by the owner's clock.
    pub fn updated_at(&self) -> DateTime<Utc> {
        self.version.updated_at()
    }

    /// Start time of the owner's run, self-declared.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.version.started_at()
    }

    /// Uptime of the owner, self-declared; zero if its start time lies in the future.
    pub fn uptime(&self) -> Duration {
        (Utc::now() - self.started_at())
            .to_std()
            .unwrap_or_default()
    }

    /// A hash of the whole entry, including its version.
    pub fn digest(&self) -> blake3::Hash {
        versioned_digest(&self.content_digest(), self.version)
    }

    /// Returns whether this entry has a later version than the other one, whatever they contain.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.version > other.version
    }

    /// Adds streams.
    #[must_use]
    pub fn add_streams<V>(self, streams: impl IntoIterOrSingle<StreamId, V>) -> Self {
        self.changed(|entry| insert_all(&mut entry.streams, streams.iterator()))
    }

    /// Removes streams.
    #[must_use]
    pub fn remove_streams<V>(self, streams: impl IntoIterOrSingle<StreamId, V>) -> Self {
        self.changed(|entry| remove_all(&mut entry.streams, streams.iterator()))
    }

    /// Adds functions.
    #[must_use]
    pub fn add_functions<V>(self, functions: impl IntoIterOrSingle<FunctionId, V>) -> Self {
        self.changed(|entry| insert_all(&mut entry.functions, functions.iterator()))
    }

    /// Removes functions.
    #[must_use]
    pub fn remove_functions<V>(self, functions: impl IntoIterOrSingle<FunctionId, V>) -> Self {
        self.changed(|entry| remove_all(&mut entry.functions, functions.iterator()))
    }

    /// Adds groups.
    #[must_use]
    pub fn add_groups<V>(self, groups: impl IntoIterOrSingle<GroupId, V>) -> Self {
        self.changed(|entry| insert_all(&mut entry.groups, groups.iterator()))
    }

    /// Removes groups.
    #[must_use]
    pub fn remove_groups<V>(self, groups: impl IntoIterOrSingle<GroupId, V>) -> Self {
        self.changed(|entry| remove_all(&mut entry.groups, groups.iterator()))
    }

    /// Adds tags.
    #[must_use]
    pub fn add_tags<V>(self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        self.changed(|entry| insert_all(&mut entry.tags, tags.iterator()))
    }

    /// Removes tags.
    #[must_use]
    pub fn remove_tags<V>(self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        self.changed(|entry| remove_all(&mut entry.tags, tags.iterator()))
    }

    /// Adds a ticket; one that is already there changes nothing.
    #[must_use]
    pub fn add_ticket(self, ticket: Ticket) -> Self {
        self.changed(|entry| entry.tickets.insert(ticket.id(), ticket).is_none())
    }

    /// Removes a ticket.
    #[must_use]
    pub fn remove_ticket(self, ticket_id: UniqueId) -> Self {
        self.changed(|entry| entry.tickets.remove(&ticket_id).is_some())
    }

    /// Removes all tickets of this class.
    #[must_use]
    pub fn remove_tickets_of(self, class: UniqueId) -> Self {
        self.changed(|entry| {
            let before = entry.tickets.len();
            entry.tickets.retain(|_, ticket| ticket.class != class);
            entry.tickets.len() != before
        })
    }

    /// Puts this ticket in the place of all others of its class.
    #[must_use]
    pub(crate) fn replace_ticket(self, ticket: Ticket) -> Self {
        self.changed(|entry| {
            let id = ticket.id();
            let before = entry.tickets.len();
            entry
                .tickets
                .retain(|other, old| old.class != ticket.class || *other == id);
            let removed = entry.tickets.len() != before;
            entry.tickets.insert(id, ticket).is_none() || removed
        })
    }

    /// Replaces the address and raises the version.
    ///
    /// Fails with the present and the new id if they differ.
    pub(crate) fn with_address(mut self, address: EndpointAddr) -> Result<Self, (PeerId, PeerId)> {
        if address.id != self.address.id {
            return Err((self.address.id, address.id));
        }
        self.address = address;
        Ok(self.bumped(system_now_ms()))
    }

    /// Raises the version.
    #[must_use]
    pub(crate) fn bumped(mut self, now_ms: u64) -> Self {
        self.version = self.version.bumped(now_ms);
        self
    }

    /// Hash of everything but the version: equal as long as an owner only renews its entry.
    pub(crate) fn content_digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(CONTENT_CONTEXT);
        let content = Content {
            protocol_version: &self.protocol_version,
            network_id: &self.network_id,
            address: &self.address,
            tags: &self.tags,
            streams: &self.streams,
            functions: &self.functions,
            groups: &self.groups,
            tickets: self.tickets.values().map(Ticket::id).collect(),
        };
        postcard::to_io(&content, &mut hasher).expect("an entry encodes into a hasher");
        Digest::from_hasher(&hasher)
    }

    fn changed(mut self, change: impl FnOnce(&mut Self) -> bool) -> Self {
        if change(&mut self) {
            self.bumped(system_now_ms())
        } else {
            self
        }
    }
}

/// Content of an entry, as it is hashed.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(serialize_with = "wire::version::serialize")]
    protocol_version: &'a Version,
    network_id: &'a NetworkId,
    #[serde(serialize_with = "wire::address::serialize")]
    address: &'a EndpointAddr,
    tags: &'a BTreeSet<Tag>,
    streams: &'a BTreeSet<StreamId>,
    functions: &'a BTreeSet<FunctionId>,
    groups: &'a BTreeSet<GroupId>,
    /// The ids, which stand for the content of the tickets.
    tickets: Vec<UniqueId>,
}

/// Digest of an entry, from the digest of its content.
pub(crate) fn versioned_digest(content: &Digest, version: PeerEntryVersion) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(ENTRY_CONTEXT);
    hasher.update(content.as_bytes());
    hasher.update(&version.start_ms().to_le_bytes());
    hasher.update(&version.update_ms().to_le_bytes());
    hasher.finalize()
}

impl From<&PeerEntry> for PeerId {
    fn from(entry: &PeerEntry) -> Self {
        *entry.id()
    }
}

impl Tagged for PeerEntry {
    fn tags(&self) -> &BTreeSet<Tag> {
        &self.tags
    }
}

fn insert_all(set: &mut BTreeSet<Digest>, items: impl IntoIterator<Item = Digest>) -> bool {
    let mut changed = false;
    for item in items {
        changed |= set.insert(item);
    }
    changed
}

fn remove_all(set: &mut BTreeSet<Digest>, items: impl IntoIterator<Item = Digest>) -> bool {
    let mut changed = false;
    for item in items {
        changed |= set.remove(&item);
    }
    changed
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
