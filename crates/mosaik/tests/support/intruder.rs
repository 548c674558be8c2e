//! A peer that speaks the protocols by hand, and need not keep to them.

use mosaik::{
    Network, NetworkId, PeerId, SecretKey,
    iroh::{
        Endpoint, EndpointAddr, RelayMode,
        endpoint::{
            AfterHandshakeOutcome, ApplicationClose, Builder, Connection, ConnectionError,
            EndpointHooks, QuicTransportConfig, RecvStream, SendStream, Side, presets,
        },
    },
};
use serde::Serialize;

use super::within;

pub const ANNOUNCE_ALPN: &[u8] = b"/mosaik/announce";
pub const SYNC_ALPN: &[u8] = b"/mosaik/catalog-sync";
pub const PING_ALPN: &[u8] = b"/mosaik/discovery/ping/1.0";
pub const STREAMS_ALPN: &[u8] = b"/mosaik/streams/1.0";
pub const GROUPS_ALPN: &[u8] = b"/mosaik/groups/1";
pub const STATUS_ALPN: &[u8] = b"/mosaik/status/1";
pub const FUNCTIONS_ALPN: &[u8] = b"/mosaik/functions/1.0";

pub struct Intruder {
    pub secret: SecretKey,
    pub endpoint: Endpoint,
}

impl Intruder {
    /// An endpoint on loopback that accepts all protocols.
    pub async fn new() -> Self {
        Self::built(|builder| builder).await
    }

    /// An intruder that takes only this many bytes of a stream before they are read.
    pub async fn with_window(bytes: u32) -> Self {
        let config = QuicTransportConfig::builder().stream_receive_window(bytes.into());
        Self::built(|builder| builder.transport_config(config.build())).await
    }

    /// One that proves a network also where a protocol brings its own framing.
    pub async fn member(network: NetworkId) -> Self {
        Self::built(|builder| builder.hooks(Proof(network))).await
    }

    /// One that proves a network likewise, and takes only so many bytes of a stream.
    pub async fn member_with_window(network: NetworkId, bytes: u32) -> Self {
        let config = QuicTransportConfig::builder().stream_receive_window(bytes.into());
        let config = config.build();
        Self::built(|builder| builder.transport_config(config).hooks(Proof(network))).await
    }

    /// One that allows a single stream on each connection that it accepts.
    pub async fn stingy() -> Self {
        let config = QuicTransportConfig::builder().max_concurrent_bidi_streams(1u8.into());
        Self::built(|builder| builder.transport_config(config.build())).await
    }

    async fn built(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let secret = SecretKey::generate();
        let alpns = [
            ANNOUNCE_ALPN,
            SYNC_ALPN,
            PING_ALPN,
            STREAMS_ALPN,
            FUNCTIONS_ALPN,
            STATUS_ALPN,
        ];
        let builder = Endpoint::builder(presets::Minimal)
            .secret_key(secret.clone())
            .relay_mode(RelayMode::Disabled)
            .alpns(alpns.map(<[u8]>::to_vec).to_vec())
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")
            .unwrap();
        let endpoint = configure(builder).bind().await.unwrap();
        Self { secret, endpoint }
    }

    pub fn id(&self) -> PeerId {
        self.secret.public()
    }

    pub fn addr(&self) -> EndpointAddr {
        self.endpoint.addr()
    }

    /// A connection on which nothing has been said yet.
    pub async fn connect(&self, target: &Network, alpn: &[u8]) -> Connection {
        let connecting = self.endpoint.connect(target.local().addr(), alpn);
        within(5, connecting).await.unwrap()
    }

    /// A connection that has proven to be of the target's network.
    pub async fn join(&self, target: &Network, alpn: &[u8]) -> Connection {
        let connection = self.connect(target, alpn).await;
        let mut welcomed = hello(&connection, target.network_id()).await;
        let mut welcome = [0; 36];
        within(5, welcomed.read_exact(&mut welcome)).await.unwrap();
        let expected = proof(&connection, target.network_id(), b"acceptor");
        assert_eq!(welcome[4..], expected, "the target proves itself too");
        connection
    }

    /// Waits for a connection, and answers the proof with that of a network.
    pub async fn accept(&self, network: &NetworkId) -> Connection {
        let incoming = within(10, self.endpoint.accept()).await.unwrap();
        let connection = incoming.await.unwrap();
        welcome(&connection, network).await;
        connection
    }
}

/// Proves a network as a node does when a protocol dials or accepts by itself.
#[derive(Debug)]
struct Proof(NetworkId);

impl EndpointHooks for Proof {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        if connection.alpn() == ANNOUNCE_ALPN {
            match connection.side() {
                Side::Client => {
                    let mut welcome = [0; 36];
                    let mut welcomed = hello(connection, &self.0).await;
                    welcomed.read_exact(&mut welcome).await.unwrap();
                }
                Side::Server => welcome(connection, &self.0).await,
            }
        }
        AfterHandshakeOutcome::Accept
    }
}

/// Answers the proof of a dialer.
pub async fn welcome(connection: &Connection, network: &NetworkId) {
    let (mut send, mut recv) = connection.accept_bi().await.unwrap();
    recv.read_to_end(1024).await.unwrap();
    let welcome = frame(&proof(connection, network, b"acceptor"));
    send.write_all(&welcome).await.unwrap();
    send.finish().unwrap();
}

/// Proves to be of a network, and returns where the answer will come.
pub async fn hello(connection: &Connection, network: &NetworkId) -> RecvStream {
    let (mut send, recv) = connection.open_bi().await.unwrap();
    let hello = frame(&(1u16, proof(connection, network, b"dialer")));
    send.write_all(&hello).await.unwrap();
    send.finish().unwrap();
    recv
}

fn proof(connection: &Connection, network: &NetworkId, role: &[u8]) -> [u8; 32] {
    let mut secret = [0; 32];
    connection
        .export_keying_material(
            &mut secret,
            b"EXPORTER-mosaik-network-proof",
            connection.alpn(),
        )
        .unwrap();
    let key = blake3::derive_key("mosaik 2026-11 network proof", network.as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&secret).update(role);
    hasher.finalize().into()
}

/// A message as it crosses the network.
pub fn frame(message: &impl Serialize) -> Vec<u8> {
    let payload = postcard::to_stdvec(message).unwrap();
    let len = u32::try_from(payload.len()).unwrap();
    [&len.to_le_bytes()[..], &payload].concat()
}

/// The header of a frame, without the frame.
pub fn header(len: u32) -> [u8; 4] {
    len.to_le_bytes()
}

/// Opens a stream and writes to it. It may be refused before everything is written.
pub async fn say(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = connection.open_bi().await.unwrap();
    let _ = send.write_all(bytes).await;
    (send, recv)
}

/// Close code with which the target ended a stream: from its close record, or else from the reset.
pub async fn end_of(recv: &mut RecvStream) -> Option<u64> {
    let mut received = Vec::new();
    let mut part = [0; 4096];
    loop {
        match within(15, recv.read(&mut part)).await {
            Ok(Some(len)) => received.extend_from_slice(&part[..len]),
            Ok(None) => break,
            Err(mosaik::iroh::endpoint::ReadError::Reset(code)) => return Some(code.into_inner()),
            Err(error) => panic!("{error}"),
        }
    }
    let mut rest = &received[..];
    while let Some((header, after)) = rest.split_first_chunk::<4>() {
        let header = u32::from_le_bytes(*header);
        if header & (1 << 31) != 0 {
            let code = after.first_chunk::<4>().unwrap();
            return Some(u32::from_le_bytes(*code).into());
        }
        rest = &after[header as usize..];
    }
    None
}

/// Reason with which the target closed a connection.
pub async fn closing(connection: &Connection) -> ApplicationClose {
    match within(15, connection.closed()).await {
        ConnectionError::ApplicationClosed(reason) => reason,
        other => panic!("{other}"),
    }
}
