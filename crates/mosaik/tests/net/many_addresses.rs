//! A machine with more addresses than an entry has room for.

use std::net::SocketAddr;

use mosaik::{Network, discovery};

use crate::support::{builder, node_at, random_network, until_catalog, within};

fn many() -> impl Iterator<Item = SocketAddr> {
    (0..100u8).map(|n| SocketAddr::from(([10, 9, 0, n], 7000)))
}

async fn is_whole(a: &Network, b: &Network, tag: &'static str) {
    let id = a.local().id();
    a.discovery().add_tags(tag);
    let stream = a.streams().produce::<u64>();
    let groups = a.discovery().me().streams().len();
    assert!(groups > 0);
    until_catalog(10, b, |catalog| {
        let entry = catalog.get(&id);
        entry.is_some_and(|entry| {
            entry.tags().contains(&tag.into())
                && !entry.streams().is_empty()
                && entry.address().addrs.len() == 64
        })
    })
    .await;
    drop(stream);
}

/// Regression: such a node was in nobody's catalog, and nothing of its entry could be changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_best_ones_are_listed() {
    let id = random_network();
    let public: SocketAddr = "198.51.100.7:7000".parse().unwrap();
    let a = builder(id, discovery::Config::builder())
        .with_external_addresses(
            many()
                .chain([public])
                .collect::<std::collections::BTreeSet<_>>(),
        )
        .build()
        .await
        .unwrap();
    let b = node_at(id, a.local().addr()).await;
    is_whole(&a, &b, "at once").await;
    let me = a.discovery().me();
    assert!(me.address().ip_addrs().any(|addr| *addr == public));
}

#[tokio::test(flavor = "multi_thread")]
async fn they_may_come_and_go() {
    let id = random_network();
    let a = builder(id, discovery::Config::builder())
        .build()
        .await
        .unwrap();
    let b = node_at(id, a.local().addr()).await;
    within(5, b.discovery().sync_with(a.local().addr()))
        .await
        .unwrap();
    for addr in many() {
        a.local().endpoint().add_external_addr(addr).await;
    }
    is_whole(&a, &b, "later").await;
    for addr in many().skip(10) {
        a.local().endpoint().remove_external_addr(&addr).await;
    }
    let peer = a.local().id();
    until_catalog(10, &b, |catalog| {
        let entry = catalog.get(&peer);
        entry.is_some_and(|entry| entry.address().addrs.len() == 11)
    })
    .await;
}
