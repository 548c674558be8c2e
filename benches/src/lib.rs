//! What the benchmarks share: nodes on loopback, raw QUIC beside them, and statistics.

use std::time::Duration;

use anyhow::{Context, Result};
use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, presets},
};
use mosaik::{Digest, Network, NetworkId, discovery};

/// The protocol of plain endpoints.
pub const RAW_ALPN: &[u8] = b"raw";

/// A node on loopback without relay and DHT that knows another one.
pub async fn node(network: NetworkId, bootstrap: Option<EndpointAddr>) -> Result<Network> {
    let mut discovery = discovery::Config::builder().no_dht_bootstrap();
    if let Some(bootstrap) = bootstrap {
        discovery = discovery.with_bootstrap(bootstrap);
    }
    Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery)
        .build()
        .await
        .context("building a node")
}

/// A network of one first node and `others` that know it.
pub async fn network(others: usize) -> Result<(Network, Vec<Network>)> {
    let id = Digest::random();
    let first = node(id, None).await?;
    let mut rest = Vec::new();
    for _ in 0..others {
        rest.push(node(id, Some(first.local().addr())).await?);
    }
    Ok((first, rest))
}

/// A connection between two plain endpoints with the transport settings of a node: both ends, and
/// the endpoints to keep.
pub async fn raw_connection() -> Result<(Connection, Connection, [Endpoint; 2])> {
    let (server, client) = (raw_endpoint().await?, raw_endpoint().await?);
    let accepting = server.clone();
    let accepted = tokio::task::spawn(async move {
        let incoming = accepting.accept().await.context("endpoint closed")?;
        Ok::<_, anyhow::Error>(incoming.accept()?.await?)
    });
    let dialed = client.connect(server.addr(), RAW_ALPN).await?;
    Ok((dialed, accepted.await??, [server, client]))
}

/// A plain endpoint with the transport settings of a node.
pub async fn raw_endpoint() -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .alpns(vec![RAW_ALPN.to_vec()])
        .transport_config(mosaik::__bench::transport_config())
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?;
    Ok(builder.bind().await?)
}

/// A share of sorted samples: 0.5 is the median.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count"
    )]
    let index = (sorted.len() as f64 * share) as usize;
    let index = index.min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
