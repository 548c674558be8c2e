//! Expiry, and clocks and nodes that stop or jump.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use mosaik::{Network, NetworkId, collections::Map, discovery, iroh::EndpointAddr};

use super::until;
use crate::support::{builder, random_network, until_catalog, within};

const HOUR: i64 = 3600;

/// A node whose wall clock is ahead by so many seconds.
async fn node_with_clock(
    network: NetworkId,
    bootstrap: Option<EndpointAddr>,
    ahead: &Arc<AtomicI64>,
) -> Network {
    let mut discovery = discovery::Config::builder();
    if let Some(bootstrap) = bootstrap {
        discovery = discovery.with_bootstrap(bootstrap);
    }
    let ahead = ahead.clone();
    let clock = move || {
        let seconds = ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 {
            SystemTime::now() - by
        } else {
            SystemTime::now() + by
        }
    };
    let builder = builder(network, discovery).with_clock(clock);
    builder.build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_an_hour_lets_nothing_expire_sooner_or_later() {
    let network = random_network();
    let clocks = [Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0))];
    let first = node_with_clock(network, None, &clocks[0]).await;
    let second = node_with_clock(network, Some(first.local().addr()), &clocks[1]).await;
    until_catalog(10, &first, |catalog| catalog.peers_count() == 1).await;
    // The first one leads.
    let map = Map::<u32, u32>::writer(&first, "map");
    within(10, map.when().online()).await;
    let other = Map::<u32, u32>::writer(&second, "map");
    within(10, other.when().online()).await;
    for clock in &clocks {
        for seconds in [HOUR, -HOUR] {
            let begin = Instant::now();
            let (short, long) = (Duration::from_millis(1500), Duration::from_secs(600));
            map.insert_with_ttl(1, 1, short).await.unwrap();
            let version = other.insert_with_ttl(2, 2, long).await.unwrap();
            within(10, map.when().reaches(version)).await;
            clock.store(seconds, Ordering::Relaxed);
            until(10, other.when(), || other.get(&1).is_none()).await;
            assert!(begin.elapsed() >= short, "not early");
            for map in [&map, &other] {
                let left = map.ttl(&2).unwrap();
                assert!(left <= long && left > long / 2, "{left:?} left");
            }
            clock.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_across_a_restart_of_all_members() {
    use mosaik::collections::CollectionConfig;

    let network = random_network();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |n: usize, bootstrap: Option<EndpointAddr>| {
        let mut discovery = discovery::Config::builder();
        if let Some(bootstrap) = bootstrap {
            discovery = discovery.with_bootstrap(bootstrap);
        }
        let builder = builder(network, discovery).with_storage(directories[n].path());
        async move { builder.build().await.unwrap() }
    };
    let open = |node: &Network| {
        let config = CollectionConfig::default().durable().with_min_writers(2);
        Map::<u32, u32>::writer_with_config(node, "map", config)
    };
    let first = start(0, None).await;
    let second = start(1, Some(first.local().addr())).await;
    let maps = [open(&first), open(&second)];
    for map in &maps {
        within(20, map.when().online()).await;
    }
    let (short, long) = (Duration::from_secs(2), Duration::from_secs(600));
    let begin = Instant::now();
    maps[0].insert_with_ttl(1, 1, short).await.unwrap();
    maps[1].insert_with_ttl(2, 2, long).await.unwrap();
    let version = maps[0].insert(3, 3).await.unwrap();
    within(10, maps[1].when().reaches(version)).await;
    within(20, first.shutdown()).await;
    within(20, second.shutdown()).await;
    drop(maps);

    let first = start(0, None).await;
    let second = start(1, Some(first.local().addr())).await;
    let maps = [open(&first), open(&second)];
    for map in &maps {
        within(30, map.when().reaches(version)).await;
        until(20, map.when(), || map.get(&1).is_none()).await;
        assert!(begin.elapsed() >= short, "not early");
        assert_eq!((map.get(&2), map.get(&3)), (Some(2), Some(3)));
        let left = map.ttl(&2).unwrap();
        assert!(left <= long && left > long / 2, "{left:?} left");
    }
}
