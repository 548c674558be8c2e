use std::{collections::BTreeSet, net::SocketAddr};

use mosaik::{
    Bytes, BytesMut, Datum, Digest, Network, NetworkId, PeerId, SecretKey, Signature, Tag, Ticket,
    UniqueId, discovery, futures, id,
    iroh::{self, endpoint::ApplicationClose},
    network::{
        self, CloseReason, Error, LocalNode, NetworkBuilder, NetworkConfig, NetworkError,
        RelayMode, close, link, make_close_reason,
    },
    primitives, tag, tickets, unique_id,
};

use super::{shared, spawnable};
use crate::support::{node, random_network};

#[test]
fn names_and_bounds() {
    shared::<Network>();
    shared::<LocalNode>();
    shared::<Error>();
    shared::<NetworkError>();
    shared::<network::error::Error>();
    shared::<link::LinkError>();
    fn unpin<T: Unpin>() {}
    unpin::<Network>();
    fn reason<T: CloseReason>() {}
    reason::<close::GracefulShutdown>();
    reason::<close::UnknownPeer>();
    let _: fn(BTreeSet<SocketAddr>) -> NetworkBuilder =
        |addresses| Network::builder("x").with_addresses(addresses);
    let _: Option<(NetworkConfig, RelayMode, SecretKey, Signature, Ticket)> = None;
    let _: Option<(Bytes, BytesMut, Tag, UniqueId, NetworkId, PeerId)> = None;
    let _: Option<(discovery::Event, tickets::Ticket, primitives::Short<Digest>)> = None;
    let _: Option<(futures::future::Ready<()>, iroh::EndpointAddr)> = None;
    fn datum<T: Datum>() {}
    datum::<String>();
}

#[test]
fn ids_are_constants() {
    const A: Digest = id!("validator");
    static B: Digest = unique_id!("validator");
    const C: Tag = tag!("b5f8107ffc4da5efab7269490b6ade7ede05fa9bb15b8e7776c09f2a1f378caf");
    assert_eq!(A, B);
    assert_eq!(A, C);
    assert_eq!(&A, id!("validator"));
    let tags = BTreeSet::from([C]);
    assert!(tags.contains(&"validator".into()));
}

make_close_reason!(
    /// Made by a program.
    struct MarketClosed, 40_001
);

#[test]
fn programs_make_their_own_close_reasons() {
    let close = ApplicationClose::from(MarketClosed);
    assert_eq!(close.error_code, iroh::endpoint::VarInt::from(40_001u32));
    assert_eq!(MarketClosed, close);
    assert_eq!(&close.reason[..], b"MarketClosed");
    assert_eq!(MarketClosed.to_string(), "MarketClosed");
}

#[tokio::test]
async fn a_builder_without_a_network_id_says_so() {
    let error = NetworkBuilder::default().build().await.err().unwrap();
    assert!(matches!(error, Error::MissingNetworkId));
    assert_eq!(error.to_string(), "Missing network ID");
}

#[tokio::test]
async fn a_bad_configuration_is_found_before_anything_is_opened() {
    let discovery = discovery::Config::builder().with_announce_jitter(2.0);
    let error = Network::builder("x")
        .with_discovery(discovery)
        .build()
        .await
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("Discovery config error: announce_jitter"),
        "{error}"
    );
}

#[tokio::test]
async fn the_local_node() {
    let id = random_network();
    let network = spawnable(node(id)).await;
    let local = network.local().clone();
    assert_eq!(local.network_id(), &id);
    assert_eq!(local.id(), local.secret_key().public());
    assert_eq!(local.to_string(), format!("LocalNode({})", local.id()));
    assert!(local.addr().ip_addrs().count() >= 1, "dialable at once");
    let secret: SecretKey = Digest::from("seed").into();
    let fixed = Network::builder(id)
        .with_secret_key(Digest::from("seed"))
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .build()
        .await
        .unwrap();
    assert_eq!(fixed.local().id(), secret.public());
    fixed.shutdown().await;
    network.shutdown().await;
    assert_eq!(local.network_id(), &id, "handles outlive the network");
}
