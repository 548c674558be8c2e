//! Replicated collections: two nodes that share prices, orders and jobs.

use mosaik::{
    CollectionReader, CollectionWriter, Network, NetworkId,
    collections::{self, Map, OrderedMap, PriorityQueue},
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

    // ANCHOR: snapshot
    let before = board.snapshot();
    prices.clear().await?;
    board.sync().await?; // sees everything that was acknowledged before
    assert!(board.is_empty());
    assert!(before.contains_key("ETH")); // a snapshot does not change
    // ANCHOR_END: snapshot
    Ok(())
}

async fn orders(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: queue
    let orders = PriorityQueue::<u64, String, f64>::writer(node, "book/orders");
    orders.when().online().await;
    orders.insert(1822, "order-1".into(), 0.5).await?;
    orders.insert(1830, "order-2".into(), 1.5).await?;
    let best = orders.pop_max().await?.value; // of several callers, one gets it
    assert_eq!(best, Some((1830, "order-2".into(), 1.5)));
    // ANCHOR_END: queue
    Ok(())
}

async fn settings(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: ordered
    let settings = OrderedMap::<String, String>::writer(node, "book/settings");
    settings.when().online().await;
    settings
        .extend([
            ("db/host".into(), "10.0.0.5".into()),
            ("db/port".into(), "5432".into()),
            ("log".into(), "info".into()),
        ])
        .await?; // one mutation: all or none
    assert_eq!(settings.prefix("db/").count(), 2);
    // ANCHOR_END: ordered
    Ok(())
}

async fn jobs(one: &Network, two: &Network) -> anyhow::Result<()> {
    // ANCHOR: jobs
    let jobs = collections::Vec::<String>::writer(one, "book/jobs");
    let worker = collections::Vec::<String>::writer(two, "book/jobs");
    jobs.when().online().await;
    worker.when().online().await;
    jobs.push_back("index block 7".into()).await?;
    let job = worker.pop_front_returning().await?.value;
    assert_eq!(job.as_deref(), Some("index block 7"));
    // ANCHOR_END: jobs
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
    orders(&one).await?;
    settings(&one).await?;
    jobs(&one, &two).await?;
    limits(&one).await?;
    two.shutdown().await;
    one.shutdown().await;
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
