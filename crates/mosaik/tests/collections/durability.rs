//! Collections on disk.

use mosaik::{
    collections::{CollectionConfig, Map},
    discovery,
};

use crate::support::{builder, logged, random_network, within};

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
