//! Handles that are dropped, also in the middle of something.

use futures::FutureExt;
use mosaik::collections::{self, Error, Map};

use super::{fleet, until};
use crate::support::{node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_group_is_left_with_the_last_of_two_handles_whichever_that_is() {
    let nodes = fleet(2).await;
    let other = Map::<u8, u8>::writer(&nodes[1], "shared");
    within(10, other.when().online()).await;
    for first_goes_first in [true, false] {
        let first = Map::<u8, u8>::writer(&nodes[0], "shared");
        let second = Map::<u8, u8>::writer(&nodes[0], "shared");
        within(10, first.when().online()).await;
        within(10, second.when().online()).await;
        let id = *first.group_id();
        let (gone, left) = if first_goes_first {
            (first, second)
        } else {
            (second, first)
        };
        let mut watch = gone.watch();
        drop(gone);
        let version = left.insert(1, 1).await.unwrap();
        within(10, other.when().reaches(version)).await;
        assert!(left.status().is_online);
        // The watch is of the collection, not of the handle that it came from.
        assert!(within(10, watch.recv()).await.is_some());
        assert!(nodes[0].discovery().me().groups().contains(&id));
        drop(left);
        assert!(
            within(10, watch.recv()).await.is_none(),
            "the last has gone"
        );
        until_left(&nodes[0], id).await;
        other.remove(&1).await.unwrap();
    }
}

/// Waits until a node does not name a group any more.
async fn until_left(node: &mosaik::Network, id: mosaik::GroupId) {
    within(10, async {
        let mut catalog = node.discovery().catalog_watch();
        while node.discovery().me().groups().contains(&id) {
            let changed = catalog.changed();
            if node.discovery().me().groups().contains(&id) {
                changed.await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_under_way_when_their_handle_is_dropped_end_and_tell_the_truth() {
    let nodes = fleet(3).await;
    let writers = [
        collections::Vec::<u32>::writer(&nodes[0], "vec"),
        collections::Vec::<u32>::writer(&nodes[1], "vec"),
    ];
    let reader = collections::Vec::<u32>::reader(&nodes[2], "vec");
    for when in [writers[0].when(), writers[1].when(), reader.when()] {
        within(10, when.online()).await;
    }
    let mut acknowledged = Vec::new();
    let [one, two] = writers;
    // Of one of them, who leads, it is the last handle.
    for (turn, writer) in [one, two].into_iter().enumerate() {
        let survivor = (turn == 0).then(|| collections::Vec::<u32>::reader(&nodes[0], "vec"));
        let calls: Vec<_> = (0..200)
            .map(|n| 1000 * (turn as u32 + 1) + n)
            .map(|n| (n, writer.push_back(n)))
            .collect();
        drop(writer);
        for (n, call) in calls {
            match within(20, call).await {
                Ok(_) => acknowledged.push(n),
                Err(Error::NetworkDown | Error::Unknown(_) | Error::Offline(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        drop(survivor);
    }
    println!("{} of 400 acknowledged", acknowledged.len());
    until(10, reader.when(), || {
        let there: Vec<_> = reader.iter().collect();
        acknowledged.iter().all(|n| there.contains(n))
    })
    .await;
    let mut all: Vec<_> = reader.iter().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), reader.len(), "none twice");
}

#[test]
fn a_runtime_that_is_shut_down_leaves_a_handle_that_reads_and_refuses() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (map, under_way, waiting, mut watch) = first.block_on(async {
        let node = node(random_network()).await;
        let map = Map::<u32, u32>::writer(&node, "map");
        within(10, map.when().online()).await;
        let watch = map.watch();
        map.insert(1, 1).await.unwrap();
        let under_way: Vec<_> = (2..50).map(|n| map.insert(n, n)).collect();
        let never = collections::Version(mosaik::groups::Index(1_000_000));
        let waiting = map.when().reaches(never);
        (map, under_way, waiting, watch)
    });
    drop(first);
    assert_eq!(map.get(&1), Some(1));
    let second = runtime();
    second.block_on(async {
        for call in under_way {
            // What was applied before the end may have been told.
            if let Err(error) = within(10, call).await {
                assert!(
                    matches!(
                        error,
                        Error::NetworkDown | Error::Unknown(_) | Error::Offline(_)
                    ),
                    "{error}"
                );
            }
        }
        let late = within(10, map.insert(100, 100)).await;
        assert!(
            matches!(
                late,
                Err(Error::NetworkDown | Error::Unknown(_) | Error::Offline(_))
            ),
            "{late:?}"
        );
        let barrier = within(10, map.sync()).await;
        assert!(barrier.is_err());
        // What was applied is told, and then the end.
        within(10, async { while watch.recv().await.is_some() {} }).await;
    });
    assert!(waiting.now_or_never().is_none());
    assert_eq!(map.get(&100), None);
    drop(map);
}
