//! Groups that meet, members that come and go.

use mosaik::{GroupKey, Weak};

use super::machines::{agreed, join, nodes, reaches};
use crate::support::{node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn rivals_merge_into_the_one_with_more_commands() {
    let network = random_network();
    let (a, b) = (node(network).await, node(network).await);
    let key = GroupKey::random();
    let (small, large) = (join(&a, key), join(&b, key));
    within(5, small.when().online()).await;
    within(5, large.when().online()).await;
    within(5, small.execute_many([1, 2])).await.unwrap();
    within(5, large.execute_many([7, 8, 9])).await.unwrap();
    let reverted = small.when().committed().reverted();
    within(5, a.discovery().sync_with(b.local().addr())).await.unwrap();
    within(10, reverted).await;
    let groups = [small, large];
    assert_eq!(agreed(&groups).await, b.local().id());
    within(10, groups[0].when().online()).await;
    reaches(&groups[0], 3).await;
    assert_eq!(*groups[0].query((), Weak).await.unwrap(), [7, 8, 9]);
    assert_eq!(within(5, groups[0].execute(10)).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_member_votes_as_soon_as_there_is_room() {
    let nodes = nodes(6).await;
    let key = GroupKey::random();
    let mut groups: Vec<_> = nodes.iter().map(|node| join(node, key)).collect();
    for group in &groups {
        within(15, group.when().online()).await;
    }
    agreed(&groups).await;
    within(5, groups[5].execute(1)).await.unwrap();
    // Five leave one by one; whoever is left carries on.
    while groups.len() > 1 {
        drop(groups.remove(0));
        agreed(&groups).await;
        within(10, groups[0].execute(2)).await.unwrap();
    }
    assert_eq!(groups[0].committed(), 6);
}
