//! Queries to discovery: the peers that are there, changes, and the health of one peer.

use std::time::Duration;

use mosaik::{
    Network, NetworkId, Tag,
    discovery::{self, Event},
    iroh::{EndpointAddr, RelayMode},
    primitives::ShortFmtExt,
};

async fn node(
    network: NetworkId,
    bootstrap: Option<EndpointAddr>,
    tag: &str,
) -> anyhow::Result<Network> {
    // ANCHOR: configuration
    let discovery = discovery::Config::builder()
        .with_tags(tag)
        .with_bootstrap(bootstrap)
        .with_announce_interval(Duration::from_secs(5))
        .no_dht_bootstrap();
    let node = Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery)
        .build()
        .await?;
    // ANCHOR_END: configuration
    Ok(node)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let network = NetworkId::random();
    let first = node(network, None, "beacon").await?;
    let mut events = first.discovery().events();
    let second = node(network, Some(first.local().addr()), "worker").await?;

    // ANCHOR: watch
    // Wait until a worker is known, whatever the way it was found.
    let worker = Tag::from("worker");
    let mut catalog = first.discovery().catalog_watch();
    let known = catalog
        .wait_for(|catalog| catalog.peers().any(|peer| peer.tags().contains(&worker)))
        .await?
        .clone();
    for peer in known.peers() {
        println!("{} has been up for {:?}", peer.id().short(), peer.uptime());
    }
    // ANCHOR_END: watch
    assert_eq!(known.peers_count(), 1);

    // ANCHOR: change
    // A change is visible here when the call returns, and elsewhere within milliseconds.
    second.discovery().add_tags("busy");
    // ANCHOR_END: change

    // ANCHOR: events
    let busy = Tag::from("busy");
    loop {
        match events.recv().await? {
            Event::PeerDiscovered(peer) => println!("new: {}", peer.id().short()),
            Event::PeerUpdated(peer) if peer.tags().contains(&busy) => break,
            Event::PeerUpdated(_) => {}
            Event::PeerDeparted(peer) => println!("gone: {}", peer.short()),
        }
    }
    // ANCHOR_END: events

    // ANCHOR: ping
    let entry = first.discovery().ping(second.local().id()).await?;
    println!("{} answers", entry.id().short());
    // ANCHOR_END: ping
    assert!(entry.tags().contains(&busy));

    let gone = second.local().id();
    second.shutdown().await;
    while events.recv().await? != Event::PeerDeparted(gone) {}
    first.shutdown().await;
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn runs() {
    tokio::time::timeout(Duration::from_secs(30), run())
        .await
        .unwrap()
        .unwrap();
}
