//! Watches that are resumed after a restart, before the node has the content again.

use std::path::Path;

use mosaik::{
    Network, NetworkId,
    collections::{
        CollectionConfig, Event, Map, MapChange, MapSnapshot, MapWriter, SyncConfig, SyncStrategy,
        Version, Watch,
    },
    discovery,
};

use crate::support::{builder, node_at, random_network, within};

type Changes = Watch<MapSnapshot<u32, u32>, MapChange<u32, u32>>;

async fn start(network: NetworkId, storage: &Path) -> Network {
    builder(network, discovery::Config::builder())
        .with_storage(storage)
        .build()
        .await
        .unwrap()
}

fn open(node: &Network) -> MapWriter<u32, u32> {
    let config = CollectionConfig::default().durable();
    Map::writer_with_config(node, "resumed", config)
}

async fn next(watch: &mut Changes) -> Event<MapSnapshot<u32, u32>, MapChange<u32, u32>> {
    within(10, watch.recv()).await.expect("it has not ended")
}

/// Inserts these keys one by one; returns the version after each.
async fn write(map: &MapWriter<u32, u32>, keys: core::ops::Range<u32>) -> Vec<Version> {
    let mut versions = Vec::new();
    for key in keys {
        versions.push(map.insert(key, key).await.unwrap());
    }
    versions
}

/// The watch tells that these keys were inserted at these versions, and nothing else before.
async fn tells(watch: &mut Changes, keys: core::ops::Range<u32>, versions: &[Version]) {
    for (key, expected) in keys.zip(versions) {
        let Event::Changed { version, changes } = next(watch).await else {
            panic!("{key} was missed");
        };
        assert_eq!((version, changes.len()), (*expected, 1));
        assert_eq!((*changes[0].key(), changes[0].old()), (key, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_watch_is_told_what_came_after_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let network = random_network();
    let node = start(network, directory.path()).await;
    let map = open(&node);
    within(10, map.when().online()).await;
    let versions = write(&map, 0..20).await;
    within(10, node.shutdown()).await;
    drop(map);

    let node = start(network, directory.path()).await;
    let map = open(&node);
    // Before the node has anything.
    let mut watch = map.watch_from(versions[9]);
    tells(&mut watch, 10..20, &versions[10..]).await;
    within(10, map.when().online()).await;
    let more = write(&map, 20..22).await;
    tells(&mut watch, 20..22, &more).await;
}

/// All members restart, a durable one and one that gets the content from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_the_mutations_or_that_a_snapshot_came_in_their_place() {
    for strategy in [SyncStrategy::LogReplay, SyncStrategy::Snapshot] {
        let directory = tempfile::tempdir().unwrap();
        let network = random_network();
        let first = start(network, directory.path()).await;
        let map = open(&first);
        within(10, map.when().online()).await;
        let versions = write(&map, 0..20).await;
        within(10, first.shutdown()).await;
        drop(map);

        let first = start(network, directory.path()).await;
        let second = node_at(network, first.local().addr()).await;
        let sync = SyncConfig::default().with_strategy(strategy);
        let reader = Map::<u32, u32>::reader_with_config(&second, "resumed", sync);
        let mut watch = reader.watch_from(versions[9]);
        assert!(watch.snapshot().is_empty() && watch.version() == Version::default());
        let map = open(&first);
        within(10, reader.when().reaches(versions[19])).await;
        if strategy == SyncStrategy::LogReplay {
            tells(&mut watch, 10..20, &versions[10..]).await;
        } else {
            let Event::Compacted { oldest, now } = next(&mut watch).await else {
                panic!("what came with the snapshot is not passed over in silence");
            };
            assert_eq!((oldest, now.version()), (versions[19], versions[19]));
            assert_eq!(now.len(), 20);
            assert_eq!(watch.version(), versions[19]);
        }
        within(10, map.when().online()).await;
        let more = write(&map, 20..22).await;
        tells(&mut watch, 20..22, &more).await;
    }
}
