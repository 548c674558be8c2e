//! Watches of collections, entries that expire, and batches.

use std::time::Duration;

use mosaik::{
    Network, NetworkId,
    collections::{Cause, CollectionConfig, Event, Expected, Map, OrderedMap, Set},
    discovery,
    iroh::RelayMode,
};

async fn watch(node: &Network) -> anyhow::Result<()> {
    let prices = Map::<String, u64>::writer(node, "changes/prices");
    prices.when().online().await;
    prices.insert("ETH".into(), 1822).await?;
    // ANCHOR: watch
    let mut watch = prices.watch();
    assert_eq!(watch.snapshot().get("ETH"), Some(&1822)); // what is there already

    prices.insert("ETH".into(), 1830).await?;
    let version = prices.remove(&"ETH".into()).await?;
    while watch.version() < version {
        match watch.recv().await {
            Some(Event::Changed { changes, .. }) => {
                for change in changes.iter() {
                    println!("{}: {:?} -> {:?}", change.key(), change.old(), change.new());
                }
            }
            // What was missed is not told one by one: begin anew from the content.
            Some(Event::Lagged { now, .. } | Event::Reset { now, .. }) => {
                println!("anew, from {} prices", now.len());
            }
            Some(_) => {}
            None => break, // the collection has ended on this node
        }
    }
    // ANCHOR_END: watch
    Ok(())
}

async fn parts(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: parts
    let settings = OrderedMap::<String, String>::writer(node, "changes/settings");
    settings.when().online().await;
    let mut port = settings.watch_key("db/port".into());
    let mut database = settings.watch_prefix("db/");
    settings.insert("log".into(), "debug".into()).await?;
    settings.insert("db/host".into(), "10.0.0.6".into()).await?;
    settings.insert("db/port".into(), "5433".into()).await?;
    for expected in ["db/host", "db/port"] {
        let Some(Event::Changed { changes, .. }) = database.recv().await else {
            anyhow::bail!("something was missed");
        };
        assert_eq!(changes[0].key(), expected);
    }
    let Some(Event::Changed { changes, .. }) = port.recv().await else {
        anyhow::bail!("something was missed");
    };
    assert!(changes[0].is_created());
    // ANCHOR_END: parts
    Ok(())
}

async fn resume(node: &Network) -> anyhow::Result<()> {
    let prices = Map::<String, u64>::writer(node, "changes/resumed");
    prices.when().online().await;
    // ANCHOR: resume
    let handled = prices.insert("ETH".into(), 1822).await?; // all up to here is dealt with
    prices.insert("ETH".into(), 1830).await?;
    prices.insert("ETH".into(), 1835).await?;

    let mut watch = prices.watch_from(handled);
    assert_eq!(watch.snapshot().get("ETH"), Some(&1822)); // the content as it was then
    match watch.recv().await {
        Some(Event::Changed { changes, .. }) => assert_eq!(changes[0].new(), Some(&1830)),
        Some(Event::Compacted { oldest, now }) => {
            println!("kept since {oldest} only; {} prices now", now.len());
        }
        other => anyhow::bail!("{other:?}"),
    }
    // ANCHOR_END: resume
    Ok(())
}

async fn buffer(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: buffer
    let config = CollectionConfig::default().with_watch_buffer(64 * 1024 * 1024);
    let ticks = Map::<u32, u64>::writer_with_config(node, "changes/ticks", config);
    // ANCHOR_END: buffer
    ticks.when().online().await;
    Ok(())
}

async fn expiry(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: expiry
    let online = Set::<String>::writer(node, "changes/presence");
    online.when().online().await;
    let ttl = Duration::from_millis(200);
    let mut watch = online.watch_key("ada".into());
    online.insert_with_ttl("ada".into(), ttl).await?;
    // A sign of life: the time begins anew.
    let is_there = online.expire(&"ada".into(), ttl).await?.value;
    assert!(is_there);
    while let Some(Event::Changed { changes, .. }) = watch.recv().await {
        if changes[0].cause() == Cause::Expired {
            println!("{} has gone", changes[0].key());
            break;
        }
    }
    assert!(!online.contains("ada"));
    // ANCHOR_END: expiry
    Ok(())
}

async fn batch(node: &Network) -> anyhow::Result<()> {
    // ANCHOR: batch
    let accounts = Map::<String, u64>::writer(node, "changes/accounts");
    accounts.when().online().await;
    accounts
        .extend([("alice".into(), 10), ("bob".into(), 5)])
        .await?;
    let moved = accounts
        .batch()
        .expect("alice".into(), Expected::Value(10))
        .expect("bob".into(), Expected::Value(5))
        .insert("alice".into(), 7)
        .insert("bob".into(), 8)
        .commit()
        .await?;
    assert!(moved.applied);
    assert_eq!(moved.previous, [Some(10), Some(5)]);

    let again = accounts
        .batch()
        .expect("bob".into(), Expected::Absent)
        .insert("bob".into(), 100)
        .commit()
        .await?;
    assert_eq!((again.applied, again.failed), (false, Some(0)));
    // ANCHOR_END: batch

    // ANCHOR: update
    let outcome = accounts
        .update("alice".into(), |balance| Some(balance.unwrap_or(&0) + 1))
        .await?;
    assert_eq!(outcome.value, Some(8));
    // ANCHOR_END: update
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
    watch(&node).await?;
    parts(&node).await?;
    resume(&node).await?;
    buffer(&node).await?;
    expiry(&node).await?;
    batch(&node).await?;
    node.shutdown().await;
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
