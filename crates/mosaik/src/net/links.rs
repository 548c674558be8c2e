//! The pool: one connection per peer and protocol, shared by all links.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use iroh::{
    Endpoint, EndpointAddr,
    address_lookup::memory::MemoryLookup,
    endpoint::{ApplicationClose, Connection, ConnectionError},
};
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, oneshot},
    time::Instant,
};

use super::{
    acceptors::Acceptors,
    activity::{Activity, UseCount},
    addresses::AddressBook,
    handshake,
    limits::{
        CONNECT_TIMEOUT, CROSSING, IDLE_CONNECTION, MAX_CONNECTIONS_PER_PEER, OPEN_TIMEOUT,
        STREAM_TIMEOUT, connection_window_bytes,
    },
    link::{Link, LinkReceiver, LinkSender, LinkState, OpenError},
    local::{LocalNode, WeakEndpoint},
    metrics::{Refusal, TransportMetrics},
    report::{self, LinkReport},
};
use crate::primitives::{NetworkId, PeerId, Scope};

const LOST_BACKLOG: usize = 256;

/// Opens links to peers, on pooled connections.
///
/// Connections serve both directions: one that a peer dialed is used for links towards it. When
/// two nodes dial each other at the same instant both connections stand for a moment; both sides
/// then prefer the one that the smaller id dialed, and the other is closed once it is idle. A peer
/// that dials later has lost what stood before, as after a crash: the later connection is preferred
/// then, long before the silence of the earlier one tells.
#[derive(Clone)]
pub(crate) struct Links(Arc<Inner>);

struct Inner {
    id: PeerId,
    network: NetworkId,
    /// Weak, as are all ways from a handle to the endpoint: handles outlive their node, and the
    /// sockets must not.
    endpoint: WeakEndpoint,
    scope: Scope,
    acceptors: Acceptors,
    addresses: AddressBook,
    pool: Mutex<HashMap<Key, Arc<Slot>>>,
    lost: broadcast::Sender<PeerId>,
    metrics: TransportMetrics,
}

type Key = (PeerId, &'static [u8]);

/// The connections of one peer and protocol: one, or for a moment two.
#[derive(Default)]
struct Slot {
    /// Held while dialing, so that concurrent users share one attempt.
    dialing: tokio::sync::Mutex<()>,
    connections: Mutex<Vec<Pooled>>,
}

#[derive(Clone)]
pub(super) struct Pooled {
    connection: Connection,
    dialed_here: bool,
    since: Instant,
    use_count: Arc<UseCount>,
}

impl Pooled {
    fn is_live(&self) -> bool {
        self.connection.close_reason().is_none() && !self.use_count.is_retired()
    }

    /// Closes the connection if it has carried no link for this long.
    ///
    /// The peer takes this end for the word that nothing it has asked for here was heard, and asks
    /// elsewhere. So a stream that has arrived and is not counted yet must not be served any more,
    /// which is decided at once with the end.
    fn close_if_idle(&self, limit: Duration) {
        if self.use_count.retire_after(limit) {
            let success = ApplicationClose::from(super::close::Success);
            self.connection.close(success.error_code, &success.reason);
        }
    }
}

impl Links {
    pub(super) fn new(
        local: &LocalNode,
        addresses: MemoryLookup,
        acceptors: Acceptors,
        metrics: TransportMetrics,
        scope: Scope,
    ) -> Self {
        Self(Arc::new(Inner {
            id: local.id(),
            network: *local.network_id(),
            endpoint: local.weak_endpoint(),
            scope,
            acceptors,
            addresses: AddressBook::new(addresses),
            pool: Mutex::default(),
            lost: broadcast::channel(LOST_BACKLOG).0,
            metrics,
        }))
    }

    /// Opens a link to a peer, dialing it when no connection of that protocol is open.
    ///
    /// Waits for at most 10 s in all, of those 5 s for a stream when the connection has as many as
    /// the peer allows; callers with less patience put their own bound around it.
    pub(crate) async fn open(
        &self,
        alpn: &'static [u8],
        peer: impl Into<EndpointAddr>,
    ) -> Result<Link, OpenError> {
        if self.0.scope.is_cancelled() {
            return Err(OpenError::Cancelled);
        }
        let opening = self.open_or_dial(alpn, peer.into());
        match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(Err(_)) if self.0.scope.is_cancelled() => Err(OpenError::Cancelled),
            Ok(result) => result,
            Err(_) => Err(OpenError::TimedOut),
        }
    }

    async fn open_or_dial(
        &self,
        alpn: &'static [u8],
        peer: EndpointAddr,
    ) -> Result<Link, OpenError> {
        let mut last_chance = false;
        loop {
            let pooled = self.connection(alpn, peer.clone()).await?;
            match self.open_on(&pooled).await {
                // Either side may have closed an idle connection in this very moment: dial anew.
                Err(_) if !last_chance && !pooled.is_live() => last_chance = true,
                result => return result,
            }
        }
    }

    /// Opens another link on the connection of an existing one; never dials.
    pub(crate) async fn open_beside(
        &self,
        alpn: &'static [u8],
        connection: &Connection,
    ) -> Option<Link> {
        let slot = self.slot((connection.remote_id(), alpn));
        let id = connection.stable_id();
        let pooled = {
            let connections = slot.connections.lock();
            let found = connections
                .iter()
                .find(|pooled| pooled.connection.stable_id() == id);
            found?.clone()
        };
        self.open_on(&pooled).await.ok()
    }

    /// Returns whether a connection of this protocol with the peer is open.
    pub(crate) fn is_connected(&self, alpn: &'static [u8], peer: &PeerId) -> bool {
        let slot = self.0.pool.lock().get(&(*peer, alpn)).cloned();
        slot.is_some_and(|slot| slot.preferred(self.id(), peer).is_some())
    }

    /// The standing connections of one protocol with a peer: one, or for a moment two.
    pub(crate) fn connections(&self, alpn: &'static [u8], peer: &PeerId) -> Vec<Connection> {
        let slot = self.0.pool.lock().get(&(*peer, alpn)).cloned();
        let Some(slot) = slot else { return Vec::new() };
        let connections = slot.connections.lock();
        let live = connections.iter().filter(|pooled| pooled.is_live());
        live.map(|pooled| pooled.connection.clone()).collect()
    }

    /// Gives up a connection on which a peer has fallen silent: its links fail at once, and the
    /// next use dials anew.
    pub(crate) fn give_up(&self, connection: &Connection) {
        let reason = ApplicationClose::from(super::close::UnexpectedClose);
        connection.close(reason.error_code, &reason.reason);
        // Nobody listening is fine: it is a hint.
        let _ = self.0.lost.send(connection.remote_id());
    }

    /// Peers with at least one standing connection, of any protocol.
    pub(crate) fn connected_peers(&self) -> HashSet<PeerId> {
        let pool = self.0.pool.lock();
        let live = pool
            .iter()
            .filter(|(_, slot)| slot.connections.lock().iter().any(Pooled::is_live));
        live.map(|((peer, _), _)| *peer).collect()
    }

    /// Peers with a standing connection of this protocol.
    pub(crate) fn connected_by(&self, alpn: &'static [u8]) -> HashSet<PeerId> {
        let pool = self.0.pool.lock();
        let live = pool.iter().filter(|((_, protocol), slot)| {
            *protocol == alpn && slot.connections.lock().iter().any(Pooled::is_live)
        });
        live.map(|((peer, _), _)| *peer).collect()
    }

    /// Describes the standing connections, one report for each peer.
    pub(crate) fn reports(&self) -> Vec<LinkReport> {
        let slots: Vec<_> = self.0.pool.lock().values().cloned().collect();
        let standing = slots.iter().flat_map(|slot| {
            let connections = slot.connections.lock();
            let live = connections.iter().filter(|pooled| pooled.is_live());
            live.map(|pooled| pooled.connection.clone())
                .collect::<Vec<_>>()
        });
        report::describe(standing)
    }

    /// Stores the addresses that a peer states itself, until it is [forgotten](Self::forget).
    pub(crate) fn learn(&self, addr: &EndpointAddr) {
        if addr.id != self.id() {
            self.0.addresses.learn(addr);
        }
    }

    /// Forgets the addresses that a peer states itself. Addresses that were given for dialing it
    /// stay.
    pub(crate) fn forget(&self, peer: PeerId) {
        self.0.addresses.forget(peer);
    }

    /// Remembers addresses that were given for dialing a peer, so that a later dial by id works;
    /// of the 4096 peers that were given last.
    pub(crate) fn give(&self, addr: &EndpointAddr) {
        if addr.id != self.id() && !addr.addrs.is_empty() {
            self.0.addresses.give(addr);
        }
    }

    /// Peers whose connection was lost without an announced departure: a hint that they may be
    /// gone.
    pub(crate) fn lost(&self) -> broadcast::Receiver<PeerId> {
        self.0.lost.subscribe()
    }

    pub(crate) fn id(&self) -> PeerId {
        self.0.id
    }

    /// The transport itself, until the node ends.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.0.endpoint.upgrade()
    }

    pub(crate) fn network_id(&self) -> &NetworkId {
        &self.0.network
    }

    /// Closes every connection with a reason.
    pub(crate) fn close_all(&self, reason: impl Into<ApplicationClose>) {
        let reason = reason.into();
        for slot in self.0.pool.lock().values() {
            for pooled in slot.connections.lock().iter() {
                pooled.connection.close(reason.error_code, &reason.reason);
            }
        }
    }

    /// Lets go of the acceptors, which hold this, and of all connections: the end of the node.
    pub(crate) fn release(&self) {
        self.0.acceptors.clear();
        self.0.pool.lock().clear();
    }

    fn slot(&self, key: Key) -> Arc<Slot> {
        self.0.pool.lock().entry(key).or_default().clone()
    }

    /// The connection to use, dialed if none is open.
    ///
    /// A dial that has begun goes on when its caller gives up: the next caller finds the
    /// connection, instead of paying for a handshake that is cut short too.
    async fn connection(
        &self,
        alpn: &'static [u8],
        peer: EndpointAddr,
    ) -> Result<Pooled, OpenError> {
        let slot = self.slot((peer.id, alpn));
        if let Some(pooled) = slot.preferred(self.id(), &peer.id) {
            return Ok(pooled);
        }
        let (waiting, outcome) = oneshot::channel();
        let links = self.clone();
        self.0.scope.spawn(async move {
            let _dialing = slot.dialing.lock().await;
            // Somebody else may have dialed, or been dialed, meanwhile.
            let result = match slot.preferred(links.id(), &peer.id) {
                Some(pooled) => Ok(pooled),
                None if waiting.is_closed() => return,
                None => links.dial(alpn, peer).await,
            };
            // Fails when the caller has given up.
            let _ = waiting.send(result);
        });
        outcome.await.unwrap_or(Err(OpenError::Cancelled))
    }

    async fn dial(&self, alpn: &'static [u8], peer: EndpointAddr) -> Result<Pooled, OpenError> {
        tracing::debug!(peer = %peer.id.fmt_short(), protocol = %alpn.escape_ascii(), "dialing");
        self.give(&peer);
        let endpoint = self.endpoint().ok_or(OpenError::Cancelled)?;
        let dialing = endpoint.connect(peer, alpn);
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, dialing)
            .await
            .map_err(|_| OpenError::TimedOut)?
            .map_err(OpenError::Io)?;
        handshake::dial(&connection, &self.0.network).await?;
        self.adopt(alpn, connection, true)
            .ok_or(OpenError::TooManyConnections)
    }

    /// Adopts a connection that a peer dialed, unless it has too many.
    pub(super) fn adopt_accepted(&self, alpn: &'static [u8], connection: Connection) {
        if self.adopt(alpn, connection.clone(), false).is_none() {
            self.refuse(&connection, Refusal::TooMany);
        }
    }

    /// Closes an incoming connection, and counts why.
    pub(super) fn refuse(&self, connection: &Connection, refusal: Refusal) {
        let reason: ApplicationClose = match refusal {
            Refusal::InvalidAlpn => super::close::InvalidAlpn.into(),
            Refusal::DifferentNetwork => super::close::DifferentNetwork.into(),
            _ => super::close::ProtocolViolation.into(),
        };
        self.0.metrics.connection_refused(refusal);
        tracing::debug!(peer = %connection.remote_id().fmt_short(), reason = refusal.label(),
            "connection refused");
        connection.close(reason.error_code, &reason.reason);
    }

    pub(super) fn metrics(&self) -> &TransportMetrics {
        &self.0.metrics
    }

    /// Puts a proven connection into the pool and serves the links that the peer opens on it.
    pub(super) fn adopt(
        &self,
        alpn: &'static [u8],
        connection: Connection,
        dialed_here: bool,
    ) -> Option<Pooled> {
        let pooled = Pooled {
            connection,
            dialed_here,
            since: Instant::now(),
            use_count: UseCount::new(),
        };
        let key = (pooled.connection.remote_id(), alpn);
        {
            let slot = self.slot(key);
            let mut connections = slot.connections.lock();
            connections.retain(Pooled::is_live);
            if connections.len() >= MAX_CONNECTIONS_PER_PEER {
                return None;
            }
            connections.push(pooled.clone());
        }
        let open = self.0.metrics.open();
        let (links, served) = (self.clone(), pooled.clone());
        self.0.scope.spawn(async move {
            links.serve(key, served).await;
            drop(open);
        });
        Some(pooled)
    }

    /// Hands the links that a peer opens to the protocol's acceptor, until the connection ends.
    async fn serve(&self, key: Key, pooled: Pooled) {
        let acceptor = self.0.acceptors.links(key.1);
        let end = loop {
            match pooled.connection.accept_bi().await {
                // Those that arrived before the end are still handed out after it.
                Ok((send, recv)) => {
                    let Some(activity) = Activity::accepted(&pooled.use_count) else {
                        continue;
                    };
                    let link = self.link(&pooled, activity, send, recv);
                    match &acceptor {
                        Some(acceptor) => self.0.scope.spawn(acceptor.accept(link)),
                        None => drop(link),
                    }
                }
                Err(end) => break end,
            }
        };
        let slot = self.slot(key);
        slot.connections.lock().retain(Pooled::is_live);
        if matches!(end, ConnectionError::TimedOut | ConnectionError::Reset) {
            // Nobody listening is fine: it is a hint.
            let _ = self.0.lost.send(key.0);
        }
    }

    async fn open_on(&self, pooled: &Pooled) -> Result<Link, OpenError> {
        let opening = pooled.connection.open_bi();
        let opened = tokio::time::timeout(STREAM_TIMEOUT, opening).await;
        let (send, recv) = opened.map_err(|_| OpenError::TooManyStreams)??;
        let opened = Activity::opened(&pooled.use_count);
        let (activity, enlarged) = opened.ok_or(ConnectionError::LocallyClosed)?;
        if let Some(links) = enlarged {
            let window = connection_window_bytes(links);
            pooled.connection.set_receive_window(window.into());
        }
        Ok(self.link(pooled, activity, send, recv))
    }

    fn link(
        &self,
        pooled: &Pooled,
        activity: Activity,
        send: iroh::endpoint::SendStream,
        recv: iroh::endpoint::RecvStream,
    ) -> Link {
        let state = LinkState::new(
            pooled.connection.clone(),
            self.0.scope.clone(),
            self.0.metrics.clone(),
            activity,
        );
        Link::new(
            LinkSender::new(send, state.clone()),
            LinkReceiver::new(recv, state),
        )
    }

    /// Closes connections that this node dialed and that carried nothing for a while, until the
    /// scope ends.
    pub(super) async fn close_idle_connections(self) {
        let mut ticks = tokio::time::interval(IDLE_CONNECTION / 4);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.pool.lock().retain(|_, slot| {
                let mut connections = slot.connections.lock();
                connections.retain(Pooled::is_live);
                for pooled in connections.iter().filter(|pooled| pooled.dialed_here) {
                    pooled.close_if_idle(IDLE_CONNECTION);
                }
                // A slot that somebody holds may be about to dial.
                !connections.is_empty() || Arc::strong_count(slot) > 1
            });
        }
    }
}

impl Slot {
    /// The connection to use: the latest, or of those that have crossed the one that the smaller
    /// id dialed.
    fn preferred(&self, local: PeerId, remote: &PeerId) -> Option<Pooled> {
        let connections = self.connections.lock();
        let prefer_own = local < *remote;
        let mut live = connections.iter().rev().filter(|pooled| pooled.is_live());
        let latest = live.next()?;
        let mut crossed = live.take_while(|pooled| latest.since - pooled.since < CROSSING);
        let preferred = if latest.dialed_here == prefer_own {
            latest
        } else {
            crossed
                .find(|pooled| pooled.dialed_here == prefer_own)
                .unwrap_or(latest)
        };
        Some(preferred.clone())
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("connections", &self.0.pool.lock().len())
            .finish()
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
