//! Helpers shared by the tests of faults.

use std::{collections::BTreeSet, time::Duration};

use futures::future::select_all;
use mosaik::{Network, PeerId, discovery::Event};
use mosaik_sim::{
    Conditions, Fleet, bound, each_until,
    invariants::{History, convergence},
};

/// Timeout of everything for which a test states no time of its own. Far above what is expected:
/// the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet whose nodes know each other, and what they have seen of each other.
pub(crate) struct Formed {
    pub(crate) fleet: Fleet,
    pub(crate) nodes: Vec<Network>,
    pub(crate) histories: Vec<History>,
}

impl Formed {
    /// Starts this many nodes at once and waits until all know all.
    pub(crate) async fn new(seed: u64, conditions: Conditions, count: usize) -> Self {
        let fleet = Fleet::new(seed, conditions);
        let nodes = fleet.start_all(count).await.unwrap();
        let histories = nodes.iter().map(History::of).collect();
        let formed = Self {
            fleet,
            nodes,
            histories,
        };
        formed.converged().await;
        formed
    }

    /// The ids of some nodes.
    pub(crate) fn ids(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<PeerId> {
        nodes.into_iter().map(|n| self.fleet.id(n)).collect()
    }

    /// Waits until all know all and agree about everybody.
    pub(crate) async fn converged(&self) {
        converged(&self.nodes).await;
    }

    /// Takes a node out of what is checked, as it is about to fail for good.
    pub(crate) fn take(&mut self, n: usize) -> Network {
        self.histories.remove(n);
        self.nodes.remove(n)
    }

    /// Checks that all nodes saw a history that follows the rules.
    pub(crate) fn check_histories(&self) {
        for history in &self.histories {
            history.check().unwrap();
        }
    }

    /// Every peer that any node ever gave up.
    pub(crate) fn given_up(&self) -> BTreeSet<PeerId> {
        let events = self.histories.iter().flat_map(History::events);
        let departed = |event| match event {
            Event::PeerDeparted(peer) => Some(peer),
            Event::PeerDiscovered(_) | Event::PeerUpdated(_) => None,
        };
        events.filter_map(departed).collect()
    }
}

/// Waits until all know all and agree about everybody.
pub(crate) async fn converged(nodes: &[Network]) {
    let mut watches: Vec<_> = nodes
        .iter()
        .map(|node| node.discovery().catalog_watch())
        .collect();
    let agreed = async {
        loop {
            for watch in &mut watches {
                watch.mark_unchanged();
            }
            if convergence::check(nodes).is_ok() {
                return;
            }
            let changes = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
            select_all(changes).await.0.unwrap();
        }
    };
    if tokio::time::timeout(bound(PATIENCE), agreed).await.is_err() {
        panic!("not agreed: {}", convergence::check(nodes).unwrap_err());
    }
}

/// Lets a node change its tags, and waits until others see that.
pub(crate) async fn change_reaches<'a>(
    owner: &Network,
    tag: &'static str,
    others: impl IntoIterator<Item = &'a Network>,
) -> Duration {
    owner.discovery().add_tags(tag);
    let id = owner.local().id();
    let seen = each_until(others, bound(PATIENCE), move |catalog| {
        let entry = catalog.get(&id);
        entry.is_some_and(|entry| entry.tags().contains(&tag.into())) || catalog.local_id() == id
    });
    seen.await.unwrap().max()
}

/// Waits until none of these nodes knows any of those peers; returns how long the last one took.
pub(crate) async fn forgotten<'a>(
    nodes: impl IntoIterator<Item = &'a Network>,
    peers: Vec<PeerId>,
) -> Duration {
    let none = each_until(nodes, bound(PATIENCE), move |catalog| {
        peers.iter().all(|peer| catalog.get(peer).is_none())
    });
    none.await.unwrap().max()
}
