//! Watches that nobody polls while their collection goes through something.

use std::collections::BTreeMap;

use mosaik::{
    Network,
    collections::{Event, Map, MapChange, MapSnapshot, Version, Watch},
};

use super::{fleet, until};
use crate::support::{node, random_network, within};

type MapWatch = Watch<MapSnapshot<u32, u32>, MapChange<u32, u32>>;

/// Content that a watch makes of its snapshot and its events, up to a version; and how often it
/// was told that something was missed, or that a history was given up.
async fn copy(watch: &mut MapWatch, last: Version) -> (BTreeMap<u32, u32>, usize, usize) {
    let entries = |now: &MapSnapshot<u32, u32>| now.iter().map(|(k, v)| (*k, *v)).collect();
    let mut content: BTreeMap<_, _> = entries(watch.snapshot());
    let (mut lagged, mut reset) = (0, 0);
    while watch.version() < last {
        match within(20, watch.recv()).await.expect("the watch goes on") {
            Event::Changed { changes, .. } => {
                for change in changes.iter() {
                    let known = match change.new() {
                        Some(new) => content.insert(*change.key(), *new),
                        None => content.remove(change.key()),
                    };
                    assert_eq!(known.as_ref(), change.old());
                }
            }
            Event::Lagged { now, .. } => {
                lagged += 1;
                content = entries(&now);
            }
            Event::Reset { now, .. } => {
                reset += 1;
                content = entries(&now);
            }
            event => panic!("{event:?}"),
        }
    }
    (content, lagged, reset)
}

fn content(map: &Map<u32, u32>) -> BTreeMap<u32, u32> {
    map.iter().collect()
}

/// Inserts until it is acknowledged.
async fn insist(map: &Map<u32, u32>, key: u32, value: u32) -> Version {
    within(30, async {
        loop {
            match map.insert(key, value).await {
                Ok(version) => return version,
                Err(_) => map.when().online().await,
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sleeps_through_a_restart_of_the_leader_is_told_all_of_it() {
    let mut nodes = fleet(3).await;
    let mut maps: Vec<_> = Vec::new();
    for node in &nodes {
        let map = Map::<u32, u32>::writer(node, "map");
        within(10, map.when().online()).await;
        maps.push(map);
    }
    insist(&maps[2], 0, 0).await;
    let leader = maps[2].status().leader.unwrap();
    let leads = |nodes: &[Network]| nodes.iter().position(|node| node.local().id() == leader);
    let at = leads(&nodes).unwrap();
    let (gone, map) = (nodes.remove(at), maps.remove(at));
    let mut asleep = maps[0].watch();
    let mut key_asleep = maps[1].watch_key(7);
    insist(&maps[0], 7, 1).await;
    within(10, gone.shutdown()).await;
    drop(map);
    insist(&maps[1], 7, 2).await;
    insist(&maps[0], 8, 3).await;
    let back = crate::support::node_at(*nodes[0].network_id(), nodes[0].local().addr()).await;
    let map = Map::<u32, u32>::writer(&back, "map");
    within(20, map.when().online()).await;
    let last = insist(&map, 7, 4).await;
    for map in &maps {
        within(10, map.when().reaches(last)).await;
    }
    let (told, lagged, reset) = copy(&mut asleep, last).await;
    assert_eq!((told, lagged, reset), (content(&map), 0, 0));
    let (told, lagged, reset) = copy(&mut key_asleep, last).await;
    assert_eq!((told, lagged, reset), (BTreeMap::from([(7, 4)]), 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sleeps_through_a_merge_of_histories_is_told_once() {
    let network = random_network();
    let (one, two) = (node(network).await, node(network).await);
    let small = Map::<u32, u32>::writer(&one, "map");
    let large = Map::<u32, u32>::writer(&two, "map");
    for map in [&small, &large] {
        within(10, map.when().online()).await;
    }
    small.insert(1, 1).await.unwrap();
    let mut loser = small.watch();
    let mut key_loser = small.watch_key(2);
    let mut winner = large.watch();
    for n in 0..3 {
        small.insert(n, 1).await.unwrap();
    }
    for n in 0..30 {
        large.insert(n, 100).await.unwrap();
    }
    one.discovery().dial(two.local().addr());
    until(30, small.when(), || small.len() == 30).await;
    let last = insist(&small, 2, 7).await;
    within(10, large.when().reaches(last)).await;
    // The watch of the history that has lost is not done with any of the other one yet.
    assert!(loser.version() < last && key_loser.version() < last);
    let (told, _, reset) = copy(&mut loser, last).await;
    assert_eq!((told, reset), (content(&large), 1));
    let (told, _, reset) = copy(&mut key_loser, last).await;
    assert_eq!((told, reset), (BTreeMap::from([(2, 7)]), 1));
    let (told, lagged, reset) = copy(&mut winner, last).await;
    assert_eq!((told, lagged, reset), (content(&small), 0, 0));
}
