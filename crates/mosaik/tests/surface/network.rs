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

#[test]
fn built_in_close_reasons_have_paths_and_numbers() {
    fn code(reason: impl CloseReason) -> u64 {
        let close: ApplicationClose = reason.into();
        close.error_code.into_inner()
    }
    for (code, expected) in [
        (code(close::InvalidAlpn), 100),
        (code(close::DifferentNetwork), 101),
        (code(close::Cancelled), 102),
        (code(close::UnexpectedClose), 103),
        (code(close::Success), 200),
        (code(close::GracefulShutdown), 204),
        (code(close::ProtocolViolation), 400),
        (code(close::UnknownPeer), 401),
        (code(close::streams::NotAllowed), 10_403),
        (code(close::streams::StreamNotFound), 10_404),
        (code(close::streams::SchemaMismatch), 10_409),
        (code(close::streams::TooSlow), 10_413),
        (code(close::streams::NoCapacity), 10_509),
        (code(close::functions::NotAllowed), 11_403),
        (code(close::functions::FunctionNotFound), 11_404),
        (code(close::functions::SchemaMismatch), 11_409),
        (code(close::functions::HandlerFailure), 11_500),
        (code(close::functions::NoCapacity), 11_509),
        (code(close::groups::InvalidHandshake), 30_400),
        (code(close::groups::NotAllowed), 30_403),
        (code(close::groups::GroupNotFound), 30_404),
        (code(close::groups::InvalidProof), 30_405),
        (code(close::groups::Timeout), 30_408),
        (code(close::groups::IdentityInUse), 30_409),
        (code(close::groups::AlreadyBonded), 30_429),
    ] {
        assert_eq!(code, expected);
    }
}

#[tokio::test]
async fn of_an_option_that_is_set_twice_the_last_value_counts() {
    let id = random_network();
    let (first, last) = (SecretKey::generate(), SecretKey::generate());
    let network = Network::builder("first")
        .with_network_id(id)
        .with_secret_key(first)
        .with_secret_key(last.clone())
        .with_relay_mode(RelayMode::Default)
        .with_relay_mode(RelayMode::Disabled)
        // An address that no machine has: reserved for documentation.
        .with_addresses(["192.0.2.1:9".parse().unwrap()])
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_mdns_discovery(true)
        .with_mdns_discovery(false)
        .with_discovery(discovery::Config::builder().with_tags("first"))
        .with_discovery(
            discovery::Config::builder()
                .no_dht_bootstrap()
                .with_tags("last"),
        )
        .build()
        .await
        .unwrap();
    assert_eq!(network.local().network_id(), &id);
    assert_eq!(network.local().id(), last.public());
    let me = network.discovery().me();
    assert_eq!(me.tags(), &BTreeSet::from([Tag::from("last")]));
    assert!(me.address().ip_addrs().all(|addr| addr.ip().is_loopback()));
    network.shutdown().await;
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

#[test]
fn every_option_of_the_builder() {
    let hash = blake3::hash(b"x");
    for builder in [
        Network::builder("x"),
        Network::builder(&b"x"[..]),
        Network::builder(Digest::from("x")),
        Network::builder(hash),
        Network::builder(&hash),
        NetworkBuilder::default().with_network_id("x"),
    ] {
        let _: NetworkBuilder = builder
            .with_relay_mode(RelayMode::Disabled)
            .with_addresses(BTreeSet::<SocketAddr>::new())
            .with_mdns_discovery(false)
            .with_secret_key(SecretKey::generate())
            .with_secret_key([1; 32])
            .with_secret_key(&[1; 32])
            .with_secret_key(Digest::from("seed"))
            .with_discovery(discovery::Config::builder())
            .with_streams(mosaik::streams::Config::builder())
            .with_functions(mosaik::functions::Config::builder())
            .with_groups(mosaik::groups::Config::builder());
    }
    #[cfg(feature = "prometheus")]
    let _ = Network::builder("x")
        .with_prometheus_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
        .with_prometheus_addr(None);
    fn send<T: Send>() {}
    send::<NetworkBuilder>();
    let _ = |config: NetworkConfig| {
        let _: (NetworkId, RelayMode, BTreeSet<SocketAddr>, SecretKey) = (
            config.network_id,
            config.relay_mode,
            config.addresses,
            config.secret_key,
        );
        let _: (discovery::ConfigBuilder, mosaik::streams::ConfigBuilder) =
            (config.discovery, config.streams);
        let _: (
            mosaik::functions::ConfigBuilder,
            mosaik::groups::ConfigBuilder,
        ) = (config.functions, config.groups);
    };
    let _ = spawnable(Network::new("x"));
}

#[test]
fn errors_say_where_they_come_from() {
    use mosaik::iroh::endpoint::{BindError, InvalidSocketAddr};

    fn from<T>()
    where
        Error: From<T>,
    {
    }
    from::<BindError>();
    from::<InvalidSocketAddr>();
    from::<discovery::ConfigBuilderError>();
    from::<mosaik::streams::ConfigBuilderError>();
    from::<mosaik::functions::ConfigBuilderError>();
    from::<mosaik::groups::ConfigBuilderError>();
    let bad = || "bad".to_owned();
    let texts = [
        (
            Error::from(discovery::ConfigBuilderError::from(bad())),
            "Discovery config error: bad",
        ),
        (
            Error::from(mosaik::functions::ConfigBuilderError::ValidationError(bad())),
            "Functions config error: bad",
        ),
        (
            Error::from(mosaik::groups::ConfigBuilderError::ValidationError(bad())),
            "Groups config error: bad",
        ),
        #[cfg(feature = "prometheus")]
        (Error::Prometheus(bad()), "Prometheus exporter error: bad"),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn links_fail_with_names() {
    use link::{AcceptError, CloseError, LinkError, OpenError, Protocol, RecvError, SendError};
    use mosaik::iroh::endpoint::ConnectionError;

    struct Mine;
    impl Protocol for Mine {
        const ALPN: &'static [u8] = b"/mine";
    }
    for (error, name) in [
        (LinkError::from(OpenError::Cancelled), "cancelled"),
        (LinkError::from(RecvError::Cancelled), "cancelled"),
        (LinkError::from(SendError::Cancelled), "cancelled"),
        (LinkError::from(CloseError::Cancelled), "cancelled"),
        (LinkError::from(AcceptError::Cancelled), "cancelled"),
    ] {
        assert!(error.is_cancelled() && error.close_reason().is_none());
        assert_eq!(error.to_string(), name);
    }
    let _ = |error: OpenError| -> Option<iroh::endpoint::ConnectError> {
        match error {
            OpenError::Io(error) => Some(error),
            OpenError::Cancelled => unreachable!(),
            _ => None,
        }
    };
    let _ = |error: AcceptError| -> Result<iroh::protocol::AcceptError, Vec<u8>> {
        match error {
            AcceptError::Io(error) => Ok(error),
            AcceptError::InvalidAlpn { expected, received } => {
                let _: &'static [u8] = expected;
                Err(received)
            }
            AcceptError::Cancelled => unreachable!(),
            _ => Err(Vec::new()),
        }
    };
    type Cause = Box<dyn std::error::Error + Send + Sync>;
    let _ = |error: RecvError| -> Cause {
        match error {
            RecvError::Io(error) => {
                let error: iroh::endpoint::ReadError = error;
                error.into()
            }
            RecvError::Decode(error) => error,
            RecvError::Unknown(error) => {
                let error: std::io::Error = error;
                error.into()
            }
            RecvError::Cancelled => unreachable!(),
            _ => "cancelled".into(),
        }
    };
    let _ = |error: SendError| -> Cause {
        match error {
            SendError::Encode(error) => error,
            SendError::Io(error) => {
                let error: iroh::endpoint::WriteError = error;
                error.into()
            }
            SendError::Unknown(error) => {
                let error: std::io::Error = error;
                error.into()
            }
            SendError::Cancelled => unreachable!(),
            _ => "cancelled".into(),
        }
    };
    let refused = iroh::protocol::AcceptError::from(ConnectionError::ApplicationClosed(
        close::UnknownPeer.into(),
    ));
    let refused = AcceptError::Io(refused);
    assert!(
        refused
            .close_reason()
            .is_some_and(|r| *r == close::UnknownPeer)
    );
    let wrong = AcceptError::InvalidAlpn {
        expected: Mine::ALPN,
        received: b"/other".to_vec(),
    };
    assert!(std::error::Error::source(&LinkError::from(wrong)).is_some());
    let closed = ConnectionError::ApplicationClosed(close::UnknownPeer.into());
    let error = CloseError::AlreadyClosed(closed.clone());
    assert!(error.was_already_closed() && error == CloseError::AlreadyClosed(closed));
    let link = LinkError::from(error);
    assert!(
        link.close_reason()
            .is_some_and(|reason| reason == close::UnknownPeer)
    );
    let _ = |error: LinkError| match error {
        LinkError::Open(e) => e.to_string(),
        LinkError::Accept(e) => e.to_string(),
        LinkError::Recv(e) => e.to_string(),
        LinkError::Write(e) => e.to_string(),
        LinkError::Close(e) => e.to_string(),
        LinkError::Cancelled => String::new(),
    };
}

#[test]
fn the_codes_of_the_transport() {
    let codes: [(ApplicationClose, u32, &str); 9] = [
        (close::InvalidAlpn.into(), 100, "InvalidAlpn"),
        (close::DifferentNetwork.into(), 101, "DifferentNetwork"),
        (close::Cancelled.into(), 102, "Cancelled"),
        (close::UnexpectedClose.into(), 103, "UnexpectedClose"),
        (close::Undelivered.into(), 104, "Undelivered"),
        (close::Success.into(), 200, "Success"),
        (close::GracefulShutdown.into(), 204, "GracefulShutdown"),
        (close::ProtocolViolation.into(), 400, "ProtocolViolation"),
        (close::UnknownPeer.into(), 401, "UnknownPeer"),
    ];
    for (reason, code, name) in codes {
        assert_eq!(reason.error_code, iroh::endpoint::VarInt::from(code));
        assert_eq!(&reason.reason[..], name.as_bytes());
    }
}
