//! The transport: one endpoint, pooled connections, and streams of bounded frames on them.
//!
//! ```text
//! Links::open(protocol, peer) ──► one QUIC connection per (peer, protocol), dialed when needed
//!                                   │  network proof, once per connection (handshake)
//!                                   ▼
//!                                 one QUIC stream per exchange: a Link of framed messages
//!                                   ▲
//! Router: accepted streams ────────┘──► the Acceptor that is registered for the protocol
//! ```
//!
//! - A **link** is one QUIC stream: length-prefixed frames both ways, each a postcard message or
//!   bytes that a subsystem encoded itself. It ends with a close record (code and text) in band.
//! - A **connection** carries the links of one protocol between two peers, in both directions. It
//!   is proven to belong to this network before the first link, closed when idle, and replaced
//!   on the next use when broken.
//! - Everything that arrives is bounded before it is allocated, see [`limits`].

mod acceptors;
mod activity;
mod addresses;
mod bindings;
pub(crate) mod close;
mod endpoint;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod half_open;
mod handshake;
pub(crate) mod limits;
pub mod link;
mod links;
mod local;
mod metrics;
mod process_nodes;
mod router;
mod whole;

pub(crate) use acceptors::{Acceptor, ConnectionAcceptor};
pub use close::CloseReason;
pub(crate) use endpoint::{
    EndpointError, EndpointHook, EndpointOptions, bind, proven_transport_config,
};
pub(crate) use link::{Link, LinkReceiver, LinkSender};
pub(crate) use links::Links;
pub use local::LocalNode;
pub(crate) use router::Router;

/// Derives a secret that only the two ends of this connection share.
///
/// TLS keying material (RFC 5705) under `label`, with the connection's protocol as context.
pub(crate) fn exporter_secret(
    connection: &iroh::endpoint::Connection,
    label: &[u8],
) -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    let context = connection.alpn();
    connection
        .export_keying_material(&mut secret, label, context)
        .ok()?;
    Some(secret)
}
