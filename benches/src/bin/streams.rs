//! Streams beside the raw transport, in the same process and minute.
//!
//! `streams [seconds per measurement] [rounds] [only]`; the best round of each counts, for both sides.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{SinkExt, future::join_all};
use mosaik::{Datum, Network, streams::Producer};
use mosaik_bench::{Rate, network, percentile, raw_connection};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

const FRAME_HEADER_BYTES: usize = 4;
const LONE_DATUMS: usize = 2000;

/// 64 bytes encoded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Tick {
    prices: [u64; 6],
    serial: u32,
}

impl Tick {
    const fn new() -> Self {
        Self {
            prices: [u64::MAX; 6],
            serial: 1 << 24,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Blob(Bytes);

struct Case {
    name: &'static str,
    bytes: usize,
    consumers: usize,
    /// True if each consumer is on a node of its own.
    apart: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "64 B, 1 consumer",
        bytes: 64,
        consumers: 1,
        apart: true,
    },
    Case {
        name: "1 KiB, 1 consumer",
        bytes: 1024,
        consumers: 1,
        apart: true,
    },
    Case {
        name: "64 KiB, 1 consumer",
        bytes: 65536,
        consumers: 1,
        apart: true,
    },
    Case {
        name: "64 B, 8 consumers",
        bytes: 64,
        consumers: 8,
        apart: true,
    },
    Case {
        name: "64 B, 8 on one node",
        bytes: 64,
        consumers: 8,
        apart: false,
    },
    Case {
        name: "1 KiB, 8 consumers",
        bytes: 1024,
        consumers: 8,
        apart: true,
    },
    Case {
        name: "64 KiB, 8 consumers",
        bytes: 65536,
        consumers: 8,
        apart: true,
    },
];

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let seconds: f64 = args.next().map_or(Ok(2.0), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let only = args.next().unwrap_or_default();
    let period = Duration::from_secs_f64(seconds);

    println!("| case | delivered/s | MB/s | raw MB/s | ratio | per CPU s | CPU ratio |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for case in CASES.iter().filter(|case| case.name.contains(&only)) {
        let (mut ours, mut raw) = (Rate::default(), Rate::default());
        for _ in 0..rounds {
            raw = raw.best(raw_throughput(case, period).await?);
            ours = ours.best(throughput(case, period).await?);
        }
        let wire_bytes = precise(case.bytes + FRAME_HEADER_BYTES);
        println!(
            "| {} | {:.0} | {:.1} | {:.1} | {:.2} | {:.0} | {:.2} |",
            case.name,
            ours.per_second,
            ours.per_second * wire_bytes / 1e6,
            raw.per_second / 1e6,
            ours.per_second * wire_bytes / raw.per_second,
            ours.per_cpu_second,
            ours.per_cpu_second * wire_bytes / raw.per_cpu_second,
        );
    }
    if only.is_empty() || "latency".contains(&only) {
        latency().await?;
    }
    Ok(())
}

// ---- ours

async fn throughput(case: &Case, period: Duration) -> Result<Rate> {
    if case.bytes == 64 {
        return measure(case, period, Tick::new()).await;
    }
    // The length of the bytes takes two or three bytes itself.
    let prefix = if case.bytes < 1 << 14 { 2 } else { 3 };
    measure(case, period, Blob(vec![7; case.bytes - prefix].into())).await
}

async fn measure<D: Datum + Clone + Sync>(case: &Case, period: Duration, datum: D) -> Result<Rate> {
    let bytes = datum.encode()?.len();
    anyhow::ensure!(bytes == case.bytes, "datum has {bytes} bytes");
    let (first, others) = network(if case.apart { case.consumers } else { 1 }).await?;
    let delivered = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for index in 0..case.consumers {
        let mut consumer = others[index % others.len()].streams().consume::<D>();
        let delivered = delivered.clone();
        tasks.push(tokio::task::spawn(async move {
            let mut count = 0;
            while consumer.recv().await.is_some() {
                count += 1;
                if count % 64 == 0 {
                    delivered.fetch_add(64, Ordering::Relaxed);
                }
            }
        }));
    }
    let producer = ready::<D>(&first, case.consumers).await?;
    let mut sending = producer.clone();
    tasks.push(tokio::task::spawn(async move {
        while sending.send(datum.clone()).await.is_ok() {}
    }));
    let rate = Rate::measure(&delivered, period).await;
    let connected = producer
        .consumers()
        .filter(|channel| channel.is_connected())
        .count();
    anyhow::ensure!(
        connected == case.consumers,
        "only {connected} consumers are left"
    );
    for task in tasks {
        task.abort();
    }
    drop(producer);
    join_all(others.into_iter().map(Network::shutdown)).await;
    first.shutdown().await;
    Ok(rate)
}

async fn ready<D: Datum>(node: &Network, consumers: usize) -> Result<Producer<D>> {
    let producer = node.streams().produce::<D>();
    let all = producer.when().subscribed().minimum_of(consumers);
    timeout(Duration::from_secs(10), all)
        .await
        .context("consumers did not connect")?;
    Ok(producer)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn precise(value: usize) -> f64 {
    value as f64
}

// ---- raw

/// Bytes per second over as many connections as the case has consumers on different nodes.
async fn raw_throughput(case: &Case, period: Duration) -> Result<Rate> {
    let received = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    let mut kept = Vec::new();
    let connections = if case.apart { case.consumers } else { 1 };
    for _ in 0..connections {
        let (dialed, accepted, endpoints) = raw_connection().await?;
        for _ in 0..case.consumers / connections {
            let mut send = dialed.open_uni().await?;
            tasks.push(tokio::task::spawn(async move {
                let chunk = Bytes::from(vec![7; 64 * 1024]);
                while send.write_chunk(chunk.clone()).await.is_ok() {}
            }));
            let (accepted, received) = (accepted.clone(), received.clone());
            tasks.push(tokio::task::spawn(async move {
                let Ok(mut recv) = accepted.accept_uni().await else {
                    return;
                };
                let mut chunks = [const { Bytes::new() }; 32];
                while let Ok(Some(count)) = recv.read_many_chunks(&mut chunks).await {
                    let bytes: usize = chunks[..count].iter().map(Bytes::len).sum();
                    received.fetch_add(bytes as u64, Ordering::Relaxed);
                }
            }));
        }
        kept.push((dialed, accepted, endpoints));
    }
    let rate = Rate::measure(&received, period).await;
    for task in tasks {
        task.abort();
    }
    for (_, _, endpoints) in kept {
        join_all(endpoints.iter().map(iroh::Endpoint::close)).await;
    }
    Ok(rate)
}

// ---- latency

async fn latency() -> Result<()> {
    let raw = raw_round_trips().await?;
    let lone = lone_datums().await?;
    println!("\n| latency | p50 | p99 |\n| --- | ---: | ---: |");
    for (name, samples) in [
        ("raw round trip", &raw),
        ("lone datum, send to recv", &lone),
    ] {
        let (p50, p99) = (percentile(samples, 0.5), percentile(samples, 0.99));
        println!("| {name} | {p50:.1?} | {p99:.1?} |");
    }
    let ratio = percentile(&lone, 0.5).as_secs_f64() / percentile(&raw, 0.5).as_secs_f64();
    println!("\nlone datum / raw round trip, p50: {ratio:.2}");
    Ok(())
}

async fn raw_round_trips() -> Result<Vec<Duration>> {
    let (dialed, accepted, _endpoints) = raw_connection().await?;
    tokio::task::spawn(async move {
        let (mut send, mut recv) = accepted.accept_bi().await?;
        let mut message = [0; 64];
        while recv.read_exact(&mut message).await.is_ok() {
            send.write_all(&message).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let (mut send, mut recv) = dialed.open_bi().await?;
    let mut samples = Vec::new();
    let mut message = [7; 64];
    for _ in 0..LONE_DATUMS {
        let started = Instant::now();
        send.write_all(&message).await?;
        recv.read_exact(&mut message).await?;
        samples.push(started.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    samples.sort_unstable();
    Ok(samples)
}

async fn lone_datums() -> Result<Vec<Duration>> {
    let (first, others) = network(1).await?;
    let mut consumer = others[0].streams().consume::<Tick>();
    let mut producer = ready::<Tick>(&first, 1).await?;
    let (arrived, mut arrivals) = tokio::sync::mpsc::channel(1);
    let receiving = tokio::task::spawn(async move {
        while consumer.recv().await.is_some() {
            if arrived.send(Instant::now()).await.is_err() {
                return;
            }
        }
    });
    let mut samples = Vec::new();
    for _ in 0..LONE_DATUMS {
        let started = Instant::now();
        producer.send(Tick::new()).await?;
        let at = arrivals.recv().await.context("consumer ended")?;
        samples.push(at.duration_since(started));
        sleep(Duration::from_millis(1)).await;
    }
    receiving.abort();
    samples.sort_unstable();
    Ok(samples)
}
