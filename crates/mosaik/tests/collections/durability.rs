//! Collections on disk.

use mosaik::{
    Network,
    collections::{CollectionConfig, Map},
    discovery,
};

use super::until;
use crate::support::{builder, logged, random_network, within};

async fn meet(one: &Network, other: &Network) {
    let syncing = one.discovery().sync_with(other.local().addr());
    within(10, syncing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_collection_survives_the_end_of_all_its_members() {
    let directory = tempfile::tempdir().unwrap();
    let network = random_network();
    let start = || async {
        builder(network, discovery::Config::builder())
            .with_storage(directory.path())
            .build()
            .await
            .unwrap()
    };
    let config = || CollectionConfig::default().durable();
    let node = start().await;
    let map = Map::<u32, String>::writer_with_config(&node, "kept", config());
    within(10, map.when().online()).await;
    map.extend((0..100).map(|n| (n, n.to_string())))
        .await
        .unwrap();
    let version = map.remove(&7).await.unwrap();
    within(10, node.shutdown()).await;
    drop(map);

    let node = start().await;
    let map = Map::<u32, String>::writer_with_config(&node, "kept", config());
    within(10, map.when().reaches(version)).await;
    assert_eq!(
        (map.len(), map.get(&7), map.get(&8)),
        (99, None, Some("8".into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_storage_it_works_in_memory() {
    let node = crate::support::node(random_network()).await;
    let config = CollectionConfig::default().durable();
    let map = Map::<u32, u32>::writer_with_config(&node, "memory", config);
    within(10, map.when().online()).await;
    map.insert(1, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_writer_beside_a_reader_in_memory_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let node = builder(random_network(), discovery::Config::builder())
        .with_storage(directory.path())
        .build()
        .await
        .unwrap();
    let _reader = Map::<u32, u32>::reader(&node, "both");
    let config = CollectionConfig::default().durable();
    let open = || Map::<u32, u32>::writer_with_config(&node, "both", config);
    let (writer, logged) = logged(open);
    assert!(
        logged.contains("ERROR") && logged.contains("in memory"),
        "{logged}"
    );
    within(10, writer.when().online()).await;
    writer.insert(1, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_of_a_lost_majority_reforms() {
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let network = random_network();
    let mut nodes = Vec::new();
    for directory in &directories {
        let builder = builder(network, discovery::Config::builder());
        let node = builder
            .with_storage(directory.path())
            .build()
            .await
            .unwrap();
        if let Some(first) = nodes.first() {
            meet(&node, first).await;
        }
        nodes.push(node);
    }
    let config = || CollectionConfig::default().durable();
    let mut maps = Vec::new();
    for node in &nodes {
        let map = Map::<u32, u32>::writer_with_config(node, "survives", config());
        within(20, map.when().online()).await;
        maps.push(map);
    }
    let voters = |map: &Map<u32, u32>| map.status().membership.voters.len();
    within(20, async {
        while voters(&maps[0]) < nodes.len() {
            maps[1].insert(0, 0).await.unwrap();
        }
    })
    .await;
    let version = maps[1].insert(1, 1).await.unwrap();
    within(10, maps[0].when().reaches(version)).await;
    assert!(!within(10, maps[0].reform()).await, "there is a leader");
    // Durable members stay voters when their nodes end, and these never come back.
    for lost in nodes.drain(1..) {
        within(20, lost.shutdown()).await;
    }
    let survivor = &maps[0];
    let reformed = async { while !survivor.reform().await {} };
    within(20, reformed).await;
    within(20, survivor.when().online()).await;
    survivor.insert(2, 2).await.unwrap();
    assert_eq!((survivor.get(&1), survivor.get(&2)), (Some(1), Some(2)));
    assert_eq!(voters(survivor), 1);
    assert!(!survivor.status().log_position.is_zero());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_history_is_given_up_on_request() {
    let directories: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let network = random_network();
    let start = |n: usize| {
        builder(network, discovery::Config::builder())
            .with_storage(directories[n].path())
            .build()
    };
    let config = || CollectionConfig::default().durable();
    let mut maps = Vec::new();
    let mut nodes = Vec::new();
    for n in 0..2 {
        let node = start(n).await.unwrap();
        let map = Map::<u32, u32>::writer_with_config(&node, "twice", config());
        within(10, map.when().online()).await;
        let key = u32::try_from(n).unwrap();
        map.insert(key, key).await.unwrap();
        maps.push(map);
        nodes.push(node);
    }
    meet(&nodes[0], &nodes[1]).await;
    assert!(within(10, maps[1].abandon_history()).await);
    until(20, maps[1].when(), || maps[1].get(&0).is_some()).await;
    assert_eq!((maps[1].get(&0), maps[1].get(&1)), (Some(0), None));
    assert_eq!((maps[0].get(&0), maps[0].get(&1)), (Some(0), None));
}
