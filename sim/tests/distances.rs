//! Nodes that are far from each other.

use std::{
    collections::BTreeSet,
    num::NonZero,
    time::{Duration, Instant},
};

use futures::future::{join_all, select_all};
use mosaik::GroupKey;
use mosaik_sim::{
    Conditions, bound,
    groups::{Action, Bank, Command},
};
use tokio::time::timeout;

use crate::support::{Formed, PATIENCE};

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

/// Regression: a leader that left handed over only in a moment in which its successor had all of the
/// log. Under load over a distance there is none, and the leader went with half of the votes.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_under_steady_load_is_succeeded() {
    join_all([25, 100].map(|latency| async move {
        let far = Conditions {
            latency: Duration::from_millis(latency),
            ..Conditions::default()
        };
        let formed = Formed::new(latency, far, 2).await;
        let key = GroupKey::random();
        let mut groups: Vec<_> = formed
            .nodes
            .iter()
            .map(|node| {
                node.groups()
                    .with_key(key)
                    .with_state_machine(bank())
                    .join()
            })
            .collect();
        for group in &groups {
            let both = async {
                let mut changed = group.when().membership_changed();
                while group.membership().voters.len() < 2 {
                    changed.await;
                    changed = group.when().membership_changed();
                }
                group.when().online().await;
            };
            timeout(bound(PATIENCE), both).await.expect("two voters");
        }
        let leaders = groups
            .iter()
            .map(|group| Box::pin(group.when().is_leader()));
        let ((), leads, _) = timeout(bound(PATIENCE), select_all(leaders))
            .await
            .expect("a leader");
        let leader = groups.remove(leads);
        let follower = groups.remove(0);
        // As many callers as there are milliseconds in a round trip, out of step: the log grows all
        // the time.
        let callers = (0..2 * latency).map(|n| {
            let follower = &follower;
            async move {
                tokio::time::sleep(Duration::from_millis(n)).await;
                loop {
                    if follower.feed(add(n)).await.is_err() {
                        // Refusals are part of a change of leader.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        });
        let load = async {
            let _: Vec<()> = join_all(callers).await;
        };
        let change = async {
            while follower.committed() < 100 {
                follower.when().committed().advanced().await;
            }
            drop(leader);
            follower.when().is_leader().await;
            follower.when().online().await;
            follower.execute(add(u64::MAX)).await.unwrap();
        };
        tokio::select! {
            () = load => {}
            changed = timeout(bound(PATIENCE), change) => changed.expect("the other one leads"),
        }
    }))
    .await;
}

fn bank() -> Bank {
    Bank::new(NonZero::<u64>::MAX)
}

fn add(id: u64) -> Command {
    Command {
        id,
        key: 0,
        action: Action::Add(1),
    }
}
