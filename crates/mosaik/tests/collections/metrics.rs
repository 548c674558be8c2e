//! Metrics of collections.

use mosaik::collections::{Cell, Map, PriorityQueue, SyncConfig, SyncStrategy};

use super::fleet;
use crate::support::{
    metrics::{count, counted, until_counted},
    within,
};

#[tokio::test(flavor = "multi_thread")]
async fn sizes_follow_every_change_of_the_content() {
    count();
    let nodes = fleet(2).await;
    let network = *nodes[0].network_id();
    let size = |kind: &str| counted(&network, &format!("mosaik.collections.{kind}.size"), None);
    let map = Map::<u8, u8>::writer(&nodes[0], "map");
    let cell = Cell::<u8>::writer(&nodes[0], "cell");
    let queue = PriorityQueue::<u8, u8, u8>::writer(&nodes[0], "queue");
    within(10, map.when().online()).await;
    within(10, cell.when().online()).await;
    within(10, queue.when().online()).await;
    map.extend([(1, 1), (2, 2)]).await.unwrap();
    cell.set(1).await.unwrap();
    queue.insert(1, 1, 1).await.unwrap();
    assert_eq!((size("map"), size("cell"), size("depq")), (2, 1, 1));
    cell.clear().await.unwrap();
    map.remove(&1).await.unwrap();
    assert_eq!((size("map"), size("cell")), (1, 0));
    let reader = Map::<u8, u8>::reader(&nodes[1], "map");
    within(10, reader.when().online()).await;
    until_counted(10, &network, "mosaik.collections.map.size", |size| {
        size == 1
    })
    .await;
}

/// The nodes of a process share a gauge, which shows what the last one of them has set: the writer
/// sets nothing here after the reader has begun at nothing.
#[tokio::test(flavor = "multi_thread")]
async fn sizes_follow_a_snapshot_that_is_installed() {
    const MAP: &str = "mosaik.collections.map.size";
    count();
    let nodes = fleet(2).await;
    let network = *nodes[0].network_id();
    let map = Map::<u8, u8>::writer(&nodes[0], "map");
    within(10, map.when().online()).await;
    map.extend((0..7).map(|n| (n, n))).await.unwrap();
    let given = || counted(&network, "mosaik.collections.syncs.started", None);
    assert_eq!((counted(&network, MAP, None), given()), (7, 0));
    let config = SyncConfig::default().with_strategy(SyncStrategy::Snapshot);
    let reader = Map::<u8, u8>::reader_with_config(&nodes[1], "map", config);
    within(10, reader.when().reaches(map.version())).await;
    assert_eq!((reader.len(), given()), (7, 1));
    until_counted(10, &network, MAP, |size| size == 7).await;
}
