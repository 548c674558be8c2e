//! Replicated collections: two nodes that share prices.

use mosaik::{
    CollectionReader, CollectionWriter, Network, NetworkId,
    collections::{self, Map},
    discovery,
    iroh::{EndpointAddr, RelayMode},
};

async fn node(network: NetworkId, bootstrap: Option<EndpointAddr>) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
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

// ANCHOR: declare
mosaik::collection!(
    /// The last price of each symbol.
    pub Prices = collections::Map<String, u64>, "book/prices"
);
// ANCHOR_END: declare

async fn prices(one: &Network, two: &Network) -> anyhow::Result<()> {
    // ANCHOR: map
    let prices = Prices::online_writer(one).await;
    let version = prices.insert("ETH".into(), 1822).await?;
    assert_eq!(prices.get("ETH"), Some(1822)); // the caller reads its own writes

    // On another node:
    let board = Prices::online_reader(two).await;
    board.when().reaches(version).await;
    assert_eq!(board.get("ETH"), Some(1822));
    // ANCHOR_END: map

    // ANCHOR: exchange
    let outcome = prices
        .compare_exchange_returning("ETH".into(), Some(1822), Some(1830))
        .await?;
    assert!(outcome.value.applied);
    // ANCHOR_END: exchange

    // ANCHOR: retry
    let mut entry = ("ETH".to_owned(), 1840);
    let version = loop {
        match prices.insert(entry.0, entry.1).await {
            Ok(version) => break version,
            // It had no effect, and will have none.
            Err(collections::Error::Offline(again)) => {
                prices.when().online().await;
                entry = again;
            }
            // `Unknown`, and what no second attempt mends.
            Err(error) => return Err(error.into()),
        }
    };
    // ANCHOR_END: retry
    assert!(version <= prices.version());

    // ANCHOR: snapshot
    let before = board.snapshot();
    prices.clear().await?;
    board.sync().await?; // sees everything that was acknowledged before
    assert!(board.is_empty());
    assert!(before.contains_key("ETH")); // a snapshot does not change
    // ANCHOR_END: snapshot
    Ok(())
}

async fn limits(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: config
    let config = collections::CollectionConfig::default().with_max_entries(1);
    let map = Map::<u8, u8>::writer_with_config(node, "book/limited", config);
    map.when().online().await;
    map.insert(1, 1).await?;
    match map.insert(2, 2).await {
        Err(collections::Error::Full((key, value))) => assert_eq!((key, value), (2, 2)),
        other => anyhow::bail!("{other:?}"),
    }
    // ANCHOR_END: config
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let network = NetworkId::random();
    let one = node(network, None).await?;
    let two = node(network, Some(one.local().addr())).await?;
    prices(&one, &two).await?;
    limits(&one).await?;
    two.shutdown().await;
    one.shutdown().await;
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
