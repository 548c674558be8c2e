//! Mutations that are large.

use mosaik::collections::{self, Error, Event, Map, Set};

use super::fleet;
use crate::support::{node, random_network, within};

const MANY: u32 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_entries_are_one_mutation_on_every_member() {
    let nodes = fleet(2).await;
    let map = Map::<u32, u32>::writer(&nodes[0], "map");
    let set = Set::<u32>::writer(&nodes[0], "set");
    let vec = collections::Vec::<u32>::writer(&nodes[0], "vec");
    let read_map = Map::<u32, u32>::reader(&nodes[1], "map");
    let read_set = Set::<u32>::reader(&nodes[1], "set");
    let read_vec = collections::Vec::<u32>::reader(&nodes[1], "vec");
    for when in [map.when(), set.when(), vec.when()] {
        within(10, when.online()).await;
    }
    for when in [read_map.when(), read_set.when(), read_vec.when()] {
        within(10, when.online()).await;
    }
    let before = map.version();
    let mut watch = read_vec.watch();
    let mut too_much = read_map.watch();
    let versions = [
        within(30, map.extend((0..MANY).map(|n| (n, n))))
            .await
            .unwrap(),
        within(30, set.extend(0..MANY)).await.unwrap(),
        within(30, vec.extend(0..MANY)).await.unwrap(),
    ];
    assert_eq!(versions[0].0.0, before.0.0 + 1, "one version");
    let readers = [read_map.when(), read_set.when(), read_vec.when()];
    for (when, version) in readers.into_iter().zip(versions) {
        within(30, when.reaches(version)).await;
    }
    assert_eq!((read_map.len(), read_set.len()), (100_000, 100_000));
    assert!(read_map.iter().all(|(key, value)| key == value));
    assert!(read_vec.iter().eq(0..MANY));
    // As one change of a sequence; as entries, they are more than is kept for watches.
    let event = within(10, watch.recv()).await.unwrap();
    let Event::Changed { version, changes } = event else {
        panic!("one change: {event:?}");
    };
    assert_eq!(
        (version, changes[0].inserted().len()),
        (versions[2], 100_000)
    );
    let event = within(10, too_much.recv()).await.unwrap();
    match event {
        Event::Changed { version, changes } => {
            assert_eq!((version, changes.len()), (versions[0], 100_000));
        }
        Event::Lagged { now, .. } => assert_eq!(now.len(), 100_000),
        event => panic!("{event:?}"),
    }
    // Removed as one, too.
    let removed = within(30, map.remove_many(0..MANY)).await.unwrap();
    within(30, read_map.when().reaches(removed)).await;
    assert!(read_map.is_empty());
}

/// Bytes of a mutation at most, and those of it that are no elements or lengths of them.
const LIMIT: usize = 32 * 1024 * 1024;
const OVERHEAD: usize = 6;
/// Bytes of an element of some bytes: its length in the mutation and in its own encoding.
const LENGTHS: usize = 4 + 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_at_the_limit_fits_and_one_byte_more_comes_back() {
    let node = node(random_network()).await;
    let vec = collections::Vec::<String>::writer(&node, "vec");
    within(10, vec.when().online()).await;
    let part = 1_000_000;
    let mut left = LIMIT - OVERHEAD;
    let mut elements = Vec::new();
    while left > part + 2 * LENGTHS {
        elements.push("x".repeat(part));
        left -= part + LENGTHS;
    }
    assert!(left - LENGTHS > 16 * 1024, "of the same length of lengths");
    elements.push("x".repeat(left - LENGTHS));
    let count = elements.len();
    let before = vec.version();
    let mut larger = elements.clone();
    larger.last_mut().unwrap().push('x');
    match within(30, vec.extend(larger)).await {
        Err(Error::Encoding(back, _)) => {
            assert_eq!(
                (back.len(), back[count - 1].len()),
                (count, left - LENGTHS + 1)
            );
        }
        other => panic!("{:?}", other.map_err(|error| error.to_string())),
    }
    assert_eq!((vec.version(), vec.len()), (before, 0), "nothing submitted");
    within(30, vec.extend(elements)).await.unwrap();
    assert_eq!(vec.len(), count);
}
