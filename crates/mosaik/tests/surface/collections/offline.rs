//! Mutations without a leader, and without anything to do.

use std::ops::Bound;

use mosaik::{
    Network,
    collections::{
        Cell, CollectionConfig, Error, Map, MapReader, Once, OrderedMap, PriorityQueue, Set, Vec,
        Version,
    },
};

use crate::{
    support::{node, node_at, random_network, within},
    surface::shared,
};

/// The arguments that a mutation gives back at once: nobody leads, and nobody will.
async fn refused<X>(mutation: impl Future<Output = Result<Version, Error<X>>>) -> X {
    match within(1, mutation).await {
        Err(Error::Offline(arguments)) => arguments,
        Err(other) => panic!("{other}"),
        Ok(version) => panic!("made {version}"),
    }
}

/// A collection that is not founded on one node.
fn waiting() -> CollectionConfig {
    CollectionConfig::default().with_min_writers(2)
}

#[tokio::test]
async fn all_arguments_come_back() {
    let node = node(random_network()).await;
    let map = Map::<String, u8>::writer_with_config(&node, "a", waiting());
    assert_eq!(refused(map.insert("x".into(), 1)).await, ("x".into(), 1));
    let entries = vec![("x".to_owned(), 1), ("x".to_owned(), 2)];
    assert_eq!(refused(map.extend(entries.clone())).await, entries);
    assert_eq!(refused(map.remove(&"x".into())).await, "x");
    assert_eq!(refused(map.remove_many(["x".into()])).await, ["x"]);
    refused::<()>(map.clear()).await;
    let exchange = map.compare_exchange("x".into(), None, Some(1));
    assert_eq!(refused(exchange).await, ("x".into(), None, Some(1)));

    let ordered = OrderedMap::<String, u8>::writer_with_config(&node, "b", waiting());
    assert_eq!(refused(ordered.insert("x".into(), 1)).await.1, 1);
    refused::<()>(ordered.remove_range("a".to_owned().."b".to_owned())).await;

    let vec = Vec::<u8>::writer_with_config(&node, "c", waiting());
    assert_eq!(refused(vec.push_back(1)).await, 1);
    assert_eq!(refused(vec.push_front(2)).await, 2);
    assert_eq!(refused(vec.insert(0, 3)).await, 3);
    assert_eq!(refused(vec.extend([1, 2])).await, [1, 2]);
    assert_eq!(refused(vec.remove(7)).await, 7);
    refused::<()>(vec.pop_back()).await;
    refused::<()>(vec.pop_front()).await;
    refused::<()>(vec.swap(0, 1)).await;
    refused::<()>(vec.truncate(0)).await;
    refused::<()>(vec.clear()).await;

    let set = Set::<String>::writer_with_config(&node, "d", waiting());
    assert_eq!(refused(set.insert("x".into())).await, "x");
    assert_eq!(refused(set.extend(["x".into()])).await, ["x"]);
    assert_eq!(refused(set.remove(&"x".to_owned())).await, "x");
    assert_eq!(refused(set.remove_many(["x".into()])).await, ["x"]);
    refused::<()>(set.clear()).await;

    let cell = Cell::<u8>::writer_with_config(&node, "e", waiting());
    assert_eq!(refused(cell.write(1)).await, 1);
    assert_eq!(refused(cell.set(2)).await, 2);
    refused::<()>(cell.clear()).await;
    let exchange = cell.compare_exchange(Some(1), None);
    assert_eq!(refused(exchange).await, (Some(1), None));
    let once = Once::<u8>::writer_with_config(&node, "f", waiting());
    assert_eq!(refused(once.write(1)).await, 1);
    assert_eq!(refused(once.set(2)).await, 2);

    let queue = PriorityQueue::<u8, String, u16>::writer_with_config(&node, "g", waiting());
    let entry = (1, "x".to_owned(), 2);
    assert_eq!(refused(queue.insert(1, "x".into(), 2)).await, entry);
    assert_eq!(refused(queue.extend([entry.clone()])).await, [entry]);
    let key = "x".to_owned();
    assert_eq!(refused(queue.update_priority(&key, 2)).await, key);
    assert_eq!(refused(queue.update_value(&key, 3)).await, key);
    let exchange = queue.compare_exchange_value(&key, 2, None);
    assert_eq!(refused(exchange).await, key);
    assert_eq!(refused(queue.remove(&key)).await, key);
    assert_eq!(refused(queue.remove_keys([key.clone()])).await, [key]);
    refused::<()>(queue.remove_range(..)).await;
    refused::<()>(queue.clear()).await;
}

#[tokio::test]
async fn nothing_to_do_is_done_also_offline() {
    let node = node(random_network()).await;
    let zero = Version::default();
    let map = Map::<u8, u8>::writer_with_config(&node, "a", waiting());
    assert_eq!(map.extend([]).await.unwrap(), zero);
    assert_eq!(map.remove_many([]).await.unwrap(), zero);
    let vec = Vec::<u8>::writer_with_config(&node, "b", waiting());
    assert_eq!(vec.extend([]).await.unwrap(), zero);
    let set = Set::<u8>::writer_with_config(&node, "c", waiting());
    assert_eq!(set.extend([]).await.unwrap(), zero);
    assert_eq!(set.remove_many([]).await.unwrap(), zero);
    let queue = PriorityQueue::<u8, u8, u8>::writer_with_config(&node, "d", waiting());
    assert_eq!(queue.extend([]).await.unwrap(), zero);
    assert_eq!(queue.remove_keys([]).await.unwrap(), zero);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_network_ends_mutations_and_keeps_the_content() {
    let node = node(random_network()).await;
    let map = Map::<u8, u8>::writer(&node, "map");
    within(10, map.when().online()).await;
    map.insert(1, 2).await.unwrap();
    within(10, node.shutdown()).await;
    within(10, map.when().offline()).await;
    let refused = within(10, map.insert(1, 3)).await;
    assert!(matches!(refused, Err(Error::NetworkDown)), "{refused:?}");
    assert_eq!((map.get(&1), map.len()), (Some(2), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_alone_never_come_online() {
    let id = random_network();
    let one = node(id).await;
    let two = node_at(id, one.local().addr()).await;
    let readers = [&one, &two].map(|node| MapReader::<u8, u8>::reader(node, "map"));
    // What the same nodes found at the same time comes online on both, and once more.
    for store in ["first", "second"] {
        let writer = Map::<u8, u8>::writer(&one, store);
        let reader = Map::<u8, u8>::reader(&two, store);
        within(10, writer.when().online()).await;
        within(10, reader.when().online()).await;
    }
    for reader in &readers {
        let status = reader.status();
        assert!(!status.is_online && status.leader.is_none(), "{status:?}");
        within(1, reader.when().offline()).await;
        assert!(reader.is_empty());
    }
    // They wait for nothing but a writer.
    let writer = Map::<u8, u8>::writer(&two, "map");
    let version = within(10, online(&writer)).await;
    for reader in &readers {
        within(10, reader.when().reaches(version)).await;
        assert_eq!(reader.get(&1), Some(1));
    }
}

async fn online(writer: &Map<u8, u8>) -> Version {
    writer.when().online().await;
    writer.insert(1, 1).await.unwrap()
}

#[test]
fn futures_own_what_they_need() {
    shared::<Error<(String, Option<u8>)>>();
    type Owned = std::vec::Vec<Box<dyn Future<Output = ()> + Send + Sync>>;
    fn owned<F: Future + Send + Sync + 'static>(
        future: F,
    ) -> Box<dyn Future<Output = ()> + Send + Sync> {
        Box::new(async move { drop(future.await) })
    }
    fn outlives(network: &Network) -> impl Future + Send + Sync + 'static + use<> {
        Map::<String, u8>::writer(network, "map").insert("x".into(), 1)
    }
    // Neither the handles nor what the arguments borrow live as long as the futures.
    fn keyed(network: &Network) -> Owned {
        let names = ["x".to_owned(), "y".to_owned()];
        let names = &names;
        let map = Map::<String, u8>::writer(network, "map");
        let tree = OrderedMap::<String, u8>::writer(network, "tree");
        let set = Set::<String>::writer(network, "set");
        let entries = || names.iter().cloned().map(|name| (name, 1));
        vec![
            owned(map.extend(entries())),
            owned(map.remove_many(names.iter().cloned())),
            owned(map.update("x".into(), |value| value.copied())),
            owned(map.batch().insert("x".into(), 1).commit()),
            owned(map.sync()),
            owned(map.abandon_history()),
            owned(map.reform()),
            owned(tree.extend(entries())),
            owned(tree.remove_many(names.iter().cloned())),
            owned(tree.update("x".into(), |value| value.copied())),
            owned(tree.remove_range(names[0].clone()..names[1].clone())),
            owned(set.extend(names.iter().cloned())),
            owned(set.remove_many(names.iter().cloned())),
            owned(set.batch().insert("x".into()).commit()),
        ]
    }
    fn others(network: &Network) -> Owned {
        let (from, to) = (1, 2);
        let (names, bounds) = (
            ["x".to_owned()],
            (Bound::Included(&from), Bound::Excluded(&to)),
        );
        let names = &names;
        let vec = Vec::<u64>::writer(network, "vec");
        let queue = PriorityQueue::<u64, String, u8>::writer(network, "queue");
        vec![
            owned(vec.extend([&from, &to].into_iter().copied())),
            owned(vec.drain(bounds)),
            owned(vec.retain(|element| *element > 1)),
            owned(queue.extend(names.iter().map(|name| (1, name.clone(), 1)))),
            owned(queue.remove_keys(names.iter().cloned())),
            owned(queue.remove_range(bounds)),
        ]
    }
    let _ = (outlives, keyed, others);
}
