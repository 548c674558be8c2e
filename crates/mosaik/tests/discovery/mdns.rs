//! Nodes find each other on a segment by multicast DNS.

use std::{path::Path, process::Command};

use mosaik::{NetworkId, discovery};

use crate::support::{builder, random_network, until_catalog, within};

/// Gives the namespace a segment: the loopback interface with multicast.
const SEGMENT: &str = "ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo";
/// Gives it loopback alone: nothing can be sent to a multicast group.
const NO_MULTICAST: &str =
    "ip link set lo up multicast off && ! ip route get 224.0.0.251 2>/dev/null";

/// Runs an ignored test of this file in a network namespace of its own.
fn in_a_namespace(setup: &str, test: &str) {
    let run = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
        command.args(arguments).output()
    };
    if !run(setup, &[]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespace can be set up here, with unshare and ip");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let script =
        format!("{setup} && exec \"$0\" --ignored --exact discovery::mdns::{test} --nocapture");
    let output = run(&script, &[Path::to_str(&this).unwrap()]).unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn nodes_of_one_network_find_each_other_on_the_segment() {
    in_a_namespace(SEGMENT, "in_a_namespace_with_multicast");
}

#[test]
fn a_machine_without_multicast_is_no_obstacle() {
    in_a_namespace(NO_MULTICAST, "in_a_namespace_without_multicast");
}

async fn node_with_mdns(network: NetworkId) -> mosaik::Network {
    let builder = builder(network, discovery::Config::builder());
    builder.with_mdns_discovery(true).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a namespace by the test above"]
async fn in_a_namespace_with_multicast() {
    let network = random_network();
    let (a, b) = (node_with_mdns(network).await, node_with_mdns(network).await);
    let stranger = node_with_mdns(random_network()).await;
    for node in [&a, &b] {
        until_catalog(20, node, |catalog| catalog.peers_count() == 1).await;
    }
    // A third one is found by those that know each other, so everything found has been seen.
    let c = node_with_mdns(network).await;
    for node in [&a, &b, &c] {
        until_catalog(20, node, |catalog| catalog.peers_count() == 2).await;
    }
    assert_eq!(stranger.discovery().catalog().peers_count(), 0);
    // What advertises a node ends with it.
    let endpoint = c.local().clone();
    let gone = c.local().id();
    c.shutdown().await;
    until_catalog(20, &a, |catalog| catalog.get(&gone).is_none()).await;
    drop(endpoint);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a namespace by the test above"]
async fn in_a_namespace_without_multicast() {
    let network = random_network();
    let (a, b) = (node_with_mdns(network).await, node_with_mdns(network).await);
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    a.discovery().add_tags("here");
    let id = a.local().id();
    until_catalog(5, &b, |c| c.get(&id).is_some_and(|e| e.tags().len() == 1)).await;
    for node in [a, b] {
        within(5, node.shutdown()).await;
    }
}
