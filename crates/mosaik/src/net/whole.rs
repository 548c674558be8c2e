//! Protocols that take over whole connections, and dial themselves.
//!
//! Their connections are proven, bounded and counted like all others. The proof of the dialing
//! side is made right after the transport's handshake, before the protocol gets the connection.

use std::{fmt, sync::Arc};

use iroh::endpoint::{AfterHandshakeOutcome, ApplicationClose, Connection, EndpointHooks, Side};
use parking_lot::RwLock;
use tokio_util::sync::DropGuard;

use super::{
    close::UnexpectedClose,
    handshake,
    limits::{MAX_CONNECTIONS_PER_PEER, MAX_UNI_STREAMS_PER_CONNECTION, MAX_WHOLE_CONNECTIONS},
    metrics::TransportMetrics,
};
use crate::primitives::{NetworkId, Quota, Scope};

/// The names of such protocols.
///
/// Apart from who serves them: those hold the endpoint, which holds this.
#[derive(Debug, Clone, Default)]
pub(super) struct WholeProtocols(Arc<RwLock<Vec<&'static [u8]>>>);

impl WholeProtocols {
    pub(super) fn add(&self, alpn: &'static [u8]) {
        self.0.write().push(alpn);
    }

    fn contains(&self, alpn: &[u8]) -> bool {
        self.0.read().contains(&alpn)
    }
}

/// Proves the network on each connection that such a protocol dials, and has it proven.
pub(super) struct DialerProof {
    pub(super) network: NetworkId,
    pub(super) protocols: WholeProtocols,
    pub(super) metrics: TransportMetrics,
    pub(super) scope: Scope,
    /// Dropped with the endpoint, whose last clone may be anybody's.
    pub(super) _freed: DropGuard,
}

impl EndpointHooks for DialerProof {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let is_ours = connection.side() == Side::Client;
        if !is_ours || !self.protocols.contains(connection.alpn()) {
            return AfterHandshakeOutcome::Accept;
        }
        match handshake::dial(connection, &self.network).await {
            Ok(()) => {
                let streams = MAX_UNI_STREAMS_PER_CONNECTION.into();
                connection.set_max_concurrent_uni_streams(streams);
                count_until_closed(connection, &self.metrics, &self.scope, ());
                AfterHandshakeOutcome::Accept
            }
            Err(error) => {
                tracing::debug!(peer = %connection.remote_id().fmt_short(), %error,
                    "the peer does not prove the network");
                let reason = ApplicationClose::from(UnexpectedClose);
                AfterHandshakeOutcome::Reject {
                    error_code: reason.error_code,
                    reason: reason.reason.to_vec(),
                }
            }
        }
    }
}

impl fmt::Debug for DialerProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialerProof")
    }
}

/// Quota of connections of such protocols that peers have open towards this node.
pub(super) fn quota() -> Arc<Quota> {
    Arc::new(Quota::new(MAX_WHOLE_CONNECTIONS, MAX_CONNECTIONS_PER_PEER))
}

/// Counts a connection as open, and holds its place, until it is closed.
pub(super) fn count_until_closed(
    connection: &Connection,
    metrics: &TransportMetrics,
    scope: &Scope,
    place: impl Send + 'static,
) {
    let open = (metrics.open(), place);
    let closed = connection.weak_handle().closed();
    scope.spawn(async move {
        // Tells how it ended, which the protocol knows itself.
        let _ = closed.await;
        drop(open);
    });
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use futures::future::BoxFuture;
    use iroh::{RelayMode, SecretKey};
    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::net::{ConnectionAcceptor, EndpointOptions, bind, endpoint::Transport};

    const ALPN: &[u8] = b"/mosaik/test/whole";

    struct Takes(mpsc::Sender<Connection>);

    impl ConnectionAcceptor for Takes {
        fn accept(&self, connection: Connection) -> BoxFuture<'static, ()> {
            let taken = self.0.clone();
            Box::pin(async move { taken.send(connection).await.unwrap() })
        }
    }

    async fn transport(network: NetworkId) -> (Transport, mpsc::Receiver<Connection>) {
        let options = EndpointOptions {
            network_id: network,
            secret_key: SecretKey::generate(),
            relay_mode: RelayMode::Disabled,
            addresses: BTreeSet::from(["127.0.0.1:0".parse().unwrap()]),
            external_addresses: BTreeSet::new(),
            hook: None,
        };
        let transport = bind(options, &Scope::new()).await.unwrap();
        let (taken, connections) = mpsc::channel(8);
        transport.router.install_raw(ALPN, Takes(taken));
        transport.router.start();
        (transport, connections)
    }

    #[tokio::test]
    async fn both_sides_prove_the_network_before_the_protocol_begins() {
        let id = NetworkId::random();
        let (a, mut taken) = transport(id).await;
        let (friend, _) = transport(id).await;
        let (stranger, _) = transport(NetworkId::random()).await;
        let dial = async |from: &Transport| {
            let dialing = from.local.endpoint().connect(a.local.addr(), ALPN);
            timeout(Duration::from_secs(8), dialing).await.unwrap()
        };
        assert!(dial(&stranger).await.is_err());
        let connection = dial(&friend).await.unwrap();
        let accepted = timeout(Duration::from_secs(5), taken.recv()).await;
        assert_eq!(accepted.unwrap().unwrap().remote_id(), friend.local.id());
        assert_eq!(connection.close_reason(), None);
        assert!(taken.try_recv().is_err(), "nothing of the stranger's");
    }
}
