//! What the benchmarks share: nodes on loopback, raw QUIC beside them, and statistics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, presets},
};
use mosaik::{Digest, Network, NetworkId, discovery};
use tokio::time::sleep;

const RAW_ALPN: &[u8] = b"raw";

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

async fn raw_endpoint() -> Result<Endpoint> {
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

/// What was counted in a while, and what that took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rate {
    /// Per second of time.
    pub per_second: f64,
    /// Per second of processor time, of all threads together: the figure to compare on a machine
    /// that is busy with other things.
    pub per_cpu_second: f64,
}

impl Rate {
    /// Counts for a while, after a short warm-up.
    pub async fn measure(counter: &AtomicU64, period: Duration) -> Self {
        sleep(period / 4).await;
        let (count, cpu, started) = (counter.load(Ordering::Relaxed), cpu_time(), Instant::now());
        sleep(period).await;
        let counted = counter.load(Ordering::Relaxed) - count;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let counted = counted as f64;
        Self {
            per_second: counted / started.elapsed().as_secs_f64(),
            per_cpu_second: counted / (cpu_time() - cpu).as_secs_f64().max(0.01),
        }
    }

    /// The better of two, by each figure.
    #[must_use]
    pub fn best(self, other: Self) -> Self {
        Self {
            per_second: self.per_second.max(other.per_second),
            per_cpu_second: self.per_cpu_second.max(other.per_cpu_second),
        }
    }
}

/// Processor time of this process so far; zero where `/proc` is not available.
pub fn cpu_time() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses, which may contain spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<u32>().ok())
        .map(|ticks| TICK * ticks)
        .sum()
}
