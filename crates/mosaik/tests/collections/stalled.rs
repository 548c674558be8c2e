//! A leader that stands still as a whole, as a process that the system has stopped.

use std::{
    sync::mpsc as blocking,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mosaik::{NetworkId, collections::Map, iroh::EndpointAddr};
use tokio::sync::{mpsc, oneshot};

use super::until;
use crate::support::{bound, node, node_at, random_network, until_catalog, within};

type Leases = Map<u8, u8>;

/// A node on a thread of its own, with a writer.
struct Standalone {
    leases: Leases,
    addr: EndpointAddr,
    stalls: mpsc::Sender<blocking::Receiver<()>>,
    thread: JoinHandle<()>,
}

impl Standalone {
    async fn start(network: NetworkId) -> Self {
        let (started, start) = oneshot::channel();
        let (stalls, mut stalled) = mpsc::channel::<blocking::Receiver<()>>(1);
        let run = async move {
            let node = node(network).await;
            let leases = Leases::writer(&node, "leases");
            within(10, leases.when().online()).await;
            let _ = started.send((leases, node.local().addr()));
            while let Some(end) = stalled.recv().await {
                // Nothing else runs on this thread meanwhile.
                let _ = end.recv_timeout(bound(120));
            }
            within(20, node.shutdown()).await;
        };
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(run);
        });
        let (leases, addr) = within(20, start).await.unwrap();
        Self {
            leases,
            addr,
            stalls,
            thread,
        }
    }

    /// Stops everything on this node until what it returns is dropped.
    async fn stall(&self) -> blocking::Sender<()> {
        let (end, ended) = blocking::channel();
        self.stalls.send(ended).await.unwrap();
        // The next place is free once it has been taken.
        let taken = within(10, self.stalls.reserve()).await.unwrap();
        drop(taken);
        end
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stalled_lets_nothing_expire_early_and_holds_nothing_up() {
    const SHORT: Duration = Duration::from_millis(1500);
    const LONG: Duration = Duration::from_secs(600);
    let network = random_network();
    let leader = Standalone::start(network).await;
    let nodes = [
        node_at(network, leader.addr.clone()).await,
        node_at(network, leader.addr.clone()).await,
    ];
    let others = [&nodes[0], &nodes[1]].map(|node| Leases::writer(node, "leases"));
    // Those that remain find each other without the leader.
    for node in &nodes {
        until_catalog(10, node, |catalog| catalog.peers_count() == 2).await;
    }
    for leases in &others {
        within(20, leases.when().online()).await;
        // No event tells of the membership.
        within(20, async {
            while leases.status().membership.voters.len() < 3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
    let begin = Instant::now();
    leader.leases.insert_with_ttl(1, 1, SHORT).await.unwrap();
    let version = leader.leases.insert_with_ttl(2, 2, LONG).await.unwrap();
    for leases in &others {
        within(10, leases.when().reaches(version)).await;
        assert!(leases.contains_key(&1) || begin.elapsed() >= SHORT);
    }
    let stalled = leader.stall().await;
    for leases in &others {
        until(30, leases.when(), || !leases.contains_key(&1)).await;
        assert!(begin.elapsed() >= SHORT, "not early");
    }
    // What is renewed meanwhile is not ended by readings that the former leader still has.
    let renewed = within(20, async {
        loop {
            let insertion = others[0].insert_with_ttl(1, 3, LONG).await;
            match insertion {
                Ok(version) => break version,
                Err(_) => others[0].when().online().await,
            }
        }
    })
    .await;
    drop(stalled);
    within(30, leader.leases.when().reaches(renewed)).await;
    let version = within(30, async {
        loop {
            match leader.leases.insert(4, 4).await {
                Ok(version) => break version,
                Err(_) => leader.leases.when().online().await,
            }
        }
    })
    .await;
    for leases in others.iter().chain([&leader.leases]) {
        within(20, leases.when().reaches(version)).await;
        assert_eq!((leases.get(&1), leases.get(&2)), (Some(3), Some(2)));
        for key in [1, 2] {
            let left = leases.ttl(&key).unwrap();
            assert!(left <= LONG && left > LONG / 2, "{left:?} left");
        }
    }
    drop((leader.leases, leader.stalls));
    let joined = tokio::task::spawn_blocking(move || leader.thread.join());
    within(30, joined).await.unwrap().unwrap();
}
