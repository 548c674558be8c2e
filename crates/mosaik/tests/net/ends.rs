//! Resources of a node that has ended: none are left.

use std::net::UdpSocket;

use futures::StreamExt;
use mosaik::{Network, SecretKey, discovery, iroh::EndpointAddr, network};
use tokio::runtime::Handle;

use super::super::groups::machines::Ledger;
use crate::support::{bound, builder, node, node_at, random_network, within};

/// Waits until a runtime has no more tasks than that.
async fn until_tasks(count: usize) {
    within(5, async {
        while Handle::current().metrics().num_alive_tasks() > count {
            // Nothing tells of the end of foreign tasks.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn assert_free(addr: &EndpointAddr) {
    // A port that is free may be lent for an instant to a test that runs beside this one.
    let deadline = std::time::Instant::now() + bound(5);
    for addr in addr.ip_addrs() {
        while let Err(error) = UdpSocket::bind(addr) {
            let late = std::time::Instant::now() > deadline;
            assert!(!late, "{addr} is not free: {error}");
            std::thread::yield_now();
        }
    }
}

/// Regression: the socket and two tasks of every node stayed until the process ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_shut_down_frees_its_port_and_ends_its_tasks() {
    let before = Handle::current().metrics().num_alive_tasks();
    let a = node(random_network()).await;
    let addr = a.local().addr();
    let left = within(10, a.shutdown()).await;
    assert!(left.is_empty(), "{left:?}");
    assert_free(&addr);
    until_tasks(before).await;
}

/// Also while everything is in use, and all handles are kept.
#[tokio::test(flavor = "multi_thread")]
async fn handles_keep_nothing_of_their_node() {
    let id = random_network();
    let before = Handle::current().metrics().num_alive_tasks();
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    within(5, b.discovery().sync_with(a.local().addr()))
        .await
        .unwrap();

    let mut producer = a.streams().produce::<u64>();
    let mut consumer = b.streams().consume::<u64>();
    within(5, consumer.when().subscribed()).await;
    futures::SinkExt::send(&mut producer, 1).await.unwrap();
    assert_eq!(within(5, consumer.next()).await, Some(1));
    let groups: Vec<_> = [&a, &b]
        .map(|node| {
            let key = mosaik::GroupKey::from(mosaik::Digest::from("ends"));
            node.groups()
                .with_key(key)
                .with_state_machine(Ledger::default())
                .join()
        })
        .into();
    within(10, groups[0].when().online()).await;
    within(10, groups[1].when().online()).await;
    let kept = [&a, &b].map(|node| (node.discovery().clone(), node.groups().clone()));

    let addrs = [a.local().addr(), b.local().addr()];
    for node in [a, b] {
        let left = within(20, node.shutdown()).await;
        assert!(left.is_empty(), "{left:?}");
    }
    addrs.iter().for_each(assert_free);
    until_tasks(before).await;
    for (discovery, ..) in &kept {
        let error = within(5, discovery.ping(addrs[0].clone()))
            .await
            .unwrap_err();
        assert!(matches!(error, discovery::Error::Cancelled), "{error:?}");
        discovery.add_tags("later");
    }
    drop((kept, producer, consumer, groups));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_the_sockets_is_told() {
    let a = node(random_network()).await;
    let kept = a.local().clone();
    let left = within(10, a.shutdown()).await;
    assert!(left.sockets && left.tasks.is_empty(), "{left:?}");
    let addr = kept.addr();
    drop(kept);
    within(5, async {
        while addr.ip_addrs().any(|addr| UdpSocket::bind(addr).is_err()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_while_it_dials_who_does_not_answer() {
    let before = Handle::current().metrics().num_alive_tasks();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = |n: u8| {
        let peer = SecretKey::from_bytes(&[n; 32]).public();
        EndpointAddr::new(peer).with_ip_addr(silent.local_addr().unwrap())
    };
    let a = node_at(random_network(), at(1)).await;
    a.discovery().dial((2..40).map(at).collect::<Vec<_>>());
    let sync = a.discovery().sync_with(at(40));
    let addr = a.local().addr();
    let left = within(10, a.shutdown()).await;
    assert!(left.is_empty(), "{left:?}");
    assert!(matches!(
        within(1, sync).await,
        Err(discovery::Error::Cancelled)
    ));
    assert_free(&addr);
    until_tasks(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_that_nobody_waits_for_goes_on() {
    let a = node(random_network()).await;
    let addr = a.local().addr();
    {
        let mut shutdown = std::pin::pin!(a.shutdown());
        // It may even be done with that.
        let _ = futures::poll!(&mut shutdown);
    }
    within(10, async {
        while addr.ip_addrs().any(|addr| UdpSocket::bind(addr).is_err()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_can_not_be_built_leaves_nothing() {
    let before = Handle::current().metrics().num_alive_tasks();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = [taken.local_addr().unwrap(), "127.0.0.2:0".parse().unwrap()];
    let built = builder(random_network(), discovery::Config::builder())
        .with_addresses(addresses)
        .build()
        .await;
    let error = built.err().unwrap();
    assert!(matches!(error, network::Error::Bind(_)), "{error:?}");
    until_tasks(before).await;
}

/// Nothing hangs or panics when a node outlives its runtime.
#[test]
fn a_node_may_outlive_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let make = |runtime: &tokio::runtime::Runtime| -> Network {
        runtime.block_on(async {
            Network::builder(random_network())
                .with_relay_mode(mosaik::iroh::RelayMode::Disabled)
                .with_addresses(["127.0.0.1:0".parse().unwrap()])
                .with_discovery(discovery::Config::builder().no_dht_bootstrap())
                .build()
                .await
                .unwrap()
        })
    };
    let (dropped, shut_down) = (make(&first), make(&first));
    let addr = dropped.local().addr();
    drop(first);
    drop(dropped);
    assert_free(&addr);
    let addr = shut_down.local().addr();
    let left = runtime().block_on(async { within(5, shut_down.shutdown()).await });
    assert!(left.tasks.is_empty(), "{left:?}");
    assert_free(&addr);
}

/// Regression: the end of a node took its successor of the same key off the table of the process,
/// and nobody in it could dial the successor by its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_successor_is_found_by_its_id_after_the_end_of_its_predecessor() {
    let id = random_network();
    let secret = SecretKey::generate();
    let start = || {
        let builder = builder(id, discovery::Config::builder());
        builder.with_secret_key(secret.clone()).build()
    };
    let old = start().await.unwrap();
    let new = start().await.unwrap();
    within(10, old.shutdown()).await;
    let other = node(id).await;
    let syncing = other.discovery().sync_with(new.local().id());
    within(5, syncing).await.unwrap();
}
