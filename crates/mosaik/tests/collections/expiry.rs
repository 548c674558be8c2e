//! Entries that expire.

use std::time::{Duration, Instant};

use mosaik::collections::{Cause, Event, Expected, Map, OrderedMap, Set};

use super::{fleet, until};
use crate::support::{node, random_network, within};

const TTL: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn entries_expire_everywhere_and_never_early() {
    let nodes = fleet(2).await;
    let map = Map::<u8, u8>::writer(&nodes[0], "leases");
    let reader = Map::<u8, u8>::reader(&nodes[1], "leases");
    within(10, map.when().online()).await;
    within(10, reader.when().online()).await;
    let mut watch = reader.watch();
    let begin = Instant::now();
    map.insert(2, 2).await.unwrap();
    map.insert_with_ttl(1, 1, TTL).await.unwrap();
    assert!(map.ttl(&1).is_none_or(|left| left <= TTL));
    assert_eq!((map.ttl(&2), map.ttl(&3)), (None, None));
    let expired = loop {
        let Event::Changed { changes, .. } = within(10, watch.recv()).await.unwrap() else {
            panic!("nothing was missed");
        };
        if changes[0].cause() == Cause::Expired {
            break changes;
        }
    };
    assert!(begin.elapsed() >= TTL, "not early");
    assert_eq!((expired.len(), expired[0].key()), (1, &1));
    assert_eq!(expired[0].old(), Some(&1));
    assert_eq!(reader.get(&1), None);
    assert_eq!(reader.get(&2), Some(2));
}

#[tokio::test]
async fn a_time_to_live_can_be_set_renewed_and_taken_away() {
    let node = node(random_network()).await;
    let tree = OrderedMap::<u8, u8>::writer(&node, "tree");
    within(10, tree.when().online()).await;
    let mut watch = tree.watch();
    tree.extend([(1, 1), (2, 2), (3, 3)]).await.unwrap();
    assert!(tree.expire(&1, TTL).await.unwrap().value);
    assert!(!tree.expire(&9, TTL).await.unwrap().value, "absent");
    let long = Duration::from_secs(60);
    tree.insert_with_ttl(2, 2, long).await.unwrap();
    tree.insert_with_ttl(3, 3, long).await.unwrap();
    assert!(tree.persist(&2).await.unwrap().value);
    assert!(!tree.persist(&2).await.unwrap().value, "not any more");
    // A plain insertion stays.
    tree.insert(3, 4).await.unwrap();
    loop {
        let event = within(10, watch.recv()).await.unwrap();
        if let Event::Changed { changes, .. } = event
            && changes[0].cause() == Cause::Expired
        {
            assert_eq!(*changes[0].key(), 1);
            break;
        }
    }
    assert_eq!((tree.ttl(&2), tree.ttl(&3)), (None, None));
    assert!(tree.iter().eq([(2, 2), (3, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_across_a_change_of_leaders_and_for_newcomers() {
    let nodes = fleet(3).await;
    let long = Duration::from_secs(2);
    let begin = Instant::now();
    let first = Set::<u8>::writer(&nodes[0], "presence");
    within(10, first.when().online()).await;
    let second = Set::<u8>::writer(&nodes[1], "presence");
    within(10, second.when().online()).await;
    first.insert_with_ttl(1, long).await.unwrap();
    let version = first.insert(2).await.unwrap();
    // The leader leaves; a newcomer gets the content, with the time that is left.
    within(10, second.when().reaches(version)).await;
    drop(first);
    let third = Set::<u8>::writer(&nodes[2], "presence");
    within(10, third.when().reaches(version)).await;
    // On a slow machine it may be over already.
    assert!(third.ttl(&1).is_none_or(|left| left <= long));
    until(20, third.when(), || !third.contains(&1)).await;
    assert!(begin.elapsed() >= long, "not early");
    assert!(third.contains(&2));
}

#[tokio::test]
async fn an_update_keeps_the_time_to_live() {
    let node = node(random_network()).await;
    let map = Map::<u8, u8>::writer(&node, "map");
    within(10, map.when().online()).await;
    map.insert_with_ttl(1, 1, Duration::from_secs(60))
        .await
        .unwrap();
    let updated = map.update(1, |value| value.map(|value| value + 1)).await;
    assert_eq!(updated.unwrap().value, Some(2));
    assert!(map.ttl(&1).is_some());
}

#[tokio::test]
async fn a_lease_is_renewed_by_its_holder_only() {
    let node = node(random_network()).await;
    let leases = Map::<u8, String>::writer(&node, "leases");
    within(10, leases.when().online()).await;
    let long = Duration::from_secs(3600);
    let short = Duration::from_secs(60);
    leases
        .insert_with_ttl(1, "one".into(), short)
        .await
        .unwrap();
    let renew = |holder: &str| {
        leases
            .batch()
            .expect(1, Expected::Value(holder.into()))
            .expire(1, long)
            .commit()
    };
    assert!(!renew("other").await.unwrap().applied);
    assert!(leases.ttl(&1).unwrap() <= short);
    assert!(renew("one").await.unwrap().applied);
    assert!(leases.ttl(&1).unwrap() > short);
}

#[tokio::test]
async fn many_expire_at_once() {
    let node = node(random_network()).await;
    let map = Map::<u32, u32>::writer(&node, "map");
    within(10, map.when().online()).await;
    // Several operations of the clock are needed for so many.
    let mut batch = map.batch();
    for n in 0..25_000 {
        batch = batch.insert_with_ttl(n, n, TTL);
    }
    batch.commit().await.unwrap();
    assert_eq!(map.len(), 25_000);
    until(20, map.when(), || map.is_empty()).await;
}
