//! Nodes that are far from each other.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use mosaik_sim::Conditions;

use crate::support::Formed;

/// Regression: a peer whose answers took longer than probes were waited for was suspected by each
/// observer about once a second, and each time it renewed its entry for all to see.
#[tokio::test(flavor = "multi_thread")]
async fn peers_beyond_satellites_are_not_suspected_all_the_time() {
    const WATCHED: Duration = Duration::from_secs(10);
    let far = Conditions {
        latency: Duration::from_millis(450),
        ..Conditions::default()
    };
    let formed = Formed::new(5, far, 4).await;
    let mut versions = vec![BTreeSet::new(); formed.nodes.len()];
    // What is measured takes time.
    let started = Instant::now();
    while started.elapsed() < WATCHED {
        for (node, versions) in formed.nodes.iter().zip(&mut versions) {
            versions.insert(node.discovery().me().version().updated_at());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for versions in versions {
        // That of the start, those of two heartbeats, and one to spare.
        assert!(versions.len() <= 4, "{} versions", versions.len());
    }
    assert!(formed.given_up().is_empty());
    formed.check_histories();
}
