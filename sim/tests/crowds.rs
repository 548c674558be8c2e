//! Many nodes, or two, that do the same at the same instant.

use std::{collections::BTreeSet, time::Duration};

use futures::future::{join_all, try_join_all};
use mosaik::{
    Digest, Network, NetworkId, SecretKey,
    discovery::{self, Event},
    network::RelayMode,
};
use mosaik_sim::{Conditions, EVENTS_BACKLOG, Fleet, bound, each_until, invariants::History};

use tokio::sync::Mutex;

use crate::support::{Formed, PATIENCE, change_reaches, converged};

/// Number of nodes that join at once. What they say to each other grows with its square, and without
/// optimisation, on half a core beside other work, fifty don't get it done within their timeouts.
const CROWD: usize = if cfg!(debug_assertions) { 30 } else { 50 };
/// One crowd at a time: two of them are more than two cores can form within their timeouts.
static CROWDED: Mutex<()> = Mutex::const_new(());
/// Time for which a crowd that has formed is watched: two rounds of probes and their suspicions.
const WATCHED: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_joins_at_the_same_instant() {
    let _alone = CROWDED.lock().await;
    let (joined, formed) = mosaik_sim::timed(Formed::new(41, Conditions::default(), CROWD)).await;
    eprintln!("all know all after {joined:?}");
    let seen = change_reaches(&formed.nodes[17], "new", &formed.nodes).await;
    eprintln!("a change at all after {seen:?}");
    tokio::time::sleep(WATCHED).await;
    formed.converged().await;
    assert_eq!(formed.given_up(), BTreeSet::new(), "nobody was gone");
    formed.check_histories();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_joins_at_the_same_instant_over_udp() {
    let _alone = CROWDED.lock().await;
    let network = Digest::random();
    let keys: Vec<_> = (0..CROWD).map(|_| SecretKey::generate()).collect();
    let first = keys[0].public();
    let starts = keys.iter().enumerate().map(|(n, key)| {
        let bootstrap = (n > 0).then_some(first);
        on_loopback(network, key.clone(), bootstrap)
    });
    let (joined, nodes) = mosaik_sim::timed(async {
        let nodes = try_join_all(starts).await.unwrap();
        let known = each_until(&nodes, bound(PATIENCE), |c| c.len() == CROWD);
        known.await.unwrap();
        nodes
    })
    .await;
    eprintln!("all know all after {joined:?}");
    let histories: Vec<_> = nodes.iter().map(History::of).collect();
    let seen = change_reaches(&nodes[17], "new", &nodes).await;
    eprintln!("a change at all after {seen:?}");
    tokio::time::sleep(WATCHED).await;
    converged(&nodes).await;
    for history in &histories {
        history.check().unwrap();
        let gone = history.events().into_iter();
        let gone = gone.filter(|event| matches!(event, Event::PeerDeparted(_)));
        assert_eq!(gone.count(), 0, "nobody was gone");
    }
    // All at once here as well.
    join_all(nodes.into_iter().map(Network::shutdown)).await;
}

/// Each is the other's bootstrap peer, and they start at the same instant. Several pairs, as the
/// instants that matter are short.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_dial_each_other_at_the_same_instant() {
    let pairs = (0..8).map(|seed| async move {
        let fleet = Fleet::new(4200 + seed, Conditions::default());
        let (a, b) = futures::join!(fleet.start(0, &[1]), fleet.start(1, &[0]));
        let nodes = [a.unwrap(), b.unwrap()];
        let histories = nodes.each_ref().map(History::of);
        converged(&nodes).await;
        change_reaches(&nodes[0], "from a", &nodes).await;
        change_reaches(&nodes[1], "from b", &nodes).await;
        for history in &histories {
            history.check().unwrap();
            assert!(
                !history
                    .events()
                    .iter()
                    .any(|e| matches!(e, Event::PeerDeparted(_)))
            );
        }
    });
    join_all(pairs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_dial_each_other_at_the_same_instant_over_udp() {
    let pairs = (0..8).map(|_| async {
        let network = Digest::random();
        let (a, b) = (SecretKey::generate(), SecretKey::generate());
        let (to_a, to_b) = (Some(a.public()), Some(b.public()));
        let (a, b) = futures::join!(on_loopback(network, a, to_b), on_loopback(network, b, to_a));
        let nodes = [a.unwrap(), b.unwrap()];
        converged(&nodes).await;
        let (a, b) = (nodes[0].discovery(), nodes[1].discovery());
        // Once more, by address, now that connections stand.
        let (addr_a, addr_b) = (nodes[0].local().addr(), nodes[1].local().addr());
        let (to_b, to_a) = futures::join!(a.sync_with(addr_b), b.sync_with(addr_a));
        to_b.unwrap();
        to_a.unwrap();
        change_reaches(&nodes[0], "from a", &nodes).await;
        change_reaches(&nodes[1], "from b", &nodes).await;
    });
    join_all(pairs).await;
}

async fn on_loopback(
    network: NetworkId,
    key: SecretKey,
    bootstrap: Option<mosaik::PeerId>,
) -> Result<Network, mosaik::network::Error> {
    let discovery = discovery::Config::builder()
        .no_dht_bootstrap()
        .with_events_backlog(EVENTS_BACKLOG)
        .with_bootstrap(Vec::from_iter(bootstrap));
    Network::builder(network)
        .with_secret_key(key)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery)
        .build()
        .await
}
