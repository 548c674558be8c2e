//! Descriptors that are left of nodes that have ended. It counts those of its process, so this is
//! one of its own, and one test.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking")]

use std::{
    fs,
    time::{Duration, Instant},
};

use mosaik::{Digest, Network, discovery, iroh::RelayMode};

const NODES: usize = 20;

fn descriptors() -> Vec<String> {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let links = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

/// Nodes that live one after the other leave no descriptor, be they shut down or dropped.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let network = Digest::random();
    // What the process and its runtime open once.
    run(network, None).await;
    let before = descriptors();
    for n in 0..NODES {
        let storage = directory.path().join((n % 2).to_string());
        run(network, Some(storage)).await;
    }
    // A task of the transport closes a socket a moment after the endpoint is closed.
    let begin = Instant::now();
    while descriptors().len() > before.len() && begin.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = descriptors();
    assert!(after.len() <= before.len(), "{before:?}, then {after:?}");
}

async fn run(network: Digest, storage: Option<std::path::PathBuf>) {
    let mut builder = Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap());
    #[cfg(feature = "storage")]
    if let Some(storage) = storage {
        builder = builder.with_storage(storage);
    }
    let node = builder.build().await.unwrap();
    let shutdown = tokio::time::timeout(Duration::from_secs(20), node.shutdown());
    let left = shutdown.await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
