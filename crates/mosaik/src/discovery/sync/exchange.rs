//! Catalog syncs: two nodes bring each other up to date.
//!
//! ```text
//! initiator                                        responder
//!    │── turn: fingerprint of the whole catalog ──────►│
//!    │◄─ turn: finer ranges, wanted ids, entries ──────│     turns alternate; each side merges
//!    │── turn: … ─────────────────────────────────────►│     what it receives at once
//!    │◄─ turn: nothing left ───────────────────────────│
//!    │── close: Success ──────────────────────────────►│
//! ```
//!
//! Both catalogs then hold, for every peer, the newer of the two entries. Unsigned entries take no
//! part. Entries travel in turns of bounded size.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use iroh::EndpointAddr;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::sleep};

use super::reconcile::Reconciler;
use crate::{
    discovery::{
        Error,
        gossip_handle::GossipHandle,
        state::Refusal,
        store::SharedStore,
        suspicions::Suspicions,
        wire::{SYNC_ALPN, SyncTurn},
    },
    net::{
        Acceptor, Link, Links,
        close::{ProtocolViolation, Success},
        link::{LinkError, RecvError},
    },
    primitives::{PeerId, Quota, Scope, ShortFmtExt},
    tickets::{PeerEntryVersion, SignedPeerEntry, UnverifiedEntry},
};

/// Timeout for a sync in all.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for one turn of the other side.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// More turns than any honest sync needs.
const MAX_TURNS: usize = 4096;
/// Entries of one turn, encoded; a single larger one still goes.
const MAX_TURN_BYTES: usize = 256 * 1024;
/// Entries that are verified before others get their turn on the runtime: some milliseconds.
const MERGED_AT_ONCE: usize = 32;
/// Largest message: ranges and ids of the largest catalog.
const MAX_SYNC_FRAME_BYTES: usize = 4 * 1024 * 1024;
/// Largest message of an initiator that has no place yet: its first, one range.
const MAX_OPENING_FRAME_BYTES: usize = 16 * 1024;
/// Syncs that this node serves at once; more wait within their own time limits.
const MAX_SERVED: usize = 32;
/// Of those, with one peer; more wait too.
const MAX_SERVED_PER_PEER: usize = 4;
/// Syncs that this node starts by itself at once.
const MAX_BACKGROUND: usize = 8;
/// Syncs that are waiting to be started by the node itself; more are dropped.
const MAX_WAITING: usize = 256;

/// Time that a new neighbour has to announce itself by gossip before it is synced with.
const INTRODUCTION: Duration = Duration::from_millis(500);
/// Pauses between the syncs that follow on the first with a bootstrap peer.
const FOLLOW_UPS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// Starts and serves syncs.
#[derive(Clone, Debug)]
pub(crate) struct Syncer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: SharedStore,
    links: Links,
    gossip: GossipHandle,
    suspicions: Arc<Suspicions>,
    scope: Scope,
    served: Quota,
    background: Semaphore,
    requested: Mutex<HashSet<PeerId>>,
}

impl Syncer {
    pub(crate) fn new(
        store: SharedStore,
        links: Links,
        gossip: GossipHandle,
        suspicions: Arc<Suspicions>,
        scope: Scope,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            links,
            gossip,
            suspicions,
            scope,
            served: Quota::new(MAX_SERVED, MAX_SERVED_PER_PEER),
            background: Semaphore::new(MAX_BACKGROUND),
            requested: Mutex::default(),
        }))
    }

    /// Starts a sync in the background, unless one with that peer is waiting already.
    pub(crate) fn request(&self, addr: EndpointAddr) {
        let peer = addr.id;
        {
            let mut requested = self.0.requested.lock();
            if requested.len() >= MAX_WAITING || !requested.insert(peer) {
                return;
            }
        }
        let syncer = self.clone();
        self.0.scope.spawn(async move {
            let Ok(_permit) = syncer.0.background.acquire().await else {
                return;
            };
            syncer.0.requested.lock().remove(&peer);
            if let Err(error) = syncer.sync(addr).await {
                tracing::debug!(peer = %peer.short(), %error, "background sync failed");
            }
        });
    }

    /// Starts a sync with a peer that this node does not get to know by itself soon.
    pub(crate) fn request_unless_known(&self, peer: PeerId) {
        let syncer = self.clone();
        self.0.scope.spawn(async move {
            sleep(INTRODUCTION).await;
            if !syncer.0.store.catalog().contains(&peer) {
                syncer.request(peer.into());
            }
        });
    }

    /// Syncs with a peer again a few times, ever more rarely: what others tell it while this node
    /// is not yet reached by gossip would be missed.
    pub(crate) fn follow_up(&self, peer: PeerId) {
        let syncer = self.clone();
        self.0.scope.spawn(async move {
            for pause in FOLLOW_UPS {
                sleep(pause.mul_f64(0.7 + 0.6 * rand::random::<f64>())).await;
                syncer.request(peer.into());
            }
        });
    }

    /// Syncs with a peer: when this succeeds, both sides have merged.
    pub(crate) async fn sync(&self, addr: EndpointAddr) -> Result<(), Error> {
        if self.0.scope.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if addr.id == self.0.links.id() {
            return Ok(());
        }
        let exchange = tokio::time::timeout(SYNC_TIMEOUT, self.initiate(addr));
        tokio::select! {
            biased;
            () = self.0.scope.cancelled() => Err(Error::Cancelled),
            result = exchange => {
                let timeout = || Err(Error::Link(LinkError::Recv(RecvError::TimedOut)));
                result.unwrap_or_else(|_| timeout()).map_err(|error| error.name_network(self.0.links.network_id()))
            }
        }
    }

    async fn initiate(&self, addr: EndpointAddr) -> Result<(), Error> {
        let mut link = self.0.links.open(SYNC_ALPN, addr).await?;
        link.receiver.set_max_frame_bytes(MAX_SYNC_FRAME_BYTES);
        let mut session = Session::new(&self.0, &link);
        let opening = SyncTurn {
            ranges: session.reconciler.opening(),
            ..SyncTurn::empty()
        };
        session.send(&mut link, &opening).await?;
        for _ in 0..MAX_TURNS {
            let turn: SyncTurn<UnverifiedEntry> = link.recv_within(TURN_TIMEOUT).await?;
            let finished = turn.is_empty();
            let reply = session.reply(turn).await;
            if finished && reply.is_empty() {
                self.0.finished(&link);
                link.close(Success);
                return Ok(());
            }
            session.send(&mut link, &reply).await?;
        }
        link.close(ProtocolViolation);
        Err(Error::Link(LinkError::Recv(RecvError::Decode(
            "the sync has no end".into(),
        ))))
    }

    async fn respond(&self, mut link: Link) {
        link.receiver.set_max_frame_bytes(MAX_OPENING_FRAME_BYTES);
        // Begins with the first message: who has said nothing yet takes no place from others.
        let mut serving = None;
        for _ in 0..MAX_TURNS {
            let turn = match link.recv_within(TURN_TIMEOUT).await {
                Ok(turn) => turn,
                Err(error) if error.is_violation() => return link.close(ProtocolViolation),
                Err(error) => {
                    if error.close_reason().is_some_and(|reason| reason == Success) {
                        self.0.finished(&link);
                    }
                    return;
                }
            };
            let (session, ..) = match &mut serving {
                Some(serving) => serving,
                None => {
                    let place = self.0.served.take(link.peer(), 1).await;
                    link.receiver.set_max_frame_bytes(MAX_SYNC_FRAME_BYTES);
                    serving.insert((Session::new(&self.0, &link), place))
                }
            };
            let reply = session.reply(turn).await;
            if session.send(&mut link, &reply).await.is_err() {
                return;
            }
        }
        link.close(ProtocolViolation);
    }
}

impl Acceptor for Syncer {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let syncer = self.clone();
        Box::pin(async move {
            // The initiator gives up by then.
            let _ = tokio::time::timeout(2 * SYNC_TIMEOUT, syncer.respond(link)).await;
        })
    }
}

impl Inner {
    fn finished(&self, link: &Link) {
        self.store.metrics.synced();
        self.store.record_rtt(link.peer(), link.rtt());
    }
}

/// One side of one sync.
struct Session<'a> {
    inner: &'a Inner,
    peer: PeerId,
    reconciler: Reconciler,
    /// Peers whose entries are still to be sent.
    outgoing: VecDeque<PeerId>,
    /// All that were ever outgoing: each entry is sent once.
    promised: HashSet<PeerId>,
}

impl<'a> Session<'a> {
    fn new(inner: &'a Inner, link: &Link) -> Self {
        let catalog = inner.store.catalog();
        // What does not count is of no use to the other side, and must not hide what it has.
        let items = catalog
            .iter_signed()
            .filter(|entry| inner.store.counts(entry.version()))
            .map(|entry| (*entry.id(), entry.version()));
        Self {
            inner,
            peer: link.peer(),
            reconciler: Reconciler::new(items),
            outgoing: VecDeque::new(),
            promised: HashSet::new(),
        }
    }

    async fn send(&self, link: &mut Link, turn: &SyncTurn<SignedPeerEntry>) -> Result<(), Error> {
        link.sender.set_max_frame_bytes(MAX_SYNC_FRAME_BYTES);
        link.sender.queue(turn)?;
        self.inner
            .store
            .metrics
            .sync_bytes(link.sender.queued_bytes());
        let flushed = tokio::time::timeout(TURN_TIMEOUT, link.sender.flush()).await;
        flushed.unwrap_or(Err(crate::net::link::SendError::TimedOut))?;
        Ok(())
    }

    /// Merges the other side's turn and makes this side's.
    async fn reply(&mut self, turn: SyncTurn<UnverifiedEntry>) -> SyncTurn<SignedPeerEntry> {
        for (index, entry) in turn.entries.into_iter().enumerate() {
            if index % MERGED_AT_ONCE == MERGED_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            self.merge(entry);
        }
        for (peer, version) in turn.departed {
            self.on_departed(peer, version);
        }
        let answer = self.reconciler.answer(&turn.ranges);
        self.promise(answer.offer.into_iter().chain(turn.want));
        let mut reply = SyncTurn {
            ranges: answer.ranges,
            ..SyncTurn::empty()
        };
        for (peer, version) in answer.want {
            match self.inner.store.admissible_version(&peer, version) {
                Ok(()) => reply.want.push(peer),
                Err(Refusal::Departed) => {
                    let departed = self.inner.store.departed(&peer);
                    reply
                        .departed
                        .extend(departed.map(|(version, _)| (peer, version)));
                }
                Err(_) => {}
            }
        }
        reply.entries = self.next_entries();
        reply
    }

    /// Puts entries of this side's catalog on the list of those to send.
    fn promise(&mut self, peers: impl Iterator<Item = PeerId>) {
        let catalog = self.inner.store.catalog();
        for peer in peers {
            let known = peer == catalog.local_id() || catalog.signed.contains_key(&peer);
            if known && self.promised.insert(peer) {
                self.outgoing.push_back(peer);
            }
        }
    }

    fn merge(&self, entry: UnverifiedEntry) {
        let first_hand = *entry.entry().id() == self.peer;
        if let Ok(entry) = self.inner.store.offer(entry) {
            self.inner.suspicions.clear(entry.id());
            if first_hand {
                // Its owner may not have joined gossip yet.
                self.inner.gossip.relay(entry);
            }
        }
    }

    /// The other side holds a peer for gone that this side believes in.
    fn on_departed(&self, peer: PeerId, version: PeerEntryVersion) {
        let catalog = self.inner.store.catalog();
        if peer == catalog.local_id() {
            self.inner.store.refute(version, &self.peer);
        } else if let Some(held) = self.inner.store.suspectable(&peer, version)
            // Hearsay: the peer has the usual time to show that it is there.
            && self.inner.suspicions.suspect(peer, held)
        {
            self.inner.gossip.suspect(peer, held);
        }
    }

    fn next_entries(&mut self) -> Vec<SignedPeerEntry> {
        let catalog = self.inner.store.catalog();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_TURN_BYTES
            && let Some(id) = self.outgoing.pop_front()
        {
            let own = (id == catalog.local_id()).then(|| catalog.local());
            if let Some(entry) = own.or_else(|| catalog.signed.get(&id)) {
                bytes += entry.encoded_len();
                entries.push(entry.clone());
            }
        }
        entries
    }
}
