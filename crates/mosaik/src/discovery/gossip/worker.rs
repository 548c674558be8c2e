//! Announcements over the network's gossip topic.
//!
//! Every change of the local entry is broadcast at once; an unchanged entry is broadcast as a
//! small signed heartbeat every `announce_interval`. Gossip is fast and usually reaches everybody;
//! what it loses is healed by probes that compare catalogs (see `liveness`) and by syncs.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use iroh::Endpoint;
use iroh_gossip::{
    api::{Event as TopicEvent, GossipReceiver, GossipSender, Message},
    proto::TopicId,
};
use rand::seq::IteratorRandom;
use tokio::time::{Instant, sleep, sleep_until};

use super::layer::{GossipAcceptor, GossipLayer, MAX_MESSAGE_BYTES};
use crate::{
    discovery::{
        Config, Error,
        config::pause,
        gossip_handle::{Command, GossipInbox},
        state::Refusal,
        store::SharedStore,
        supervision::Restarts,
        suspicions::Suspicions,
        sync::exchange::Syncer,
        wire::Announcement,
    },
    primitives::{PeerId, encoding},
    tickets::{PeerEntryVersion, SignedPeerEntry, UnverifiedEntry},
};

/// Upper bound on the bytes that the gossip layer adds to a payload.
const MESSAGE_OVERHEAD_BYTES: usize = 128;
/// Changes of the local entry within this time become one announcement.
const COALESCE: Duration = Duration::from_millis(2);
/// Interval at which random peers of the catalog are joined, against a topic that has split
/// unnoticed. Rarely: each time, connections of several nodes are replaced.
const REJOIN: Duration = Duration::from_mins(2);
/// Gossip is silent when nothing was heard for this long although something changed.
const SILENCE: Duration = Duration::from_secs(2);
/// Timeout for the gossip layer to take one message. It waits itself for a neighbour that does not
/// read, and then serves nobody.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval of the health check of the gossip layer.
const CHECK: Duration = Duration::from_secs(5);
/// Time over which joins are spread: many at the same instant can make a node miss messages.
const JOIN_SPREAD: Duration = Duration::from_millis(30);

/// Announces the local entry and takes in what others announce.
pub(crate) struct GossipWorker {
    layer: GossipLayer,
    store: SharedStore,
    syncer: Syncer,
    suspicions: Arc<Suspicions>,
    config: Config,
    inbox: GossipInbox,
    neighbors: HashSet<PeerId>,
    /// Peers to connect to soon, and when.
    to_join: HashSet<PeerId>,
    join_at: Instant,
    /// Time at which the last message arrived, or gossip was joined anew.
    last_heard: Instant,
}

impl GossipWorker {
    pub(crate) fn new(
        endpoint: Endpoint,
        store: SharedStore,
        syncer: Syncer,
        suspicions: Arc<Suspicions>,
        config: Config,
        inbox: GossipInbox,
    ) -> (Self, GossipAcceptor) {
        let layer = GossipLayer::start(endpoint);
        let acceptor = GossipAcceptor {
            layer: layer.clone(),
            store: store.clone(),
        };
        let neighbors = HashSet::new();
        (
            Self {
                layer,
                store,
                syncer,
                suspicions,
                config,
                inbox,
                neighbors,
                to_join: HashSet::new(),
                join_at: Instant::now(),
                last_heard: Instant::now(),
            },
            acceptor,
        )
    }

    /// Runs until the node ends; failures of the gossip layer and panics are logged and survived.
    pub(crate) async fn run(mut self) {
        let mut restarts = Restarts::new("gossip", self.store.metrics.clone());
        loop {
            match AssertUnwindSafe(self.run_topic()).catch_unwind().await {
                Ok(outcome) => {
                    let error = outcome.err().map(tracing::field::display);
                    tracing::warn!(error, "gossip failed, joining the topic again");
                }
                Err(panic) => restarts.report(&*panic),
            }
            self.neighbors.clear();
            self.store.metrics.neighbors([]);
            restarts.pause().await;
            // Whatever it was that failed: on a dead actor every attempt would fail.
            self.layer.restart();
        }
    }

    async fn run_topic(&mut self) -> Result<(), Error> {
        let network_id = self.store.catalog().network_id();
        let topic = TopicId::from_bytes(*network_id.as_bytes());
        let known = self.random_peers(8);
        let (sender, mut receiver) = self.layer.actor().subscribe(topic, known).await?.split();
        let mut next_heartbeat = Instant::now() + self.heartbeat_delay();
        let mut next_rejoin = Instant::now() + REJOIN;
        let mut next_check = Instant::now() + CHECK;
        let store = self.store.clone();
        self.announce(&sender).await?;
        loop {
            tokio::select! {
                () = store.unannounced.notified() => {
                    sleep(COALESCE).await;
                    self.announce(&sender).await?;
                }
                () = sleep_until(next_heartbeat) => {
                    next_heartbeat = Instant::now() + self.heartbeat_delay();
                    let entry = self.store.renew_local();
                    self.broadcast(&sender, &heartbeat(&entry, self.store.clock.now_ms())).await?;
                }
                () = sleep_until(next_rejoin) => {
                    next_rejoin = Instant::now() + REJOIN.mul_f64(0.5 + rand::random::<f64>());
                    self.join_soon(self.random_peers(2));
                }
                () = sleep_until(self.join_at), if !self.to_join.is_empty() => {
                    taken(sender.join_peers(self.to_join.drain().collect())).await?;
                }
                () = sleep_until(next_check) => {
                    next_check = Instant::now() + CHECK;
                    // Answered once all that came before was sent.
                    drop(taken(self.layer.actor().subscribe(topic, Vec::new())).await?);
                }
                Some(command) = self.inbox.recv() => self.obey(&sender, command).await?,
                event = next(&mut receiver) => match event {
                    Some(Ok(event)) => self.on_event(&sender, event, receiver.neighbors()).await?,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn obey(&mut self, sender: &GossipSender, command: Command) -> Result<(), Error> {
        match command {
            Command::Relay(entry) => self.send_entry(sender, &entry, false).await,
            Command::Suspect(peer, version) => {
                let message = Announcement::<SignedPeerEntry>::Suspicion { peer, version };
                self.broadcast(sender, &message).await
            }
            Command::Depart(goodbye) => {
                self.broadcast(sender, &Announcement::Departure(goodbye))
                    .await
            }
            Command::Join(peers) => {
                self.join_soon(peers);
                Ok(())
            }
            Command::JoinIfSilent(peer) => {
                if self.neighbors.is_empty() || self.last_heard.elapsed() > SILENCE {
                    self.last_heard = Instant::now();
                    self.join_soon([peer]);
                }
                Ok(())
            }
        }
    }

    fn join_soon(&mut self, peers: impl IntoIterator<Item = PeerId>) {
        if self.to_join.is_empty() {
            self.join_at = Instant::now() + JOIN_SPREAD.mul_f64(rand::random());
        }
        self.to_join.extend(peers);
    }

    /// Reacts to an event; `current` are the neighbours of now.
    async fn on_event(
        &mut self,
        sender: &GossipSender,
        event: TopicEvent,
        current: impl Iterator<Item = PeerId>,
    ) -> Result<(), Error> {
        match event {
            TopicEvent::NeighborUp(peer) => {
                self.neighbors.insert(peer);
                self.store.metrics.neighbors(&self.neighbors);
                let entry = self.store.catalog().local().clone();
                self.send_entry(sender, &entry, true).await?;
                self.syncer.request_unless_known(peer);
            }
            TopicEvent::NeighborDown(peer) => {
                self.neighbors.remove(&peer);
                self.store.metrics.neighbors(&self.neighbors);
            }
            TopicEvent::Received(message) => {
                self.last_heard = Instant::now();
                if let Some((peer, held)) = self.on_message(&message) {
                    let message = Announcement::<SignedPeerEntry>::Suspicion {
                        peer,
                        version: held,
                    };
                    self.broadcast(sender, &message).await?;
                }
            }
            TopicEvent::Lagged => {
                self.neighbors = current.collect();
                self.store.metrics.neighbors(&self.neighbors);
                tracing::debug!("gossip lagged, syncing the catalog with a neighbour");
                if let Some(peer) = self.neighbors.iter().choose(&mut rand::rng()) {
                    self.syncer.request((*peer).into());
                }
            }
        }
        Ok(())
    }

    /// Takes a message in. Returns a peer that everybody has to hear is suspected, and at which version.
    fn on_message(&mut self, message: &Message) -> Option<(PeerId, PeerEntryVersion)> {
        let Ok(announcement) =
            encoding::deserialize::<Announcement<UnverifiedEntry>>(&message.content)
        else {
            self.store
                .refused(Refusal::Undecodable, &message.delivered_from);
            return None;
        };
        match announcement {
            Announcement::Entry { stamp_ms, entry } => {
                if self.is_timely(stamp_ms, entry.entry().id())
                    && let Ok(entry) = self.store.offer(entry)
                {
                    self.suspicions.clear(entry.id());
                }
            }
            Announcement::Heartbeat {
                stamp_ms,
                peer,
                version,
                content,
                signature,
            } => {
                if !self.is_timely(stamp_ms, &peer) {
                    return None;
                }
                if let Err(refusal) = self.store.admissible_version(&peer, version) {
                    self.store.refused(refusal, &peer);
                    return None;
                }
                let catalog = self.store.catalog();
                let known = catalog
                    .signed
                    .get(&peer)
                    .filter(|known| *known.content() == content);
                match known.map(|known| known.reversioned(version, signature)) {
                    Some(Some(renewed)) => {
                        // Refused when a newer one has arrived meanwhile.
                        let _ = self.store.admit(renewed);
                        self.suspicions.clear(&peer);
                    }
                    Some(None) => drop(self.store.refused(Refusal::BadSignature, &peer)),
                    // Whoever passed this on has the content, or is about to get it. Of its own
                    // entry this node has the newest, unless somebody else uses its key.
                    None if peer != catalog.local_id() || version > catalog.local().version() => {
                        self.syncer.request(message.delivered_from.into());
                    }
                    None => {}
                }
            }
            Announcement::Departure(goodbye) => {
                self.store.goodbye(&goodbye);
            }
            Announcement::Suspicion { peer, version } => {
                let catalog = self.store.catalog();
                if peer == catalog.local_id() {
                    self.store.refute(version, &message.delivered_from);
                } else if let Some(held) = self.store.suspectable(&peer, version)
                    && self.suspicions.suspect(peer, held)
                    && held != version
                {
                    // The peer may have shown the entry that is held when it heard this claim, and
                    // would not answer a second time. All who hold it say the same, and so this
                    // spreads as one message.
                    return Some((peer, held));
                }
            }
        }
        None
    }

    /// Returns whether an announcement's stamp agrees with this node's clock.
    fn is_timely(&self, stamp_ms: u64, peer: &PeerId) -> bool {
        let refusal = untimely(
            stamp_ms,
            self.store.clock.now_ms(),
            self.config.max_time_drift,
        );
        if let Some(refusal) = refusal {
            self.store.refused(refusal, peer);
        }
        refusal.is_none()
    }

    /// Broadcasts the local entry.
    async fn announce(&mut self, sender: &GossipSender) -> Result<(), Error> {
        let entry = self.store.catalog().local().clone();
        self.send_entry(sender, &entry, false).await
    }

    async fn send_entry(
        &self,
        sender: &GossipSender,
        entry: &SignedPeerEntry,
        to_neighbors: bool,
    ) -> Result<(), Error> {
        let stamp_ms = self.store.clock.now_ms();
        let message = Announcement::Entry {
            stamp_ms,
            entry: entry.clone(),
        };
        let bytes = encode(&message)?;
        let bytes = if fits(&bytes) {
            bytes
        } else {
            encode(&heartbeat(entry, stamp_ms))?
        };
        self.store.metrics.announced(bytes.len());
        if to_neighbors {
            taken(sender.broadcast_neighbors(bytes)).await?;
        } else {
            taken(sender.broadcast(bytes)).await?;
        }
        Ok(())
    }

    async fn broadcast(
        &self,
        sender: &GossipSender,
        message: &Announcement<SignedPeerEntry>,
    ) -> Result<(), Error> {
        let bytes = encode(message)?;
        self.store.metrics.announced(bytes.len());
        taken(sender.broadcast(bytes)).await
    }

    fn random_peers(&self, count: usize) -> Vec<PeerId> {
        let catalog = self.store.catalog();
        catalog
            .signed
            .keys()
            .copied()
            .choose_multiple(&mut rand::rng(), count)
    }

    fn heartbeat_delay(&self) -> Duration {
        let jitter = f64::from(self.config.announce_jitter);
        let factor = 1.0 - jitter + 2.0 * jitter * rand::random::<f64>();
        pause(self.config.announce_interval, factor)
    }
}

/// The reason to refuse an announcement that is dated too far from now.
fn untimely(stamp_ms: u64, now_ms: u64, max_drift: Duration) -> Option<Refusal> {
    if u128::from(stamp_ms.abs_diff(now_ms)) <= max_drift.as_millis() {
        None
    } else if stamp_ms > now_ms {
        Some(Refusal::FutureDated)
    } else {
        Some(Refusal::Stale)
    }
}

/// Bounds what is asked of the gossip layer.
async fn taken<T>(
    asked: impl Future<Output = Result<T, iroh_gossip::api::ApiError>>,
) -> Result<T, Error> {
    match tokio::time::timeout(SEND_TIMEOUT, asked).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Error::Other("the gossip layer stands still".into())),
    }
}

async fn next(
    receiver: &mut GossipReceiver,
) -> Option<Result<TopicEvent, iroh_gossip::api::ApiError>> {
    receiver.next().await
}

fn heartbeat(entry: &SignedPeerEntry, stamp_ms: u64) -> Announcement<SignedPeerEntry> {
    Announcement::Heartbeat {
        stamp_ms,
        peer: *entry.id(),
        version: entry.version(),
        content: *entry.content(),
        signature: *entry.signature(),
    }
}

fn encode(message: &Announcement<SignedPeerEntry>) -> Result<Bytes, Error> {
    encoding::try_serialize(message).map_err(|error| Error::Other(Box::new(error)))
}

/// The gossip layer goes silent for good after one oversized message: never hand it one.
const fn fits(bytes: &Bytes) -> bool {
    bytes.len() <= MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        discovery::{
            clock::Clock,
            gossip_handle::{GossipHandle, gossip_channel},
            store::Store,
            wire::ANNOUNCE_ALPN,
        },
        net::{EndpointOptions, Links, bind},
        primitives::{Digest, Scope, Tag},
        tickets::PeerEntry,
    };

    /// A node that runs gossip only.
    struct Node {
        store: SharedStore,
        links: Links,
        gossip: GossipHandle,
        layer: GossipLayer,
        scope: Scope,
    }

    impl Node {
        async fn start(network_id: Digest) -> Self {
            let scope = Scope::new();
            let options = EndpointOptions {
                network_id,
                secret_key: iroh::SecretKey::generate(),
                relay_mode: iroh::RelayMode::Disabled,
                addresses: [([127, 0, 0, 1], 0).into()].into(),
                external_addresses: std::collections::BTreeSet::new(),
                hook: None,
            };
            let transport = bind(options, &scope).await.unwrap();
            let (local, links) = (transport.local, transport.links);
            let config = Config::default();
            let store = SharedStore::new(Store::new(
                &config,
                network_id,
                local.addr(),
                local.secret_key().clone(),
                links.clone(),
                Clock::default(),
            ));
            let (gossip, inbox) = gossip_channel();
            let suspicions = Arc::new(Suspicions::default());
            let syncer = Syncer::new(
                store.clone(),
                links.clone(),
                gossip.clone(),
                suspicions.clone(),
                scope.clone(),
            );
            let endpoint = local.endpoint().clone();
            let (worker, acceptor) =
                GossipWorker::new(endpoint, store.clone(), syncer, suspicions, config, inbox);
            let layer = acceptor.layer.clone();
            transport.router.install_raw(ANNOUNCE_ALPN, acceptor);
            transport.router.start();
            scope.spawn(worker.run());
            Self {
                store,
                links,
                gossip,
                layer,
                scope,
            }
        }

        fn join(&self, other: &Self) {
            let addr = other.store.catalog().local().address().clone();
            self.links.give(&addr);
            self.gossip.join(vec![addr.id]);
        }

        /// Shows a tag, and waits until the other has heard of it.
        async fn tell(&self, other: &Self, tag: &str) {
            let (id, tag) = (self.store.catalog().local_id(), Tag::from(tag));
            self.store.update_local(|entry| entry.add_tags(tag));
            let mut watch = other.store.watch();
            let heard = watch.wait_for(|catalog| {
                let entry = catalog.signed.get(&id);
                entry.is_some_and(|entry| entry.tags().contains(&tag))
            });
            let heard = tokio::time::timeout(Duration::from_secs(15), heard).await;
            heard.expect("heard in time").unwrap();
        }
    }

    /// A worker whose events are handed to it by hand.
    struct Idle {
        worker: GossipWorker,
        endpoint: Endpoint,
        scope: Scope,
    }

    impl Idle {
        async fn start(network_id: Digest) -> Self {
            let Node {
                store,
                links,
                scope,
                ..
            } = Node::start(network_id).await;
            let (gossip, inbox) = gossip_channel();
            let suspicions = Arc::new(Suspicions::default());
            let syncer = Syncer::new(
                store.clone(),
                links,
                gossip,
                suspicions.clone(),
                scope.clone(),
            );
            let endpoint = Endpoint::builder(iroh::endpoint::presets::Minimal)
                .bind()
                .await
                .unwrap();
            let (worker, _) = GossipWorker::new(
                endpoint.clone(),
                store,
                syncer,
                suspicions,
                Config::default(),
                inbox,
            );
            Self {
                worker,
                endpoint,
                scope,
            }
        }

        async fn finish(self) {
            drop(self.worker);
            self.endpoint.close().await;
            assert!(self.scope.finish(Duration::from_secs(5)).await.is_empty());
        }
    }

    /// Regression: neighbours that had come and gone in missed events were counted wrong for good.
    #[tokio::test]
    async fn after_missed_events_the_neighbours_are_those_of_now() {
        let network = Digest::random();
        let mut idle = Idle::start(network).await;
        let worker = &mut idle.worker;
        let topic = TopicId::from_bytes(*network.as_bytes());
        let subscribed = worker.layer.actor().subscribe(topic, Vec::new()).await;
        let (sender, _receiver) = subscribed.unwrap().split();
        let peer = || iroh::SecretKey::generate().public();
        let (gone, stayed, came) = (peer(), peer(), peer());
        worker.neighbors = HashSet::from([gone, stayed]);
        let current = [stayed, came];
        let lagged = worker.on_event(&sender, TopicEvent::Lagged, current.into_iter());
        lagged.await.unwrap();
        assert_eq!(worker.neighbors, HashSet::from(current));
        idle.finish().await;
    }

    /// Regression: the worker asked the dead actor for the topic every half second for ever.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_actor_is_replaced() {
        let network = Digest::random();
        let (a, b) = (Node::start(network).await, Node::start(network).await);
        b.join(&a);
        a.tell(&b, "before").await;
        b.tell(&a, "before").await;
        a.layer.actor().shutdown().await.unwrap();
        a.tell(&b, "after").await;
        b.tell(&a, "after").await;
        for node in [a, b] {
            assert!(node.scope.finish(Duration::from_secs(5)).await.is_empty());
        }
    }

    /// Regression: it was suspected silently. A peer that had refuted the claim already, in the entry
    /// that was held, never heard that it had to do so again, and was given up.
    #[tokio::test]
    async fn who_suspects_another_version_than_was_claimed_says_which() {
        let network = Digest::random();
        let mut idle = Idle::start(network).await;
        let worker = &mut idle.worker;
        let (store, suspicions) = (worker.store.clone(), worker.suspicions.clone());
        let secret = iroh::SecretKey::generate();
        let now = store.clock.now_ms();
        let at = |update_ms| PeerEntryVersion::from_millis(now, update_ms);
        let entry = PeerEntry {
            version: at(now),
            ..PeerEntry::new(network, secret.public())
        };
        store.admit(entry.signed_by(&secret).unwrap()).unwrap();
        let peer = secret.public();
        let mut hear = |version| {
            let message = Announcement::<SignedPeerEntry>::Suspicion { peer, version };
            worker.on_message(&Message {
                content: encode(&message).unwrap(),
                scope: iroh_gossip::proto::DeliveryScope::Neighbors,
                delivered_from: iroh::SecretKey::generate().public(),
            })
        };
        let told = hear(at(now + 5000));
        assert_eq!(told, Some((peer, at(now))));
        assert_eq!(hear(at(now + 6000)), None, "it is suspected already");
        suspicions.clear(&peer);
        assert_eq!(hear(at(now)), None, "everybody has heard the same");
        assert_eq!(suspicions.suspected(&peer), Some(at(now)));
        idle.finish().await;
    }

    /// Regression: what is dated too early was counted as dated too late.
    #[test]
    fn announcements_of_the_past_are_told_from_those_of_the_future() {
        let drift = Duration::from_secs(10);
        let refusal = |stamp_ms| untimely(stamp_ms, 50_000, drift);
        assert_eq!((refusal(40_000), refusal(60_000)), (None, None));
        assert_eq!(refusal(39_999), Some(Refusal::Stale));
        assert_eq!(refusal(60_001), Some(Refusal::FutureDated));
        assert_eq!(refusal(u64::MAX), Some(Refusal::FutureDated));
        assert_eq!(refusal(0), Some(Refusal::Stale));
    }

    #[test]
    fn a_heartbeat_is_small_whatever_the_entry() {
        let secret = iroh::SecretKey::generate();
        let entry = PeerEntry::new(Digest::random(), secret.public());
        let tags: Vec<_> = (0..500u32).map(Digest::from_u32).collect();
        let entry = entry.add_tags(tags).signed_by(&secret).unwrap();
        let bytes = encode(&heartbeat(&entry, entry.version().update_ms())).unwrap();
        assert!(bytes.len() <= 200, "{} bytes", bytes.len());
        let large = Announcement::Entry { stamp_ms: 0, entry };
        assert!(
            !fits(&encode(&large).unwrap()),
            "the entry must not fit for this test to count"
        );
    }
}
