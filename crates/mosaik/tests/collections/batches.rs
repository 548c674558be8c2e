//! Batches with expectations, and updates by a function.

use std::collections::HashMap;

use futures::{StreamExt, stream::FuturesUnordered};
use mosaik::collections::{CollectionConfig, Error, Event, Expected, Map, OrderedMap, Set};

use super::fleet;
use crate::support::{node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_effect_as_one_or_not_at_all() {
    let nodes = fleet(2).await;
    let map = Map::<String, u64>::writer(&nodes[0], "accounts");
    let other = Map::<String, u64>::writer(&nodes[1], "accounts");
    within(10, map.when().online()).await;
    within(10, other.when().online()).await;
    map.insert("alice".into(), 10).await.unwrap();
    let bob = map.insert("bob".into(), 5).await.unwrap();
    within(10, other.when().reaches(bob)).await;
    let moved = other
        .batch()
        .expect("alice".into(), Expected::Value(10))
        .expect("bob".into(), Expected::Version(bob))
        .expect("carol".into(), Expected::Absent)
        .insert("alice".into(), 7)
        .insert("bob".into(), 8)
        .remove("carol".into())
        .insert("alice".into(), 6)
        .commit()
        .await
        .unwrap();
    assert!(moved.applied);
    assert_eq!(moved.failed, None);
    assert_eq!(moved.previous, [Some(10), Some(5), None, Some(7)]);
    assert_eq!(other.get("alice"), Some(6));
    assert_eq!(
        other.get_versioned("bob"),
        Some((8, moved.version)),
        "one version for all"
    );

    let refused = map
        .batch()
        .expect("alice".into(), Expected::Value(6))
        .expect("bob".into(), Expected::Version(bob))
        .insert("alice".into(), 0)
        .commit()
        .await
        .unwrap();
    assert!(!refused.applied);
    assert_eq!((refused.failed, refused.previous.len()), (Some(1), 0));
    assert_eq!(map.get("alice"), Some(6));
}

#[tokio::test]
async fn other_kinds_have_batches_too() {
    let node = node(random_network()).await;
    let tree = OrderedMap::<u8, u8>::writer(&node, "tree");
    let set = Set::<u8>::writer(&node, "set");
    within(10, tree.when().online()).await;
    within(10, set.when().online()).await;
    let batch = tree.batch().insert(2, 2).insert(1, 1).remove(2);
    assert!(batch.commit().await.unwrap().applied);
    assert!(tree.iter().eq([(1, 1)]));
    set.insert(1).await.unwrap();
    let swap = |old, new| {
        set.batch()
            .expect(old, Expected::Present)
            .expect(new, Expected::Absent)
            .remove(old)
            .insert(new)
            .commit()
    };
    assert!(swap(1, 2).await.unwrap().applied);
    assert_eq!(swap(1, 3).await.unwrap().failed, Some(0));
    assert!(set.iter().eq([2]));
}

/// A write of a present key once had no effect on a map whose values take no room.
#[tokio::test]
async fn values_without_size_are_replaced_as_others_are() {
    let node = node(random_network()).await;
    let map = Map::<u8, ()>::writer(&node, "map");
    let tree = OrderedMap::<u8, ()>::writer(&node, "tree");
    let set = Set::<u8>::writer(&node, "set");
    within(10, map.when().online()).await;
    within(10, tree.when().online()).await;
    within(10, set.when().online()).await;
    macro_rules! replaced {
        ($map:ident) => {
            let first = $map.insert(1, ()).await.unwrap();
            let mut changes = $map.watch();
            let second = $map.insert(1, ()).await.unwrap();
            assert_eq!($map.get_versioned(&1), Some(((), second)));
            let Some(Event::Changed {
                version, changes, ..
            }) = within(10, changes.recv()).await
            else {
                panic!("a write is a change");
            };
            assert_eq!((version, changes[0].old_version()), (second, Some(first)));
            let former = $map.batch().expect(1, Expected::Version(first)).remove(1);
            assert_eq!(former.commit().await.unwrap().failed, Some(0));
        };
    }
    replaced!(map);
    replaced!(tree);
    // An element that is there stays as it is.
    set.insert(1).await.unwrap();
    let mut changes = set.watch();
    set.insert(1).await.unwrap();
    set.insert(2).await.unwrap();
    let Some(Event::Changed { changes, .. }) = within(10, changes.recv()).await else {
        panic!("an element is new");
    };
    assert_eq!((changes.len(), *changes[0].key()), (1, 2));
}

#[tokio::test]
async fn a_batch_comes_back_and_can_be_committed_again() {
    let node = node(random_network()).await;
    let config = CollectionConfig::default().with_max_entries(2);
    let map = Map::<u8, u8>::writer_with_config(&node, "map", config);
    let offline = map.batch().insert(1, 1).commit().await;
    let Err(Error::Offline(batch)) = offline else {
        panic!("there is no leader yet: {offline:?}");
    };
    within(10, map.when().online()).await;
    batch.commit().await.unwrap();
    // What a batch leaves counts, not what it passes through.
    let full = map.batch().insert(2, 2).insert(3, 3).commit().await;
    let Err(Error::Full(batch)) = full else {
        panic!("three entries: {full:?}");
    };
    assert_eq!(map.len(), 1, "all or nothing");
    batch.remove(1).commit().await.unwrap();
    assert_eq!((map.get(&2), map.get(&3), map.len()), (Some(2), Some(3), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_from_everywhere_count_each() {
    let nodes = fleet(3).await;
    let maps: Vec<_> = nodes
        .iter()
        .map(|node| Map::<String, u64>::writer(node, "counters"))
        .collect();
    for map in &maps {
        within(10, map.when().online()).await;
    }
    let updates = FuturesUnordered::new();
    for map in &maps {
        for _ in 0..20 {
            updates.push(map.update("hits".into(), |hits| Some(hits.unwrap_or(&0) + 1)));
        }
    }
    let done: Vec<_> = within(60, updates.collect()).await;
    let mut counts: Vec<_> = done
        .into_iter()
        .map(|outcome| outcome.unwrap().value.unwrap())
        .collect();
    counts.sort_unstable();
    assert!(counts.into_iter().eq(1..=60), "each saw another count");
    let removed = maps[0].update("hits".into(), |_| None).await.unwrap();
    assert_eq!(removed.value, None);
    assert_eq!(maps[0].get("hits"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_compared_as_they_were_replicated() {
    // Each copy of such a value has an order of its own.
    let value = |seed: u32| -> HashMap<u32, u32> { (0..40).map(|n| (n, n * seed)).collect() };
    let nodes = fleet(3).await;
    let maps: Vec<_> = nodes
        .iter()
        .map(|node| Map::<u8, HashMap<u32, u32>>::writer(node, "map"))
        .collect();
    for map in &maps {
        within(10, map.when().online()).await;
    }
    let first = value(1);
    maps[0].insert(1, first.clone()).await.unwrap();
    // The same bytes: every member must find it equal, whatever its own copy encodes to.
    let exchanged = maps[0]
        .compare_exchange_returning(1, Some(first), Some(value(2)))
        .await
        .unwrap();
    assert!(exchanged.value.applied);
    for map in &maps {
        within(10, map.when().reaches(exchanged.version)).await;
        assert_eq!(map.get(&1), Some(value(2)));
    }
}
