//! Reads and mutations of the six kinds of the first page.

use mosaik::{
    collections::{
        Cell, CellReader, Map, MapReader, Once, OnceReader, PriorityQueue, PriorityQueueReader,
        Set, SetReader, Vec, VecReader, Version, When,
    },
    groups::GroupId,
};

use super::{Bare, mutation};
use crate::support::{node, random_network, within};

/// An iterator that can be sent to another task, of these items.
fn items<T>(items: impl Iterator<Item = T> + Send) -> std::vec::Vec<T> {
    items.collect()
}

#[expect(dead_code, reason = "checked by compiling")]
fn common(map: &MapReader<String, Bare>) {
    let when: &When = map.when();
    let _: (Version, &GroupId) = (map.version(), map.group_id());
    fn future<F: Future<Output = T> + Send, T>(_: F) {}
    future(when.online());
    future(when.offline());
    future(when.updated());
    future(when.reaches(Version::default()));
}

#[expect(dead_code, reason = "checked by compiling")]
fn map(map: &Map<String, Bare>, reader: &MapReader<String, Bare>) {
    let _: (usize, bool, bool) = (reader.len(), reader.is_empty(), reader.contains_key("x"));
    let _: Option<Bare> = reader.get("x").or_else(|| map.get(&"x".to_owned()));
    let _: std::vec::Vec<(String, Bare)> = items(reader.iter());
    let _: std::vec::Vec<String> = items(map.keys());
    let _: std::vec::Vec<Bare> = items(map.values());
    mutation::<(String, Bare)>(map.insert("x".into(), Bare(1)));
    mutation::<std::vec::Vec<(String, Bare)>>(map.extend([("x".to_owned(), Bare(1))]));
    mutation::<String>(map.remove(&"x".to_owned()));
    mutation::<std::vec::Vec<String>>(map.remove_many(["x".to_owned()]));
    mutation::<()>(map.clear());
    mutation::<(String, Option<Bare>, Option<Bare>)>(map.compare_exchange(
        "x".into(),
        None,
        Some(Bare(1)),
    ));
}

#[expect(dead_code, reason = "checked by compiling")]
fn vec(vec: &Vec<String>, reader: &VecReader<String>, bare: &Vec<Bare>) {
    let _: (usize, bool) = (reader.len(), reader.is_empty());
    let _: [Option<String>; 5] = [
        reader.get(0u64),
        reader.front(),
        reader.head(),
        vec.back(),
        vec.last(),
    ];
    let _: std::vec::Vec<String> = items(reader.iter());
    let _: (bool, Option<u64>) = (vec.contains(&"x".into()), reader.index_of(&"x".into()));
    let _: Option<Bare> = bare.front();
    mutation::<Bare>(bare.push_back(Bare(1)));
    mutation::<String>(vec.push_back("x".into()));
    mutation::<String>(vec.push_front("x".into()));
    mutation::<String>(vec.insert(0u64, "x".into()));
    mutation::<std::vec::Vec<String>>(vec.extend(Some("x".to_owned())));
    mutation::<()>(vec.pop_back());
    mutation::<()>(vec.pop_front());
    mutation::<u64>(vec.remove(0u64));
    mutation::<()>(vec.swap(0u64, 1u64));
    mutation::<()>(vec.truncate(1usize));
    mutation::<()>(vec.clear());
}

#[expect(dead_code, reason = "checked by compiling")]
fn set(set: &Set<String>, reader: &SetReader<String>) {
    let _: (usize, bool, bool) = (reader.len(), reader.is_empty(), reader.contains("x"));
    let _: [bool; 4] = [
        set.is_subset(set),
        set.is_subset(reader),
        reader.is_subset(set),
        reader.is_subset(reader),
    ];
    let _: std::vec::Vec<String> = items(reader.iter());
    mutation::<String>(set.insert("x".into()));
    mutation::<std::vec::Vec<String>>(set.extend(["x".to_owned()]));
    mutation::<String>(set.remove(&"x".to_owned()));
    mutation::<String>(set.remove(&&"x".to_owned()));
    mutation::<String>(set.remove(&Box::new("x".to_owned())));
    mutation::<String>(set.remove(&std::sync::Arc::new("x".to_owned())));
    mutation::<std::vec::Vec<String>>(set.remove_many(["x".to_owned()]));
    mutation::<()>(set.clear());
}

#[expect(dead_code, reason = "checked by compiling")]
fn cell_and_once(cell: &Cell<Bare>, once: &Once<Bare>, read: (CellReader<Bare>, OnceReader<Bare>)) {
    let _: [Option<Bare>; 4] = [read.0.read(), cell.get(), once.read(), read.1.get()];
    let _: [bool; 3] = [cell.is_empty(), read.0.is_none(), cell.is_some()];
    let _: [bool; 3] = [read.1.is_empty(), once.is_none(), once.is_some()];
    mutation::<Bare>(cell.write(Bare(1)));
    mutation::<Bare>(cell.set(Bare(1)));
    mutation::<()>(cell.clear());
    mutation::<(Option<Bare>, Option<Bare>)>(cell.compare_exchange(None, Some(Bare(1))));
    mutation::<Bare>(once.write(Bare(1)));
    mutation::<Bare>(once.set(Bare(1)));
    drop(tokio::spawn(async move {
        let _: Bare = read.1.await_value().await;
    }));
}

#[expect(dead_code, reason = "checked by compiling")]
fn queue<const CAP: u64>(
    queue: &PriorityQueue<u8, String, Bare, CAP>,
    reader: &PriorityQueueReader<u8, String, Bare, CAP>,
) {
    type Entry = (u8, String, Bare);

    let _: (usize, bool, u64) = (reader.len(), reader.is_empty(), reader.capacity());
    let _: (bool, Option<Bare>) = (reader.contains_key("x"), queue.get("x"));
    let _: Option<u8> = reader.get_priority("x");
    let _: [Option<Entry>; 2] = [reader.get_min(), queue.get_max()];
    let _: [Option<u8>; 2] = [reader.min_priority(), queue.max_priority()];
    let _: std::vec::Vec<Entry> = items(reader.iter());
    let _: std::vec::Vec<Entry> = items(reader.iter_asc().chain(queue.iter_desc()));
    mutation::<Entry>(queue.insert(1, "x".into(), Bare(1)));
    mutation::<std::vec::Vec<Entry>>(queue.extend([(1, "x".to_owned(), Bare(1))]));
    mutation::<std::vec::Vec<Entry>>(queue.extend::<std::vec::Vec<Entry>>(vec![]));
    mutation::<String>(queue.update_priority(&"x".to_owned(), 2));
    mutation::<String>(queue.update_value(&"x".to_owned(), Bare(2)));
    mutation::<String>(queue.compare_exchange_value(&"x".to_owned(), Bare(1), None));
    mutation::<String>(queue.remove(&"x".to_owned()));
    mutation::<std::vec::Vec<String>>(queue.remove_keys(["x".to_owned()]));
    mutation::<()>(queue.remove_range(..));
    mutation::<()>(queue.remove_range(..3));
    mutation::<()>(queue.remove_range(..=3));
    mutation::<()>(queue.remove_range(3..));
    mutation::<()>(queue.remove_range(1..3));
    mutation::<()>(queue.remove_range(1..=3));
    mutation::<()>(queue.clear());
}

/// Reads of a handle see its own mutations, and a mutation without effect has a version too.
#[tokio::test(flavor = "multi_thread")]
async fn the_caller_reads_its_own_writes() {
    let node = node(random_network()).await;
    let map = Map::<String, u64>::new(&node, "map");
    assert_eq!(map.version().0.0, 0);
    within(10, map.when().online()).await;
    let first = map.insert("a".into(), 1).await.unwrap();
    assert_eq!(map.get("a"), Some(1));
    let none = map.remove(&"absent".to_owned()).await.unwrap();
    assert!(none > first && map.version() >= none);
    let failed = map.compare_exchange("a".into(), Some(7), None);
    assert!(failed.await.unwrap() > none && map.contains_key("a"));
    // Submitted when called: a future that is dropped withdraws nothing.
    drop(map.insert("b".into(), 2));
    map.insert("c".into(), 3).await.unwrap();
    assert_eq!(map.get("b"), Some(2));
    within(1, map.when().reaches(none)).await;

    let queue = PriorityQueue::<u8, u8, u8, 2>::new(&node, "queue");
    within(10, queue.when().online()).await;
    queue.extend((1..=4).map(|n| (n, n, n))).await.unwrap();
    assert_eq!((queue.len(), queue.min_priority()), (2, Some(3)));
    queue.update_priority(&4, 0).await.unwrap();
    assert_eq!(queue.get_min(), Some((0, 4, 4)));
    let (from, to) = (9, 1);
    queue.remove_range(from..to).await.unwrap();
    assert_eq!(queue.len(), 2);

    let vec = Vec::<u8>::new(&node, "vec");
    within(10, vec.when().online()).await;
    vec.insert(0, 1).await.unwrap();
    vec.insert(9, 2).await.unwrap();
    assert_eq!(vec.iter().collect::<std::vec::Vec<_>>(), [1]);

    let once = Once::<u8>::new(&node, "once");
    within(10, once.when().online()).await;
    once.write(1).await.unwrap();
    once.set(2).await.unwrap();
    assert_eq!(within(1, once.await_value()).await, 1);
}
