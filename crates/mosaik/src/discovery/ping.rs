//! Pings, probes and other short exchanges with one peer.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use iroh::EndpointAddr;
use tokio::sync::Semaphore;

use super::{
    Error,
    gossip::GossipHandle,
    store::SharedStore,
    suspicions::Suspicions,
    wire::{PING_ALPN, PingReply, PingRequest},
};
use crate::{
    net::{
        Acceptor, Link, Links,
        close::{ProtocolViolation, Success},
        link::{LinkError, RecvError},
    },
    primitives::PeerId,
    tickets::{SignedPeerEntry, UnverifiedEntry},
};

/// How long a ping may take in all.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the asking side may take to ask.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a probe on somebody's behalf may take.
const PROBE_FOR_TIMEOUT: Duration = Duration::from_millis(800);
/// Probes on others' behalf that run at once; more are answered with "not reached".
const MAX_PROBES_FOR: usize = 32;
/// Largest message: one entry.
const MAX_PING_FRAME_BYTES: usize = 512 * 1024;

type Request = PingRequest<SignedPeerEntry>;
type Reply = PingReply<UnverifiedEntry>;

/// Asks and answers.
#[derive(Clone)]
pub(crate) struct Pinger {
    store: SharedStore,
    links: Links,
    gossip: GossipHandle,
    suspicions: Arc<Suspicions>,
    max_time_drift: Duration,
    probes_for: Arc<Semaphore>,
}

impl Pinger {
    pub(crate) fn new(
        store: SharedStore,
        links: Links,
        gossip: GossipHandle,
        suspicions: Arc<Suspicions>,
        max_time_drift: Duration,
    ) -> Self {
        let probes_for = Arc::new(Semaphore::new(MAX_PROBES_FOR));
        Self {
            store,
            links,
            gossip,
            suspicions,
            max_time_drift,
            probes_for,
        }
    }

    /// Pings a peer: measures its round-trip time and takes in its current entry.
    pub(crate) async fn ping(
        &self,
        addr: impl Into<EndpointAddr>,
    ) -> Result<SignedPeerEntry, Error> {
        let addr = addr.into();
        let peer = addr.id;
        match self.ask(addr, &Request::Ping, PING_TIMEOUT).await? {
            PingReply::Entry(entry) if *entry.entry().id() == peer => {
                let verified = entry.verify().ok_or(Error::InvalidSignature)?;
                // Refused when it is known already.
                let _ = self.store.admit(verified.clone());
                Ok(verified)
            }
            _ => Err(unexpected()),
        }
    }

    /// Gives this node's current entry to a peer, and waits until it is merged there.
    pub(crate) async fn push(&self, peer: PeerId) -> Result<(), Error> {
        let entry = self.store.catalog().local().clone();
        self.ask(peer, &Request::Push { entry }, PING_TIMEOUT)
            .await
            .map(drop)
    }

    /// Says goodbye to a peer.
    pub(crate) async fn leave(&self, peer: PeerId, timeout: Duration) -> Result<(), Error> {
        let goodbye = self.store.sign_goodbye();
        self.ask(peer, &Request::Leave(goodbye), timeout)
            .await
            .map(drop)
    }

    /// Whether a peer answers, and if so, whether its catalog has the same content.
    pub(super) async fn probe(&self, peer: PeerId, timeout: Duration) -> Option<bool> {
        let fingerprint = self.store.content_fingerprint();
        match self
            .ask(peer, &Request::Probe { fingerprint }, timeout)
            .await
            .ok()?
        {
            PingReply::Alive {
                fingerprint,
                suspected,
            } => {
                if let Some(version) = suspected {
                    // It holds us for gone: say otherwise, to everybody and to it.
                    self.store.refute(version, &peer);
                    let _ = self.push(peer).await;
                }
                Some(fingerprint == self.store.content_fingerprint())
            }
            _ => None,
        }
    }

    /// Asks `helper` whether it can reach `peer`; `None` if it does not answer.
    pub(super) async fn probe_for(
        &self,
        helper: PeerId,
        peer: PeerId,
        timeout: Duration,
    ) -> Option<bool> {
        match self.ask(helper, &Request::ProbeFor { peer }, timeout).await {
            Ok(PingReply::Reached(reached)) => Some(reached),
            _ => None,
        }
    }

    async fn ask(
        &self,
        addr: impl Into<EndpointAddr>,
        request: &Request,
        limit: Duration,
    ) -> Result<Reply, Error> {
        let addr = addr.into();
        let peer = addr.id;
        let exchange = async {
            let mut link = self.links.open(PING_ALPN, addr).await?;
            link.receiver.set_max_frame_bytes(MAX_PING_FRAME_BYTES);
            link.send(request).await?;
            let reply = link.recv().await?;
            if let Some(rtt) = link.rtt() {
                self.store.record_rtt(peer, rtt);
            }
            link.close(Success);
            Ok(reply)
        };
        let result = tokio::time::timeout(limit, exchange).await;
        let timeout = || Err(Error::Link(LinkError::Recv(RecvError::TimedOut)));
        let result = result.unwrap_or_else(|_| timeout());
        result.map_err(|error| error.name_network(self.links.network_id()))
    }

    async fn answer(&self, mut link: Link) {
        link.receiver.set_max_frame_bytes(MAX_PING_FRAME_BYTES);
        let peer = link.peer();
        let request = match link.recv_within(REQUEST_TIMEOUT).await {
            Ok(request) => request,
            Err(error) if error.is_violation() => return link.close(ProtocolViolation),
            Err(_) => return,
        };
        let suspected = self.suspicions.suspected(&peer);
        self.suspicions.clear(&peer, None);
        let reply = match request {
            PingRequest::Ping => PingReply::Entry(self.store.catalog().local().clone()),
            PingRequest::ProbeFor { peer } => PingReply::Reached(self.try_for_other(peer).await),
            PingRequest::Probe { .. } => self.alive(
                suspected.or_else(|| self.store.departed(&peer).map(|(version, _)| version)),
            ),
            PingRequest::Push { entry } => {
                if let Ok(entry) = self.store.offer(entry) {
                    self.gossip.relay(entry);
                }
                self.alive(None)
            }
            PingRequest::Leave(goodbye) => {
                if goodbye.peer == peer {
                    self.store.goodbye(&goodbye, self.max_time_drift);
                }
                self.alive(None)
            }
        };
        if link.send(&reply).await.is_ok() {
            if let Some(rtt) = link.rtt() {
                self.store.record_rtt(peer, rtt);
            }
            link.close(Success);
        }
    }

    async fn try_for_other(&self, peer: PeerId) -> bool {
        match self.probes_for.try_acquire() {
            Ok(_permit) => self.probe(peer, PROBE_FOR_TIMEOUT).await.is_some(),
            Err(_) => false,
        }
    }

    fn alive(
        &self,
        suspected: Option<crate::tickets::PeerEntryVersion>,
    ) -> PingReply<SignedPeerEntry> {
        PingReply::Alive {
            fingerprint: self.store.content_fingerprint(),
            suspected,
        }
    }
}

impl Acceptor for Pinger {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let pinger = self.clone();
        Box::pin(async move { pinger.answer(link).await })
    }
}

fn unexpected() -> Error {
    Error::Link(LinkError::Recv(RecvError::Decode(
        "unexpected answer to a ping".into(),
    )))
}
