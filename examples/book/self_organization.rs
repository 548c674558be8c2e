//! Six programs are told their role and one address; the topology forms by itself.
#![allow(
    missing_docs,
    clippy::assigning_clones,
    clippy::pedantic,
    reason = "an excerpt for the book"
)]

use futures::SinkExt;
use mosaik::{
    Network, NetworkId, discovery,
    iroh::{EndpointAddr, RelayMode},
};
use serde::{Deserialize, Serialize};

// ANCHOR: streams
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    price: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fill {
    price: u32,
}

mosaik::stream!(
    /// Taken only from traders.
    Orders = Order, "book/orders",
    producer require: |peer| peer.tags().contains(&"trader".into()),
);

mosaik::stream!(
    /// Online once both reporters listen.
    Fills = Fill, "book/fills",
    producer online_when: |subscribed| subscribed.minimum_of(2),
);
// ANCHOR_END: streams

async fn node(
    network: NetworkId,
    role: &str,
    bootstrap: Option<EndpointAddr>,
) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
        .with_tags(role)
        .with_bootstrap(bootstrap)
        .no_dht_bootstrap();
    let node = Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery)
        .build()
        .await?;
    Ok(node)
}

// ANCHOR: roles
/// Sends its orders to every matcher.
async fn trader(network: &Network, prices: std::ops::Range<u32>) -> anyhow::Result<()> {
    use mosaik::StreamProducer;
    let mut orders = Orders::producer(network);
    // Both matchers must be there, as nothing is repeated for late ones.
    orders.when().subscribed().minimum_of(2).await;
    for price in prices {
        orders.send(Order { price }).await?;
    }
    Ok(())
}

/// Turns every order into a fill.
async fn matcher(network: &Network, orders: usize) -> anyhow::Result<()> {
    use mosaik::{StreamConsumer, StreamProducer};
    let mut incoming = Orders::consumer(network);
    let mut fills = Fills::producer(network);
    for _ in 0..orders {
        let Some(order) = incoming.recv().await else {
            break;
        };
        fills.send(Fill { price: order.price }).await?;
    }
    Ok(())
}

/// Collects the fills of all matchers.
async fn reporter(network: &Network, expected: usize) -> Vec<Fill> {
    use mosaik::StreamConsumer;
    let mut fills = Fills::consumer(network);
    let mut seen = Vec::new();
    while seen.len() < expected {
        match fills.recv().await {
            Some(fill) => seen.push(fill),
            None => break,
        }
    }
    seen
}
// ANCHOR_END: roles

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let first = node(id, "trader", None).await?;
    let bootstrap = Some(first.local().addr());
    let second = node(id, "trader", bootstrap.clone()).await?;
    let (m1, m2) = tokio::try_join!(
        node(id, "matcher", bootstrap.clone()),
        node(id, "matcher", bootstrap.clone())
    )?;
    let (r1, r2) = tokio::try_join!(
        node(id, "reporter", bootstrap.clone()),
        node(id, "reporter", bootstrap.clone())
    )?;
    let (t1, t2, m1_done, m2_done, seen1, seen2) = tokio::join!(
        trader(&first, 0..10),
        trader(&second, 10..20),
        matcher(&m1, 20),
        matcher(&m2, 20),
        reporter(&r1, 40),
        reporter(&r2, 40),
    );
    t1.and(t2).and(m1_done).and(m2_done)?;
    println!("each reporter has seen {} fills", seen1.len());
    assert_eq!((seen1.len(), seen2.len()), (40, 40));
    let nodes = [first, second, m1, m2, r1, r2];
    futures::future::join_all(nodes.map(Network::shutdown)).await;
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn runs() {
    tokio::time::timeout(std::time::Duration::from_mins(1), run())
        .await
        .unwrap()
        .unwrap();
}
