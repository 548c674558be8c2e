//! A neighbour in the gossip topic that does not read.

use mosaik::Tag;

use crate::support::{
    member::Deaf,
    metrics::{count, counted, until_counted},
    node, node_at, random_network, until_catalog,
};

/// Regression: the gossip layer waits for each of its neighbours. One that took nothing silenced the
/// node for as long as it liked: changes spread by comparisons of catalogs alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_does_not_read_is_got_rid_of() {
    count();
    let id = random_network();
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    let peer = a.local().id();
    until_catalog(10, &b, |c| c.get(&peer).is_some()).await;
    until_catalog(10, &a, |c| c.signed_peers_count() == 1).await;
    let neighbors = "mosaik.discovery.gossip.neighbors";
    // Both nodes tell theirs in this one figure.
    until_counted(10, &id, neighbors, |count| count == 1).await;
    let _deaf = Deaf::join(&a).await;
    until_counted(10, &id, neighbors, |count| count == 2).await;
    // More than the queues on the way to it hold.
    let restarts = "mosaik.discovery.workers.restarted";
    let mut changes = 0..2000_u32;
    while counted(&id, restarts, None) == 0 {
        let change = changes
            .next()
            .expect("the gossip layer is found to stand still");
        a.discovery().add_tags(Tag::from_u32(change % 16));
        a.discovery().remove_tags(Tag::from_u32((change + 8) % 16));
        // Changes that come closer together are announced as one.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    a.discovery().add_tags("after");
    until_catalog(10, &b, |c| {
        c.get(&peer)
            .is_some_and(|entry| entry.tags().contains(&"after".into()))
    })
    .await;
    // Without the one that does not read, and with all others.
    until_counted(20, &id, neighbors, |count| count == 1).await;
}
