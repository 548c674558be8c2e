//! Answers askers.

use std::sync::Arc;

use futures::future::BoxFuture;
use iroh::endpoint::ApplicationClose;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::{
    Config,
    budget::Budgets,
    describe::{Descriptions, View},
    limits::{
        MAX_ANSWER_FRAME_BYTES, MAX_REQUEST_FRAME_BYTES, MAX_REQUESTS, SESSION_TIMEOUT,
        STEP_TIMEOUT,
    },
    metrics::StatusMetrics,
    sources::Sources,
    wire::{NotAllowed, Request, TooManyRequests},
};
use crate::{
    net::{
        Acceptor, Link,
        close::{ProtocolViolation, UnknownPeer},
        link::Violation,
    },
    primitives::{PeerId, ShortFmtExt, record},
};

/// Serves the questions of peers.
#[derive(Clone)]
pub(super) struct StatusAcceptor(Arc<Inner>);

struct Inner {
    config: Config,
    sources: Sources,
    descriptions: Descriptions,
    budgets: Mutex<Budgets>,
    metrics: StatusMetrics,
}

impl StatusAcceptor {
    pub(super) fn new(config: Config, sources: Sources) -> Self {
        Self(Arc::new(Inner {
            config,
            descriptions: Descriptions::new(sources.clone()),
            budgets: Mutex::default(),
            metrics: StatusMetrics::register(sources.discovery.network_id()),
            sources,
        }))
    }
}

impl Acceptor for StatusAcceptor {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let inner = self.0.clone();
        Box::pin(async move {
            // An asker has given up by then.
            let _ = timeout(SESSION_TIMEOUT, inner.serve(link)).await;
        })
    }
}

impl Inner {
    async fn serve(&self, mut link: Link) {
        let peer = link.peer();
        link.receiver.set_max_frame_bytes(MAX_REQUEST_FRAME_BYTES);
        link.sender.set_max_frame_bytes(MAX_ANSWER_FRAME_BYTES);
        // Who may not ask, or has asked nothing yet, takes no place from those who do.
        if let Err(refusal) = self.admit(&peer) {
            return self.refuse(link, refusal).await;
        }
        let mut place = None;
        let mut view = View::default();
        for _ in 0..MAX_REQUESTS {
            let request = match timeout(STEP_TIMEOUT, link.receiver.recv_bytes()).await {
                Ok(Ok(frame)) => record::decode::<Request>(&frame),
                Ok(Err(error)) if error.is_violation() => return link.close(ProtocolViolation),
                Ok(Err(_)) => return,
                Err(_) => return link.note_silence(),
            };
            let Ok(Request { section, skip }) = request else {
                link.receiver.note(Violation::Undecodable);
                return link.close(ProtocolViolation);
            };
            place = place.or_else(|| Place::take(&self.budgets, peer));
            if place.is_none() || !self.budgets.lock().may_ask(&peer, Instant::now()) {
                drop(place);
                return self.refuse(link, TooManyRequests.into()).await;
            }
            // Plain data has an encoding.
            let page = self.descriptions.page(section, skip, &mut view);
            let Ok(page) = record::encode(&page) else {
                return;
            };
            self.budgets.lock().charge(&peer, page.len());
            self.metrics.answered.increment(1);
            self.metrics.bytes.increment(page.len() as u64);
            let sent = link.sender.queue_bytes(&page).is_ok()
                && timeout(STEP_TIMEOUT, link.sender.flush())
                    .await
                    .is_ok_and(|sent| sent.is_ok());
            if !sent {
                return;
            }
        }
        drop(place);
        self.refuse(link, TooManyRequests.into()).await;
    }

    /// Decides whether a peer may ask, by its current entry.
    fn admit(&self, peer: &PeerId) -> Result<(), ApplicationClose> {
        if self.config.is_disabled {
            return Err(NotAllowed.into());
        }
        if self.config.ticket_validators.is_empty() {
            return Ok(());
        }
        let discovery = &self.sources.discovery;
        let Some(asker) = discovery.info(peer) else {
            // One that is hidden for its distance or silence would gain nothing from a sync.
            return Err(if discovery.knows(peer) {
                NotAllowed.into()
            } else {
                UnknownPeer.into()
            });
        };
        let judged = discovery.authorize(&asker, &self.config.ticket_validators);
        judged.map(drop).map_err(|_| NotAllowed.into())
    }

    async fn refuse(&self, link: Link, refusal: ApplicationClose) {
        self.metrics.refused.increment(1);
        tracing::debug!(peer = %link.peer().short(), code = refusal.error_code.into_inner(),
            "question about the status refused");
        link.close_now(refusal).await;
    }
}

/// One of the places of a peer, until dropped.
struct Place<'b> {
    budgets: &'b Mutex<Budgets>,
    peer: PeerId,
}

impl<'b> Place<'b> {
    fn take(budgets: &'b Mutex<Budgets>, peer: PeerId) -> Option<Self> {
        let entered = budgets.lock().enter(peer, Instant::now());
        entered.then_some(Self { budgets, peer })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budgets.lock().leave(&self.peer);
    }
}
