//! Behaviour of each kind, on one node.

use std::{borrow::Borrow, sync::Arc};

use mosaik::{
    Bytes, Datum,
    collections::{
        self, BoundedPriorityQueue, Cell, Error, Map, Once, OrderedMap, PriorityQueue, Set, Version,
    },
    groups::Index,
};

use crate::support::{node, random_network, within};

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items
}

#[tokio::test]
async fn maps() {
    let node = node(random_network()).await;
    let map = Map::<String, u64>::writer(&node, "map");
    assert_eq!((map.version(), map.len()), (Version(Index(0)), 0));
    within(10, map.when().online()).await;
    let one = map.insert("one".into(), 1).await.unwrap();
    assert_eq!(map.get("one"), Some(1));
    assert_eq!(map.version(), one);
    map.extend([("two".into(), 2), ("two".into(), 22), ("three".into(), 3)])
        .await
        .unwrap();
    assert_eq!(
        map.get_many(["one", "two", "four"]),
        [Some(1), Some(22), None]
    );
    assert_eq!(sorted(map.keys()), ["one", "three", "two"]);
    assert_eq!(sorted(map.values()), [1, 3, 22]);
    let before = map.snapshot();
    map.remove(&"one".into()).await.unwrap();
    map.remove(&"none".into()).await.unwrap();
    assert!(!map.contains_key("one") && before.contains_key("one"));
    assert_eq!((before.len(), before.version()), (3, Version(Index(2))));

    // Comparing and exchanging, in all four forms, with and without a match.
    let exchange = |key: &str, expected, new| {
        let exchanged = map.compare_exchange_returning(key.into(), expected, new);
        async move { exchanged.await.unwrap().value }
    };
    let done = exchange("two", Some(22), Some(5)).await;
    assert_eq!((done.applied, done.current), (true, Some(22)));
    let done = exchange("two", Some(22), Some(6)).await;
    assert_eq!((done.applied, done.current), (false, Some(5)));
    assert!(!exchange("two", None, Some(6)).await.applied);
    assert!(exchange("new", None, Some(6)).await.applied);
    assert!(exchange("new", Some(6), None).await.applied);
    assert!(exchange("new", None, None).await.applied);
    assert!(!map.contains_key("new"));
    assert_eq!(
        map.insert_returning("two".into(), 7).await.unwrap().value,
        Some(5)
    );
    assert_eq!(
        map.remove_returning(&"two".into()).await.unwrap().value,
        Some(7)
    );
    let (_, version) = map.get_versioned("three").unwrap();
    assert_eq!(version, Version(Index(2)));

    let version = map.version();
    assert_eq!(map.extend([]).await.unwrap(), version);
    assert_eq!(map.remove_many([]).await.unwrap(), version);
    map.remove_many(["three".into(), "two".into()])
        .await
        .unwrap();
    assert!(map.is_empty());
    map.insert("again".into(), 1).await.unwrap();
    let cleared = map.clear().await.unwrap();
    assert_eq!((map.iter().count(), map.version()), (0, cleared));
    assert_eq!(map.sync().await.unwrap(), cleared);
}

#[tokio::test]
async fn sequences() {
    let node = node(random_network()).await;
    let vec = collections::Vec::<u32>::writer(&node, "vec");
    within(10, vec.when().online()).await;
    vec.extend([2, 3, 4]).await.unwrap();
    vec.push_front(1).await.unwrap();
    vec.push_back(6).await.unwrap();
    vec.insert(4, 5).await.unwrap();
    vec.insert(6, 7).await.unwrap();
    vec.insert(99, 0).await.unwrap();
    vec.insert(u64::MAX, 0).await.unwrap();
    assert!(vec.iter().eq(1..=7));
    assert_eq!((vec.front(), vec.head()), (Some(1), Some(1)));
    assert_eq!((vec.back(), vec.last()), (Some(7), Some(7)));
    assert_eq!((vec.get(2), vec.get(7)), (Some(3), None));
    assert_eq!((vec.index_of(&4), vec.contains(&9)), (Some(3), false));
    vec.swap(0, 6).await.unwrap();
    vec.swap(0, 7).await.unwrap();
    vec.swap(1, 1).await.unwrap();
    vec.remove(1).await.unwrap();
    vec.remove(99).await.unwrap();
    assert!(vec.iter().eq([7, 3, 4, 5, 6, 1]));
    assert_eq!(vec.replace(1, 30).await.unwrap().value, Some(3));
    assert_eq!(vec.replace(9, 30).await.unwrap().value, None);
    vec.pop_front().await.unwrap();
    assert_eq!(vec.pop_back_returning().await.unwrap().value, Some(1));
    vec.truncate(9).await.unwrap();
    vec.truncate(2).await.unwrap();
    let snapshot = vec.snapshot();
    vec.pop_back().await.unwrap();
    assert_eq!(vec.pop_front_returning().await.unwrap().value, Some(30));
    assert_eq!(vec.pop_front_returning().await.unwrap().value, None);
    vec.pop_back().await.unwrap();
    assert!(vec.is_empty());
    assert!(snapshot.iter().eq(&[30, 4]));
    vec.push_back(1).await.unwrap();
    vec.clear().await.unwrap();
    assert_eq!(vec.len(), 0);
}

#[tokio::test]
async fn sets() {
    let node = node(random_network()).await;
    let (all, some) = (
        Set::<String>::writer(&node, "all"),
        Set::<String>::writer(&node, "some"),
    );
    within(10, all.when().online()).await;
    within(10, some.when().online()).await;
    all.extend(["a", "b", "c"].map(String::from)).await.unwrap();
    assert!(some.insert_returning("a".into()).await.unwrap().value);
    assert!(!some.insert_returning("a".into()).await.unwrap().value);
    assert!(some.is_subset(&all) && !all.is_subset(&some));
    assert!(all.contains("b") && !all.contains("d"));
    all.remove(&Arc::new(String::from("b"))).await.unwrap();
    all.remove(&&String::from("x")).await.unwrap();
    assert!(
        all.remove_returning(&String::from("c"))
            .await
            .unwrap()
            .value
    );
    assert_eq!(sorted(all.iter()), ["a"]);
    all.remove_many(["a".into()]).await.unwrap();
    all.insert("z".into()).await.unwrap();
    all.clear().await.unwrap();
    assert!(all.is_empty() && all.is_subset(&some));
}

#[tokio::test]
async fn places_of_one_value() {
    let node = node(random_network()).await;
    let cell = Cell::<u8>::writer(&node, "cell");
    let once = Once::<u8>::writer(&node, "once");
    let awaited = once.await_value();
    within(10, cell.when().online()).await;
    within(10, once.when().online()).await;
    assert!(cell.is_empty() && cell.is_none() && !cell.is_some());
    cell.write(1).await.unwrap();
    cell.set(2).await.unwrap();
    assert_eq!((cell.read(), cell.get()), (Some(2), Some(2)));
    cell.compare_exchange(Some(1), Some(9)).await.unwrap();
    assert_eq!(cell.get(), Some(2));
    let done = cell
        .compare_exchange_returning(Some(2), None)
        .await
        .unwrap();
    assert!(done.value.applied && cell.is_none());
    cell.compare_exchange(None, Some(3)).await.unwrap();
    assert_eq!(cell.snapshot().get(), Some(&3));
    cell.clear().await.unwrap();
    cell.clear().await.unwrap();
    assert!(cell.is_none());

    assert!(once.is_none());
    assert_eq!(once.write_returning(4).await.unwrap().value, None);
    once.set(5).await.unwrap();
    assert_eq!(once.write_returning(6).await.unwrap().value, Some(4));
    assert_eq!((once.read(), once.get()), (Some(4), Some(4)));
    assert_eq!(within(5, awaited).await, 4);
}

#[tokio::test]
async fn priority_queues() {
    let node = node(random_network()).await;
    let queue = PriorityQueue::<u32, String, u32>::writer(&node, "queue");
    within(10, queue.when().online()).await;
    assert_eq!(queue.capacity(), u64::MAX);
    queue.insert(5, "e".into(), 50).await.unwrap();
    queue
        .extend([
            (1, "a".into(), 10),
            (3, "c".into(), 30),
            (3, "b".into(), 20),
        ])
        .await
        .unwrap();
    assert_eq!(
        (queue.min_priority(), queue.max_priority()),
        (Some(1), Some(5))
    );
    assert_eq!(queue.get_min(), Some((1, "a".into(), 10)));
    assert_eq!(queue.get_max(), Some((5, "e".into(), 50)));
    let keys: Vec<_> = queue.iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, ["a", "b", "c", "e"], "ties by key");
    assert!(queue.iter_desc().map(|(p, ..)| p).eq([5, 3, 3, 1]));
    queue.update_priority(&"a".into(), 9).await.unwrap();
    queue.update_value(&"a".into(), 11).await.unwrap();
    queue.update_priority(&"none".into(), 9).await.unwrap();
    assert_eq!(queue.get_max(), Some((9, "a".into(), 11)));
    assert_eq!(
        (queue.get("a"), queue.get_priority("a")),
        (Some(11), Some(9))
    );
    queue.insert(2, "a".into(), 12).await.unwrap();
    assert_eq!((queue.len(), queue.get_priority("a")), (4, Some(2)));
    queue
        .compare_exchange_value(&"a".into(), 0, None)
        .await
        .unwrap();
    queue
        .compare_exchange_value(&"a".into(), 12, Some(13))
        .await
        .unwrap();
    assert_eq!(queue.get("a"), Some(13));
    queue
        .compare_exchange_value(&"a".into(), 13, None)
        .await
        .unwrap();
    assert!(!queue.contains_key("a"));
    #[expect(clippy::reversed_empty_ranges, reason = "removes nothing")]
    queue.remove_range(5..2).await.unwrap();
    queue.remove_range(3..3).await.unwrap();
    assert_eq!(queue.len(), 3);
    queue.remove_range(3..5).await.unwrap();
    assert_eq!(sorted(queue.iter()), [(5, String::from("e"), 50)]);
    assert_eq!(
        queue.pop_min().await.unwrap().value,
        Some((5, "e".into(), 50))
    );
    assert_eq!(queue.pop_max().await.unwrap().value, None);
    for n in 0..5 {
        queue.insert(n, n.to_string(), n).await.unwrap();
    }
    queue.remove(&"0".into()).await.unwrap();
    queue.remove_keys(["1".into(), "7".into()]).await.unwrap();
    queue.remove_range(..=2).await.unwrap();
    queue.remove_range(4..).await.unwrap();
    assert!(queue.iter().map(|(p, ..)| p).eq([3]));
    queue.remove_range(..).await.unwrap();
    queue.clear().await.unwrap();
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_queue_at_its_capacity_keeps_the_highest() {
    let node = node(random_network()).await;
    let queue = BoundedPriorityQueue::<u32, u32, (), 3>::writer(&node, "queue");
    within(10, queue.when().online()).await;
    queue.extend((0..10).map(|n| (n, n, ()))).await.unwrap();
    assert!(queue.iter().map(|(p, ..)| p).eq([7, 8, 9]));
    queue.insert(1, 1, ()).await.unwrap();
    assert!(!queue.contains_key(&1), "the lowest is dropped at once");
    queue.update_priority(&9, 0).await.unwrap();
    queue.insert(3, 7, ()).await.unwrap();
    assert!(
        queue
            .iter()
            .map(|(p, key, ())| (p, key))
            .eq([(0, 9), (3, 7), (8, 8)])
    );
    assert_eq!(queue.capacity(), 3);
}

#[tokio::test]
async fn ordered_maps() {
    let node = node(random_network()).await;
    let map = OrderedMap::<String, u32>::writer(&node, "ordered");
    within(10, map.when().online()).await;
    let keys = ["b/1", "a/2", "a/1", "c"];
    map.extend(keys.iter().zip(0..).map(|(key, n)| (key.to_string(), n)))
        .await
        .unwrap();
    assert!(map.keys().eq(["a/1", "a/2", "b/1", "c"]));
    assert!(map.keys().rev().eq(["c", "b/1", "a/2", "a/1"]));
    assert_eq!(map.first(), Some(("a/1".into(), 2)));
    assert_eq!(map.last(), Some(("c".into(), 3)));
    assert!(map.prefix("a/").map(|(key, _)| key).eq(["a/1", "a/2"]));
    assert_eq!(map.prefix("").count(), 4);
    let keys = |range: (std::ops::Bound<&str>, std::ops::Bound<&str>)| {
        map.range::<str, _>(range)
            .map(|(key, _)| key)
            .collect::<Vec<_>>()
    };
    use std::ops::Bound::{Excluded, Included, Unbounded};
    assert_eq!(keys((Included("a/2"), Excluded("c"))), ["a/2", "b/1"]);
    assert_eq!(keys((Excluded("c"), Unbounded)), [""; 0]);
    assert_eq!(keys((Excluded("b"), Excluded("a"))), [""; 0], "inverted");
    let (page, more) = map.page(None, 3);
    assert_eq!((page.len(), more), (3, true));
    let (page, more) = map.page(page.last().map(|(key, _)| key), 3);
    assert_eq!((page, more), (vec![("c".into(), 3)], false));
    map.remove(&"c".into()).await.unwrap();
    assert_eq!(
        (map.get("c"), map.get("b/1"), map.len()),
        (None, Some(0), 3)
    );
    let snapshot = map.snapshot();
    let key = |text: &str| text.to_owned();
    map.remove_range(key("b")..key("a")).await.unwrap();
    assert_eq!(map.len(), 3, "inverted");
    map.remove_range(key("a/2")..=key("b/1")).await.unwrap();
    assert!(map.keys().eq(["a/1"]));
    assert_eq!(snapshot.first(), Some((&key("a/1"), &2)));
    assert_eq!(snapshot.last(), Some((&key("b/1"), &0)));
    assert_eq!(snapshot.prefix("a/").count(), 2);
    let (page, more) = snapshot.page(Some(&key("a/1")), 1);
    assert_eq!((page, more), (vec![(&key("a/2"), &1)], true));
}

/// A key whose encoding is not that of serde, and which can't always be encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Name(String);

#[derive(Debug, thiserror::Error)]
#[error("an empty name")]
struct Empty;

impl Datum for Name {
    type EncodeError = Empty;
    type DecodeError = std::string::FromUtf8Error;

    fn encode(&self) -> Result<Bytes, Empty> {
        let name = (!self.0.is_empty()).then(|| Bytes::from(self.0.clone()));
        name.ok_or(Empty)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        let name = String::from_utf8(bytes.to_vec())?;
        // Some names encode and don't decode.
        match name.as_str() {
            "\u{1}" => Self::decode(&[0xff]),
            _ => Ok(Self(name)),
        }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[tokio::test]
async fn what_can_not_be_encoded_or_decoded_comes_back_and_harms_nobody() {
    let node = node(random_network()).await;
    let map = Map::<Name, Name>::writer(&node, "names");
    within(10, map.when().online()).await;
    let name = |text: &str| Name(text.into());
    let first = map.insert(name("a"), name("b")).await.unwrap();
    match map.insert(name("a"), name("")).await {
        Err(Error::Encoding((key, value), _)) => assert_eq!((key, value), (name("a"), name(""))),
        other => panic!("{other:?}"),
    }
    let exchanged = map
        .compare_exchange(name("x"), Some(name("")), Some(name("")))
        .await;
    assert!(matches!(exchanged, Err(Error::Encoding(..))));
    let batch = map
        .extend([(name("good"), name("g")), (name(""), name("b"))])
        .await;
    assert!(matches!(batch, Err(Error::Encoding(entries, _)) if entries.len() == 2));
    assert_eq!(
        (map.version(), map.len()),
        (first, 1),
        "nothing was submitted"
    );

    // One member alone knows what its elements decode to: so it is skipped, and the caller is told.
    let skipped = map.insert_returning(name("\u{1}"), name("b")).await;
    assert!(matches!(skipped, Err(Error::Encoding(..))), "{skipped:?}");
    assert!(map.get("\u{1}").is_none());
    map.insert(name("c"), name("d")).await.unwrap();
    assert_eq!(map.get("c"), Some(name("d")));
    // Also among others that share its way: theirs are the versions that they are told.
    let mut calls = Vec::new();
    for n in 0..30 {
        drop(map.insert(name("\u{1}"), name("b")));
        calls.push((n, map.insert(Name(format!("key {n}")), name("x"))));
    }
    for (n, call) in calls {
        let version = call.await.unwrap();
        let found = map.get_versioned(format!("key {n}").as_str());
        assert_eq!(found, Some((name("x"), version)));
    }
}

#[tokio::test]
async fn calls_take_effect_in_their_order_also_when_nobody_waits() {
    let node = node(random_network()).await;
    let vec = collections::Vec::<u32>::writer(&node, "order");
    within(10, vec.when().online()).await;
    for n in 0..500 {
        drop(vec.push_back(n));
    }
    let last = vec.push_back(500).await.unwrap();
    assert_eq!(last, Version(Index(501)));
    assert!(vec.iter().eq(0..=500));
}
