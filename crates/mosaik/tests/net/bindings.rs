//! Addresses on which a node listens, and those that it announces.

use std::collections::BTreeSet;

use mosaik::{Network, NetworkId, discovery, iroh::EndpointAddr};

use crate::support::{builder, node, random_network, within};

async fn at(network: NetworkId, addresses: &[&str]) -> Network {
    let addresses: BTreeSet<_> = addresses.iter().map(|addr| addr.parse().unwrap()).collect();
    builder(network, discovery::Config::builder())
        .with_addresses(addresses)
        .build()
        .await
        .unwrap()
}

/// Regression: the second address of a family was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_listens_on_several_addresses_of_a_family() {
    let id = random_network();
    let a = at(id, &["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"]).await;
    let addrs: Vec<_> = a.local().addr().ip_addrs().copied().collect();
    assert_eq!(addrs.len(), 3, "{addrs:?}");
    for addr in addrs {
        let b = node(id).await;
        let only = EndpointAddr::new(a.local().id()).with_ip_addr(addr);
        // By this address alone: the process's own table does not know a peer of another process.
        within(5, b.discovery().sync_with(only)).await.unwrap();
    }
    // And it reaches others from there.
    let c = node(id).await;
    within(5, a.discovery().sync_with(c.local().addr()))
        .await
        .unwrap();
}

/// Addresses that a router forwards are announced to others, who dial them.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_others_forward_are_told() {
    let id = random_network();
    let external = "198.51.100.7:4000".parse().unwrap();
    let a = builder(id, discovery::Config::builder())
        .with_external_addresses([external])
        .build()
        .await
        .unwrap();
    let b = node(id).await;
    within(5, b.discovery().sync_with(a.local().addr()))
        .await
        .unwrap();
    let catalog = b.discovery().catalog();
    let entry = catalog.get(&a.local().id()).unwrap();
    assert!(entry.address().ip_addrs().any(|addr| *addr == external));
    assert!(entry.address().ip_addrs().count() > 1);
}
