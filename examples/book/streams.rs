//! Streams in detail: selection, back-pressure and what happens to those who lag.

use futures::SinkExt;
use mosaik::{
    Network, NetworkId, discovery,
    iroh::{EndpointAddr, RelayMode},
    streams::producer::{Error, LagPolicy},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    bid: u64,
}

async fn node(
    network: NetworkId,
    tag: &str,
    bootstrap: Option<EndpointAddr>,
) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
        .with_tags(tag)
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

fn quote(bid: u64) -> Quote {
    Quote {
        symbol: "ABC".into(),
        bid,
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let exchange = node(id, "exchange", None).await?;
    let desk = node(id, "desk", Some(exchange.local().addr())).await?;
    let guest = node(id, "guest", Some(exchange.local().addr())).await?;

    // ANCHOR: producer
    let mut quotes = exchange
        .streams()
        .producer::<Quote>()
        .with_stream_id("book/quotes")
        // Only desks may listen, and at most ten of them.
        .require(|peer| peer.tags().contains(&"desk".into()))
        .with_max_consumers(10)
        // Up to 256 quotes wait for each of them; who can't keep up loses quotes.
        .with_buffer_size(256)
        .with_lag_policy(LagPolicy::Drop)
        .build()?;
    // ANCHOR_END: producer

    // ANCHOR: consumer
    let mut received = desk
        .streams()
        .consumer::<Quote>()
        .with_stream_id("book/quotes")
        .require(|peer| peer.tags().contains(&"exchange".into()))
        .build();
    // ANCHOR_END: consumer
    let refused = guest
        .streams()
        .consumer::<Quote>()
        .with_stream_id("book/quotes")
        .build();

    // ANCHOR: send
    // Waits: for a first consumer, and for room.
    quotes.send(quote(100)).await?;
    // Does not wait; what was not sent comes back.
    match quotes.try_send(quote(101)) {
        Ok(()) => {}
        Err(Error::Offline(quote) | Error::Full(quote)) => println!("not now: {quote:?}"),
        Err(error) => return Err(error.into()),
    }
    // ANCHOR_END: send
    assert_eq!(received.recv().await, Some(quote(100)));
    assert_eq!(received.recv().await, Some(quote(101)));

    // ANCHOR: status
    for channel in quotes.consumers() {
        println!("{:?} is {:?}", channel.peer().id(), channel.state());
    }
    let with_desks = quotes.when().subscribed().with_tags("desk").minimum_of(1);
    assert!(with_desks.is_condition_met());
    // ANCHOR_END: status
    assert!(!refused.when().subscribed().is_condition_met());

    // ANCHOR: end
    drop(quotes);
    // The consumer stays, and subscribes again when the stream comes back.
    received.when().unsubscribed().await;
    // ANCHOR_END: end
    for node in [guest, desk, exchange] {
        node.shutdown().await;
    }
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
