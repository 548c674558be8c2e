//! Collections over real endpoints.

mod batches;
mod catch_up;
mod declared;
#[cfg(feature = "storage")]
mod durability;
mod expiry;
mod kinds;
mod limits;
mod metrics;
mod mismatches;
mod models;
#[cfg(feature = "storage")]
mod resumed;
mod roles;
mod strategies;
mod watches;
mod write_keys;

use mosaik::Network;

use crate::support::{node, node_at, random_network, until_catalog};

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
