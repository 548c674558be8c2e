//! The rules of the catalog: which entries are admitted, which events that causes, and when
//! peers are gone. No I/O, no clock of its own.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use iroh::EndpointAddr;

use super::{
    Event,
    catalog::{Catalog, is_fresh},
    rtt::Rtt,
};
use crate::{
    primitives::{Digest, PeerId},
    tickets::{PeerEntry, PeerEntryVersion, SignedPeerEntry},
};

/// Departures that are remembered at most; the oldest are forgotten first.
const MAX_TOMBSTONES: usize = 16 * 1024;
/// Limit on the peers that vanished without an announced departure and are searched for; the oldest
/// are forgotten first.
const MAX_VANISHED: usize = 64;

/// Reasons for refusing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    DifferentNetwork,
    OwnEntry,
    FutureDated,
    Stale,
    NotNewer,
    Departed,
    TooLarge,
    BadSignature,
    /// Not a message of gossip.
    Undecodable,
    /// There is no room for another peer.
    CatalogFull,
}

impl Refusal {
    pub(super) const ALL: [Self; 10] = [
        Self::DifferentNetwork,
        Self::OwnEntry,
        Self::FutureDated,
        Self::Stale,
        Self::NotNewer,
        Self::Departed,
        Self::TooLarge,
        Self::BadSignature,
        Self::Undecodable,
        Self::CatalogFull,
    ];

    /// The value of the metric's `reason` label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::DifferentNetwork => "different_network",
            Self::OwnEntry => "own_entry",
            Self::FutureDated => "future_dated",
            Self::Stale => "stale",
            Self::NotNewer => "not_newer",
            Self::Departed => "departed",
            Self::TooLarge => "too_large",
            Self::BadSignature => "bad_signature",
            Self::Undecodable => "undecodable",
            Self::CatalogFull => "catalog_full",
        }
    }

    /// Returns whether this happens in normal operation, without a fault of anybody.
    pub(crate) const fn is_ordinary(self) -> bool {
        matches!(self, Self::NotNewer | Self::OwnEntry | Self::Departed)
    }
}

/// Evidence that a peer has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It said so.
    Goodbye,
    /// It was found dead, or its entry became stale.
    Vanished,
}

/// A departure that late copies of older entries must not undo.
#[derive(Debug, Clone, Copy)]
struct Tombstone {
    version: PeerEntryVersion,
    departure: Departure,
    expires_ms: u64,
}

impl Tombstone {
    fn is_in_force(&self, version: PeerEntryVersion, now_ms: u64) -> bool {
        version <= self.version && self.expires_ms > now_ms
    }
}

/// Effects of a change of the state.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "effects are consumed where they are made"
)]
pub(crate) enum Effect {
    /// Tell everybody who listens to events.
    Event(Event),
    /// The content, visibility or round-trip time of a peer changed.
    Changed(PeerId),
    /// Remember where the peer can be reached.
    Learn(EndpointAddr),
    /// The peer is out of the catalog: where it could be reached need not be known any more.
    Forget(PeerId),
}

/// All that is known about the network, and the rules by which that changes.
#[derive(Debug)]
pub(crate) struct State {
    catalog: Catalog,
    tombstones: HashMap<PeerId, Tombstone>,
    /// The same by the time when they expire.
    tombstones_by_end: BTreeSet<(u64, PeerId)>,
    /// Remote signed entries by the time of their update: the first is the next to become stale.
    by_update: BTreeSet<(u64, PeerId)>,
    vanished: VecDeque<EndpointAddr>,
    /// Round-trip times that consumers of the catalog last decided with.
    published_rtts: HashMap<PeerId, Duration>,
    content_fingerprint: u128,
    max_time_drift_ms: u64,
    max_peers: usize,
}

impl State {
    pub(crate) fn new(catalog: Catalog, max_time_drift: Duration, max_peers: usize) -> Self {
        let mut state = Self {
            content_fingerprint: 0,
            catalog,
            tombstones: HashMap::new(),
            tombstones_by_end: BTreeSet::new(),
            by_update: BTreeSet::new(),
            vanished: VecDeque::new(),
            published_rtts: HashMap::new(),
            max_time_drift_ms: u64::try_from(max_time_drift.as_millis()).unwrap_or(u64::MAX),
            max_peers,
        };
        state.toggle_fingerprint(&state.catalog.local.clone());
        state
    }

    pub(crate) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// A summary of all signed content: equal on two nodes that know the same content. Versions
    /// that differ only in their last sign of life do not alter it.
    pub(crate) const fn content_fingerprint(&self) -> u128 {
        self.content_fingerprint
    }

    /// Peers that vanished without an announced departure, to be searched for.
    pub(crate) fn vanished(&self) -> impl Iterator<Item = &EndpointAddr> {
        self.vanished.iter()
    }

    /// The cheap part of admission, on an entry whose signature was not checked yet.
    pub(crate) fn admissible(&self, entry: &PeerEntry, now_ms: u64) -> Result<(), Refusal> {
        let (id, version) = (entry.id(), entry.version());
        if *entry.network_id() != self.catalog.network_id {
            return Err(Refusal::DifferentNetwork);
        }
        if *id == self.catalog.local_id {
            return Err(Refusal::OwnEntry);
        }
        self.admissible_version(id, version, now_ms)?;
        entry.check_limits().map_err(|_| Refusal::TooLarge)
    }

    /// Checks whether a version of a remote peer's entry would replace the known one.
    pub(crate) fn admissible_version(
        &self,
        id: &PeerId,
        version: PeerEntryVersion,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if !self.counts(version, now_ms) {
            return Err(Refusal::FutureDated);
        }
        if version.update_ms() < self.catalog.stale_before() {
            return Err(Refusal::Stale);
        }
        if self.tombstones.get(id).is_some_and(|tombstone| {
            tombstone.is_in_force(version, now_ms) && self.counts(tombstone.version, now_ms)
        }) {
            return Err(Refusal::Departed);
        }
        if self
            .catalog
            .signed
            .get(id)
            .is_some_and(|known| version <= known.version() && self.counts(known.version(), now_ms))
        {
            return Err(Refusal::NotNewer);
        }
        Ok(())
    }

    /// Returns whether a version can exist by this node's clock.
    ///
    /// One that is known and does not count was made by a clock that was wrong, or taken in by one:
    /// it stands in the way of none that counts. So a fleet whose clocks are set back goes on, and
    /// nobody can bring an old entry back while its owner's clock is right.
    pub(crate) fn counts(&self, version: PeerEntryVersion, now_ms: u64) -> bool {
        let newest = now_ms.saturating_add(self.max_time_drift_ms);
        version.start_ms() <= version.update_ms() && version.update_ms() <= newest
    }

    /// Returns whether there is room for an unknown peer with this version.
    pub(crate) fn has_room(
        &self,
        id: &PeerId,
        version: PeerEntryVersion,
        connected: impl FnOnce() -> HashSet<PeerId>,
    ) -> bool {
        self.catalog.signed.contains_key(id)
            || !self.is_full()
            || self.dispensable(id, version, &connected()).is_some()
    }

    /// Returns whether the number of signed entries has reached its limit.
    pub(crate) fn is_full(&self) -> bool {
        self.catalog.signed.size() >= self.max_peers
    }

    /// Returns whether this node's own entry may have had a version that somebody claims without
    /// proof.
    ///
    /// A node that believes it signs something newer, which nobody must have to refuse: not even
    /// peers whose clocks are behind. So only half of what clocks may differ by is allowed for.
    /// See [`is_possible`](Self::is_possible) for what somebody else may believe.
    pub(crate) fn is_credible(&self, version: PeerEntryVersion, now_ms: u64) -> bool {
        let newest = now_ms.saturating_add(self.max_time_drift_ms / 2);
        version.start_ms() <= version.update_ms() && version.update_ms() <= newest
    }

    /// Returns whether a peer with a clock within the allowed drift could believe in a version.
    pub(crate) fn is_possible(&self, version: PeerEntryVersion, now_ms: u64) -> bool {
        self.counts(version, now_ms.saturating_add(self.max_time_drift_ms))
    }

    /// Admits a verified entry. `connected` tells who is connected with this node, if room must be
    /// made.
    pub(crate) fn admit(
        &mut self,
        entry: SignedPeerEntry,
        now_ms: u64,
        connected: impl FnOnce() -> HashSet<PeerId>,
    ) -> Result<Vec<Effect>, Refusal> {
        self.admissible(&entry, now_ms)?;
        let id = *entry.id();
        let mut effects = Vec::new();
        let previous = self.catalog.signed.get(&id).cloned();
        if previous.is_none() && self.is_full() {
            effects = self.make_room(&entry, &connected())?;
        }
        self.forget_tombstone(&id);
        self.vanished.retain(|addr| addr.id != id);
        let unsigned = self.catalog.unsigned.get(&id).cloned();
        self.catalog.unsigned.remove_mut(&id);

        let same_run = |old: &PeerEntry| old.version().start_ms() == entry.version().start_ms();
        let unchanged = match (&previous, &unsigned) {
            (Some(old), _) => old.content() == entry.content() && same_run(old),
            (None, Some(old)) => old.content_digest() == *entry.content() && same_run(old),
            (None, None) => false,
        };
        if let Some(old) = &previous {
            self.by_update.remove(&(old.version().update_ms(), id));
            self.toggle_fingerprint(old);
        }
        self.by_update.insert((entry.version().update_ms(), id));
        self.toggle_fingerprint(&entry);
        self.catalog.signed.insert_mut(id, entry.clone());

        let new_address = previous
            .as_ref()
            .is_none_or(|old| old.address() != entry.address());
        if new_address {
            effects.push(Effect::Learn(entry.address().clone()));
        }
        if !unchanged {
            let event = if previous.is_some() || unsigned.is_some() {
                Event::PeerUpdated(entry.into_unsigned())
            } else {
                Event::PeerDiscovered(entry.into_unsigned())
            };
            effects.push(Effect::Event(event));
            effects.push(Effect::Changed(id));
        } else if unsigned.is_some() {
            effects.push(Effect::Changed(id));
        }
        Ok(effects)
    }

    /// Replaces the local entry.
    pub(crate) fn set_local(&mut self, entry: SignedPeerEntry) {
        self.toggle_fingerprint(&self.catalog.local.clone());
        self.toggle_fingerprint(&entry);
        self.catalog.local = entry;
    }

    /// Inserts an unsigned entry.
    pub(crate) fn insert_unsigned(&mut self, entry: PeerEntry) -> Option<Vec<Effect>> {
        let id = *entry.id();
        let foreign = *entry.network_id() != self.catalog.network_id;
        if foreign || id == self.catalog.local_id || self.catalog.signed.contains_key(&id) {
            return None;
        }
        let previous = self.catalog.unsigned.get(&id).cloned();
        let mut effects = vec![Effect::Learn(entry.address().clone())];
        let changed = previous.as_ref().is_none_or(|old| {
            old.content_digest() != entry.content_digest()
                || old.version().start_ms() != entry.version().start_ms()
        });
        self.catalog.unsigned.insert_mut(id, entry.clone().into());
        if changed {
            effects.push(Effect::Event(if previous.is_some() {
                Event::PeerUpdated(entry)
            } else {
                Event::PeerDiscovered(entry)
            }));
            effects.push(Effect::Changed(id));
        }
        Some(effects)
    }

    /// Removes the unsigned entry of a peer.
    pub(crate) fn remove_unsigned(&mut self, id: &PeerId) -> Option<Vec<Effect>> {
        self.catalog.unsigned.remove_mut(id).then(|| self.gone(*id))
    }

    /// Removes all unsigned entries.
    pub(crate) fn clear_unsigned(&mut self) -> Option<Vec<Effect>> {
        let ids: Vec<_> = self.catalog.unsigned.keys().copied().collect();
        if ids.is_empty() {
            return None;
        }
        Some(
            ids.iter()
                .flat_map(|id| self.remove_unsigned(id).unwrap_or_default())
                .collect(),
        )
    }

    /// Takes a departure in: the peer's entry up to `version` goes, and can't come back. A peer
    /// that is found dead goes at the very version that this node holds, so that nobody's claim
    /// reaches further.
    pub(crate) fn depart(
        &mut self,
        id: PeerId,
        version: PeerEntryVersion,
        departure: Departure,
        now_ms: u64,
    ) -> Vec<Effect> {
        let known = self.catalog.signed.get(&id).cloned();
        let outlived = known.as_ref().map(|entry| entry.version());
        let outlived = match departure {
            Departure::Goodbye => {
                outlived.is_some_and(|known| known > version && self.counts(known, now_ms))
            }
            Departure::Vanished => outlived != Some(version),
        };
        let buried = self.tombstones.get(&id).is_some_and(|tombstone| {
            tombstone.version >= version && self.counts(tombstone.version, now_ms)
        });
        if id == self.catalog.local_id || outlived || buried {
            return Vec::new();
        }
        self.bury(id, version, departure, now_ms);
        let Some(entry) = known else {
            return Vec::new();
        };
        if departure == Departure::Vanished {
            self.vanished.retain(|addr| addr.id != id);
            if self.vanished.len() >= MAX_VANISHED {
                self.vanished.pop_front();
            }
            self.vanished.push_back(entry.address().clone());
        }
        self.remove_signed(&entry);
        self.gone(id)
    }

    /// Removes what has become stale or expired by now.
    pub(crate) fn purge(&mut self, now_ms: u64) -> Vec<Effect> {
        let stale_before = self.catalog.stale_before();
        let mut effects = Vec::new();
        while let Some(&(update_ms, id)) = self.by_update.first() {
            if update_ms >= stale_before {
                break;
            }
            match self.catalog.signed.get(&id).map(|entry| entry.version()) {
                Some(version) => {
                    effects.extend(self.depart(id, version, Departure::Vanished, now_ms));
                    self.by_update.remove(&(update_ms, id));
                }
                None => drop(self.by_update.remove(&(update_ms, id))),
            }
        }
        let stale =
            |(_, entry): &(&PeerId, &std::sync::Arc<PeerEntry>)| !is_fresh(entry, stale_before);
        let unsigned: Vec<_> = self
            .catalog
            .unsigned
            .iter()
            .filter(stale)
            .map(|(id, _)| *id)
            .collect();
        for id in unsigned {
            effects.extend(self.remove_unsigned(&id).unwrap_or_default());
        }
        while let Some(&(expires_ms, id)) = self.tombstones_by_end.first()
            && expires_ms <= now_ms
        {
            self.forget_tombstone(&id);
        }
        effects
    }

    /// Time at which the next entry becomes stale or the next tombstone expires, in ms since the
    /// epoch.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let age = u64::try_from(self.catalog.purge_after.as_millis()).unwrap_or(u64::MAX);
        let signed = self.by_update.first().map(|(update_ms, _)| *update_ms);
        let unsigned = self
            .catalog
            .unsigned
            .values()
            .map(|entry| entry.version().update_ms())
            .min();
        let oldest = [signed, unsigned].into_iter().flatten().min();
        let stale = oldest.map(|update_ms| update_ms.saturating_add(age).saturating_add(1));
        let expired = self.tombstones_by_end.first().map(|(end, _)| *end);
        [stale, expired].into_iter().flatten().min()
    }

    /// The version up to which a peer is known to have departed.
    pub(crate) fn departed(
        &self,
        id: &PeerId,
        now_ms: u64,
    ) -> Option<(PeerEntryVersion, Departure)> {
        let tombstone = self.tombstones.get(id)?;
        let counts = self.counts(tombstone.version, now_ms) && tombstone.expires_ms > now_ms;
        counts.then_some((tombstone.version, tombstone.departure))
    }

    /// Takes a round-trip time sample of a remote peer in; of others nothing is kept.
    pub(crate) fn record_rtt(&mut self, id: PeerId, sample: Duration) -> Vec<Effect> {
        if !self.catalog.contains(&id) {
            return Vec::new();
        }
        let was_near = self.catalog.is_near(&id);
        let mut rtt = self.catalog.rtts.get(&id).copied();
        match &mut rtt {
            Some(rtt) => rtt.update(sample),
            None => rtt = Some(Rtt::first(sample)),
        }
        let Some(rtt) = rtt else { return Vec::new() };
        self.catalog.rtts.insert_mut(id, rtt);
        let published = self.published_rtts.get(&id);
        let material = published.is_none_or(|published| rtt.differs_materially(*published));
        if !material && was_near == self.catalog.is_near(&id) {
            return Vec::new();
        }
        self.published_rtts.insert(id, rtt.smoothed());
        vec![Effect::Changed(id)]
    }

    fn remove_signed(&mut self, entry: &SignedPeerEntry) {
        self.catalog.signed.remove_mut(entry.id());
        self.by_update
            .remove(&(entry.version().update_ms(), *entry.id()));
        self.toggle_fingerprint(entry);
    }

    /// Effects of a peer leaving the catalog.
    fn gone(&mut self, id: PeerId) -> Vec<Effect> {
        self.catalog.rtts.remove_mut(&id);
        self.published_rtts.remove(&id);
        vec![
            Effect::Forget(id),
            Effect::Event(Event::PeerDeparted(id)),
            Effect::Changed(id),
        ]
    }

    fn bury(&mut self, id: PeerId, version: PeerEntryVersion, departure: Departure, now_ms: u64) {
        let age = u64::try_from(self.catalog.purge_after.as_millis()).unwrap_or(u64::MAX);
        self.forget_tombstone(&id);
        if self.tombstones.len() >= MAX_TOMBSTONES
            && let Some((_, oldest)) = self.tombstones_by_end.pop_first()
        {
            self.tombstones.remove(&oldest);
        }
        let expires_ms = now_ms.saturating_add(age);
        self.tombstones.insert(
            id,
            Tombstone {
                version,
                departure,
                expires_ms,
            },
        );
        self.tombstones_by_end.insert((expires_ms, id));
    }

    fn forget_tombstone(&mut self, id: &PeerId) {
        if let Some(tombstone) = self.tombstones.remove(id) {
            self.tombstones_by_end.remove(&(tombstone.expires_ms, *id));
        }
    }

    /// Makes room for a newcomer: of all peers that this node was never in contact with, the
    /// newcomer included, the longest silent one has to go. Peers in use stay, however many keys
    /// somebody makes up.
    ///
    /// An evicted peer has not departed, and may come back.
    fn make_room(
        &mut self,
        newcomer: &PeerEntry,
        connected: &HashSet<PeerId>,
    ) -> Result<Vec<Effect>, Refusal> {
        let id = self
            .dispensable(newcomer.id(), newcomer.version(), connected)
            .ok_or(Refusal::CatalogFull)?;
        match self.catalog.signed.get(&id).cloned() {
            Some(entry) => {
                self.remove_signed(&entry);
                Ok(self.gone(id))
            }
            None => Err(Refusal::CatalogFull),
        }
    }

    /// Peer to evict in favour of a newcomer; `None` if the newcomer is to be refused.
    fn dispensable(
        &self,
        newcomer: &PeerId,
        version: PeerEntryVersion,
        connected: &HashSet<PeerId>,
    ) -> Option<PeerId> {
        let in_use = |id: &PeerId| connected.contains(id) || self.catalog.rtts.contains_key(id);
        let mut silent = self.by_update.iter().filter(|(_, id)| !in_use(id));
        let (update_ms, id) = *silent.next()?;
        (update_ms <= version.update_ms() || in_use(newcomer)).then_some(id)
    }

    /// Adds an entry to the fingerprint, or takes it out again.
    fn toggle_fingerprint(&mut self, entry: &SignedPeerEntry) {
        self.content_fingerprint ^= fingerprint(entry);
    }
}

fn fingerprint(entry: &SignedPeerEntry) -> u128 {
    let start = entry.version().start_ms().to_le_bytes();
    let digest = Digest::from_parts(&[entry.id().as_ref(), &start, entry.content().as_ref()]);
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    u128::from_le_bytes(half)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
