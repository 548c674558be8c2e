//! The second page: what goes beyond the first.

use std::{
    ops::{Bound, Range},
    sync::Arc,
    time::Duration,
};

use mosaik::{
    collections::{
        Batch, BatchOutcome, Cause, Cell, CellChange, CellSnapshot, CollectionConfig, Error, Event,
        Exchange, Expected, Ingredient, Key, Map, MapChange, MapReader, MapSnapshot, Mismatch,
        Once, OnceSnapshot, OpenError, OrderedMap, OrderedMapReader, OrderedMapSnapshot,
        OrderedMapWriter, Outcome, PriorityQueue, PriorityQueueSnapshot, QueueChange, Set,
        SetBatch, SetChange, SetReader, SetSnapshot, Status, SyncConfig, SyncStrategy, Value, Vec,
        VecChange, VecSnapshot, Version, Watch, WriteKey,
    },
    futures::{FutureExt, Stream, StreamExt, stream::FusedStream},
};

use super::{Bare, mutation};
use crate::{
    support::{node, random_network, within},
    surface::{shared, spawnable},
};

/// A mutation that tells `R`, or gives `X` back.
fn telling<R, X>(_: impl Future<Output = Result<Outcome<R>, Error<X>>> + Send + Sync + 'static) {}

#[test]
fn names_and_bounds() {
    fn snapshot<T: Clone + Send + Sync + 'static>() {}
    snapshot::<MapSnapshot<String, Bare>>();
    snapshot::<OrderedMapSnapshot<String, Bare>>();
    snapshot::<VecSnapshot<Bare>>();
    snapshot::<SetSnapshot<String>>();
    snapshot::<CellSnapshot<Bare>>();
    snapshot::<OnceSnapshot<Bare>>();
    snapshot::<PriorityQueueSnapshot<u8, String, Bare>>();
    snapshot::<PriorityQueueSnapshot<u8, String, Bare, 3>>();
    fn watch<S, C, W: Stream<Item = Event<S, C>> + FusedStream + Unpin + Send + 'static>() {}
    watch::<_, _, Watch<MapSnapshot<String, Bare>, MapChange<String, Bare>>>();
    shared::<OrderedMapReader<String, Bare>>();
    shared::<OrderedMapWriter<String, Bare>>();
    shared::<Batch<String, Bare>>();
    shared::<SetBatch<String>>();
    shared::<OpenError>();
    let _: Option<(Mismatch, Ingredient, WriteKey)> = None;
    let _: SyncConfig = SyncConfig::default().with_strategy(SyncStrategy::LogReplay);
}

/// Outcomes are made, and taken apart, by their fields.
#[test]
fn outcomes_are_plain() {
    let version = Version::default();
    let outcome = Outcome { version, value: 7 };
    let Outcome { version: _, value } = outcome;
    let exchange = Exchange {
        applied: true,
        current: Some(value),
    };
    let Exchange { applied, current } = exchange;
    let batch = BatchOutcome {
        applied,
        version,
        failed: None,
        previous: vec![current],
    };
    let BatchOutcome {
        applied,
        version: _,
        failed,
        previous,
    } = batch;
    assert_eq!((applied, failed, previous), (true, None, vec![Some(7)]));
}

#[expect(dead_code, reason = "checked by compiling")]
fn configuration() -> CollectionConfig {
    let config = CollectionConfig::default()
        .with_min_writers(2)
        .with_watch_buffer(1024)
        .with_max_entries(10)
        .with_max_bytes(1024)
        .with_type_tag("name")
        .with_write_key("secret");
    #[cfg(feature = "storage")]
    let config = config.durable();
    config
}

#[expect(dead_code, reason = "checked by compiling")]
fn every_kind_and_role(map: &MapReader<String, Bare>) {
    fn barrier(_: impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static) {}
    barrier(map.sync());
    let status: Status = map.status();
    let _: (bool, bool, bool, bool) = (
        status.is_online,
        status.is_admitted,
        status.may_write,
        status.is_durable,
    );
    let _: (Version, usize) = (status.version, status.entries);
    let _: std::vec::Vec<Mismatch> = status.mismatches;
    let _: Option<(Bare, Version)> = map.get_versioned("x");
    let _: std::vec::Vec<Option<Bare>> = map.get_many(["x", "y"]);
    let _: Option<Duration> = map.ttl(&"x".to_owned());
}

/// All that a map has, an ordered map has too.
macro_rules! map_of_both_kinds {
    ($name:ident, $map:ident, $snapshot:ident) => {
        #[expect(dead_code, reason = "checked by compiling")]
        fn $name(map: &$map<String, Bare>) {
            type Exchanged = (String, Option<Bare>, Option<Bare>);
            let x = || "x".to_owned();

            let _: (usize, bool, bool) = (map.len(), map.is_empty(), map.contains_key("x"));
            let _: (Option<Bare>, Option<(Bare, Version)>) = (map.get("x"), map.get_versioned("x"));
            let _: std::vec::Vec<Option<Bare>> = map.get_many(["x"]);
            let _: std::vec::Vec<(String, Bare)> = map.iter().collect();
            let _: (Option<String>, Option<Bare>) = (map.keys().next(), map.values().next());
            mutation::<(String, Bare)>(map.insert(x(), Bare(1)));
            mutation::<std::vec::Vec<(String, Bare)>>(map.extend([(x(), Bare(1))]));
            mutation::<String>(map.remove(&x()));
            mutation::<std::vec::Vec<String>>(map.remove_many([x()]));
            mutation::<()>(map.clear());
            mutation::<Exchanged>(map.compare_exchange(x(), None, None));
            mutation::<(String, Bare)>(map.insert_with_ttl(x(), Bare(1), Duration::ZERO));
            telling::<Option<Bare>, (String, Bare)>(map.insert_returning(x(), Bare(1)));
            telling::<Option<Bare>, String>(map.remove_returning(&x()));
            telling::<Exchange<Bare>, Exchanged>(map.compare_exchange_returning(x(), None, None));
            telling::<bool, String>(map.expire(&x(), Duration::ZERO));
            telling::<bool, String>(map.persist(&x()));
            telling::<Option<Bare>, String>(map.update(x(), |former: Option<&Bare>| {
                former.map(|Bare(n)| Bare(n + 1))
            }));
            let batch: Batch<String, Bare> = map
                .batch()
                .expect(x(), Expected::Absent)
                .expect(x(), Expected::Version(Version::default()))
                .expect(x(), Expected::Value(Bare(1)))
                .insert(x(), Bare(2))
                .remove(x())
                .insert_with_ttl(x(), Bare(3), Duration::ZERO);
            fn committed<K: Key, V: Value>(
                _: impl Future<Output = Result<BatchOutcome<V>, Error<Batch<K, V>>>>
                + Send
                + Sync
                + 'static,
            ) {
            }
            committed(batch.commit());

            let snapshot: $snapshot<String, Bare> = map.snapshot();
            let _: (Version, usize, bool) =
                (snapshot.version(), snapshot.len(), snapshot.is_empty());
            let _: Option<&Bare> = snapshot.get("x");
            let _: Option<(&Bare, Version)> = snapshot.get_versioned("x");
            let _: std::vec::Vec<Option<&Bare>> = snapshot.get_many(["x"]);
            let _: (bool, Option<Duration>) = (snapshot.contains_key("x"), snapshot.ttl(&x()));
            let _: std::vec::Vec<(&String, &Bare)> = snapshot.iter().collect();
            let _: (Option<&String>, Option<&Bare>) =
                (snapshot.keys().next(), snapshot.values().next());

            type Watched = Watch<$snapshot<String, Bare>, MapChange<String, Bare>>;
            let watch: Watched = map.watch();
            let _: (Watched, Watched) = (map.watch_key(x()), map.watch_from(watch.version()));
            let _: &$snapshot<String, Bare> = watch.snapshot();
        }
    };
}
map_of_both_kinds!(everything_of_a_map, Map, MapSnapshot);
map_of_both_kinds!(everything_of_an_ordered_map, OrderedMap, OrderedMapSnapshot);

#[expect(dead_code, reason = "checked by compiling")]
fn order(map: &OrderedMap<String, Bare>) {
    let _: [Option<(String, Bare)>; 2] = [map.first(), map.last()];
    let between = (Bound::Included("a"), Bound::Excluded("b"));
    let _: [Option<(String, Bare)>; 3] = [
        map.iter().next_back(),
        map.range("a".to_owned()..).next(),
        map.range::<str, _>(between).next(),
    ];
    let _: Option<(String, Bare)> = map.range::<str, _>(..).next_back();
    let _: Option<(String, Bare)> = map.prefix("a/").next_back();
    let (_, _): (std::vec::Vec<(String, Bare)>, bool) = map.page(Some(&"a".to_owned()), 10);
    mutation::<()>(map.remove_range("a".to_owned()..));
    drop(map.watch_range("a".to_owned().."b".to_owned()));
    drop(map.watch_prefix("a/"));
    let snapshot = map.snapshot();
    let _: [Option<(&String, &Bare)>; 2] = [snapshot.first(), snapshot.last()];
    let _: Option<(&String, &Bare)> = snapshot.range::<str, _>(between).next_back();
    let _: Option<(&String, &Bare)> = snapshot.prefix("a/").next_back();
    let (_, _): (std::vec::Vec<(&String, &Bare)>, bool) = snapshot.page(None, 10);
}

#[expect(dead_code, reason = "checked by compiling")]
fn sequence(vec: &Vec<String>) {
    telling::<Option<String>, ()>(vec.pop_front_returning());
    telling::<Option<String>, ()>(vec.pop_back_returning());
    telling::<Option<String>, String>(vec.replace(0, "x".into()));
    telling::<u64, ()>(vec.retain(|text| text.is_empty()));
    telling::<std::vec::Vec<String>, ()>(vec.drain(1..2));
    let watch: Watch<VecSnapshot<String>, VecChange<String>> = vec.watch();
    drop((vec.watch_from(watch.version()), watch));
}

#[expect(dead_code, reason = "checked by compiling")]
fn set(set: &Set<String>, reader: &SetReader<String>) {
    telling::<bool, String>(set.insert_returning("x".into()));
    telling::<bool, String>(set.remove_returning(&"x".to_owned()));
    mutation::<String>(set.insert_with_ttl("x".into(), Duration::ZERO));
    telling::<bool, String>(set.expire(&"x".to_owned(), Duration::ZERO));
    telling::<bool, String>(set.persist(&"x".to_owned()));
    let batch: SetBatch<String> = set
        .batch()
        .expect("x".into(), Expected::Absent)
        .insert("x".into())
        .remove("y".into())
        .insert_with_ttl("z".into(), Duration::ZERO);
    drop(batch.commit());
    let watch: Watch<SetSnapshot<String>, SetChange<String>> = reader.watch();
    drop((
        reader.watch_key("x".into()),
        reader.watch_from(watch.version()),
    ));
}

#[expect(dead_code, reason = "checked by compiling")]
fn others(cell: &Cell<Bare>, once: &Once<Bare>, queue: &PriorityQueue<u8, String, Bare, 3>) {
    type Entry = (u8, String, Bare);

    telling::<Exchange<Bare>, (Option<Bare>, Option<Bare>)>(
        cell.compare_exchange_returning(None, None),
    );
    telling::<Option<Bare>, Bare>(once.write_returning(Bare(1)));
    telling::<Option<Entry>, ()>(queue.pop_min());
    telling::<Option<Entry>, ()>(queue.pop_max());
    let _: Watch<CellSnapshot<Bare>, CellChange<Bare>> = cell.watch();
    let _: Watch<OnceSnapshot<Bare>, CellChange<Bare>> = once.watch_from(once.version());
    let _: Watch<PriorityQueueSnapshot<u8, String, Bare, 3>, QueueChange<u8, String, Bare>> =
        queue.watch();
}

#[expect(dead_code, reason = "checked by compiling")]
async fn events(mut watch: Watch<MapSnapshot<String, Bare>, MapChange<String, Bare>>) {
    while let Some(event) = watch.next().await {
        match event {
            Event::Changed { version, changes } => {
                let (_, changes): (Version, Arc<[MapChange<String, Bare>]>) = (version, changes);
                for change in &*changes {
                    let _: (&String, bool) = (change.key(), change.is_created());
                    let _: (Option<&Bare>, Option<&Bare>) = (change.old(), change.new());
                    match change.cause() {
                        Cause::Write | Cause::Expired | Cause::Evicted => {}
                        _ => {}
                    }
                }
            }
            Event::Lagged { lost, now } => {
                let _: (Range<Version>, MapSnapshot<String, Bare>) = (lost, now);
            }
            Event::Compacted { oldest, now } => {
                let _: (Version, MapSnapshot<String, Bare>) = (oldest, now);
            }
            Event::Reset { discarded, now } => {
                let _: (u64, MapSnapshot<String, Bare>) = (discarded, now);
            }
            _ => {}
        }
    }
}

/// A snapshot has every read of its kind, of one state that changes no more.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_read_as_handles_do() {
    let node = node(random_network()).await;
    let map = Map::<String, u8>::new(&node, "map");
    within(10, map.when().online()).await;
    map.extend([("a".to_owned(), 1), ("b".to_owned(), 2)])
        .await
        .unwrap();
    let hour = Duration::from_secs(3600);
    map.insert_with_ttl("c".into(), 3, hour).await.unwrap();
    let watch = map.watch_key("c".into());
    let snapshot = map.snapshot();
    map.clear().await.unwrap();
    assert_eq!(
        snapshot.get_many(["b", "x", "a"]),
        [Some(&2), None, Some(&1)]
    );
    for snapshot in [&snapshot, watch.snapshot()] {
        let left = snapshot.ttl(&"c".into()).unwrap();
        assert!(left <= hour && left > Duration::from_secs(3000), "{left:?}");
        assert_eq!(snapshot.ttl(&"c".into()), Some(left), "it stands still");
    }
    assert_eq!(snapshot.ttl(&"a".into()), None);
    assert_eq!(snapshot.ttl(&"x".into()), None);

    let tree = OrderedMap::<u8, u8>::new(&node, "tree");
    within(10, tree.when().online()).await;
    tree.insert_with_ttl(1, 10, hour).await.unwrap();
    tree.insert(2, 20).await.unwrap();
    let before = tree.version();
    tree.insert(1, 11).await.unwrap();
    let snapshot = tree.snapshot();
    assert_eq!(snapshot.get_many(&[2, 1]), [Some(&20), Some(&11)]);
    assert_eq!(snapshot.ttl(&1), None, "it was replaced by one that stays");
    // An older state tells nothing of the time of what was changed since.
    tree.expire(&1, hour).await.unwrap();
    let older = tree.watch_from(before);
    assert_eq!(older.snapshot().get(&1), Some(&10));
    assert_eq!(older.snapshot().ttl(&1), None);
    assert!(tree.snapshot().ttl(&1).is_some());

    let set = Set::<u8>::new(&node, "set");
    within(10, set.when().online()).await;
    set.insert_with_ttl(1, hour).await.unwrap();
    set.insert(2).await.unwrap();
    let snapshot = set.snapshot();
    assert!(snapshot.ttl(&1).is_some_and(|left| left <= hour));
    assert_eq!((snapshot.ttl(&2), snapshot.ttl(&3)), (None, None));

    let vec = Vec::<u8>::new(&node, "vec");
    within(10, vec.when().online()).await;
    vec.extend([7, 8, 7]).await.unwrap();
    let snapshot = vec.snapshot();
    vec.clear().await.unwrap();
    assert_eq!((snapshot.head(), snapshot.last()), (Some(&7), Some(&7)));
    assert_eq!((snapshot.front(), snapshot.back()), (Some(&7), Some(&7)));
    assert_eq!(
        (snapshot.index_of(&8), snapshot.index_of(&9)),
        (Some(1), None)
    );
    assert!(snapshot.contains(&8) && !snapshot.contains(&9));

    let queue = PriorityQueue::<u8, u8, u8, 9>::new(&node, "queue");
    within(10, queue.when().online()).await;
    queue.extend([(3, 1, 0), (1, 2, 0)]).await.unwrap();
    let snapshot = queue.snapshot();
    queue.clear().await.unwrap();
    assert_eq!(snapshot.capacity(), 9);
    assert_eq!(snapshot.min_priority(), Some(&1));
    assert_eq!(snapshot.max_priority(), Some(&3));
    let ascending: std::vec::Vec<_> = snapshot.iter_asc().map(|(p, ..)| *p).collect();
    assert_eq!(ascending, [1, 3]);
    assert!(snapshot.iter().eq(snapshot.iter_asc()));
    assert!(snapshot.iter_desc().eq(snapshot.iter_asc().rev()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_and_a_watch() {
    let node = node(random_network()).await;
    let map = Map::<u8, u8>::new(&node, "map");
    within(10, map.when().online()).await;
    let mut watch = map.watch();
    let version = map.insert(1, 2).await.unwrap();
    assert!(within(10, spawnable(map.sync())).await.unwrap() >= version);
    let event = within(10, watch.next()).await;
    assert!(matches!(event, Some(Event::Changed { version: told, .. }) if told == version));
    assert!(watch.next().now_or_never().is_none() && !watch.is_terminated());
}

/// Openings that can fail return what is in the way.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn durable_content_that_can_not_be_had_is_an_error() {
    use mosaik::discovery;

    use crate::support::builder;

    type Tree = OrderedMap<u8, u8>;
    let durable = || CollectionConfig::default().durable();
    let memory = node(random_network()).await;
    let refused = Map::<u8, u8>::try_writer_with_config(&memory, "map", durable());
    assert_eq!(refused.err(), Some(OpenError::NoStorage));
    let refused = Map::<u8, u8>::try_reader_with_config(&memory, "map", durable());
    assert_eq!(refused.err(), Some(OpenError::NoStorage));
    // Nothing was opened: the group's place is free, and taken in memory by who can't fail.
    let map = Map::<u8, u8>::writer_with_config(&memory, "map", durable());
    assert!(!map.status().is_durable);

    let directory = tempfile::tempdir().unwrap();
    let stored = builder(random_network(), discovery::Config::builder())
        .with_storage(directory.path())
        .build()
        .await
        .unwrap();
    let map = Map::<u8, u8>::try_writer_with_config(&stored, "map", durable()).unwrap();
    let reader = Map::<u8, u8>::try_reader_with_config(&stored, "map", durable()).unwrap();
    assert!(map.status().is_durable && reader.status().is_durable);
    // One that asks for nothing shares what is there.
    let shared = Map::<u8, u8>::try_reader_with_config(&stored, "map", SyncConfig::default());
    assert!(shared.unwrap().status().is_durable);

    let first = Tree::reader(&stored, "tree");
    let second = Tree::try_writer_with_config(&stored, "tree", durable());
    let group: mosaik::groups::GroupId = *first.group_id();
    assert_eq!(second.err(), Some(OpenError::NotDurable(group)));
    assert!(!first.status().is_durable);
    mosaik::collection!(Declared = OrderedMap<u8, u8>, "tree", config: CollectionConfig::default().durable());
    let third = <Declared as mosaik::CollectionWriter>::try_writer(&stored);
    assert_eq!(third.err(), Some(OpenError::NotDurable(group)));
    drop(first);
    within(10, stored.shutdown()).await;
}

#[tokio::test]
async fn other_types_under_one_tag_are_an_error() {
    let node = node(random_network()).await;
    let tagged = || CollectionConfig::default().with_type_tag("numbers");
    let small = Map::<u8, u8>::writer_with_config(&node, "map", tagged());
    let large = Map::<u8, u64>::try_writer_with_config(&node, "map", tagged());
    assert_eq!(large.err(), Some(OpenError::OtherTypes(*small.group_id())));
}
