//! The keeper of the catalog: applies the rules under a lock, and tells everybody what changed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use iroh::{EndpointAddr, SecretKey};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, broadcast, watch},
    time::Instant,
};

use super::{
    Catalog, Config, Duplicate, Event,
    clock::{Clock, Steps},
    identity_conflict::IdentityConflict,
    metrics::DiscoveryMetrics,
    state::{Departure, Effect, Refusal, State},
    wire::Goodbye,
};
use crate::{
    net::Links,
    primitives::{LastTime, NetworkId, PeerId, ShortFmtExt},
    tickets::{LimitError, PeerEntry, PeerEntryVersion, SignedPeerEntry, UnverifiedEntry, listed},
};

/// Changed peers that a slow subsystem may lag behind before it must look at everything again.
const CHANGES_BACKLOG: usize = 4096;
/// A process that has run for less than this takes an own entry that it did not make for one of a
/// former run; later, for one of a process that started after it.
const NEWCOMER: Duration = Duration::from_secs(10);
/// Starts of this process's earlier runs that are remembered, after steps of its clock.
const MAX_FORMER: usize = 8;
/// Warnings about peers come no faster than this, however many peers misbehave.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The catalog of one node, shared by all parts of discovery.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    /// Held while the local entry is changed and signed, so that no change is lost.
    author: Mutex<Author>,
    audience: Mutex<Option<Audience>>,
    links: Links,
    rivalry: Mutex<IdentityConflict>,
    /// Time of the last warning about a peer.
    warned: Mutex<Option<Instant>>,
    max_time_drift_ms: u64,
    duplicate: watch::Sender<Option<Duplicate>>,
    last_duplicate: LastTime,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<DiscoveryMetrics>,
    /// The local entry has a content that was not announced yet.
    pub(crate) unannounced: Notify,
    /// The next entry may become stale earlier than thought.
    pub(crate) deadlines: Notify,
}

/// The owner of the local entry.
#[derive(Debug)]
struct Author {
    secret: SecretKey,
    /// Start time of this run, as its entry says. A process that began to run alone has chosen it;
    /// who uses it in another entry has seen this one, and lives.
    start_ms: u64,
    started: Instant,
    /// Start time of the process.
    born: Instant,
    /// The starts of runs that this process has given up.
    former: VecDeque<u64>,
    steps: Steps,
    /// True once the departure was announced, or the process was shut out: nothing newer may
    /// follow, or others would take the node for alive.
    departed: bool,
}

impl Author {
    /// Begins a run of the same process, whose entry had the start `shown`.
    fn begin(&mut self, start_ms: u64, shown: u64) {
        self.former.extend([self.start_ms, shown]);
        while self.former.len() > MAX_FORMER {
            self.former.pop_front();
        }
        self.start_ms = start_ms;
        self.started = Instant::now();
    }
}

/// Everybody who is told about changes; gone after shutdown.
#[derive(Debug)]
struct Audience {
    catalog: watch::Sender<Catalog>,
    events: broadcast::Sender<Event>,
    changes: broadcast::Sender<PeerId>,
}

impl Store {
    pub(crate) fn new(
        config: &Config,
        network_id: NetworkId,
        addr: EndpointAddr,
        secret: SecretKey,
        links: Links,
        clock: Clock,
    ) -> Self {
        let start_ms = clock.now_ms();
        let entry = PeerEntry {
            version: PeerEntryVersion::from_millis(start_ms, start_ms),
            tags: config.tags.iter().copied().collect(),
            ..PeerEntry::new(network_id, listed(addr))
        };
        let local = entry
            .signed_by(&secret)
            .expect("the entry was made for this key");
        let catalog = Catalog::new(local, config.purge_after, config.max_rtt, clock.clone());
        let audience = Audience {
            catalog: watch::channel(catalog.clone()).0,
            events: broadcast::channel(config.events_backlog).0,
            changes: broadcast::channel(CHANGES_BACKLOG).0,
        };
        Self {
            state: Mutex::new(State::new(catalog, config.max_time_drift, config.max_peers)),
            author: Mutex::new(Author {
                secret,
                start_ms,
                started: Instant::now(),
                born: Instant::now(),
                former: VecDeque::new(),
                steps: Steps::new(&clock),
                departed: false,
            }),
            audience: Mutex::new(Some(audience)),
            links,
            rivalry: Mutex::default(),
            warned: Mutex::default(),
            max_time_drift_ms: u64::try_from(config.max_time_drift.as_millis()).unwrap_or(u64::MAX),
            duplicate: watch::channel(None).0,
            last_duplicate: LastTime::default(),
            clock,
            metrics: Arc::new(DiscoveryMetrics::register(&network_id)),
            unannounced: Notify::new(),
            deadlines: Notify::new(),
        }
    }

    // ---- looking

    pub(crate) fn catalog(&self) -> Catalog {
        self.state.lock().catalog().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Catalog> {
        if let Some(audience) = &*self.audience.lock() {
            return audience.catalog.subscribe();
        }
        // With the audience unlocked: who changes the catalog locks it first.
        watch::channel(self.catalog()).1
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        match &*self.audience.lock() {
            Some(audience) => audience.events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    pub(crate) fn changes(&self) -> broadcast::Receiver<PeerId> {
        match &*self.audience.lock() {
            Some(audience) => audience.changes.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    pub(crate) fn content_fingerprint(&self) -> u128 {
        self.state.lock().content_fingerprint()
    }

    pub(crate) fn departed(&self, id: &PeerId) -> Option<(PeerEntryVersion, Departure)> {
        self.state.lock().departed(id, self.clock.now_ms())
    }

    /// The version at which to suspect a peer that somebody can't reach at `claimed`: the one that
    /// is held. `None` if that is newer, and if there can't be such a version, which is counted.
    pub(crate) fn suspectable(
        &self,
        peer: &PeerId,
        claimed: PeerEntryVersion,
    ) -> Option<PeerEntryVersion> {
        let held = self.catalog().signed.get(peer)?.version();
        if !self.counts(claimed) {
            self.refused(Refusal::FutureDated, peer);
            return None;
        }
        (held <= claimed || !self.counts(held)).then_some(held)
    }

    /// Returns whether a version can exist by this node's clock.
    pub(crate) fn counts(&self, version: PeerEntryVersion) -> bool {
        self.state.lock().counts(version, self.clock.now_ms())
    }

    /// Returns whether the catalog is full: then it is not like those of others.
    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().is_full()
    }

    /// Another process with this node's key, if one was found.
    pub(crate) fn duplicate(&self) -> watch::Receiver<Option<Duplicate>> {
        self.duplicate.subscribe()
    }

    /// Time since a second process with this node's key was last heard of.
    pub(crate) fn duplicate_ago_ms(&self) -> Option<u64> {
        self.last_duplicate.ago_ms()
    }

    /// Returns whether another process with this node's key has shut this one out.
    pub(crate) fn is_shut_out(&self) -> bool {
        let duplicate = self.duplicate.borrow();
        duplicate.as_ref().is_some_and(|other| other.shut_out)
    }

    pub(crate) fn vanished(&self) -> Vec<EndpointAddr> {
        self.state.lock().vanished().cloned().collect()
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.state.lock().next_due_ms()
    }

    pub(crate) fn admissible_version(
        &self,
        id: &PeerId,
        version: PeerEntryVersion,
    ) -> Result<(), Refusal> {
        let state = self.state.lock();
        state.admissible_version(id, version, self.clock.now_ms())?;
        if state.has_room(id, version, || self.links.connected_peers()) {
            Ok(())
        } else {
            Err(Refusal::CatalogFull)
        }
    }

    // ---- remote entries

    /// Offers an entry that was received; verifies it only if it would be admitted.
    pub(crate) fn offer(&self, entry: UnverifiedEntry) -> Result<SignedPeerEntry, Refusal> {
        let (id, version) = (*entry.entry().id(), entry.entry().version());
        let checked = {
            let state = self.state.lock();
            let room = || state.has_room(&id, version, || self.links.connected_peers());
            let admissible = state.admissible(entry.entry(), self.clock.now_ms());
            admissible.and_then(|()| room().then_some(()).ok_or(Refusal::CatalogFull))
        };
        if let Err(refusal) = checked {
            self.refused(refusal, &id);
            if refusal == Refusal::OwnEntry {
                self.outgrow(entry);
            }
            return Err(refusal);
        }
        match entry.verify() {
            Some(entry) => self.admit(entry),
            None => Err(self.refused(Refusal::BadSignature, &id)),
        }
    }

    /// Offers an entry whose signature is known to be good.
    pub(crate) fn admit(&self, entry: SignedPeerEntry) -> Result<SignedPeerEntry, Refusal> {
        let mut state = self.state.lock();
        let connected = || self.links.connected_peers();
        match state.admit(entry.clone(), self.clock.now_ms(), connected) {
            Ok(effects) => {
                self.apply(&state, effects);
                Ok(entry)
            }
            Err(refusal) => {
                drop(state);
                Err(self.refused(refusal, entry.id()))
            }
        }
    }

    /// Counts and logs a refusal.
    pub(crate) fn refused(&self, refusal: Refusal, peer: &PeerId) -> Refusal {
        self.metrics.refused(refusal);
        if matches!(refusal, Refusal::FutureDated | Refusal::Stale) && self.may_warn() {
            tracing::warn!(peer = %peer.short(), "entry refused: the peer's clock and ours \
                differ by more than max_time_drift");
        } else if refusal == Refusal::CatalogFull && self.may_warn() {
            tracing::warn!(peer = %peer.short(), "entry refused: the catalog is full, see \
                max_peers");
        } else if !refusal.is_ordinary() {
            tracing::debug!(peer = %peer.short(), reason = refusal.label(), "entry refused");
        }
        refusal
    }

    /// Returns whether enough time has passed since the last warning about a peer; if so, it counts
    /// as warned.
    pub(crate) fn may_warn(&self) -> bool {
        let mut last = self.warned.lock();
        let is_due = last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    pub(crate) fn insert_unsigned(&self, entry: PeerEntry) -> bool {
        self.change(|state| state.insert_unsigned(entry))
    }

    pub(crate) fn remove_unsigned(&self, id: &PeerId) -> bool {
        self.change(|state| state.remove_unsigned(id))
    }

    pub(crate) fn clear_unsigned(&self) -> bool {
        self.change(State::clear_unsigned)
    }

    /// Applies a peer's departure announcement; `true` if it took effect.
    pub(crate) fn goodbye(&self, goodbye: &Goodbye) -> bool {
        let now = self.clock.now_ms();
        let drift = self.max_time_drift_ms;
        let network_id = self.state.lock().catalog().network_id();
        let refusal = if goodbye.network != network_id {
            Some(Refusal::DifferentNetwork)
        } else if goodbye.time_ms.abs_diff(now) > drift || !self.counts(goodbye.version) {
            Some(Refusal::FutureDated)
        } else if !goodbye.is_signed() {
            Some(Refusal::BadSignature)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.refused(refusal, &goodbye.peer);
            return false;
        }
        self.depart(goodbye.peer, goodbye.version, Departure::Goodbye)
    }

    /// Removes a peer's entry up to a version.
    pub(crate) fn depart(&self, id: PeerId, version: PeerEntryVersion, how: Departure) -> bool {
        let now = self.clock.now_ms();
        self.change(|state| Some(state.depart(id, version, how, now)).filter(|e| !e.is_empty()))
    }

    pub(crate) fn purge(&self) {
        let now = self.clock.now_ms();
        self.change(|state| Some(state.purge(now)).filter(|effects| !effects.is_empty()));
    }

    /// Takes a round-trip time sample in, if there is one.
    pub(crate) fn record_rtt(&self, id: PeerId, sample: impl Into<Option<Duration>>) {
        let Some(sample) = sample.into() else { return };
        let mut state = self.state.lock();
        let effects = state.record_rtt(id, sample);
        self.apply(&state, effects);
    }

    // ---- the local entry

    /// Changes the content of the local entry; `true` if that made a difference.
    ///
    /// The change is visible when this returns, and is announced at once. After the
    /// announced departure it stays with this node: the version is that of the departure, and so no
    /// peer takes the entry in. One that the entry has no room for is refused with an error in the
    /// log.
    pub(crate) fn update_local(&self, change: impl FnOnce(PeerEntry) -> PeerEntry) -> bool {
        self.try_update_local(change).unwrap_or_else(|error| {
            tracing::error!(%error, "the change of the local entry is refused: it stays as it is");
            false
        })
    }

    /// As [`update_local`](Self::update_local), and tells when there is no room.
    pub(crate) fn try_update_local(
        &self,
        change: impl FnOnce(PeerEntry) -> PeerEntry,
    ) -> Result<bool, LimitError> {
        let mut author = self.author.lock();
        let current = self.state.lock().catalog().local().clone();
        let changed = change(current.clone().into_unsigned());
        if changed.content_digest() == *current.content() {
            return Ok(false);
        }
        changed.check_limits()?;
        if author.departed {
            let version = current.version();
            self.set_local(&author, PeerEntry { version, ..changed });
        } else {
            self.sign_local(&mut author, changed, current.version());
            self.unannounced.notify_one();
        }
        Ok(true)
    }

    /// Gives the local entry a new version with the same content, for a heartbeat.
    pub(crate) fn renew_local(&self) -> SignedPeerEntry {
        let mut author = self.author.lock();
        let current = self.state.lock().catalog().local().clone();
        if author.departed {
            return current;
        }
        let version = current.version();
        self.sign_local(&mut author, current.into_unsigned(), version)
    }

    /// Renews the local entry and announces it if the wall clock was set, or the machine has slept:
    /// the version may be stale, or of the future, for everybody else.
    pub(crate) fn follow_clock(&self) {
        let stepped = {
            let mut author = self.author.lock();
            let stepped = author.steps.stepped(&self.clock);
            stepped || !self.counts(self.catalog().local().version())
        };
        if stepped {
            self.renew_local();
            self.unannounced.notify_one();
        }
    }

    /// Answers the claim of `peer` that this node is gone at a version: makes the local entry newer
    /// than it was, and announces that if it changed.
    ///
    /// Nothing proves that the version exists. It is outgrown if this node may have had it. One that
    /// others may believe in is answered all the same; one that can't exist for anybody is counted
    /// and ignored.
    pub(crate) fn refute(&self, version: PeerEntryVersion, peer: &PeerId) {
        let now = self.clock.now_ms();
        let (credible, possible) = {
            let state = self.state.lock();
            (
                state.is_credible(version, now),
                state.is_possible(version, now),
            )
        };
        let current = self.catalog().local().version();
        if credible {
            self.outlive(version);
        } else if possible {
            self.outlive(current);
        }
        if !credible {
            self.metrics.refused(Refusal::FutureDated);
            if self.may_warn() {
                tracing::warn!(peer = %peer.short(), %version, "a peer claims that this node had a \
                    version that it can't have had");
            }
        }
    }

    /// Makes the local entry newer than `version`, and announces it if that changed it.
    fn outlive(&self, version: PeerEntryVersion) {
        self.outlive_as(&mut self.author.lock(), version);
    }

    fn outlive_as(&self, author: &mut Author, version: PeerEntryVersion) {
        let current = self.state.lock().catalog().local().clone();
        if author.departed || current.version() > version {
            return;
        }
        let base = PeerEntryVersion::from_millis(
            current.version().start_ms().max(version.start_ms()),
            current.version().update_ms().max(version.update_ms()),
        );
        self.sign_local(author, current.into_unsigned(), base);
        self.unannounced.notify_one();
    }

    /// A signed departure announcement for everything up to the current version; the node sends no
    /// heartbeat after that. `None` when another process speaks for this identity.
    pub(crate) fn sign_goodbye(&self) -> Option<Goodbye> {
        self.follow_clock();
        let mut author = self.author.lock();
        if self.is_shut_out() {
            return None;
        }
        author.departed = true;
        let local = self.state.lock().catalog().local().clone();
        Some(Goodbye::new(
            *local.network_id(),
            local.version(),
            self.clock.now_ms(),
            &author.secret,
        ))
    }

    fn sign_local(
        &self,
        author: &mut Author,
        entry: PeerEntry,
        after: PeerEntryVersion,
    ) -> SignedPeerEntry {
        let elapsed = u64::try_from(author.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = self.clock.now_ms();
        // The wall clock may have stepped back: then the monotonic one goes on.
        let mut version = after.bumped(now.max(author.start_ms.saturating_add(elapsed)));
        if version.update_ms() > now.saturating_add(self.max_time_drift_ms) {
            // The clock that made the former versions was wrong. Nobody whose clock is right lets
            // them count, and everybody takes a run that starts now.
            tracing::warn!(former = %after, "this node's clock was set back: its entry starts a \
                new run");
            author.begin(now, after.start_ms());
            version = PeerEntryVersion::from_millis(now, now);
        }
        self.set_local(author, PeerEntry { version, ..entry })
    }

    fn set_local(&self, author: &Author, entry: PeerEntry) -> SignedPeerEntry {
        let signed = entry
            .signed_by(&author.secret)
            .expect("the local entry has this key's id");
        let mut state = self.state.lock();
        let content_changed = state.catalog().local().content() != signed.content();
        state.set_local(signed.clone());
        if content_changed {
            let local_id = *signed.id();
            self.apply(&state, vec![Effect::Changed(local_id)]);
        } else if let Some(audience) = &*self.audience.lock() {
            let catalog = state.catalog().clone();
            audience.catalog.send_if_modified(|current| {
                *current = catalog;
                false
            });
        }
        signed
    }

    /// An own entry from elsewhere: of a former run, or of a second process with the same key.
    ///
    /// A process that has run for a while is not surprised by its own past: it takes such an entry
    /// for that of one that started after it, and answers with an entry of *that* run. One that
    /// finds its own run in an entry that it did not make has been answered by somebody who is alive
    /// and was there before, and gives way. A former run answers nobody, and only the holder of the
    /// key can answer at all.
    fn outgrow(&self, entry: UnverifiedEntry) {
        let version = entry.entry().version();
        if version <= self.catalog().local().version() {
            return;
        }
        let now = self.clock.now_ms();
        if !self.state.lock().is_credible(version, now) {
            self.metrics.refused(Refusal::FutureDated);
            return;
        }
        let Some(foreign) = entry.verify() else {
            self.metrics.refused(Refusal::BadSignature);
            return;
        };
        self.metrics.rivalled();
        let mut author = self.author.lock();
        if author.departed || version <= self.catalog().local().version() {
            return;
        }
        let address = foreign.address().clone();
        if version.start_ms() == author.start_ms {
            author.departed = true;
            self.last_duplicate.note();
            tracing::error!(
                ?address,
                "another process runs with this node's identity, and was \
                there first: this node is shut out"
            );
            self.duplicate.send_replace(Some(Duplicate {
                address,
                shut_out: true,
            }));
            return;
        }
        if !self.rivalry.lock().may_step(Instant::now()) {
            return;
        }
        let own_past = author.former.contains(&version.start_ms());
        if own_past || author.born.elapsed() < NEWCOMER {
            if self.may_warn() {
                tracing::warn!(%version, "an entry of a former run of this node is newer than its \
                    own, or somebody else uses its key");
            }
            let shown = self.catalog().local().version().start_ms();
            author.begin(version.start_ms().saturating_add(1), shown);
            let next = PeerEntryVersion::from_millis(author.start_ms, version.update_ms());
            self.outlive_as(&mut author, next);
            return;
        }
        self.last_duplicate.note();
        let duplicate = Some(Duplicate {
            address: address.clone(),
            shut_out: false,
        });
        if self.duplicate.send_replace(duplicate.clone()) != duplicate {
            tracing::error!(
                ?address,
                "another process was started with this node's identity: it \
                is shut out"
            );
        }
        self.outlive_as(&mut author, version);
    }

    // ---- telling

    /// Ends all watches and event receivers. The catalog can still be read; measurements of the
    /// running node end.
    pub(crate) fn dismiss_audience(&self) {
        self.audience.lock().take();
        self.metrics.catalog_size(0);
        self.metrics.neighbors([]);
    }

    fn change(&self, change: impl FnOnce(&mut State) -> Option<Vec<Effect>>) -> bool {
        let mut state = self.state.lock();
        let effects = change(&mut state);
        let changed = effects.is_some();
        self.apply(&state, effects.unwrap_or_default());
        changed
    }

    /// Publishes a change. Called with the state locked, so that changes are told in order.
    fn apply(&self, state: &State, effects: Vec<Effect>) {
        self.deadlines.notify_one();
        let audience = self.audience.lock();
        let Some(audience) = &*audience else { return };
        let visible = effects
            .iter()
            .any(|e| matches!(e, Effect::Changed(_) | Effect::Event(_)));
        let catalog = state.catalog().clone();
        self.metrics
            .catalog_size(catalog.signed.size() + catalog.unsigned.size());
        audience.catalog.send_if_modified(|current| {
            *current = catalog;
            visible
        });
        for effect in effects {
            match effect {
                Effect::Learn(addr) => self.links.learn(&addr),
                Effect::Forget(peer) => self.links.forget(peer),
                // Nobody listening is fine, here and below.
                Effect::Changed(peer) => drop(audience.changes.send(peer)),
                Effect::Event(event) => {
                    self.metrics.event(&event);
                    drop(audience.events.send(event));
                }
            }
        }
    }
}

pub(crate) type SharedStore = Arc<Store>;
