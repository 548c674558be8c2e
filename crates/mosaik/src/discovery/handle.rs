//! The handle through which programs and subsystems see the network.

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use iroh::{Endpoint, EndpointAddr, Watcher};
use rand::seq::IteratorRandom;
use tokio::{
    sync::{broadcast, oneshot, watch},
    time::sleep,
};

#[cfg(feature = "dht")]
use super::bootstrap::dht::DhtWorker;
#[cfg(feature = "mdns")]
use super::bootstrap::mdns;
use super::{
    Catalog, Config, Duplicate, Error, Event,
    bootstrap::{
        dialer::Dialer, remembered::Remembered, search::PeerSearch, status::BootstrapStatus,
    },
    clock::{Clock, Steps},
    gossip::worker::GossipWorker,
    gossip_handle::{GossipHandle, gossip_channel},
    liveness::{
        Prober,
        ping::{PING_TIMEOUT, Pinger},
        rtt_probes::RttProbes,
    },
    metrics::{DiscoveryMetrics, Figures},
    store::{SharedStore, Store},
    supervision::keep_running,
    suspicions::Suspicions,
    sync::exchange::Syncer,
    wire::{ANNOUNCE_ALPN, PING_ALPN, SYNC_ALPN},
};
use crate::{
    net::{Links, LocalNode, Router, close::Cancelled},
    primitives::{
        FunctionId, GroupId, IntoIterOrSingle, NetworkId, Opaque, PeerId, Scope, ShortFmtExt,
        StreamId, Tag, TicketClass, UniqueId, names,
    },
    tickets::{
        InvalidTicket, LimitError, PeerEntry, PeerInfo, SignedPeerEntry, Ticket, TicketCache,
        TicketValidator, Validity, listed,
    },
};

/// Peers that are told directly when this node leaves.
const MAX_DIRECT_GOODBYES: usize = 8;
/// Time that gossip gets to pass on an announcement of departure.
const GOSSIP_FLUSH: Duration = Duration::from_millis(100);
/// Time that peers have to renew their entries after this node's clock was set or the machine has
/// slept: until then none of them counts as silent.
const CLOCK_GRACE: Duration = Duration::from_secs(5);
/// Time for the addresses of peers to be written when the node ends.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// Timeout for the endpoint to close when another process has this node's identity.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The view that a node has of its network, and its own entry in it. Cheap to clone.
///
/// Handles outlive their network: then reading goes on with the last state, waiting ends, and
/// nothing hangs or panics.
#[derive(Clone)]
pub struct Discovery(Arc<Inner>);

struct Inner {
    network_id: NetworkId,
    config: Config,
    store: SharedStore,
    links: Links,
    dialer: Dialer,
    settling: BootstrapStatus,
    pinger: Pinger,
    gossip: GossipHandle,
    rtt_probes: RttProbes,
    ticket_cache: TicketCache,
    scope: Scope,
}

impl Discovery {
    /// Starts discovery and installs its protocols; with the addresses of a former run, if the
    /// node has where to keep them.
    pub(crate) fn start(
        config: Config,
        local: &LocalNode,
        links: &Links,
        router: &Router,
        clock: Clock,
        remembered: Option<Remembered>,
        scope: &Scope,
    ) -> Self {
        let (node, scope) = (scope.clone(), scope.child());
        let network_id = *local.network_id();
        let (links, endpoint) = (links.clone(), local.endpoint().clone());
        let store = Arc::new(Store::new(
            &config,
            network_id,
            local.addr(),
            local.secret_key().clone(),
            links.clone(),
            clock,
        ));
        for addr in &config.bootstrap_peers {
            links.give(addr);
        }
        let Protocols {
            gossip,
            suspicions,
            syncer,
            pinger,
        } = Protocols::install(&config, &endpoint, &store, &links, router, &scope);
        let prober = Prober {
            store: store.clone(),
            links: links.clone(),
            pinger: pinger.clone(),
            syncer: syncer.clone(),
            gossip: gossip.clone(),
            suspicions,
            scope: scope.clone(),
        };
        let dialer = Dialer {
            store: store.clone(),
            links: links.clone(),
            syncer: syncer.clone(),
            gossip: gossip.clone(),
            scope: scope.clone(),
        };
        let settling = BootstrapStatus::new();
        let seeker = PeerSearch {
            config: config.clone(),
            store: store.clone(),
            links: links.clone(),
            remembered: remembered.as_ref().map_or_else(Vec::new, Remembered::addrs),
            syncer: syncer.clone(),
            gossip: gossip.clone(),
            scope: scope.clone(),
            pending: Arc::new(settling.expect_answer()),
        };
        #[cfg(feature = "dht")]
        if let Some(worker) = DhtWorker::new(
            &config,
            endpoint.clone(),
            store.clone(),
            pinger.clone(),
            dialer.clone(),
            settling.expect_answer(),
        ) {
            scope.spawn_orderly(worker.run(scope.clone()));
        }

        let rtt_probes = RttProbes::new(store.clone(), pinger.clone(), scope.clone());
        let metrics = &store.metrics;
        keep_up(&scope, "prober", metrics, move || prober.clone().run());
        keep_up(&scope, "seeker", metrics, move || seeker.clone().run());
        let (probes, interval) = (rtt_probes.clone(), config.rtt_probe_interval);
        keep_up(&scope, "rtt_probes", metrics, move || {
            probes.clone().run(interval)
        });
        if let Some(remembered) = remembered {
            keep_addresses(remembered, &store, &scope);
        }
        let purged = store.clone();
        keep_up(&scope, "purge", metrics, move || {
            purge_when_due(purged.clone())
        });
        let shut_out = end_if_shut_out(store.clone(), links.clone(), endpoint.clone(), node);
        scope.spawn(shut_out);
        let (followed, updated) = (endpoint, store.clone());
        keep_up(&scope, "address", metrics, move || {
            follow_address(followed.clone(), updated.clone())
        });

        Self(Arc::new(Inner {
            network_id,
            config,
            store,
            links,
            dialer,
            settling,
            pinger,
            gossip,
            rtt_probes,
            ticket_cache: TicketCache::default(),
            scope,
        }))
    }

    // ---- the catalog

    /// A snapshot of everything known; O(1).
    pub fn catalog(&self) -> Catalog {
        self.0.store.catalog()
    }

    /// Watches the catalog. The receiver has already seen the current value: `changed()` waits for
    /// the next change, and fast successive changes coalesce. After shutdown `changed()` fails.
    pub fn catalog_watch(&self) -> watch::Receiver<Catalog> {
        self.0.store.watch()
    }

    /// Events from now on. A receiver that falls behind loses the oldest and is told with
    /// `RecvError::Lagged`: it should read [`catalog`](Self::catalog) again. After shutdown
    /// `recv()` yields `Closed`.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.store.events()
    }

    /// This node's signed entry, as others see it; equals `catalog().local()`.
    pub fn me(&self) -> SignedPeerEntry {
        self.0.store.catalog().local().clone()
    }

    /// Another process that was found to run with this node's secret key, and which of the two was
    /// shut out; `None` if there was none. The receiver has already seen the current value.
    ///
    /// Each process must have a key of its own. Of two that have the same, the one that started
    /// first goes on; the other ends within seconds, as if it had been shut down, but announces no
    /// departure.
    pub fn duplicate(&self) -> watch::Receiver<Option<Duplicate>> {
        self.0.store.duplicate()
    }

    // ---- finding peers

    /// Connects to peers: remembers their addresses, syncs catalogs and joins them in gossip.
    ///
    /// The work starts when this is called; awaiting the result is not needed, and dropping it
    /// cancels nothing. Best effort: unreachable peers are not reported. Each peer is an address,
    /// or a bare id of a peer that can be looked up.
    pub fn dial<V>(&self, peers: impl IntoIterOrSingle<EndpointAddr, V>) -> Dial {
        for addr in peers.iterator() {
            self.0.dialer.dial(addr);
        }
        Dial(())
    }

    /// Syncs catalogs with a peer, given by address or by bare id. When it resolves, both sides
    /// have merged everything that the other knew.
    ///
    /// The sync starts when this is called, and goes on when the future is dropped. It takes 10 s
    /// at most.
    ///
    /// # Errors
    ///
    /// [`Error::Link`] when the peer can't be reached or does not answer in time,
    /// [`Error::DifferentNetwork`] when it belongs to another network, [`Error::Cancelled`] after
    /// shutdown.
    pub fn sync_with(
        &self,
        peer_addr: impl Into<EndpointAddr>,
    ) -> impl Future<Output = Result<(), Error>> + Send + Sync + 'static {
        let outcome = self.begin_sync(peer_addr.into());
        async move { outcome.await.unwrap_or(Err(Error::Cancelled)) }
    }

    fn begin_sync(&self, peer: EndpointAddr) -> oneshot::Receiver<Result<(), Error>> {
        let dialer = self.0.dialer.clone();
        let (done, outcome) = oneshot::channel();
        self.0.scope.spawn(async move {
            // Fails when nobody waits any more.
            let _ = done.send(dialer.join(peer).await);
        });
        outcome
    }

    /// Pings a peer, given by address or by bare id: returns its current entry. That of a peer which
    /// this node knows is renewed, and its round-trip time measured; another peer does not enter the
    /// catalog.
    ///
    /// Takes 5 s at most. The peer learns nothing about this node but its id.
    ///
    /// # Errors
    ///
    /// [`Error::Link`] when the peer can't be reached or does not answer in time,
    /// [`Error::DifferentNetwork`] when it belongs to another network, [`Error::Cancelled`] after
    /// shutdown.
    pub async fn ping(&self, peer_addr: impl Into<EndpointAddr>) -> Result<SignedPeerEntry, Error> {
        self.ping_within(peer_addr, PING_TIMEOUT).await
    }

    /// Like [`ping`](Self::ping), but takes `limit` at most. A dial that fails for lack of time, after
    /// 5 s, is begun anew until then.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub async fn ping_within(
        &self,
        peer_addr: impl Into<EndpointAddr>,
        limit: Duration,
    ) -> Result<SignedPeerEntry, Error> {
        self.pinging(peer_addr.into(), limit).await
    }

    fn pinging(
        &self,
        peer: EndpointAddr,
        limit: Duration,
    ) -> Opaque<'_, Result<SignedPeerEntry, Error>> {
        Opaque::new(self.0.pinger.ping(peer, limit))
    }

    /// Offers a signed entry obtained elsewhere; `true` if it was new or newer and is in the
    /// catalog now. From there it is passed on like any other.
    pub fn feed(&self, entry: SignedPeerEntry) -> bool {
        self.0.store.admit(entry).is_ok()
    }

    /// Puts an unsigned entry into the local catalog, replacing an earlier unsigned one. It is
    /// never passed on, and gives way to a signed entry of the peer. `false` for this node's own
    /// id, another network's entry, or a peer with a signed entry.
    pub fn insert(&self, entry: impl Into<PeerEntry>) -> bool {
        self.0.store.insert_unsigned(entry.into())
    }

    /// Drops the unsigned entry of a peer; `true` if there was one.
    pub fn remove(&self, peer_id: PeerId) -> bool {
        self.0.store.remove_unsigned(&peer_id)
    }

    /// Drops all unsigned entries; `true` if there were any.
    pub fn clear_unsigned(&self) -> bool {
        self.0.store.clear_unsigned()
    }

    // ---- the local entry

    /// Adds tags to the local entry. Visible when this returns, and announced at once; nothing
    /// happens when all are there already.
    ///
    /// An entry that has no room for them stays as it is, with an error in the log:
    /// [`try_add_tags`](Self::try_add_tags) returns it.
    pub fn add_tags<V>(&self, tags: impl IntoIterOrSingle<Tag, V>) {
        let tags = names::named_tags(|| tags.iterator().into_iter().collect());
        self.0.store.update_local(|entry| entry.add_tags(tags));
    }

    /// As [`add_tags`](Self::add_tags), and tells when there is no room.
    ///
    /// # Errors
    ///
    /// [`Error::EntryFull`]: the entry holds 1024 tags and 256 KiB at most, and stays as it is.
    pub fn try_add_tags<V>(&self, tags: impl IntoIterOrSingle<Tag, V>) -> Result<(), Error> {
        let tags = names::named_tags(|| tags.iterator().into_iter().collect());
        self.try_update(|entry| entry.add_tags(tags))
    }

    /// Removes tags from the local entry, with the same effect as [`add_tags`](Self::add_tags).
    pub fn remove_tags<V>(&self, tags: impl IntoIterOrSingle<Tag, V>) {
        let tags: Vec<Tag> = tags.iterator().into_iter().collect();
        self.0.store.update_local(|entry| entry.remove_tags(tags));
    }

    /// Adds a ticket to the local entry. Tickets are public to all nodes of the network.
    ///
    /// An entry that has no room for it stays as it is, with an error in the log:
    /// [`try_add_ticket`](Self::try_add_ticket) returns it.
    pub fn add_ticket(&self, ticket: Ticket) {
        self.0.store.update_local(|entry| entry.add_ticket(ticket));
    }

    /// As [`add_ticket`](Self::add_ticket), and tells when there is no room.
    ///
    /// # Errors
    ///
    /// [`Error::EntryFull`]: the entry holds 64 tickets of 64 KiB and 256 KiB in all at most, and
    /// stays as it is.
    pub fn try_add_ticket(&self, ticket: Ticket) -> Result<(), Error> {
        self.try_update(|entry| entry.add_ticket(ticket))
    }

    /// Removes a ticket from the local entry.
    pub fn remove_ticket(&self, id: UniqueId) {
        self.0.store.update_local(|entry| entry.remove_ticket(id));
    }

    /// Removes all tickets of a class from the local entry.
    pub fn remove_tickets_of(&self, class: TicketClass) {
        self.0
            .store
            .update_local(|entry| entry.remove_tickets_of(class));
    }

    /// Replaces all tickets of the ticket's class by this one, in one step: nobody sees an entry
    /// with both or neither.
    ///
    /// An entry that has no room for it stays as it is, with an error in the log:
    /// [`try_replace_ticket`](Self::try_replace_ticket) returns it.
    pub fn replace_ticket(&self, ticket: Ticket) {
        self.0
            .store
            .update_local(|entry| entry.replace_ticket(ticket));
    }

    /// As [`replace_ticket`](Self::replace_ticket), and tells when there is no room.
    ///
    /// # Errors
    ///
    /// As [`try_add_ticket`](Self::try_add_ticket).
    pub fn try_replace_ticket(&self, ticket: Ticket) -> Result<(), Error> {
        self.try_update(|entry| entry.replace_ticket(ticket))
    }

    fn try_update(&self, change: impl FnOnce(PeerEntry) -> PeerEntry) -> Result<(), Error> {
        self.0.store.try_update_local(change)?;
        Ok(())
    }

    // ---- for the other subsystems

    pub(crate) fn network_id(&self) -> &NetworkId {
        &self.0.network_id
    }

    pub(crate) fn links(&self) -> &Links {
        &self.0.links
    }

    /// Changes the local entry, if it has room for the change.
    pub(crate) fn update_own(
        &self,
        change: impl FnOnce(PeerEntry) -> PeerEntry,
    ) -> Result<(), LimitError> {
        self.0.store.try_update_local(change).map(|_| ())
    }

    /// Advertises a stream, if the local entry has room for it.
    pub(crate) fn add_stream(&self, id: StreamId) -> Result<(), LimitError> {
        let add = |entry: PeerEntry| entry.add_streams(id);
        self.0.store.try_update_local(add).map(|_| ())
    }

    pub(crate) fn remove_stream(&self, id: StreamId) {
        self.0.store.update_local(|entry| entry.remove_streams(id));
    }

    /// Advertises a function, if the local entry has room for it.
    pub(crate) fn add_function(&self, id: FunctionId) -> Result<(), LimitError> {
        let add = |entry: PeerEntry| entry.add_functions(id);
        self.0.store.try_update_local(add).map(|_| ())
    }

    pub(crate) fn remove_function(&self, id: FunctionId) {
        self.0
            .store
            .update_local(|entry| entry.remove_functions(id));
    }

    /// Advertises a group, if the local entry has room for it.
    pub(crate) fn add_group(&self, id: GroupId) -> Result<(), LimitError> {
        let add = |entry: PeerEntry| entry.add_groups(id);
        self.0.store.try_update_local(add).map(|_| ())
    }

    pub(crate) fn remove_group(&self, id: GroupId) {
        self.0.store.update_local(|entry| entry.remove_groups(id));
    }

    /// A visible remote peer's entry with its round-trip time.
    pub(crate) fn info(&self, peer: &PeerId) -> Option<PeerInfo> {
        self.0.store.catalog().info(peer)
    }

    /// Returns whether a remote peer has an entry, hidden or not.
    pub(crate) fn knows(&self, peer: &PeerId) -> bool {
        self.0.store.catalog().contains(peer)
    }

    /// Ids of peers whose content, visibility or round-trip time changed, this node's own among
    /// them. On `Lagged` look at the whole catalog again; `Closed` after shutdown.
    pub(crate) fn changes(&self) -> broadcast::Receiver<PeerId> {
        self.0.store.changes()
    }

    /// Checks a peer's tickets against all validators, with cached verdicts; tells until when that
    /// may be relied on.
    pub(crate) fn authorize(
        &self,
        entry: &PeerEntry,
        validators: &[Arc<dyn TicketValidator>],
    ) -> Result<Validity, InvalidTicket> {
        self.0.ticket_cache.validate(entry, validators)
    }

    /// Time since a second process with this node's key was last heard of.
    pub(crate) fn duplicate_ago_ms(&self) -> Option<u64> {
        self.0.store.duplicate_ago_ms()
    }

    /// Figures of this node's discovery, for status reports.
    pub(crate) fn figures(&self) -> Figures {
        self.0.store.metrics.figures()
    }

    /// Difference between clocks that is put up with.
    pub(crate) fn max_time_drift(&self) -> Duration {
        self.0.config.max_time_drift
    }

    /// The current time by the clock that entries are stamped with, in milliseconds of Unix time.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.store.clock.now_ms()
    }

    /// Takes a round-trip time sample in.
    pub(crate) fn record_rtt(&self, peer: PeerId, sample: Duration) {
        self.0.store.record_rtt(peer, sample);
    }

    /// Measures the round-trip time of a peer in the background, if it is unknown: the result
    /// shows up among [`changes`](Self::changes). One measurement per peer runs at a time.
    pub(crate) fn request_rtt(&self, peer: PeerId) {
        self.0.rtt_probes.request(peer);
    }

    /// Hands this node's current entry to a peer and waits until it is merged there.
    pub(crate) async fn deliver_own_entry(&self, peer: PeerId) -> Result<(), Error> {
        self.0.pinger.push(peer).await
    }

    /// Resolves once every configured way to find peers has given its first answer: a bootstrap
    /// peer, a reading of the DHT, a second of listening on the local segment.
    ///
    /// Never resolves while no bootstrap peer can be reached; callers put a bound around it.
    pub(crate) async fn settled(&self) {
        tokio::select! {
            () = self.0.settling.settled() => {}
            () = self.0.scope.cancelled() => {}
        }
    }

    /// Looks for peers of this network on the local segment from now on.
    #[cfg(feature = "mdns")]
    pub(crate) fn start_mdns(&self) {
        let Some(endpoint) = self.0.links.endpoint() else {
            return;
        };
        let store = self.0.store.clone();
        let dialer = self.0.dialer.clone();
        let (metrics, pending) = (
            store.metrics.clone(),
            Arc::new(self.0.settling.expect_answer()),
        );
        keep_up(&self.0.scope, "mdns", &metrics, move || {
            mdns::start_mdns(
                endpoint.clone(),
                store.clone(),
                dialer.clone(),
                pending.clone(),
            )
        });
    }

    /// Announces this node's departure, lets that propagate for the configured time at most, and
    /// ends all waiting.
    pub(crate) fn depart(&self) -> BoxFuture<'static, ()> {
        let discovery = self.clone();
        Box::pin(async move {
            let inner = &discovery.0;
            let window = inner.config.graceful_departure_window;
            let Some(goodbye) = inner.store.sign_goodbye() else {
                // Another process speaks for this identity, and does not leave.
                inner.store.dismiss_audience();
                return inner.scope.cancel();
            };
            inner.gossip.depart(goodbye);
            let connected = inner.links.connected_peers();
            let mut told = connected
                .into_iter()
                .choose_multiple(&mut rand::rng(), MAX_DIRECT_GOODBYES);
            if told.is_empty() {
                let catalog = inner.store.catalog();
                told = catalog
                    .signed
                    .keys()
                    .copied()
                    .choose_multiple(&mut rand::rng(), MAX_DIRECT_GOODBYES);
            }
            if !told.is_empty() {
                let direct = told
                    .into_iter()
                    .map(|peer| inner.pinger.leave(peer, window));
                let all = futures::future::join_all(direct);
                let goodbyes = futures::future::join(all, sleep(GOSSIP_FLUSH));
                // What was not delivered in time is found out by the others' probes.
                let _ = tokio::time::timeout(window, goodbyes).await;
            }
            inner.store.dismiss_audience();
            inner.scope.cancel();
        })
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Discovery(network_id={})", self.0.network_id.short())
    }
}

/// The result of [`Discovery::dial`]: resolves once the attempts are under way.
pub struct Dial(());

impl Future for Dial {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// Services that answer other nodes, and the state they share with the workers.
struct Protocols {
    gossip: GossipHandle,
    suspicions: Arc<Suspicions>,
    syncer: Syncer,
    pinger: Pinger,
}

impl Protocols {
    fn install(
        config: &Config,
        endpoint: &Endpoint,
        store: &SharedStore,
        links: &Links,
        router: &Router,
        scope: &Scope,
    ) -> Self {
        let (gossip, inbox) = gossip_channel();
        let suspicions = Arc::new(Suspicions::default());
        let syncer = Syncer::new(
            store.clone(),
            links.clone(),
            gossip.clone(),
            suspicions.clone(),
            scope.clone(),
        );
        let pinger = Pinger::new(
            store.clone(),
            links.clone(),
            gossip.clone(),
            suspicions.clone(),
        );
        let (worker, acceptor) = GossipWorker::new(
            endpoint.clone(),
            store.clone(),
            syncer.clone(),
            suspicions.clone(),
            config.clone(),
            inbox,
        );
        router.install_raw(ANNOUNCE_ALPN, acceptor);
        router.install(SYNC_ALPN, syncer.clone());
        router.install(PING_ALPN, pinger.clone());
        scope.spawn(worker.run());
        Self {
            gossip,
            suspicions,
            syncer,
            pinger,
        }
    }
}

/// Runs a worker for as long as the node lives, also when it panics.
fn keep_up<F, W>(scope: &Scope, name: &'static str, metrics: &Arc<DiscoveryMetrics>, work: F)
where
    F: FnMut() -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    scope.spawn(keep_running(name, metrics.clone(), work));
}

/// Keeps the addresses of peers written down until the node has ended.
fn keep_addresses(remembered: Remembered, store: &SharedStore, scope: &Scope) {
    let (metrics, store, end) = (store.metrics.clone(), store.clone(), scope.clone());
    let keeping = keep_running("addresses", metrics, move || {
        remembered.clone().keep(store.clone(), end.clone())
    });
    let end = scope.clone();
    scope.spawn_orderly(async move {
        tokio::select! {
            () = keeping => {}
            // A disk may hang, and a worker that has panicked may pause.
            () = end.cancelled().then(|()| sleep(LAST_WRITE)) => {}
        }
    });
}

/// Removes entries when they become stale, and tombstones when they expire.
async fn purge_when_due(store: SharedStore) {
    let mut steps = Steps::new(&store.clock);
    loop {
        let wait = match store.next_due_ms() {
            Some(due) => Duration::from_millis(due.saturating_sub(store.clock.now_ms())),
            None => Duration::from_hours(1),
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = store.deadlines.notified() => {
                if store.next_due_ms().is_none_or(|due| due > store.clock.now_ms()) {
                    continue;
                }
            }
        }
        if steps.stepped(&store.clock) {
            sleep(CLOCK_GRACE).await;
        }
        store.purge();
    }
}

/// Ends the whole node when another process with its key was there first.
async fn end_if_shut_out(store: SharedStore, links: Links, endpoint: Endpoint, node: Scope) {
    let mut duplicate = store.duplicate();
    let shut_out = duplicate.wait_for(|other| other.as_ref().is_some_and(|other| other.shut_out));
    if shut_out.await.is_ok() {
        store.dismiss_audience();
        links.close_all(Cancelled);
        // Who finds the address of this process must not wait for it.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, endpoint.close()).await;
        node.cancel();
    }
}

/// Keeps the address in the local entry current.
async fn follow_address(endpoint: Endpoint, store: SharedStore) {
    let mut addresses = endpoint.watch_addr();
    loop {
        let addr = listed(addresses.get());
        store.update_local(|entry| {
            if *entry.address() == addr {
                return entry;
            }
            entry.clone().with_address(addr).unwrap_or(entry)
        });
        if addresses.updated().await.is_err() {
            return;
        }
    }
}
