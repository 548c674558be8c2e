//! The gossip library's actor: started, replaced when it has died, and handed connections.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use iroh::{
    Endpoint,
    endpoint::{ApplicationClose, Connection, WeakConnectionHandle},
};
use iroh_gossip::net::Gossip;
use parking_lot::RwLock;
use tokio::time::sleep;

use crate::{
    discovery::{state::Refusal, store::SharedStore, wire::ANNOUNCE_ALPN},
    net::{ConnectionAcceptor, close::ProtocolViolation},
};

/// Largest gossip message; alike on all nodes. Larger entries are announced by digest.
pub(super) const MAX_MESSAGE_BYTES: usize = 8192;
/// Interval at which a connection is inspected for refused streams.
const INSPECTION: Duration = Duration::from_millis(500);

/// Access to the current actor.
#[derive(Debug, Clone)]
pub(super) struct GossipLayer {
    endpoint: Endpoint,
    actor: Arc<RwLock<Gossip>>,
}

impl GossipLayer {
    pub(super) fn start(endpoint: Endpoint) -> Self {
        let actor = Arc::new(RwLock::new(spawn(&endpoint)));
        Self { endpoint, actor }
    }

    /// The actor of now.
    pub(super) fn actor(&self) -> Gossip {
        self.actor.read().clone()
    }

    /// Replaces the actor; its connections end.
    pub(super) fn restart(&self) {
        *self.actor.write() = spawn(&self.endpoint);
    }
}

fn spawn(endpoint: &Endpoint) -> Gossip {
    Gossip::builder()
        .alpn(ANNOUNCE_ALPN)
        .max_message_size(MAX_MESSAGE_BYTES)
        .spawn(endpoint.clone())
}

/// Serves gossip connections.
#[derive(Debug, Clone)]
pub(crate) struct GossipAcceptor {
    pub(super) layer: GossipLayer,
    pub(super) store: SharedStore,
}

impl ConnectionAcceptor for GossipAcceptor {
    fn accept(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let (actor, store) = (self.layer.actor(), self.store.clone());
        Box::pin(async move {
            // The actor decides how long the connection stands.
            let watched = connection.weak_handle();
            let handed_over = actor.handle_connection(connection).await;
            drop(actor);
            match handed_over {
                Ok(()) => inspect(watched, &store).await,
                Err(error) => tracing::debug!(%error, "gossip refused a connection"),
            }
        })
    }
}

/// Closes a connection on which the peer has sent what is no gossip.
///
/// The actor stops to read such a stream, tells nobody, and lets the connection stand. It reads
/// every other stream to its end, as the handshake does, so that the transport has never asked
/// the peer to stop.
async fn inspect(watched: WeakConnectionHandle, store: &SharedStore) {
    let mut closed = std::pin::pin!(watched.closed());
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => return,
            () = sleep(INSPECTION) => {}
        }
        let Some(connection) = watched.upgrade() else {
            return;
        };
        if connection.stats().frame_tx.stop_sending > 0 {
            store.refused(Refusal::Undecodable, &connection.remote_id());
            let reason = ApplicationClose::from(ProtocolViolation);
            return connection.close(reason.error_code, &reason.reason);
        }
    }
}
