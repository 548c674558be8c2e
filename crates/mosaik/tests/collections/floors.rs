//! The number of writers below which nothing is acknowledged.

use mosaik::{
    Network,
    collections::{CollectionConfig, Error, Map},
};

use super::{fleet, until};
use crate::support::{eventually, within};

fn open(node: &Network, min_writers: usize) -> Map<u32, u32> {
    let config = CollectionConfig::default().with_min_writers(min_writers);
    Map::writer_with_config(node, "map", config)
}

/// Waits until a mutation succeeds.
async fn settled(map: &Map<u32, u32>, key: u32) {
    let written = async {
        while let Err(error) = map.insert(key, key).await {
            assert!(
                matches!(error, Error::Offline(_) | Error::Unknown(_)),
                "{error}"
            );
        }
    };
    within(30, written).await;
}

/// They counted when the collection began, and not later: the last one went on alone.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_when_the_others_have_left() {
    let nodes = fleet(3).await;
    let mut maps: Vec<_> = nodes.iter().map(|node| open(node, 2)).collect();
    for map in &maps {
        within(10, map.when().online()).await;
        settled(map, 1).await;
    }
    let voters = |map: &Map<u32, u32>| map.status().membership.voters.len();
    until(20, maps[0].when(), || maps[0].len() == 1).await;
    // With two of three it goes on.
    drop(maps.pop());
    settled(&maps[0], 2).await;
    drop(maps.pop());
    let last = &maps[0];
    // Who hands its leadership on makes it go offline, too, while it is still there.
    eventually(20, || voters(last) == 1 && !last.status().is_online).await;
    let refused = within(10, last.insert(3, 3)).await;
    assert!(
        matches!(refused, Err(Error::Offline((3, 3)))),
        "{refused:?}"
    );
    assert_eq!((last.len(), voters(last)), (2, 1));

    let other = open(&nodes[1], 2);
    within(30, other.when().online()).await;
    within(30, last.when().online()).await;
    settled(last, 4).await;
    settled(&other, 5).await;
    until(10, last.when(), || last.len() == 4).await;
    assert_eq!(last.get(&3), None);
}

/// Two of three are a majority, and were enough.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_after_a_crash_until_another_writer_is_there() {
    let nodes = fleet(4).await;
    let maps: Vec<_> = nodes[..3].iter().map(|node| open(node, 3)).collect();
    for map in &maps {
        within(10, map.when().online()).await;
        settled(map, 1).await;
    }
    nodes[2].local().endpoint().close().await;
    // It takes a moment until that is noticed.
    let refused = async {
        loop {
            if let Err(error) = maps[0].insert(2, 2).await {
                return error;
            }
        }
    };
    let refused = within(20, refused).await;
    let is_documented = matches!(refused, Error::Offline((2, 2)) | Error::Unknown((2, 2)));
    assert!(is_documented, "{refused:?}");
    for map in &maps[..2] {
        let refused = within(10, map.insert(3, 3)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(map.get(&1), Some(1));
    }
    let another = open(&nodes[3], 3);
    within(30, another.when().online()).await;
    for map in maps[..2].iter().chain([&another]) {
        settled(map, 4).await;
    }
}
