//! Members that lack content.

use mosaik::collections::{
    self, Cell, Map, Once, OrderedMap, PriorityQueue, Set, SyncConfig, SyncStrategy,
};

use super::fleet;
use crate::support::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reader_of_each_kind_gets_the_content() {
    let nodes = fleet(2).await;
    let (one, two) = (&nodes[0], &nodes[1]);
    let map = Map::<u32, u32>::writer(one, "map");
    let ordered = OrderedMap::<u32, u32>::writer(one, "ordered");
    let vec = collections::Vec::<u32>::writer(one, "vec");
    let set = Set::<u32>::writer(one, "set");
    let cell = Cell::<u32>::writer(one, "cell");
    let once = Once::<u32>::writer(one, "once");
    let queue = PriorityQueue::<u32, u32, u32>::writer(one, "queue");
    within(10, async {
        map.when().online().await;
        map.extend((0..1000).map(|n| (n, n))).await.unwrap();
        map.remove(&7).await.unwrap();
        ordered.when().online().await;
        ordered.extend((0..1000).map(|n| (n, n))).await.unwrap();
        vec.when().online().await;
        vec.extend(0..1000).await.unwrap();
        set.when().online().await;
        set.extend(0..1000).await.unwrap();
        cell.when().online().await;
        cell.set(1).await.unwrap();
        cell.set(2).await.unwrap();
        once.when().online().await;
        once.set(1).await.unwrap();
        once.set(2).await.unwrap();
        queue.when().online().await;
        queue
            .extend((0..1000).map(|n| (n % 10, n, n)))
            .await
            .unwrap();
    })
    .await;

    let read_map = Map::<u32, u32>::reader(two, "map");
    let read_ordered = OrderedMap::<u32, u32>::reader(two, "ordered");
    let read_vec = collections::Vec::<u32>::reader(two, "vec");
    let read_set = Set::<u32>::reader(two, "set");
    let read_cell = Cell::<u32>::reader(two, "cell");
    let read_once = Once::<u32>::reader(two, "once");
    let read_queue = PriorityQueue::<u32, u32, u32>::reader(two, "queue");
    within(15, async {
        read_map.when().online().await;
        read_ordered.when().online().await;
        read_vec.when().online().await;
        read_set.when().online().await;
        read_cell.when().online().await;
        read_once.when().online().await;
        read_queue.when().online().await;
    })
    .await;
    assert!(read_map.iter().eq(map.iter()) && read_map.len() == 999);
    assert!(read_ordered.iter().eq((0..1000).map(|n| (n, n))));
    assert!(read_vec.iter().eq(0..1000));
    assert!(read_set.iter().eq(set.iter()) && read_set.len() == 1000);
    assert_eq!((read_cell.get(), read_once.get()), (Some(2), Some(1)));
    assert!(read_queue.iter().eq(queue.iter()));
    assert!(read_map.version() >= map.version());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_small_batches_fit() {
    for (size, entries) in [(1, 300), (100, 20_000), (1_000_000, 2000)] {
        let nodes = fleet(2).await;
        let config = SyncConfig::default().with_fetch_batch_size(size);
        let writer = Map::<u32, [u8; 16]>::writer_with_config(&nodes[0], "m", config.clone());
        within(10, writer.when().online()).await;
        writer
            .extend((0..entries).map(|n| (n, [7; 16])))
            .await
            .unwrap();
        let config = config.with_strategy(SyncStrategy::Snapshot);
        let reader = Map::<u32, [u8; 16]>::reader_with_config(&nodes[1], "m", config);
        assert_eq!(reader.group_id(), writer.group_id());
        within(15, reader.when().online()).await;
        assert_eq!(reader.len(), entries as usize);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_joins_again_begins_afresh_and_catches_up() {
    let nodes = fleet(2).await;
    let writer = Set::<u32>::writer(&nodes[0], "again");
    within(10, writer.when().online()).await;
    writer.extend(0..100).await.unwrap();
    let reader = Set::<u32>::reader(&nodes[1], "again");
    within(10, reader.when().online()).await;
    drop(reader);
    writer.extend(100..200).await.unwrap();
    let reader = Set::<u32>::reader(&nodes[1], "again");
    within(15, reader.when().online()).await;
    assert_eq!(reader.len(), 200);
}
