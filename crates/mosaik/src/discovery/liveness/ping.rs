//! Pings, probes and other short exchanges with one peer.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use iroh::EndpointAddr;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    discovery::{
        Error,
        gossip_handle::GossipHandle,
        store::SharedStore,
        suspicions::Suspicions,
        wire::{PING_ALPN, PingReply, PingRequest},
    },
    net::{
        Acceptor, Link, Links,
        close::{ProtocolViolation, Success},
        link::{LinkError, OpenError, RecvError},
    },
    primitives::PeerId,
    tickets::{SignedPeerEntry, UnverifiedEntry},
};

/// Timeout for a ping in all.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for the asking side to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for a request and its answer in all, on the side that answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for a probe on behalf of another peer.
const PROBE_FOR_TIMEOUT: Duration = Duration::from_millis(800);
/// Round trips that a probe of a far peer may take.
const PATIENCE_ROUND_TRIPS: u32 = 3;
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
    probes_for: Arc<Semaphore>,
}

impl Pinger {
    pub(crate) fn new(
        store: SharedStore,
        links: Links,
        gossip: GossipHandle,
        suspicions: Arc<Suspicions>,
    ) -> Self {
        let probes_for = Arc::new(Semaphore::new(MAX_PROBES_FOR));
        Self {
            store,
            links,
            gossip,
            suspicions,
            probes_for,
        }
    }

    /// Pings a peer: of one that is in the catalog, measures the round-trip time and takes in the
    /// current entry. Another one stays out, as it does not know this node either.
    pub(crate) async fn ping(
        &self,
        addr: impl Into<EndpointAddr>,
        limit: Duration,
    ) -> Result<SignedPeerEntry, Error> {
        let addr = addr.into();
        let peer = addr.id;
        match self.exchange(addr, &Request::Ping, limit).await? {
            (PingReply::Entry(entry), rtt) if *entry.entry().id() == peer => {
                let verified = entry.verify().ok_or(Error::InvalidSignature)?;
                if self.store.catalog().contains(&peer) {
                    // Refused when it is known already.
                    let _ = self.store.admit(verified.clone());
                    self.store.record_rtt(peer, rtt);
                }
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

    /// Announces this node's departure to a peer.
    pub(crate) async fn leave(&self, peer: PeerId, limit: Duration) -> Result<(), Error> {
        let Some(goodbye) = self.store.sign_goodbye() else {
            return Ok(());
        };
        self.ask(peer, &Request::Leave(goodbye), limit)
            .await
            .map(drop)
    }

    /// Probes a peer; if it answers, returns the fingerprints of this node's catalog and of the
    /// peer's.
    pub(super) async fn probe(&self, peer: PeerId, limit: Duration) -> Option<(u128, u128)> {
        let deadline = Instant::now() + limit;
        let fingerprint = self.store.content_fingerprint();
        match self
            .ask(peer, &Request::Probe { fingerprint }, limit)
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
                    let _ = timeout_at(deadline, self.push(peer)).await;
                }
                Some((self.store.content_fingerprint(), fingerprint))
            }
            _ => None,
        }
    }

    /// Asks `helper` whether it can reach `peer`; `None` if it does not answer.
    pub(super) async fn probe_for(
        &self,
        helper: PeerId,
        peer: PeerId,
        limit: Duration,
    ) -> Option<bool> {
        match self.ask(helper, &Request::ProbeFor { peer }, limit).await {
            Ok(PingReply::Reached(reached)) => Some(reached),
            _ => None,
        }
    }

    /// Asks a peer of the catalog, whose round-trip time is measured along the way.
    async fn ask(&self, peer: PeerId, request: &Request, limit: Duration) -> Result<Reply, Error> {
        let (reply, rtt) = self.exchange(peer.into(), request, limit).await?;
        self.store.record_rtt(peer, rtt);
        Ok(reply)
    }

    async fn exchange(
        &self,
        addr: EndpointAddr,
        request: &Request,
        limit: Duration,
    ) -> Result<(Reply, Option<Duration>), Error> {
        let exchange = async {
            let mut link = loop {
                match self.links.open(PING_ALPN, addr.clone()).await {
                    // Who has set a longer limit than that of one dial wants more of them.
                    Err(OpenError::TimedOut) => {}
                    opened => break opened?,
                }
            };
            link.receiver.set_max_frame_bytes(MAX_PING_FRAME_BYTES);
            link.send(request).await?;
            let reply = link.recv().await?;
            let rtt = link.rtt();
            link.close(Success);
            Ok((reply, rtt))
        };
        let result = timeout(limit, exchange).await;
        let timed_out = || Err(Error::Link(LinkError::Recv(RecvError::TimedOut)));
        let result = result.unwrap_or_else(|_| timed_out());
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
        self.suspicions.clear(&peer);
        let reply = match request {
            PingRequest::Ping => PingReply::Entry(self.store.catalog().local().clone()),
            PingRequest::ProbeFor { peer } => PingReply::Reached(self.try_for_other(peer).await),
            PingRequest::Probe { fingerprint } => PingReply::Alive {
                // What a full catalog lacks is not to be synced.
                fingerprint: if self.store.is_full() {
                    fingerprint
                } else {
                    self.store.content_fingerprint()
                },
                suspected: suspected
                    .or_else(|| self.store.departed(&peer).map(|(version, _)| version)),
            },
            PingRequest::Push { entry } => {
                if let Ok(entry) = self.store.offer(entry) {
                    self.gossip.relay(entry);
                }
                self.alive()
            }
            PingRequest::Leave(goodbye) => {
                if goodbye.peer == peer {
                    self.store.goodbye(&goodbye);
                }
                self.alive()
            }
        };
        if link.send(&reply).await.is_ok() {
            self.store.record_rtt(peer, link.rtt());
            link.close(Success);
        }
    }

    async fn try_for_other(&self, peer: PeerId) -> bool {
        match self.probes_for.try_acquire() {
            Ok(_permit) => {
                let limit = self.at_least_round_trips(PROBE_FOR_TIMEOUT, &[peer]);
                self.probe(peer, limit).await.is_some()
            }
            Err(_) => false,
        }
    }

    /// A time limit that leaves far peers time for their answer, which goes over these hops.
    pub(super) fn at_least_round_trips(&self, limit: Duration, hops: &[PeerId]) -> Duration {
        let catalog = self.store.catalog();
        let way: Duration = hops.iter().filter_map(|peer| catalog.rtt(peer)).sum();
        limit.max(way.saturating_mul(PATIENCE_ROUND_TRIPS).min(PING_TIMEOUT))
    }

    fn alive(&self) -> PingReply<SignedPeerEntry> {
        PingReply::Alive {
            fingerprint: self.store.content_fingerprint(),
            suspected: None,
        }
    }
}

impl Acceptor for Pinger {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let pinger = self.clone();
        Box::pin(async move {
            // The asker has given up by then.
            let _ = timeout(ANSWER_TIMEOUT, pinger.answer(link)).await;
        })
    }
}

fn unexpected() -> Error {
    Error::Link(LinkError::Recv(RecvError::Decode(
        "unexpected answer to a ping".into(),
    )))
}
