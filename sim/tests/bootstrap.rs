//! Bootstrap peers that aren't there, or not yet.

use std::{net::UdpSocket, time::Duration};

use mosaik::{
    Digest, Network, SecretKey, discovery,
    iroh::{EndpointAddr, TransportAddr},
    network::RelayMode,
};
use mosaik_sim::{Conditions, Fleet, bound, invariants::History};

use crate::support::{change_reaches, converged};

/// Time for which a bootstrap peer is missing: several attempts have failed by then.
const MISSING: Duration = Duration::from_secs(4);
/// Interval within which a node that knows nobody tries again, so that a peer that comes up is
/// found soon.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bootstrap_peer_delays_nothing_and_is_found_when_it_comes_up() {
    let fleet = Fleet::new(51, Conditions::default());
    let (ready, lone) = mosaik_sim::timed(fleet.start(1, &[0])).await;
    let lone = lone.unwrap();
    assert!(
        ready < bound(Duration::from_secs(1)),
        "ready after {ready:?}"
    );
    assert_eq!(lone.discovery().catalog().peers_count(), 0);
    tokio::time::sleep(MISSING).await;
    let late = fleet.start(0, &[]).await.unwrap();
    let nodes = [lone, late];
    let (found, ()) = mosaik_sim::timed(converged(&nodes)).await;
    eprintln!("found after {found:?}");
    assert!(found < bound(FOUND_WITHIN), "{found:?}");
}

/// Nodes that have each other go on to look for the bootstrap peer that they were given, so that
/// two parts of one network can't stay apart.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_neighbours_find_a_late_bootstrap_peer() {
    let fleet = Fleet::new(52, Conditions::default());
    let first = fleet.start(1, &[0]).await.unwrap();
    let second = fleet.start(2, &[0, 1]).await.unwrap();
    let mut nodes = vec![first, second];
    converged(&nodes).await;
    let histories: Vec<_> = nodes.iter().map(History::of).collect();
    tokio::time::sleep(MISSING).await;
    nodes.push(fleet.start(0, &[]).await.unwrap());
    let (found, ()) = mosaik_sim::timed(converged(&nodes)).await;
    eprintln!("found after {found:?}");
    for history in &histories {
        history.check().unwrap();
    }
}

/// An address that swallows every packet, where the bootstrap peer then comes up.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_listens_is_tried_until_somebody_does() {
    let network = Digest::random();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let key = SecretKey::generate();
    let peer = EndpointAddr::from_parts(key.public(), [TransportAddr::Ip(address)]);
    let node = |discovery: discovery::ConfigBuilder| {
        Network::builder(network)
            .with_relay_mode(RelayMode::Disabled)
            .with_discovery(discovery.no_dht_bootstrap())
    };
    let loopback = ["127.0.0.1:0".parse().unwrap()];
    let config = discovery::Config::builder().with_bootstrap(peer);
    let (ready, lone) = mosaik_sim::timed(node(config).with_addresses(loopback).build()).await;
    let lone = lone.unwrap();
    assert!(
        ready < bound(Duration::from_secs(1)),
        "ready after {ready:?}"
    );
    // Alone with a silent address, it works with whoever else comes.
    let config = discovery::Config::builder().with_bootstrap(lone.local().addr());
    let other = node(config).with_addresses(loopback).build().await.unwrap();
    let mut nodes = vec![lone, other];
    converged(&nodes).await;
    change_reaches(&nodes[0], "meanwhile", &nodes).await;
    tokio::time::sleep(MISSING).await;
    drop(silent);
    let late = node(discovery::Config::builder())
        .with_secret_key(key)
        .with_addresses([address])
        .build();
    nodes.push(late.await.unwrap());
    let (found, ()) = mosaik_sim::timed(converged(&nodes)).await;
    eprintln!("found after {found:?}");
}
