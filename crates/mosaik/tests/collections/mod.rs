//! Collections over real endpoints.

mod admission;
mod apart;
mod batches;
mod catch_up;
mod clocks;
mod declared;
#[cfg(feature = "storage")]
mod durability;
mod elements;
mod expiry;
mod floors;
#[cfg(feature = "storage")]
mod full_disk;
mod handles;
mod idle_watches;
mod kinds;
mod limits;
mod metrics;
mod mismatches;
mod models;
#[cfg(feature = "storage")]
mod resumed;
mod roles;
mod sizes;
mod snapshots;
mod stalled;
mod strategies;
mod watches;
mod write_keys;

use mosaik::{Network, collections::When};

use crate::support::{node, node_at, random_network, until_catalog, within};

/// Nodes that know each other.
pub(crate) async fn fleet(count: usize) -> Vec<Network> {
    let network = random_network();
    let first = node(network).await;
    let mut nodes = vec![first];
    for _ in 1..count {
        nodes.push(node_at(network, nodes[0].local().addr()).await);
    }
    for node in &nodes {
        until_catalog(10, node, |catalog| catalog.peers_count() == count - 1).await;
    }
    nodes
}

/// Waits until the content of a collection satisfies a condition, which is looked at after each
/// change.
#[track_caller]
pub(crate) fn until(
    seconds: u64,
    when: &When,
    condition: impl Fn() -> bool,
) -> impl Future<Output = ()> {
    within(seconds, async move {
        loop {
            // Before the look, so that no change falls between the two.
            let updated = when.updated();
            if condition() {
                return;
            }
            updated.await;
        }
    })
}
