//! Watches: all changes, in order and completely, or a report that something is missing.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, stream::FusedStream};
use mosaik::{
    Network,
    collections::{
        self, Cause, Cell, CollectionConfig, Event, Map, MapChange, MapSnapshot, Once, OrderedMap,
        PriorityQueue, Set, Version, Watch,
    },
    groups::Index,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::fleet;
use crate::support::{node, random_network, within};

type MapWatch<K, V> = Watch<MapSnapshot<K, V>, MapChange<K, V>>;

async fn next<S: std::fmt::Debug, C: std::fmt::Debug>(watch: &mut Watch<S, C>) -> Event<S, C> {
    within(10, watch.recv())
        .await
        .expect("the watch has not ended")
}

async fn online_map(node: &Network, config: CollectionConfig) -> Map<u32, u64> {
    let map = Map::writer_with_config(node, "watched", config);
    within(10, map.when().online()).await;
    map
}

/// Knowledge of a watcher, made of its snapshot and of the changes it was told, which must be
/// complete.
struct Copy {
    content: BTreeMap<u8, u32>,
    version: Version,
}

impl Copy {
    fn of(snapshot: &MapSnapshot<u8, u32>) -> Self {
        Self {
            content: snapshot.iter().map(|(key, value)| (*key, *value)).collect(),
            version: snapshot.version(),
        }
    }

    /// Follows until a version is told, and checks each change against what is known.
    async fn follow(&mut self, watch: &mut MapWatch<u8, u32>, last: Version) {
        while watch.version() < last {
            let Some(event) = within(10, watch.next()).await else {
                panic!("the watch has ended at {}", watch.version());
            };
            let Event::Changed { version, changes } = event else {
                panic!("nothing was missed: {event:?}");
            };
            assert!(version > self.version, "in order, each once");
            self.version = version;
            assert!(!changes.is_empty());
            for change in changes.iter() {
                assert_eq!(change.cause(), Cause::Write);
                let known = match change.new() {
                    Some(new) => self.content.insert(*change.key(), *new),
                    None => self.content.remove(change.key()),
                };
                assert_eq!(known.as_ref(), change.old(), "the former value");
                assert_eq!(known.is_none(), change.is_created());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_follow_watches_equal_the_content() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let nodes = fleet(3).await;
    let writers = [
        Map::<u8, u32>::writer(&nodes[0], "map"),
        Map::<u8, u32>::writer(&nodes[1], "map"),
    ];
    let reader = Map::<u8, u32>::reader(&nodes[2], "map");
    for when in [writers[0].when(), writers[1].when(), reader.when()] {
        within(10, when.online()).await;
    }
    let mut watches = vec![writers[0].watch(), writers[1].watch(), reader.watch()];
    let mut copies: Vec<_> = watches.iter().map(|w| Copy::of(w.snapshot())).collect();
    let mut last = Version::default();
    for n in 0..300 {
        let writer = &writers[n % 2];
        let key = random.random_range(0..20);
        let value = random.random();
        last = match random.random_range(0..12) {
            0 => writer.clear().await.unwrap(),
            1 | 2 => writer
                .extend([(key, value), (0, 1), (key, 2)])
                .await
                .unwrap(),
            3 | 4 => writer.remove(&key).await.unwrap(),
            5 => writer.compare_exchange(key, None, Some(3)).await.unwrap(),
            6 => writer.remove_many([key, 0, 19]).await.unwrap(),
            _ => writer.insert(key, value).await.unwrap(),
        };
        if n == 150 {
            // One that begins in the middle, and one that resumes from long ago.
            watches.push(reader.watch());
            watches.push(writer.watch_from(Version::default()));
            for watch in &watches[3..] {
                copies.push(Copy::of(watch.snapshot()));
            }
            assert!(copies[4].content.is_empty(), "the state of that version");
        }
    }
    // The last one changes something, so that it is told.
    last = last.max(writers[0].insert(0, random.random()).await.unwrap());
    within(10, reader.when().reaches(last)).await;
    for writer in &writers {
        within(10, writer.when().reaches(last)).await;
    }
    let content: BTreeMap<_, _> = reader.iter().collect();
    for (copy, watch) in copies.iter_mut().zip(&mut watches) {
        copy.follow(watch, last).await;
        assert_eq!(copy.content, content);
    }
}

#[tokio::test]
async fn a_batch_is_one_event() {
    let node = node(random_network()).await;
    let map = online_map(&node, CollectionConfig::default()).await;
    let mut watch = map.watch();
    let version = map.extend((0..100).map(|n| (n, 0))).await.unwrap();
    map.remove(&1000).await.unwrap();
    let removed = map.remove_many(0..50).await.unwrap();
    let Event::Changed {
        version: told,
        changes,
    } = next(&mut watch).await
    else {
        panic!("nothing was missed");
    };
    assert_eq!((told, changes.len()), (version, 100));
    // What changed nothing is passed over.
    let Event::Changed { version, changes } = next(&mut watch).await else {
        panic!("nothing was missed");
    };
    assert_eq!((version, changes.len()), (removed, 50));
    assert!(changes.iter().all(|change| change.is_removed()));
}

#[tokio::test]
async fn a_watch_of_a_key_sees_that_key_only_and_never_lags_for_others() {
    let node = node(random_network()).await;
    let config = CollectionConfig::default().with_watch_buffer(4096);
    let map = online_map(&node, config).await;
    map.insert(1, 10).await.unwrap();
    let mut watch = map.watch_key(1);
    assert_eq!(watch.snapshot().get(&1), Some(&10));
    assert_eq!(watch.snapshot().len(), 1);
    map.insert(1, 11).await.unwrap();
    let Event::Changed { changes, .. } = next(&mut watch).await else {
        panic!("nothing was missed");
    };
    assert_eq!(changes[0].new(), Some(&11));
    // Far more than the buffer holds.
    for n in 0..500 {
        map.insert(2 + n, 0).await.unwrap();
    }
    assert!(watch.recv().now_or_never().is_none(), "nothing has changed");
    assert_eq!(watch.version(), map.version(), "and that is known");
    let version = map.extend([(7, 7), (1, 12), (8, 8)]).await.unwrap();
    let Event::Changed {
        version: told,
        changes,
    } = next(&mut watch).await
    else {
        panic!("nothing was missed");
    };
    assert_eq!((told, changes.len()), (version, 1), "its part of the batch");
    assert_eq!((changes[0].old(), changes[0].new()), (Some(&11), Some(&12)));

    // Its own changes it can miss.
    for n in 0..500 {
        map.insert(1, n).await.unwrap();
    }
    let Event::Lagged { now, .. } = next(&mut watch).await else {
        panic!("500 changes are more than the buffer holds");
    };
    assert_eq!(now.get(&1), Some(&499));
    let version = map.insert(1, 1000).await.unwrap();
    let Event::Changed { version: told, .. } = next(&mut watch).await else {
        panic!("the watch goes on");
    };
    assert_eq!(told, version);
}

#[tokio::test]
async fn a_slow_watch_is_told_what_it_has_missed_and_goes_on() {
    let node = node(random_network()).await;
    let config = CollectionConfig::default().with_watch_buffer(4096);
    let map = online_map(&node, config).await;
    let mut watch = map.watch();
    let begin = watch.version();
    for n in 0..500 {
        map.insert(n, 1).await.unwrap();
    }
    let Event::Lagged { lost, now } = next(&mut watch).await else {
        panic!("500 changes are more than the buffer holds");
    };
    assert_eq!(lost.start.0.0, begin.0.0 + 1);
    assert_eq!(lost.end.0.0, now.version().0.0 + 1);
    assert_eq!(now.len(), 500);
    assert_eq!(watch.version(), now.version());
    let version = map.insert(0, 2).await.unwrap();
    let Event::Changed { version: told, .. } = next(&mut watch).await else {
        panic!("the watch goes on");
    };
    assert_eq!(told, version);

    // More in one mutation than the buffer holds.
    map.extend((0..500).map(|n| (n, 3))).await.unwrap();
    let event = next(&mut watch).await;
    assert!(matches!(event, Event::Lagged { .. }), "{event:?}");
}

#[tokio::test]
async fn a_watch_resumes_where_another_has_ended() {
    let node = node(random_network()).await;
    let config = CollectionConfig::default().with_watch_buffer(4096);
    let map = online_map(&node, config).await;
    map.insert(1, 1).await.unwrap();
    let past = map.insert(2, 2).await.unwrap();
    map.insert(1, 3).await.unwrap();
    map.remove(&2).await.unwrap();
    let mut resumed = map.watch_from(past);
    let then: BTreeMap<_, _> = resumed.snapshot().iter().collect();
    assert_eq!(then, BTreeMap::from([(&1, &1), (&2, &2)]), "as it was");
    assert_eq!(resumed.snapshot().version(), past);
    let Event::Changed { changes, .. } = next(&mut resumed).await else {
        panic!("still kept");
    };
    assert_eq!((changes[0].old(), changes[0].new()), (Some(&1), Some(&3)));

    // A version that is still to come.
    let later = Version(Index(map.version().0.0 + 2));
    let mut future = map.watch_from(later);
    for n in 0..3 {
        map.insert(9, n).await.unwrap();
    }
    let Event::Changed { version, changes } = next(&mut future).await else {
        panic!("nothing was missed");
    };
    assert!(version > later);
    assert_eq!(changes[0].new(), Some(&2));

    for n in 0..500 {
        map.insert(n, 0).await.unwrap();
    }
    let mut too_late = map.watch_from(past);
    let Event::Compacted { oldest, now } = next(&mut too_late).await else {
        panic!("not kept any more");
    };
    assert!(oldest > past && oldest < map.version());
    assert_eq!((now.len(), now.version()), (500, map.version()));
    // The border itself is kept.
    let mut border = map.watch_from(oldest);
    let event = next(&mut border).await;
    assert!(matches!(event, Event::Changed { .. }), "{event:?}");
    map.insert(0, 1).await.unwrap();
    let event = next(&mut too_late).await;
    assert!(matches!(event, Event::Changed { .. }), "{event:?}");
}

#[tokio::test]
async fn ranges_and_prefixes_are_watched_alone() {
    let node = node(random_network()).await;
    let config = OrderedMap::<String, u32>::writer(&node, "config");
    within(10, config.when().online()).await;
    let set = |key: &str, value| config.insert(key.into(), value);
    set("a/1", 1).await.unwrap();
    set("b/1", 1).await.unwrap();
    let mut prefix = config.watch_prefix("b/");
    let mut range = config.watch_range("b/2".to_owned()..);
    assert!(prefix.snapshot().iter().eq([(&"b/1".to_owned(), &1)]));
    assert!(range.snapshot().is_empty());
    set("a/1", 2).await.unwrap();
    set("b/1", 2).await.unwrap();
    let last = set("c", 1).await.unwrap();
    let Event::Changed { changes, .. } = next(&mut prefix).await else {
        panic!("nothing was missed");
    };
    assert_eq!(changes[0].key(), "b/1");
    let Event::Changed { version, changes } = next(&mut range).await else {
        panic!("nothing was missed");
    };
    assert_eq!((version, changes[0].key().as_str()), (last, "c"));
    assert!(prefix.recv().now_or_never().is_none());
    assert_eq!(prefix.version(), last);
}

#[tokio::test]
async fn every_kind_tells_its_changes() {
    let node = node(random_network()).await;
    let set = Set::<u8>::writer(&node, "set");
    let vec = collections::Vec::<u8>::writer(&node, "vec");
    let cell = Cell::<u8>::writer(&node, "cell");
    let once = Once::<u8>::writer(&node, "once");
    let queue = PriorityQueue::<u8, u8, char, 2>::writer(&node, "queue");
    within(20, async {
        set.when().online().await;
        vec.when().online().await;
        cell.when().online().await;
        once.when().online().await;
        queue.when().online().await;
    })
    .await;

    let mut watch = set.watch();
    set.insert(1).await.unwrap();
    set.insert(1).await.unwrap();
    set.remove(&1).await.unwrap();
    for created in [true, false] {
        let Event::Changed { changes, .. } = next(&mut watch).await else {
            panic!("nothing was missed");
        };
        assert_eq!((changes.len(), *changes[0].key()), (1, 1));
        assert_eq!(changes[0].is_created(), created, "the second was there");
    }

    let mut watch = vec.watch();
    let mut copy: Vec<u8> = Vec::new();
    vec.extend([1, 2, 3, 4]).await.unwrap();
    vec.push_front(0).await.unwrap();
    vec.swap(0, 4).await.unwrap();
    vec.insert(2, 9).await.unwrap();
    vec.replace(0, 8).await.unwrap();
    vec.pop_back().await.unwrap();
    vec.drain(1..3).await.unwrap();
    let retained = vec.retain(|n| *n != 8).await.unwrap();
    assert_eq!(retained.value, 1);
    while watch.version() < vec.version() {
        let Event::Changed { changes, .. } = next(&mut watch).await else {
            panic!("nothing was missed");
        };
        for change in changes.iter() {
            let start = usize::try_from(change.index()).unwrap();
            let end = start + change.removed().len();
            let removed: Vec<_> = copy
                .splice(start..end, change.inserted().copied())
                .collect();
            assert!(removed.iter().eq(change.removed()));
        }
    }
    assert_eq!(copy, vec.iter().collect::<Vec<_>>());
    assert_eq!(copy, [2, 3]);
    let begin = vec.watch_from(Version::default());
    assert!(begin.snapshot().is_empty(), "all taken back");

    let mut watch = cell.watch();
    cell.set(1).await.unwrap();
    cell.compare_exchange(Some(2), Some(3)).await.unwrap();
    cell.clear().await.unwrap();
    for (old, new) in [(None, Some(&1)), (Some(&1), None)] {
        let Event::Changed { changes, .. } = next(&mut watch).await else {
            panic!("nothing was missed");
        };
        assert_eq!((changes[0].old(), changes[0].new()), (old, new));
    }

    let mut watch = once.watch();
    once.set(5).await.unwrap();
    once.set(6).await.unwrap();
    let Event::Changed { changes, .. } = next(&mut watch).await else {
        panic!("nothing was missed");
    };
    assert_eq!(changes[0].new(), Some(&5));
    assert!(watch.recv().now_or_never().is_none());

    let mut watch = queue.watch();
    queue.extend([(1, 1, 'a'), (2, 2, 'b')]).await.unwrap();
    queue.insert(3, 3, 'c').await.unwrap();
    next(&mut watch).await;
    let Event::Changed { changes, .. } = next(&mut watch).await else {
        panic!("nothing was missed");
    };
    assert_eq!(changes[0].new(), Some((&3, &'c')));
    assert_eq!(changes[1].old(), Some((&1, &'a')));
    assert_eq!(changes[1].cause(), Cause::Evicted);
}

#[tokio::test]
async fn a_watch_ends_after_the_last_change() {
    let node = node(random_network()).await;
    let map = online_map(&node, CollectionConfig::default()).await;
    let other = Map::<u32, u64>::reader(&node, "watched");
    let mut watch = map.watch();
    let mut idle = map.watch_key(7);
    map.insert(1, 1).await.unwrap();
    drop(map);
    let event = next(&mut watch).await;
    assert!(matches!(event, Event::Changed { .. }));
    assert!(watch.recv().now_or_never().is_none(), "a handle is left");
    drop(other);
    assert!(within(10, watch.recv()).await.is_none());
    assert!(watch.is_terminated());
    assert!(within(10, idle.recv()).await.is_none());

    // The end of the network ends it as well.
    let map = online_map(&node, CollectionConfig::default()).await;
    let mut watch = map.watch();
    map.insert(1, 1).await.unwrap();
    node.shutdown().await;
    let event = next(&mut watch).await;
    assert!(matches!(event, Event::Changed { .. }));
    assert!(within(10, watch.recv()).await.is_none());

    // Also one that begins after it.
    assert!(within(10, map.watch().recv()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_gives_way_is_told() {
    let network = random_network();
    let (one, two) = (node(network).await, node(network).await);
    let maps = [
        Map::<u32, u64>::writer(&one, "watched"),
        Map::<u32, u64>::writer(&two, "watched"),
    ];
    let mut watches = Vec::new();
    // Founded apart: the longer one wins.
    for (map, count) in maps.iter().zip([10, 50]) {
        within(10, map.when().online()).await;
        watches.push(map.watch());
        for n in 0..count {
            map.insert(n, u64::from(count)).await.unwrap();
        }
    }
    one.discovery().dial(two.local().addr());
    let mut loser = watches.remove(0);
    let (mut copy, mut discarded) = (BTreeMap::new(), 0);
    within(30, async {
        while discarded == 0 || copy.len() < 50 {
            match loser.recv().await.expect("the watch goes on") {
                Event::Changed { changes, .. } => {
                    for change in changes.iter() {
                        copy.insert(*change.key(), *change.new().unwrap());
                    }
                }
                Event::Reset { discarded: n, now } => {
                    discarded += n;
                    copy = now.iter().map(|(key, value)| (*key, *value)).collect();
                }
                Event::Lagged { now, .. } => {
                    copy = now.iter().map(|(key, value)| (*key, *value)).collect();
                }
                event => panic!("{event:?}"),
            }
        }
    })
    .await;
    assert_eq!(discarded, 10);
    assert!(copy.values().all(|value| *value == 50));
    let winner = &mut watches[0];
    while winner.version() < maps[1].version() {
        let event = next(winner).await;
        assert!(matches!(event, Event::Changed { .. }), "{event:?}");
    }
}
