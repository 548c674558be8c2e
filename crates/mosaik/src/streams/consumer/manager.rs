//! The task that keeps a consumer subscribed to all producers that qualify.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{
    ConsumerCore,
    state::{Book, Effect, End, Fingerprint, Outcome, Sight},
    subscription,
};
use crate::{
    primitives::{Digest, PeerId, Scope},
    streams_layer::{books::Consumers, guard, wire::STREAMS_ALPN},
    tickets::PeerInfo,
};

/// Timeout for a measurement on a connection of our own.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(10);

type Finished = (PeerId, u64, Outcome);

struct Manager {
    core: Arc<ConsumerCore>,
    book: Book,
    own_content: Digest,
    /// The tasks of active subscriptions.
    active: HashMap<PeerId, (u64, Scope)>,
    running: FuturesUnordered<BoxFuture<'static, Finished>>,
}

/// Enters a consumer in the books, and keeps it subscribed until its scope ends; ends it when the
/// node has shut down.
pub(super) fn start(core: &Arc<ConsumerCore>, books: &Consumers<ConsumerCore>) {
    if books.enter(core) {
        core.scope.spawn(run(core.clone()));
    } else {
        core.close();
    }
}

/// Runs until the consumer's scope ends.
async fn run(core: Arc<ConsumerCore>) {
    let discovery = core.hub.discovery.clone();
    // Before the first look, so that no change is missed.
    let mut changes = discovery.changes();
    let mut manager = Manager {
        own_content: discovery.me().content_digest(),
        core,
        book: Book::default(),
        active: HashMap::new(),
        running: FuturesUnordered::new(),
    };
    manager.observe_all();
    let local_id = manager.core.hub.local_id();
    loop {
        let deadline = manager.book.next_deadline();
        tokio::select! {
            change = changes.recv() => match change {
                Ok(peer) if peer == local_id => manager.observe_own(),
                Ok(peer) => manager.observe(peer),
                Err(RecvError::Lagged(_)) => manager.observe_all(),
                Err(RecvError::Closed) => return,
            },
            Some((peer, generation, outcome)) = manager.running.next() => {
                if manager.active.get(&peer).is_some_and(|(current, _)| *current == generation) {
                    manager.active.remove(&peer);
                }
                let effects = manager.book.finished(peer, generation, outcome, Instant::now());
                manager.perform(effects);
            }
            () = until(deadline) => {
                for peer in manager.book.due(Instant::now()) {
                    manager.observe(peer);
                }
            }
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Manager {
    fn observe_all(&mut self) {
        self.observe_own();
        let stream = &self.core.config.stream_id;
        let catalog = self.core.hub.discovery.catalog();
        let producers = catalog
            .peers()
            .filter(|entry| entry.streams().contains(stream));
        let mut peers: Vec<_> = producers.map(|entry| *entry.id()).collect();
        peers.extend(self.book.peers());
        for peer in peers {
            self.observe(peer);
        }
    }

    fn observe_own(&mut self) {
        let content = self.core.hub.discovery.me().content_digest();
        if core::mem::replace(&mut self.own_content, content) != content {
            let effects = self.book.own_entry_changed(Instant::now());
            self.perform(effects);
        }
    }

    fn observe(&mut self, peer: PeerId) {
        let (sight, fingerprint) = self.look(&peer);
        let effects = self.book.observe(peer, sight, fingerprint, Instant::now());
        self.perform(effects);
    }

    fn look(&self, peer: &PeerId) -> (Sight, Fingerprint) {
        let (config, discovery) = (&self.core.config, &self.core.hub.discovery);
        let info = discovery.info(peer);
        let Some(info) = info.filter(|info| info.streams().contains(&config.stream_id)) else {
            return (Sight::Absent, (0, Digest::zero()));
        };
        let fingerprint = (info.version().start_ms(), info.content_digest());
        let sight = if self.core.requires_nothing || info.rtt().is_some() {
            self.judge(&info)
        } else {
            Sight::Unmeasured
        };
        (sight, fingerprint)
    }

    fn judge(&self, info: &PeerInfo) -> Sight {
        let config = &self.core.config;
        if !guard::holds(|| (config.require)(info)) {
            return Sight::Unfit;
        }
        match self
            .core
            .hub
            .discovery
            .authorize(info, &config.ticket_validators)
        {
            Ok(validity) => Sight::Fit {
                look_again: validity.next_look(Instant::now()),
            },
            Err(_) => Sight::Unauthorized,
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Measure(peer) => self.core.hub.discovery.request_rtt(peer),
                Effect::MeasureByLink(peer) => self.measure_by_link(peer),
                Effect::Look(peer) => self.observe(peer),
                Effect::Open {
                    peer,
                    generation,
                    deliver,
                } => self.open(peer, generation, deliver),
                Effect::Close { peer } => {
                    if let Some((_, scope)) = self.active.remove(&peer) {
                        scope.cancel();
                    }
                }
            }
        }
    }

    fn measure_by_link(&self, peer: PeerId) {
        let core = self.core.clone();
        self.core.scope.spawn(async move {
            let link = timeout(MEASURE_TIMEOUT, core.hub.links().open(STREAMS_ALPN, peer)).await;
            if let Ok(Ok(link)) = link
                && let Some(rtt) = link.rtt()
            {
                core.hub.discovery.record_rtt(peer, rtt);
            }
        });
    }

    fn open(&mut self, peer: PeerId, generation: u64, deliver: bool) {
        let Some(info) = self.core.hub.discovery.info(&peer) else {
            // It vanished since it was judged, which is the next change to arrive.
            return;
        };
        let (done, outcome) = oneshot::channel();
        let (scope, core) = (self.core.scope.child(), self.core.clone());
        scope.spawn(async move {
            let outcome = subscription::run(core, info, deliver).await;
            // Fails when the manager is gone.
            let _ = done.send(outcome);
        });
        self.active.insert(peer, (generation, scope));
        self.running.push(Box::pin(async move {
            let broken = Outcome {
                established: false,
                end: End::Over,
            };
            (peer, generation, outcome.await.unwrap_or(broken))
        }));
    }
}
