//! Nodes find each other.

use std::time::Instant;

use crate::support::{
    builder,
    metrics::{count, counted},
    node, node_at, random_network, until_catalog, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_ready_at_once() {
    let started = Instant::now();
    let network = within(1, mosaik::Network::new(random_network()))
        .await
        .unwrap();
    let elapsed = started.elapsed();
    within(1, network.online()).await;
    assert_eq!(network.discovery().catalog().peers_count(), 0);
    assert_eq!(network.discovery().catalog().len(), 1);
    eprintln!("ready in {elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_merges_both_sides() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    assert!(a.discovery().catalog().get(&b.local().id()).is_some());
    assert!(b.discovery().catalog().get(&a.local().id()).is_some());
}

/// The file of addresses was written a second after a change, so a short run left none.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_run_for_a_moment_finds_its_peers_again() {
    let (id, directory) = (random_network(), tempfile::tempdir().unwrap());
    let start = || {
        let discovery = mosaik::discovery::Config::builder();
        let builder = builder(id, discovery).with_storage(directory.path());
        async { builder.build().await.unwrap() }
    };
    let (stays, moves) = (node(id).await, start().await);
    within(5, moves.discovery().sync_with(stays.local().addr()))
        .await
        .unwrap();
    within(10, moves.shutdown()).await;
    let moved = start().await;
    let stays = stays.local().id();
    until_catalog(10, &moved, |catalog| catalog.get(&stays).is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_know_all_through_one_bootstrap_peer() {
    let id = random_network();
    let first = node(id).await;
    let started = Instant::now();
    let mut nodes = Vec::new();
    for _ in 0..10 {
        nodes.push(node_at(id, first.local().id().into()).await);
    }
    nodes.push(first);
    for node in &nodes {
        until_catalog(10, node, |catalog| catalog.peers_count() == 10).await;
    }
    eprintln!("11 nodes in {:?}", started.elapsed());
    nodes[3].discovery().add_tags("new");
    let started = Instant::now();
    let changed = nodes[3].local().id();
    for node in &nodes {
        until_catalog(2, node, |c| {
            c.get(&changed).unwrap().tags().contains(&"new".into())
        })
        .await;
    }
    eprintln!("tag in {:?}", started.elapsed());
    let gone = nodes.remove(5);
    let gone_id = gone.local().id();
    gone.shutdown().await;
    for node in &nodes {
        until_catalog(5, node, |c| c.get(&gone_id).is_none()).await;
    }
    eprintln!("departed in {:?}", started.elapsed());
}

/// Regression: a node that was told to sync with itself went on to join its own gossip.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_with_oneself_is_no_work() {
    count();
    let id = random_network();
    let a = node(id).await;
    for addr in [a.local().id().into(), a.local().addr()] {
        within(1, a.discovery().sync_with(addr)).await.unwrap();
    }
    assert_eq!(counted(&id, "mosaik.discovery.catalog.syncs", None), 0);
    assert_eq!(counted(&id, "mosaik.network.connections.opened", None), 0);
}
