//! Limits of a collection.

use mosaik::collections::{self, CollectionConfig, Error, Map, PriorityQueue, Set};

use crate::support::{node, random_network, within};

#[tokio::test]
async fn a_full_collection_says_so_and_keeps_what_it_has() {
    let node = node(random_network()).await;
    let few = || CollectionConfig::default().with_max_entries(3);
    let map = Map::<u32, u32>::writer_with_config(&node, "map", few());
    within(10, map.when().online()).await;
    map.extend((0..3).map(|n| (n, n))).await.unwrap();
    map.insert(2, 22).await.unwrap();
    assert!(matches!(map.insert(3, 3).await, Err(Error::Full((3, 3)))));
    let batch = map.extend([(0, 100), (9, 9)]).await;
    assert!(matches!(batch, Err(Error::Full(entries)) if entries.len() == 2));
    assert_eq!(map.get(&0), Some(0), "all or nothing");
    assert!(matches!(
        map.compare_exchange(9, None, Some(1)).await,
        Err(Error::Full(_))
    ));
    map.remove(&0).await.unwrap();
    map.insert(3, 3).await.unwrap();
    assert_eq!(map.len(), 3);

    let vec = collections::Vec::<u8>::writer_with_config(&node, "vec", few());
    within(10, vec.when().online()).await;
    vec.extend([1, 2, 3]).await.unwrap();
    assert!(matches!(vec.push_front(0).await, Err(Error::Full(0))));
    vec.replace(0, 9).await.unwrap();
    assert!(vec.iter().eq([9, 2, 3]));

    let queue = PriorityQueue::<u8, u8, u8>::writer_with_config(&node, "queue", few());
    within(10, queue.when().online()).await;
    queue.extend((0..3).map(|n| (n, n, n))).await.unwrap();
    assert!(matches!(queue.insert(9, 9, 9).await, Err(Error::Full(_))));
    assert!(queue.iter().map(|(p, ..)| p).eq([0, 1, 2]));
}

#[tokio::test]
async fn bytes_are_counted_as_encoded() {
    let node = node(random_network()).await;
    let config = CollectionConfig::default().with_max_bytes(100);
    let set = Set::<String>::writer_with_config(&node, "set", config);
    within(10, set.when().online()).await;
    set.insert("a".repeat(60)).await.unwrap();
    assert!(matches!(
        set.insert("b".repeat(60)).await,
        Err(Error::Full(_))
    ));
    set.insert("b".repeat(20)).await.unwrap();
    set.remove(&"a".repeat(60)).await.unwrap();
    set.insert("c".repeat(60)).await.unwrap();
    assert_eq!(set.len(), 2);
}

#[tokio::test]
async fn too_large_an_element_is_refused_where_it_is_made() {
    let node = node(random_network()).await;
    let vec = collections::Vec::<String>::writer(&node, "vec");
    within(10, vec.when().online()).await;
    let fits = "x".repeat(1024 * 1024 - 3);
    vec.push_back(fits.clone()).await.unwrap();
    let large = fits + "x";
    match vec.push_back(large).await {
        Err(Error::Encoding(back, _)) => assert_eq!(back.len(), 1024 * 1024 - 2),
        other => panic!("{:?}", other.map_err(|error| error.to_string())),
    }
    assert_eq!(vec.len(), 1);
}
