//! Writers and readers, leaders and handles.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use mosaik::collections::{self, Cell, CollectionConfig, Error, Map, Once, Set, SyncConfig};

use super::{fleet, until};
use crate::support::{node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn writers_and_readers_share_one_content() {
    let nodes = fleet(3).await;
    // A reader that is there before any writer waits for one.
    let reader = Map::<u32, String>::reader(&nodes[2], "shared");
    let one = Map::<u32, String>::writer(&nodes[0], "shared");
    let two = Map::<u32, String>::new(&nodes[1], "shared");
    for when in [reader.when(), one.when(), two.when()] {
        within(10, when.online()).await;
    }
    assert_eq!(one.group_id(), reader.group_id());
    let writes = FuturesUnordered::new();
    for n in 0..50 {
        writes.push(one.insert(n, format!("one {n}")));
        writes.push(two.insert(100 + n, format!("two {n}")));
    }
    let versions: Vec<_> = within(10, writes.collect::<Vec<_>>()).await;
    let last = versions.into_iter().map(Result::unwrap).max().unwrap();
    within(10, reader.when().reaches(last)).await;
    within(10, one.when().reaches(last)).await;
    within(10, two.when().reaches(last)).await;
    assert_eq!(reader.len(), 100);
    let content: Vec<_> = reader.iter().collect();
    assert!(
        one.iter().eq(content.iter().cloned()),
        "the same order everywhere"
    );
    assert!(two.iter().eq(content));
    assert_eq!(reader.get(&149), Some("two 49".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_takes_nothing_along() {
    let nodes = fleet(3).await;
    let mut writers = Vec::new();
    for node in &nodes {
        let writer = Cell::<u64>::writer(node, "cell");
        within(10, writer.when().online()).await;
        writers.push(writer);
    }
    writers[2].set(7).await.unwrap();
    drop(writers.remove(0));
    within(20, async {
        loop {
            match writers[0].set(8).await {
                Ok(version) => break writers[1].when().reaches(version).await,
                Err(Error::Offline(_)) => writers[0].when().online().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(writers[1].get(), Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_on_one_node_share_their_content() {
    let node = node(random_network()).await;
    let first = collections::Vec::<u8>::writer(&node, "shared");
    within(10, first.when().online()).await;
    first.push_back(1).await.unwrap();
    let second = collections::Vec::<u8>::writer(&node, "shared");
    let reader = collections::Vec::<u8>::reader(&node, "shared");
    assert!(second.iter().eq([1]) && reader.iter().eq([1]));
    second.push_back(2).await.unwrap();
    assert!(first.iter().eq([1, 2]) && reader.iter().eq([1, 2]));
    drop(first);
    second.push_back(3).await.unwrap();
    assert!(reader.iter().eq([1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_reader_does_not_lower_the_writers_that_are_waited_for() {
    let nodes = fleet(2).await;
    let careful = || CollectionConfig::default().with_min_writers(2);
    let _reader = Map::<u32, u32>::reader(&nodes[0], "careful");
    let one = Map::<u32, u32>::writer_with_config(&nodes[0], "careful", careful());
    // Whoever works alone does so by now: another writer that came later is there.
    let control = Cell::<u32>::writer(&nodes[0], "control");
    within(10, control.when().online()).await;
    assert!(matches!(one.insert(1, 1).await, Err(Error::Offline(_))));
    let two = Map::<u32, u32>::writer_with_config(&nodes[1], "careful", careful());
    for when in [one.when(), two.when()] {
        within(10, when.online()).await;
    }
    one.insert(1, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_beside_an_earlier_reader_leads() {
    let node = node(random_network()).await;
    let reader = Set::<u8>::reader(&node, "both");
    let writer = Set::<u8>::writer(&node, "both");
    within(10, writer.when().online()).await;
    writer.insert(1).await.unwrap();
    assert!(reader.contains(&1));
}

/// Each founded at once, since it had been a reader for long; all but one were discarded.
#[tokio::test(flavor = "multi_thread")]
async fn readers_that_become_writers_at_once_begin_one_content() {
    const COLLECTIONS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let nodes = fleet(3).await;
    let mut readers = Vec::new();
    for id in COLLECTIONS {
        readers.extend(nodes.iter().map(|node| Map::<u32, u32>::reader(node, id)));
    }
    // The time for which a founding waits at most, counted from when there was a reader.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for id in COLLECTIONS {
        let open = |node| Map::<u32, u32>::writer(node, id);
        let writers: Vec<_> = nodes.iter().map(open).collect();
        for (n, writer) in (0..).zip(&writers) {
            within(10, writer.when().online()).await;
            within(10, writer.insert(n, n)).await.unwrap();
        }
        for writer in &writers {
            until(10, writer.when(), || writer.len() == 3).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_in_an_ingredient_is_another_collection() {
    let node = node(random_network()).await;
    let map = Map::<u8, u8>::writer(&node, "id");
    let same = Map::<u8, u8>::reader(&node, "id");
    assert_eq!(map.group_id(), same.group_id());
    let other_type = Map::<u8, u16>::writer(&node, "id");
    let other_kind = Set::<u8>::writer(&node, "id");
    let other_id = Map::<u8, u8>::writer(&node, "di");
    let synced = SyncConfig::default().with_fetch_batch_size(7);
    let other_sync = Map::<u8, u8>::writer_with_config(&node, "id", synced);
    let config = CollectionConfig::default().with_max_entries(3);
    let limited = Map::<u8, u8>::writer_with_config(&node, "id", config);
    let mut ids = vec![
        *map.group_id(),
        *other_type.group_id(),
        *other_kind.group_id(),
        *other_id.group_id(),
        *other_sync.group_id(),
        *limited.group_id(),
    ];
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    let tagged = || CollectionConfig::default().with_type_tag("numbers");
    let narrow = Map::<u8, u8>::writer_with_config(&node, "tag", tagged());
    let wide = Set::<u8>::writer_with_config(&node, "tag", tagged());
    assert_ne!(
        narrow.group_id(),
        wide.group_id(),
        "the kind counts all the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_reads_go_on_and_writes_say_so() {
    let node = node(random_network()).await;
    let map = Map::<u8, u8>::writer(&node, "gone");
    let offline = map.insert(1, 1).await;
    assert!(
        matches!(offline, Err(Error::Offline((1, 1)))),
        "before the first leader"
    );
    let version = map.version();
    assert_eq!(map.extend([]).await.unwrap(), version, "also while offline");
    within(10, map.when().online()).await;
    map.insert(1, 2).await.unwrap();
    within(10, node.shutdown()).await;
    assert_eq!(map.get(&1), Some(2));
    assert!(matches!(map.insert(1, 3).await, Err(Error::NetworkDown)));
    assert!(matches!(map.sync().await, Err(Error::NetworkDown)));
    within(5, map.when().offline()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_dropped_ends_writes_and_keeps_the_content() {
    let nodes = fleet(2).await;
    let writer = Map::<u8, u8>::writer(&nodes[0], "gone");
    within(10, writer.when().online()).await;
    let reader = Map::<u8, u8>::reader(&nodes[1], "gone");
    let version = writer.insert(1, 2).await.unwrap();
    within(10, reader.when().reaches(version)).await;
    drop(nodes);
    for when in [writer.when(), reader.when()] {
        within(10, when.offline()).await;
    }
    // Until it has ended there is just no leader.
    within(10, async {
        while !matches!(writer.insert(1, 3).await, Err(Error::NetworkDown))
            || !matches!(reader.sync().await, Err(Error::NetworkDown))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!((writer.get(&1), writer.len()), (Some(2), 1));
    assert_eq!((reader.get(&1), reader.version()), (Some(2), version));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_offline_when_all_writers_are_gone() {
    let mut nodes = fleet(3).await;
    let reader = Map::<u8, u8>::reader(&nodes[0], "map");
    let writers = [&nodes[1], &nodes[2]].map(|node| Map::<u8, u8>::writer(node, "map"));
    for writer in &writers {
        within(10, writer.when().online()).await;
    }
    let version = writers[1].insert(1, 2).await.unwrap();
    within(10, reader.when().reaches(version)).await;
    within(10, reader.when().online()).await;
    // One writer of two is enough.
    let [first, second] = writers;
    drop(first);
    let version = within(20, async {
        loop {
            match second.insert(1, 3).await {
                Ok(version) => break version,
                Err(Error::Offline(_) | Error::Unknown(_)) => second.when().online().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    within(20, reader.when().reaches(version)).await;
    within(20, nodes.remove(2).shutdown()).await;
    within(20, reader.when().offline()).await;
    assert!(!reader.status().is_online);
    assert_eq!((reader.get(&1), reader.version()), (Some(3), version));
    assert!(matches!(
        within(10, reader.sync()).await,
        Err(Error::Offline(()))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_miss_nothing() {
    let nodes = fleet(2).await;
    let writer = Once::<u8>::writer(&nodes[0], "once");
    within(10, writer.when().online()).await;
    let reader = Once::<u8>::reader(&nodes[1], "once");
    let updated = reader.when().updated();
    writer.write(9).await.unwrap();
    within(10, updated).await;
    assert_eq!(within(10, reader.await_value()).await, 9);
    assert_eq!(reader.get(), Some(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_take_each_job_once() {
    let nodes = fleet(3).await;
    let queues: Vec<_> = nodes
        .iter()
        .map(|node| collections::Vec::<u32>::writer(node, "jobs"))
        .collect();
    for queue in &queues {
        within(10, queue.when().online()).await;
    }
    queues[0].extend(0..90).await.unwrap();
    let workers = queues.iter().map(|queue| async move {
        let mut taken = Vec::new();
        while let Some(job) = queue.pop_front_returning().await.unwrap().value {
            taken.push(job);
        }
        taken
    });
    let taken = within(20, futures::future::join_all(workers)).await;
    let mut all: Vec<_> = taken.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..90));
}

/// Regression: with a tag, queues of different capacities were one group, and kept different items.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_tag_does_not_hide_the_capacity_of_a_queue() {
    use mosaik::collections::PriorityQueue;

    let a = node(random_network()).await;
    let tagged = || CollectionConfig::default().with_type_tag("jobs");
    let small = PriorityQueue::<u32, u32, String, 2>::writer_with_config(&a, "queue", tagged());
    let large = PriorityQueue::<u32, u32, String, 4>::writer_with_config(&a, "queue", tagged());
    assert_ne!(small.group_id(), large.group_id());
}
