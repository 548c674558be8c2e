//! Nodes find each other on a segment by multicast DNS.

use std::{path::Path, process::Command};

use mosaik::{NetworkId, discovery};

use crate::support::{builder, random_network, until_catalog};

const INNER: &str = "discovery::mdns::in_a_namespace_with_multicast";

/// Gives the namespace a segment: the loopback interface with multicast.
const SETUP: &str = "ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo";

#[test]
fn nodes_of_one_network_find_each_other_on_the_segment() {
    let in_namespace = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", script]).args(arguments);
        command.output()
    };
    if !in_namespace(SETUP, &[]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: a network namespace with multicast needs root, unshare and ip");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let run = format!("{SETUP} && exec \"$0\" --ignored --exact {INNER} --nocapture");
    let output = in_namespace(&run, &[Path::to_str(&this).unwrap()]).unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
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
async fn a_machine_without_multicast_is_no_obstacle() {
    let node = node_with_mdns(random_network()).await;
    assert_eq!(node.discovery().catalog().peers_count(), 0);
    node.shutdown().await;
}
