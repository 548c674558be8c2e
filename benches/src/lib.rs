//! Common parts of the benchmarks: nodes on loopback, raw QUIC beside them, and statistics.
#![allow(
    clippy::missing_errors_doc,
    clippy::unchecked_time_subtraction,
    reason = "helpers of benchmarks: any failure ends the run"
)]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, RecvStream, SendStream, presets},
};
use mosaik::{Digest, Network, NetworkId, discovery};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Timeout of a benchmark for a condition that must come about.
const PATIENCE: Duration = Duration::from_secs(30);
const MESSAGE: [u8; 64] = [7; 64];

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

/// Three nodes that know each other.
pub async fn three_nodes() -> Result<Vec<Network>> {
    let (first, mut nodes) = network(2).await?;
    nodes.insert(0, first);
    for one in &nodes {
        for other in &nodes {
            within(async {
                while one.local().id() != other.local().id()
                    && one.discovery().catalog().get(&other.local().id()).is_none()
                {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await?;
        }
    }
    Ok(nodes)
}

/// Waits for what must happen.
pub async fn within<T>(future: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, future).await.context("not in time")
}

/// Small messages that go to and fro on one stream between two plain endpoints.
#[derive(Debug)]
pub struct Ping {
    send: SendStream,
    recv: RecvStream,
    _kept: (Connection, [Endpoint; 2], JoinHandle<Result<()>>),
}

impl Ping {
    /// Connects two endpoints.
    pub async fn new() -> Result<Self> {
        let (dialed, accepted, endpoints) = raw_connection().await?;
        let echo = tokio::task::spawn(async move {
            let (mut send, mut recv) = accepted.accept_bi().await?;
            let mut message = MESSAGE;
            while recv.read_exact(&mut message).await.is_ok() {
                send.write_all(&message).await?;
            }
            anyhow::Ok(())
        });
        let (send, recv) = dialed.open_bi().await?;
        Ok(Self {
            send,
            recv,
            _kept: (dialed, endpoints, echo),
        })
    }

    /// There and back.
    pub async fn ping(&mut self) -> Result<()> {
        let mut message = MESSAGE;
        self.send.write_all(&message).await?;
        self.recv.read_exact(&mut message).await?;
        Ok(())
    }
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

/// The median of samples.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    percentile(&times, 0.5)
}

/// In microseconds.
pub fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// In milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A line of this process's memory statistics, as `VmRSS`, in bytes.
pub fn memory(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("memory statistics")?.parse::<u64>()? * 1024)
}

/// Rates of a count, per second and per second of processor time.
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
