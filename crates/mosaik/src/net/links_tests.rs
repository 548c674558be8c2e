use std::collections::BTreeSet;

use futures::future::BoxFuture;
use iroh::{RelayMode, SecretKey};
use tokio::sync::mpsc;

use super::*;
use crate::net::{Acceptor, EndpointOptions, bind, endpoint::Transport};

const ALPN: &[u8] = b"/mosaik/test/links";

/// Takes links, and tells of each.
struct Takes(mpsc::UnboundedSender<Link>);

impl Acceptor for Takes {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        // Fails when the test has ended.
        let _ = self.0.send(link);
        Box::pin(async {})
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test takes what it has sent, and its acceptor must not wait"
)]
async fn transport(network: NetworkId) -> (Transport, mpsc::UnboundedReceiver<Link>) {
    let options = EndpointOptions {
        network_id: network,
        secret_key: SecretKey::generate(),
        relay_mode: RelayMode::Disabled,
        addresses: BTreeSet::from(["127.0.0.1:0".parse().unwrap()]),
        external_addresses: BTreeSet::new(),
        hook: None,
    };
    let transport = bind(options, &Scope::new()).await.unwrap();
    let (taken, links) = mpsc::unbounded_channel();
    transport.router.install(ALPN, Takes(taken));
    transport.router.start();
    (transport, links)
}

async fn within<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, future).await.expect("in time")
}

/// Regression: such a stream was served, and its opener was told that it was not.
#[tokio::test]
async fn a_stream_that_comes_right_before_the_idle_end_is_not_served() {
    let id = NetworkId::random();
    let (dialer, mut taken) = transport(id).await;
    let (acceptor, _links) = transport(id).await;
    let (local, remote) = (dialer.local.id(), acceptor.local.id());
    // Not in the pool yet, so that nobody looks at its streams.
    let endpoint = dialer.local.endpoint();
    let dialing = within(endpoint.connect(acceptor.local.addr(), ALPN));
    let connection = dialing.await.unwrap();
    within(handshake::dial(&connection, &id)).await.unwrap();
    let frames = || connection.stats().frame_rx.stream;
    let before = frames();
    within(async {
        while !acceptor.links.is_connected(ALPN, &local) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut link = within(acceptor.links.open(ALPN, local)).await.unwrap();
    link.send(&1u8).await.unwrap();
    within(async {
        while frames() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let pooled = Pooled {
        connection,
        dialed_here: true,
        since: Instant::now(),
        use_count: UseCount::new(),
    };
    pooled.close_if_idle(Duration::ZERO);
    assert!(!pooled.is_live());
    within(dialer.links.serve((remote, ALPN), pooled)).await;
    let end = within(link.recv::<u8>()).await.unwrap_err();
    assert_eq!(
        end.close_reason(),
        Some(&super::super::close::Success.into())
    );
    assert!(taken.try_recv().is_err());
}
