//! Nodes that fall silent, for good or for a while.

use std::{collections::BTreeSet, time::Duration};

use mosaik_sim::{Conditions, bound, invariants::ghosts};

use crate::support::{Formed, change_reaches, forgotten};

/// The promise of the defaults.
const GONE_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_node_is_soon_gone_from_all_catalogs() {
    let mut formed = Formed::new(31, Conditions::default(), 12).await;
    let crashed = formed.take(7);
    let id = crashed.local().id();
    formed.fleet.hub().crash(id);
    let gone = forgotten(&formed.nodes, vec![id]).await;
    eprintln!("gone after {gone:?}");
    assert!(gone < bound(GONE_WITHIN), "{gone:?}");
    change_reaches(&formed.nodes[3], "afterwards", &formed.nodes).await;
    formed.converged().await;
    ghosts::check(&formed.nodes, &[id]).unwrap();
    assert_eq!(formed.given_up(), BTreeSet::from([id]), "nobody else");
    formed.check_histories();
}

/// A crash of several at once: their observers are among the dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_third_that_crashes_at_once_is_soon_gone() {
    let mut formed = Formed::new(32, Conditions::default(), 12).await;
    let crashed: Vec<_> = (0..4).map(|_| formed.take(4)).collect();
    let ids: Vec<_> = crashed.iter().map(|node| node.local().id()).collect();
    for id in &ids {
        formed.fleet.hub().crash(*id);
    }
    let gone = forgotten(&formed.nodes, ids.clone()).await;
    eprintln!("gone after {gone:?}");
    assert!(gone < bound(GONE_WITHIN), "{gone:?}");
    formed.converged().await;
    assert_eq!(formed.given_up(), ids.into_iter().collect());
    formed.check_histories();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_paused_for_long_comes_back() {
    let formed = Formed::new(33, Conditions::default(), 6).await;
    let paused = formed.fleet.id(2);
    formed.fleet.hub().pause(paused);
    let others = || formed.nodes.iter().filter(|n| n.local().id() != paused);
    let gone = forgotten(others(), vec![paused]).await;
    eprintln!("given up after {gone:?}");
    change_reaches(&formed.nodes[0], "meanwhile", others()).await;
    formed.fleet.hub().resume(paused);
    let (back, ()) = mosaik_sim::timed(formed.converged()).await;
    eprintln!("back after {back:?}");
    formed.check_histories();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_pause_is_no_departure() {
    let formed = Formed::new(34, Conditions::default(), 6).await;
    let paused = formed.fleet.id(2);
    formed.fleet.hub().pause(paused);
    // The length of the fault: longer than a probe waits, shorter than a suspicion lasts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    formed.fleet.hub().resume(paused);
    change_reaches(&formed.nodes[2], "back", &formed.nodes).await;
    // Every suspicion has been refuted or confirmed by then.
    tokio::time::sleep(Duration::from_secs(4)).await;
    formed.converged().await;
    assert_eq!(formed.given_up(), BTreeSet::new());
    formed.check_histories();
}
