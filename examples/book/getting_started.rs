//! Two programs that share a network name find each other and exchange readings.
//!
//! For the book both run in one process, on loopback.

use futures::SinkExt;
use mosaik::{Network, discovery, iroh::RelayMode};
use serde::{Deserialize, Serialize};

// ANCHOR: datum
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    celsius: f32,
}
// ANCHOR_END: datum

// ANCHOR: local
/// A node for trying things out: on this machine only, without relays and DHT.
async fn local_node(name: &str) -> anyhow::Result<Network> {
    let network = Network::builder(name)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .build()
        .await?;
    Ok(network)
}
// ANCHOR_END: local

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    // Random, so that two runs of this program don't meet.
    let name = mosaik::Digest::random().to_string();
    // ANCHOR: meet
    let station = local_node(&name).await?;
    let display = local_node(&name).await?;
    // One address is all that one of them needs to know.
    display.discovery().dial(station.local().addr());
    // ANCHOR_END: meet

    // ANCHOR: stream
    let mut consumer = display.streams().consume::<Reading>();
    let mut producer = station.streams().produce::<Reading>();
    // Waits until a consumer has subscribed.
    producer
        .send(Reading {
            sensor: "roof".into(),
            celsius: 21.5,
        })
        .await?;
    let reading = consumer.recv().await.expect("the network is up");
    println!("{} says {} °C", reading.sensor, reading.celsius);
    // ANCHOR_END: stream
    assert_eq!(
        reading,
        Reading {
            sensor: "roof".into(),
            celsius: 21.5
        }
    );

    // ANCHOR: leave
    station.shutdown().await;
    display.shutdown().await;
    // ANCHOR_END: leave
    Ok(())
}

#[cfg(test)]
#[tokio::test]
async fn runs() {
    tokio::time::timeout(std::time::Duration::from_secs(30), run())
        .await
        .unwrap()
        .unwrap();
}
