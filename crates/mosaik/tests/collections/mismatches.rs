//! Collections of one store id with other ingredients: they never meet, and both sides say so.

use mosaik::{
    Network,
    collections::{
        CollectionConfig, Ingredient, MapReader, MapWriter, Mismatch, Status, SyncConfig,
    },
};

use super::fleet;
use crate::support::{logged, within};

type Numbers = MapWriter<u32, u32>;

fn tuned() -> SyncConfig {
    SyncConfig::default().with_fetch_batch_size(9)
}

/// Waits until a node sees so many collections that differ from one of its own.
async fn until_mismatches(
    node: &Network,
    status: impl Fn() -> Status,
    count: usize,
) -> Vec<Mismatch> {
    let mut catalog = node.discovery().catalog_watch();
    within(10, async {
        loop {
            let mismatches = status().mismatches;
            if mismatches.len() == count {
                return mismatches;
            }
            catalog.changed().await.unwrap();
        }
    })
    .await
}

fn of(mismatches: &[Mismatch], node: &Network) -> Vec<Ingredient> {
    let peer = node.local().id();
    let found = mismatches.iter().find(|mismatch| mismatch.peer == peer);
    found
        .map(|mismatch| mismatch.ingredients.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_told_by_the_status_of_both_sides() {
    let nodes = fleet(4).await;
    let map = Numbers::writer(&nodes[0], "shared");
    let same = MapReader::<u32, u32>::reader(&nodes[1], "shared");
    let config = CollectionConfig::from(tuned()).with_type_tag("numbers");
    let tagged = Numbers::writer_with_config(&nodes[2], "shared", config);
    let set = mosaik::collections::Set::<u32>::reader(&nodes[3], "shared");
    let _elsewhere = mosaik::collections::Set::<u32>::reader(&nodes[3], "another store");

    let seen = until_mismatches(&nodes[0], || map.status(), 2).await;
    assert_eq!(of(&seen, &nodes[2]), [Ingredient::Types, Ingredient::Sync]);
    assert_eq!(of(&seen, &nodes[3]), [Ingredient::Kind, Ingredient::Types]);
    let seen = until_mismatches(&nodes[1], || same.status(), 2).await;
    assert!(of(&seen, &nodes[0]).is_empty(), "the same collection");
    let seen = until_mismatches(&nodes[2], || tagged.status(), 3).await;
    assert_eq!(of(&seen, &nodes[0]), [Ingredient::Types, Ingredient::Sync]);
    until_mismatches(&nodes[3], || set.status(), 3).await;

    // What is closed is no longer seen, and what is opened anew is.
    drop(tagged);
    until_mismatches(&nodes[0], || map.status(), 1).await;
    let _again = Numbers::writer_with_config(&nodes[2], "shared", tuned());
    let seen = until_mismatches(&nodes[0], || map.status(), 2).await;
    assert_eq!(of(&seen, &nodes[2]), [Ingredient::Sync]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_collections_has_no_advert() {
    let nodes = fleet(1).await;
    let me = || nodes[0].discovery().me();
    assert!(me().tickets().is_empty());
    let map = Numbers::writer(&nodes[0], "one");
    let second = Numbers::reader(&nodes[0], "one");
    let other = Numbers::writer(&nodes[0], "other");
    assert_eq!(me().tickets().len(), 1, "one ticket for all of them");
    drop((map, other));
    let mut catalog = nodes[0].discovery().catalog_watch();
    within(
        10,
        catalog.wait_for(|catalog| catalog.local().groups().len() == 1),
    )
    .await
    .unwrap();
    assert_eq!(me().tickets().len(), 1);
    drop(second);
    within(
        10,
        catalog.wait_for(|catalog| catalog.local().tickets().is_empty()),
    )
    .await
    .unwrap();
}

/// On one thread: what other threads log is not seen.
#[test]
fn the_log_names_what_differs_once_on_each_side() {
    let ((), log) = logged(|| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let nodes = fleet(2).await;
            let map = Numbers::writer(&nodes[0], "shared");
            let other = Numbers::writer_with_config(&nodes[1], "shared", tuned());
            for (node, map) in [(&nodes[0], &map), (&nodes[1], &other)] {
                until_mismatches(node, || map.status(), 1).await;
                within(10, map.when().online()).await;
            }
            // Further changes of the entries are not told of again.
            for node in &nodes {
                node.discovery().add_tags("changed");
            }
            for (node, other) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
                let peer = other.local().id();
                let tagged = |catalog: &mosaik::discovery::Catalog| {
                    let entry = catalog.get(&peer);
                    entry.is_some_and(|entry| entry.tags().contains(&"changed".into()))
                };
                crate::support::until_catalog(10, node, tagged).await;
            }
            within(10, map.insert(1, 1)).await.unwrap();
            within(10, other.insert(1, 1)).await.unwrap();
            for node in nodes {
                node.shutdown().await;
            }
        });
    });
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("other ingredients"))
        .collect();
    assert_eq!(warnings.len(), 2, "{log}");
    for warning in warnings {
        assert!(warning.contains("WARN"), "{warning}");
        assert!(
            warning.contains("differing=sync configuration"),
            "{warning}"
        );
    }
}
