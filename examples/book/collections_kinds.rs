//! The kinds of collections, one after the other.

use mosaik::{
    Network, NetworkId,
    collections::{self, BoundedPriorityQueue, Cell, Map, Once, OrderedMap, PriorityQueue, Set},
    discovery,
    iroh::RelayMode,
};

async fn map(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: map
    let prices = Map::<String, u64>::writer(node, "kinds/prices");
    prices.when().online().await;
    prices.insert("ETH".into(), 1822).await?;
    let many = [("BTC".into(), 60_000), ("SOL".into(), 150)];
    let version = prices.extend(many).await?; // one mutation: all or none
    assert_eq!(prices.get("ETH"), Some(1822));
    assert_eq!(prices.get_many(["SOL", "XRP"]), [Some(150), None]);
    assert_eq!(prices.get_versioned("BTC"), Some((60_000, version)));
    let former = prices.remove_returning(&"ETH".into()).await?.value;
    assert_eq!(former, Some(1822));
    // ANCHOR_END: map
    Ok(())
}

async fn ordered_map(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: ordered_map
    let settings = OrderedMap::<String, String>::writer(node, "kinds/settings");
    settings.when().online().await;
    settings
        .extend([
            ("db/host".into(), "10.0.0.5".into()),
            ("db/port".into(), "5432".into()),
            ("log".into(), "info".into()),
        ])
        .await?;
    assert_eq!(settings.prefix("db/").count(), 2);
    let after: Vec<_> = settings.range("db/port".to_owned()..).collect();
    assert_eq!(after.len(), 2);
    let (page, more) = settings.page(None, 2);
    assert!(page.len() == 2 && more);
    let (page, more) = settings.page(Some(&page[1].0), 2); // what comes after it
    assert!(page.len() == 1 && !more);
    // ANCHOR_END: ordered_map
    Ok(())
}

async fn vec(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: vec
    let lines = collections::Vec::<String>::writer(node, "kinds/lines");
    lines.when().online().await;
    lines
        .extend(["one".into(), "two".into(), "three".into()])
        .await?;
    assert_eq!(lines.get(1).as_deref(), Some("two"));
    let first = lines.pop_front_returning().await?.value; // of several callers, one gets it
    assert_eq!(first.as_deref(), Some("one"));
    let gone = lines.retain(|line| line.len() > 3).await?.value;
    assert_eq!((gone, lines.len()), (1, 1));
    let rest = lines.drain(..).await?.value;
    assert_eq!(rest, ["three"]);
    // ANCHOR_END: vec
    Ok(())
}

// ANCHOR: loses_jobs
async fn work_one(
    jobs: &collections::Vec<String>,
    results: &Map<String, String>,
) -> anyhow::Result<()> {
    if let Some(job) = jobs.pop_front_returning().await?.value {
        let output = job.to_uppercase(); // the work
        results.insert(job, output).await?;
    }
    Ok(())
}
// ANCHOR_END: loses_jobs

async fn jobs(node: &Network) -> anyhow::Result<()> {
    let jobs = collections::Vec::<String>::writer(node, "kinds/jobs");
    let results = Map::<String, String>::writer(node, "kinds/results");
    jobs.when().online().await;
    results.when().online().await;
    jobs.push_back("index".into()).await?;
    work_one(&jobs, &results).await?;
    assert_eq!(results.get("index").as_deref(), Some("INDEX"));
    Ok(())
}

async fn set(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: set
    let banned = Set::<u32>::writer(node, "kinds/banned");
    banned.when().online().await;
    assert!(banned.insert_returning(7).await?.value, "it is new");
    assert!(!banned.insert_returning(7).await?.value);
    assert!(banned.contains(&7));
    // ANCHOR_END: set
    Ok(())
}

async fn cell(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: cell
    let limit = Cell::<u32>::writer(node, "kinds/limit");
    limit.when().online().await;
    limit.set(5).await?;
    let exchange = limit.compare_exchange_returning(Some(4), Some(6)).await?;
    assert!(!exchange.value.applied); // it was not 4
    assert_eq!(limit.get(), Some(5));
    // ANCHOR_END: cell
    Ok(())
}

async fn once(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: once
    let genesis = Once::<String>::writer(node, "kinds/genesis");
    genesis.when().online().await;
    let before = genesis.write_returning("first".into()).await?.value;
    assert_eq!(before, None); // this one has won
    genesis.set("second".into()).await?; // no effect, and no error
    assert_eq!(genesis.await_value().await, "first");
    // ANCHOR_END: once
    Ok(())
}

async fn priority_queue(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: priority_queue
    let orders = PriorityQueue::<u64, String, f64>::writer(node, "kinds/orders");
    orders.when().online().await;
    orders.insert(1822, "order-1".into(), 0.5).await?;
    orders.insert(1830, "order-2".into(), 1.5).await?;
    orders.update_priority(&"order-1".into(), 1840).await?;
    let best = orders.pop_max().await?.value;
    assert_eq!(best, Some((1840, "order-1".into(), 0.5)));

    // The three best of all.
    let top = BoundedPriorityQueue::<u64, String, (), 3>::writer(node, "kinds/top");
    top.when().online().await;
    top.extend((0..10).map(|score| (score, format!("player {score}"), ())))
        .await?;
    assert_eq!((top.len(), top.min_priority()), (3, Some(7)));
    // ANCHOR_END: priority_queue
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node = Network::builder(NetworkId::random())
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .build()
        .await?;
    map(&node).await?;
    ordered_map(&node).await?;
    vec(&node).await?;
    jobs(&node).await?;
    set(&node).await?;
    cell(&node).await?;
    once(&node).await?;
    priority_queue(&node).await?;
    node.shutdown().await;
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
