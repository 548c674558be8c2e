//! An application with a recorder of its own: a process of its own, too.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]

use mosaik::{Digest, Network, iroh::RelayMode, network::Error};

#[tokio::test]
async fn another_recorder_is_refused_before_anything_is_bound() {
    metrics::set_global_recorder(metrics::NoopRecorder).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let result = Network::builder(Digest::random())
        .with_relay_mode(RelayMode::Disabled)
        .with_prometheus_addr(port.local_addr().unwrap())
        .build()
        .await;
    let error = result.err().unwrap();
    assert!(
        matches!(&error, Error::Prometheus(text) if text.contains("another")),
        "{error}"
    );
}
