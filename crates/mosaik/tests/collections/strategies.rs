//! Ways of catching up that a member prefers, and which one was taken.

use std::time::Duration;

use mosaik::{
    Network,
    collections::{Event, Map, MapReader, SyncConfig, SyncStrategy},
};

use super::fleet;
use crate::support::{
    metrics::{count, counted},
    within,
};

const ENTRIES: u32 = 50;

fn reader(node: &Network, strategy: SyncStrategy) -> MapReader<u32, u32> {
    let config = SyncConfig::default().with_strategy(strategy);
    Map::<u32, u32>::reader_with_config(node, "strategies", config)
}

/// Contents that nodes of the network have given to others.
fn given(node: &Network) -> u64 {
    counted(node.network_id(), "mosaik.collections.syncs.started", None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_content_in_the_way_that_it_prefers() {
    count();
    let nodes = fleet(4).await;
    let writer = Map::<u32, u32>::writer(&nodes[0], "strategies");
    within(10, writer.when().online()).await;
    for n in 0..ENTRIES {
        writer.insert(n, n).await.unwrap();
    }
    let written = writer.version();

    let replaying = reader(&nodes[1], SyncStrategy::LogReplay);
    let mut told = replaying.watch();
    within(10, replaying.when().online()).await;
    assert_eq!((given(&nodes[0]), replaying.len()), (0, ENTRIES as usize));
    for n in 0..ENTRIES {
        let Some(Event::Changed { changes, .. }) = within(10, told.recv()).await else {
            panic!("every mutation was replayed");
        };
        assert_eq!((changes.len(), *changes[0].key()), (1, n));
    }

    let jumping = reader(&nodes[2], SyncStrategy::Snapshot);
    assert_eq!(jumping.group_id(), writer.group_id(), "no ingredient");
    let mut told = jumping.watch();
    within(10, jumping.when().online()).await;
    assert_eq!((given(&nodes[0]), jumping.len()), (1, ENTRIES as usize));
    let Some(Event::Lagged { lost, now }) = within(10, told.recv()).await else {
        panic!("a snapshot tells no mutations");
    };
    assert_eq!((now.version(), lost.end.0), (written, written.0.next()));

    // The next one is given the same snapshot, by both who have it, and what came after it.
    let version = writer.insert(ENTRIES, 0).await.unwrap();
    let next = reader(&nodes[3], SyncStrategy::Snapshot);
    let mut told = next.watch();
    within(10, next.when().online()).await;
    within(10, next.when().reaches(version)).await;
    assert_eq!(next.len(), ENTRIES as usize + 1);
    let first = within(10, told.recv()).await;
    assert!(matches!(first, Some(Event::Lagged { .. })), "{first:?}");

    // All go on alike.
    let version = writer.insert(0, 7).await.unwrap();
    for reader in [&replaying, &jumping, &next] {
        within(10, reader.when().reaches(version)).await;
        assert!(reader.iter().eq(writer.iter()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_collection_has_no_snapshot_to_give() {
    count();
    let nodes = fleet(2).await;
    let writer = Map::<u32, u32>::writer(&nodes[0], "strategies");
    within(10, writer.when().online()).await;
    let reader = reader(&nodes[1], SyncStrategy::Snapshot);
    within(10, reader.when().online()).await;
    let version = writer.insert(1, 1).await.unwrap();
    within(10, reader.when().reaches(version)).await;
    assert_eq!((given(&nodes[0]), reader.get(&1)), (0, Some(1)));
}

/// The leader once said nothing until the whole content was encoded, by when the newcomer had asked
/// again, and it took the log in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_content_comes_as_a_snapshot_however_long_that_takes_to_encode() {
    const MANY: u32 = 200_000;
    count();
    let nodes = fleet(2).await;
    let sync = || SyncConfig::default().with_fetch_timeout(Duration::from_millis(100));
    let writer = |node: &Network, strategy| {
        Map::<u32, u32>::writer_with_config(node, "large", sync().with_strategy(strategy))
    };
    let first = writer(&nodes[0], SyncStrategy::LogReplay);
    within(10, first.when().online()).await;
    for from in (0..MANY).step_by(10_000) {
        let entries = (from..from + 10_000).map(|n| (n, n));
        first.extend(entries).await.unwrap();
    }
    let second = writer(&nodes[1], SyncStrategy::Snapshot);
    let mut told = second.watch();
    within(60, second.when().online()).await;
    assert_eq!((given(&nodes[0]), second.len()), (1, MANY as usize));
    let told = within(10, told.recv()).await;
    assert!(matches!(told, Some(Event::Lagged { .. })));
}
