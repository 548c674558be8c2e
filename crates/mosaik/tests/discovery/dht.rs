//! Bootstrap through a DHT; each test has its own on loopback.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use mainline::{Dht, MutableItem, Testnet, async_dht::AsyncDht};
use mosaik::{
    Digest, Network, NetworkId, PeerId, SecretKey,
    discovery::{self, dht},
};
use pkarr::{
    Keypair, SignedPacket,
    dns::{Name, rdata::TXT},
};

use crate::support::{builder, node, random_network, until_catalog, within};

/// A DHT of some nodes; ends when dropped.
async fn testnet() -> Testnet {
    tokio::task::spawn_blocking(|| Testnet::builder(8).build().unwrap())
        .await
        .unwrap()
}

fn config(dht: &Testnet) -> discovery::ConfigBuilder {
    discovery::Config::builder()
        .with_dht_nodes(dht.bootstrap.clone())
        .with_dht_poll_interval(Duration::from_millis(500))
}

async fn node_in(network: NetworkId, dht: &Testnet) -> Network {
    let builder = builder(network, discovery::Config::builder());
    builder.with_discovery(config(dht)).build().await.unwrap()
}

/// Content of the slots of a network.
async fn occupied(dht: &Testnet, network: NetworkId) -> HashMap<usize, dht::Record> {
    let client = dht::Client::open(&dht.bootstrap).await.unwrap();
    let slots = dht::slots(&network);
    let reads = slots.iter().map(|slot| client.resolve(slot));
    let records = mosaik::futures::future::join_all(reads).await;
    let found = records.into_iter().enumerate();
    found
        .filter_map(|(slot, record)| Some((slot, record.ok()??)))
        .collect()
}

/// Waits until the slots are as expected.
async fn until_slots(
    dht: &Testnet,
    network: NetworkId,
    expected: impl Fn(&HashMap<usize, dht::Record>) -> bool,
) -> HashMap<usize, dht::Record> {
    within(30, async {
        loop {
            let slots = occupied(dht, network).await;
            if expected(&slots) {
                return slots;
            }
        }
    })
    .await
}

/// Writes a record of a peer into slots as any program may that knows the network id.
async fn occupy(
    dht: &Testnet,
    network: NetworkId,
    slots: std::ops::Range<usize>,
    peer: &str,
    ips: &[String],
) {
    let client: AsyncDht = {
        let nodes = dht.bootstrap.clone();
        let open = move || {
            Dht::builder()
                .bootstrap(&nodes)
                .bind_address(Ipv4Addr::LOCALHOST)
                .build()
                .unwrap()
        };
        tokio::task::spawn_blocking(open).await.unwrap().as_async()
    };
    let chain = std::iter::successors(Some(network), |id: &Digest| Some(id.derive(id)));
    for seed in chain.skip(slots.start).take(slots.len()) {
        let mut packet = SignedPacket::builder();
        packet = packet.txt(Name::new_unchecked("_id"), peer.try_into().unwrap(), 600);
        for ip in ips {
            let text: TXT<'_> = ip.as_str().try_into().unwrap();
            packet = packet.txt(Name::new_unchecked("_ip"), text, 600);
        }
        let packet = packet
            .sign(&Keypair::from_secret_key(seed.as_bytes()))
            .unwrap();
        let sequence = i64::try_from(packet.timestamp().as_u64()).unwrap();
        let item = MutableItem::new_signed_unchecked(
            packet.public_key().to_bytes(),
            packet.signature().to_bytes(),
            &packet.encoded_packet(),
            sequence,
            None,
        );
        within(10, client.put_mutable(item, None)).await.unwrap();
    }
}

fn base58(peer: PeerId) -> String {
    bs58::encode(peer.as_bytes()).into_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_by_nothing_but_the_network_id() {
    let (dht, network) = (testnet().await, random_network());
    let (a, b, c) = tokio::join!(
        node_in(network, &dht),
        node_in(network, &dht),
        node_in(network, &dht)
    );
    for node in [&a, &b, &c] {
        until_catalog(30, node, |catalog| catalog.peers_count() == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_publishes_its_address_and_withdraws_at_the_end() {
    let (dht, network) = (testnet().await, random_network());
    let node = node_in(network, &dht).await;
    let slots = until_slots(&dht, network, |slots| slots.len() == 1).await;
    let record = slots.values().next().unwrap();
    assert_eq!(record.addr(), node.local().addr());
    within(10, node.shutdown()).await;
    until_slots(&dht, network, HashMap::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_claim_one_slot_one_wins() {
    let (dht, network) = (testnet().await, random_network());
    let holders = (0..15).map(|_| node(network));
    let holders = mosaik::futures::future::join_all(holders).await;
    for (slot, holder) in holders.iter().enumerate() {
        let id = base58(holder.local().id());
        occupy(&dht, network, slot..slot + 1, &id, &addresses(holder)).await;
    }
    let (a, b) = tokio::join!(node_in(network, &dht), node_in(network, &dht));
    let slots = until_slots(&dht, network, |slots| slots.len() == 16).await;
    assert!([a.local().id(), b.local().id()].contains(&slots[&15].peer));
    for (slot, holder) in holders.iter().enumerate() {
        assert_eq!(
            slots[&slot].peer,
            holder.local().id(),
            "slot {slot} was taken from its holder"
        );
    }
    for node in [&a, &b] {
        until_catalog(30, node, |catalog| catalog.peers_count() == 16).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_the_dead_and_of_strangers_are_taken_over() {
    let (dht, network) = (testnet().await, random_network());
    let stranger = node(random_network()).await;
    let dead = SecretKey::generate().public();
    occupy(
        &dht,
        network,
        0..8,
        &base58(stranger.local().id()),
        &addresses(&stranger),
    )
    .await;
    occupy(
        &dht,
        network,
        8..15,
        &base58(dead),
        &["127.0.0.1:9".to_owned()],
    )
    .await;
    occupy(&dht, network, 15..16, "not an id", &[]).await;
    let (a, b) = tokio::join!(node_in(network, &dht), node_in(network, &dht));
    for node in [&a, &b] {
        until_catalog(60, node, |catalog| catalog.peers_count() == 1).await;
    }
    assert_eq!(stranger.discovery().catalog().peers_count(), 0);
}

fn addresses(node: &Network) -> Vec<String> {
    node.local()
        .addr()
        .ip_addrs()
        .map(ToString::to_string)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_dht_sends_nothing_to_it() {
    let sink = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        tokio::net::UdpSocket::from_std(socket).unwrap()
    };
    let with_nodes = |socket: &tokio::net::UdpSocket| {
        discovery::Config::builder().with_dht_nodes(socket.local_addr().unwrap().to_string())
    };
    let (off, unused, on) = (sink(), sink(), sink());
    let base = || builder(random_network(), discovery::Config::builder());
    let build = |discovery| base().with_discovery(discovery).build();
    let neither = with_nodes(&unused)
        .with_dht_poll_interval(None)
        .with_dht_publish_interval(None);
    let quiet = build(with_nodes(&off).no_dht_bootstrap()).await.unwrap();
    let idle = build(neither).await.unwrap();
    let talking = build(with_nodes(&on)).await.unwrap();
    let mut buffer = [0; 2048];
    within(10, on.recv_from(&mut buffer)).await.unwrap();
    for (node, socket) in [(quiet, off), (idle, unused)] {
        within(10, node.shutdown()).await;
        assert!(socket.try_recv_from(&mut buffer).is_err());
    }
    drop(talking);
}

/// Regression: it pinged who it found, took that into its catalog, and then synced with it.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_poll_finds_nobody() {
    let (dht, network) = (testnet().await, random_network());
    let silent = || {
        let builder = builder(network, discovery::Config::builder());
        let builder = builder.with_discovery(config(&dht).with_dht_poll_interval(None));
        builder.build()
    };
    let _a = silent().await.unwrap();
    until_slots(&dht, network, |slots| slots.len() == 1).await;
    let b = silent().await.unwrap();
    let mut events = b.discovery().events();
    until_slots(&dht, network, |slots| slots.len() == 2).await;
    let event = tokio::time::timeout(Duration::from_secs(4), events.recv()).await;
    assert!(event.is_err(), "{event:?}");
    assert_eq!(b.discovery().catalog().peers_count(), 0);
}
