//! The accepting side of the protocol: from a new link to its producer.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use iroh::endpoint::ApplicationClose;

use super::{
    books::Producers,
    close::{NoCapacity, StreamNotFound},
    hub::Hub,
    producer::{self, Handles, ProducerCore},
    wire::{MAX_CONTROL_FRAME_BYTES, Subscribe},
};
use crate::{
    net::{
        Acceptor, Link,
        close::{Cancelled, ProtocolViolation, UnexpectedClose, UnknownPeer},
        link::RecvError,
    },
    primitives::{Quota, ShortFmtExt},
};

/// Timeout for a consumer to send its request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Links that have not said what they want, of all peers and of one.
const MAX_HALF_OPEN: usize = 1024;
const MAX_HALF_OPEN_PER_PEER: usize = 64;

/// Serves the links of the streams protocol.
pub(super) struct StreamsAcceptor {
    hub: Arc<Hub>,
    producers: Arc<Producers<Handles, ProducerCore>>,
    half_open: Arc<Quota>,
}

impl StreamsAcceptor {
    pub(super) fn new(hub: Arc<Hub>, producers: Arc<Producers<Handles, ProducerCore>>) -> Self {
        Self {
            hub,
            producers,
            half_open: Arc::new(Quota::new(MAX_HALF_OPEN, MAX_HALF_OPEN_PER_PEER)),
        }
    }
}

impl Acceptor for StreamsAcceptor {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let (hub, half_open) = (self.hub.clone(), self.half_open.clone());
        let producers = self.producers.clone();
        Box::pin(async move {
            let peer = link.peer();
            match subscribe(&hub, &half_open, link).await {
                Ok((link, request)) => match producers.get(&request.stream_id) {
                    Some(producer) => {
                        hub.metrics.connections_accepted.increment(1);
                        producer::serve(producer, link, request).await;
                    }
                    None => {
                        hub.metrics.connections_rejected.increment(1);
                        link.close_now(StreamNotFound).await;
                    }
                },
                Err(reason) => {
                    hub.metrics.connections_rejected.increment(1);
                    tracing::debug!(peer = %peer.short(), code = %reason.error_code,
                        "subscription refused");
                }
            }
        })
    }
}

/// Receives the request of a new link, which is closed if that fails.
async fn subscribe(
    hub: &Hub,
    half_open: &Quota,
    mut link: Link,
) -> Result<(Link, Subscribe), ApplicationClose> {
    let peer = link.peer();
    let refusal = match half_open.try_take(peer, 1) {
        None => NoCapacity.into(),
        Some(_entered) if hub.discovery.knows(&peer) => {
            link.receiver.set_max_frame_bytes(MAX_CONTROL_FRAME_BYTES);
            match link.recv_within(HANDSHAKE_TIMEOUT).await {
                Ok(request) => return Ok((link, request)),
                Err(error) if error.is_violation() => ProtocolViolation.into(),
                Err(RecvError::TimedOut) => Cancelled.into(),
                Err(_) => UnexpectedClose.into(),
            }
        }
        Some(_entered) => ApplicationClose::from(UnknownPeer),
    };
    link.close_now(refusal.clone()).await;
    Err(refusal)
}
