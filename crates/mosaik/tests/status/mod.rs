//! Nodes that tell about themselves.

mod access;
mod hostile;
mod reports;

use mosaik::{Network, NetworkId, status::Report};

use crate::support::{node_at, within};

/// Another node of a network; both know each other.
async fn joined(id: NetworkId, first: &Network) -> Network {
    let node = node_at(id, first.local().addr()).await;
    let syncing = node.discovery().sync_with(first.local().addr());
    within(5, syncing).await.unwrap();
    node
}

/// The report of a node, as another one gets it.
#[track_caller]
fn asked<'n>(asker: &'n Network, node: &'n Network) -> impl Future<Output = Report> + 'n {
    let asking = asker.status_of(node.local().addr());
    let asking = within(12, asking);
    async move { asking.await.unwrap() }
}

/// Asks until the report is as expected: what happens elsewhere wakes nobody here.
#[track_caller]
fn asked_until<'n>(
    asker: &'n Network,
    node: &'n Network,
    mut expected: impl FnMut(&Report) -> bool + 'n,
) -> impl Future<Output = Report> + 'n {
    within(20, async move {
        loop {
            let report = asker.status_of(node.local().addr()).await.unwrap();
            if expected(&report) {
                return report;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
}
