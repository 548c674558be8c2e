//! Durable members whose directories are found at other places, or at two.

use std::cell::Cell;

use futures::future::join_all;
use mosaik::{Group, GroupKey, Strong, discovery::Duplicate, futures};

use super::durability::{copy, join, shut_down, start, trio};
use crate::support::{node, random_network, until_catalog, within};

/// Nobody is told an address: each remembers where a node was that is still there, and that one
/// learns from each where it is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_moved_finds_together_through_one_that_stayed() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (nodes, groups) = trio(network, key, directory.path()).await;
    let stays = node(network).await;
    within(5, stays.discovery().sync_with(nodes[0].local().addr()))
        .await
        .unwrap();
    for node in &nodes {
        let stays = stays.local().id();
        until_catalog(10, node, |catalog| catalog.get(&stays).is_some()).await;
    }
    for n in 0..30 {
        within(5, groups[n % 3].execute(n as u64)).await.unwrap();
    }
    let before: Vec<_> = nodes.iter().map(|node| node.local().addr()).collect();
    shut_down(nodes).await;
    drop(groups);

    let places = NAMES.map(|name| directory.path().join(name));
    let starting = places.each_ref().map(|place| start(network, place, None));
    let nodes: Vec<_> = join_all(starting)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    for (node, before) in nodes.iter().zip(&before) {
        assert_eq!(node.local().id(), before.id);
        assert_ne!(node.local().addr(), *before, "it has moved");
    }
    let groups: Vec<_> = nodes.iter().map(|node| join(node, key, 3)).collect();
    for group in &groups {
        within(30, group.when().online()).await;
        let all = within(10, group.query((), Strong)).await.unwrap();
        assert_eq!(*all, (0..30).collect::<Vec<_>>());
    }
}

/// The copy has the same identity, the same log and the same vote.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_member_is_shut_out_and_the_group_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (network, key) = (random_network(), GroupKey::random());
    let (mut nodes, mut groups) = trio(network, key, directory.path()).await;
    let (place, twin) = (directory.path().join("c"), directory.path().join("twin"));
    let (node, group) = (nodes.remove(2), groups.remove(2));
    within(20, node.shutdown()).await;
    drop(group);
    copy(&place, &twin);
    let bootstrap = nodes[0].local().addr();

    let load = async |group: &Group<_>, first: u64, stop: &Cell<bool>| {
        let mut acknowledged = Vec::new();
        for n in (first..).step_by(2) {
            // A change of the leader is part of this.
            if group.execute(n).await.is_ok() {
                acknowledged.push(n);
            }
            if stop.get() {
                break;
            }
        }
        acknowledged
    };
    let stop = Cell::new(false);
    let contest = async {
        let both = [&place, &twin].map(|place| start(network, place, Some(bootstrap.clone())));
        let both: Vec<_> = join_all(both)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let joined: Vec<_> = both.iter().map(|node| join(node, key, 3)).collect();
        let shut_out = |other: &Option<Duplicate>| other.as_ref().is_some_and(|it| it.shut_out);
        let mut told = [0, 1].map(|n| both[n].discovery().duplicate());
        let [one, other] = &mut told;
        within(30, async {
            tokio::select! {
                told = one.wait_for(shut_out) => drop(told.unwrap()),
                told = other.wait_for(shut_out) => drop(told.unwrap()),
            }
        })
        .await;
        let out = told.map(|told| shut_out(&told.borrow()));
        assert_ne!(out[0], out[1], "one of them goes on");
        stop.set(true);
        (both, joined)
    };
    let (first, second, _contestants) = tokio::join!(
        load(&groups[0], 0, &stop),
        load(&groups[1], 1, &stop),
        contest
    );
    let mut acknowledged = [first, second].concat();
    acknowledged.sort_unstable();
    for group in &groups {
        let all = within(30, group.query((), Strong)).await.unwrap();
        let mut all = all.to_vec();
        all.sort_unstable();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|n| all.binary_search(n).is_err())
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
        let twice = all.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }
}
