//! Writers that never meet, or not yet.

use mosaik::collections::{Cell, CollectionConfig, Error, Map, SyncConfig};

use super::{fleet, until};
use crate::support::{tickets::Until, within};

#[tokio::test(flavor = "multi_thread")]
async fn writers_with_other_ingredients_work_apart_and_one_that_is_corrected_joins() {
    let nodes = fleet(2).await;
    let synced = SyncConfig::default().with_fetch_batch_size(7);
    let configs: [CollectionConfig; 3] = [
        synced.into(),
        CollectionConfig::default().with_type_tag("other"),
        CollectionConfig::default().require_ticket(Until),
    ];
    let usual = Map::<u32, u32>::writer(&nodes[0], "map");
    within(10, usual.when().online()).await;
    usual.insert(1, 1).await.unwrap();
    for (n, config) in configs.into_iter().enumerate() {
        let other = Map::<u32, u32>::writer_with_config(&nodes[1], "map", config);
        within(10, other.when().online()).await;
        assert_ne!(other.group_id(), usual.group_id());
        assert!(other.is_empty());
        other.insert(7, n as u32).await.unwrap();
        usual.insert(2, n as u32).await.unwrap();
        assert_eq!((other.len(), usual.len()), (1, 2));
        assert_eq!(other.status().membership.voters.len(), 1, "it is alone");
    }
    let corrected = Map::<u32, u32>::writer(&nodes[1], "map");
    within(10, corrected.when().online()).await;
    assert_eq!((corrected.len(), corrected.get(&7)), (2, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_without_the_ticket_says_so_and_meets_the_others_once_it_has_one() {
    let nodes = fleet(2).await;
    let config = || CollectionConfig::default().require_ticket(Until);
    nodes[0].discovery().add_ticket(Until::ticket(3_600_000));
    let with = Cell::<u32>::writer_with_config(&nodes[0], "cell", config());
    within(10, with.when().online()).await;
    // More than the other one will have, whose history gives way therefore.
    for n in 0..20 {
        with.set(n).await.unwrap();
    }
    let without = Cell::<u32>::writer_with_config(&nodes[1], "cell", config());
    within(10, without.when().online()).await;
    without.set(100).await.unwrap();
    assert!(with.status().is_admitted && !without.status().is_admitted);
    assert_eq!((with.get(), without.get()), (Some(19), Some(100)));
    nodes[1].discovery().add_ticket(Until::ticket(3_600_000));
    until(30, without.when(), || without.get() == Some(19)).await;
    assert!(without.status().is_admitted);
    within(20, async {
        loop {
            match without.set(21).await {
                Ok(version) => break with.when().reaches(version).await,
                Err(Error::Offline(_)) => without.when().online().await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(with.get(), Some(21));
}
