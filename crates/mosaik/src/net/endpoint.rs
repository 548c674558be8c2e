//! Binding the endpoint.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use futures::StreamExt;
use iroh::Watcher;
use iroh::{
    Endpoint, RelayMode, SecretKey,
    address_lookup::memory::MemoryLookup,
    endpoint::{
        BindError, Builder, IdleTimeout, InvalidSocketAddr, QuicTransportConfig,
        QuicTransportConfigBuilder, VarInt, presets,
    },
};

use tokio_util::sync::CancellationToken;

use super::{
    Links, LocalNode, Router,
    acceptors::Acceptors,
    bindings::bind_each,
    limits::{
        CONNECTION_WINDOW_BYTES, INITIAL_RTT, KEEP_ALIVE, MAX_SILENCE, MAX_STREAMS_PER_CONNECTION,
        STREAM_WINDOW_BYTES, UNPROVEN_WINDOW_BYTES,
    },
    metrics::TransportMetrics,
    process_nodes::{self, Listed},
    whole::{DialerProof, WholeProtocols},
};
use crate::primitives::{NetworkId, Scope};

/// Hook by which a user changes the endpoint's builder last.
pub(crate) type EndpointHook = Box<dyn FnOnce(Builder) -> Builder + Send>;

/// Settings with which the endpoint is bound.
pub(crate) struct EndpointOptions {
    pub(crate) network_id: NetworkId,
    pub(crate) secret_key: SecretKey,
    pub(crate) relay_mode: RelayMode,
    pub(crate) addresses: BTreeSet<SocketAddr>,
    pub(crate) external_addresses: BTreeSet<SocketAddr>,
    pub(crate) hook: Option<EndpointHook>,
}

/// Errors of binding the endpoint.
#[derive(Debug)]
pub(crate) enum EndpointError {
    Bind(BindError),
    InvalidAddress(InvalidSocketAddr),
}

/// A bound endpoint with its pool and router.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) local: LocalNode,
    pub(crate) links: Links,
    pub(crate) router: Router,
}

/// Binds the endpoint. Waits for nothing but the sockets.
pub(crate) async fn bind(
    options: EndpointOptions,
    scope: &Scope,
) -> Result<Transport, EndpointError> {
    let addresses = MemoryLookup::with_provenance("catalog");
    let metrics = TransportMetrics::register(&options.network_id);
    let whole = WholeProtocols::default();
    let freed = CancellationToken::new();
    let proof = DialerProof {
        network: options.network_id,
        protocols: whole.clone(),
        metrics: metrics.clone(),
        scope: scope.clone(),
        _freed: freed.clone().drop_guard(),
    };
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(options.secret_key)
        .relay_mode(options.relay_mode)
        .address_lookup(addresses.clone())
        .address_lookup(process_nodes::lookup())
        .transport_config(transport_config())
        .hooks(proof);
    if !options.addresses.is_empty() {
        builder = bind_each(builder, options.addresses)
            .await
            .map_err(EndpointError::InvalidAddress)?;
    }
    for address in options.external_addresses {
        builder = builder.external_addr(address);
    }
    if let Some(hook) = options.hook {
        builder = hook(builder);
    }
    let endpoint = builder.bind().await.map_err(EndpointError::Bind)?;
    publish_in_process(&endpoint, scope);

    let acceptors = Acceptors::new(whole);
    let local = LocalNode::new(options.network_id, endpoint.clone(), freed);
    let links = Links::new(&local, addresses, acceptors.clone(), metrics, scope.clone());
    let router = Router::new(endpoint, links.clone(), acceptors, scope.clone());
    Ok(Transport {
        local,
        links,
        router,
    })
}

/// The transport's settings: room for a handshake only, silence noticed within seconds. A peer that
/// has proven the network gets the rest, see `handshake`.
fn transport_config() -> QuicTransportConfig {
    transport_settings()
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(UNPROVEN_WINDOW_BYTES))
        .build()
}

/// The settings with the room that members of the network have.
pub(crate) fn proven_transport_config() -> QuicTransportConfig {
    let streams = VarInt::from_u32(MAX_STREAMS_PER_CONNECTION);
    transport_settings()
        .max_concurrent_bidi_streams(streams)
        .max_concurrent_uni_streams(streams)
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .build()
}

fn transport_settings() -> QuicTransportConfigBuilder {
    let idle = IdleTimeout::try_from(MAX_SILENCE).ok();
    QuicTransportConfig::builder()
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(idle)
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_max_idle_timeout(MAX_SILENCE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
}

/// Keeps this process's table of its own nodes current until the scope ends.
fn publish_in_process(endpoint: &Endpoint, scope: &Scope) {
    // In this order: what changes in between is an update.
    let mut changes = endpoint.watch_addr().stream_updates_only();
    let listed = Listed::new(endpoint.addr());
    scope.spawn(async move {
        while let Some(addr) = changes.next().await {
            listed.update(addr);
        }
        // The stream may end before the node does; the entry stays until then.
        std::future::pending::<()>().await;
    });
}

impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointOptions")
            .field("relay_mode", &self.relay_mode)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
