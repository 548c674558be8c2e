//! Serving metrics. A process has one recorder, so this is a process of its own, and one test.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]

use std::net::SocketAddr;

use mosaik::{
    Digest, Network, NetworkId, discovery, iroh::RelayMode, network::Error, primitives::ShortFmtExt,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn node(network: NetworkId, metrics: SocketAddr) -> Result<Network, Error> {
    Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .with_prometheus_addr(metrics)
        .build()
        .await
}

/// An address that was free a moment ago.
async fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

async fn get(addr: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(addr).await.ok()?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.ok()?;
    Some(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_share_a_recorder_and_serve_at_their_own_addresses() {
    let (first_id, second_id) = (Digest::random(), Digest::random());
    let (first_addr, second_addr) = (free_addr().await, free_addr().await);
    let first = node(first_id, first_addr).await.unwrap();
    let second = node(second_id, second_addr).await.unwrap();
    metrics::counter!("application.things").increment(7);

    let text = get(first_addr).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("text/plain"),
        "{text}"
    );
    for id in [first_id, second_id] {
        let size = format!(
            "mosaik_discovery_catalog_size{{network=\"{}\"}} 0",
            id.short()
        );
        assert!(text.contains(&size), "no {size} in {text}");
    }
    let own = format!("application_things{{network=\"{}\"}} 7", first_id.short());
    assert!(text.contains(&own), "{text}");

    // An address in use is an error, and harms nobody.
    let error = node(Digest::random(), first_addr).await.err().unwrap();
    assert!(
        matches!(&error, Error::Prometheus(text) if text.contains("can't serve at")),
        "{error}"
    );

    // Serving ends with the node, and its address can be used again.
    first.shutdown().await;
    assert_eq!(get(first_addr).await, None);
    assert!(get(second_addr).await.is_some());
    let third = node(Digest::random(), first_addr).await.unwrap();
    assert!(get(first_addr).await.is_some());
    drop((second, third));
}
