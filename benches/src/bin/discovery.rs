//! Time and traffic with which a network forms: N nodes in this process, over loopback sockets,
//! each given the address of the first.
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use mosaik::{
    Digest, Network, PeerId,
    discovery::{self, Catalog},
    iroh::{EndpointAddr, RelayMode},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for several heartbeats and probes.
const IDLE: Duration = Duration::from_secs(20);
const CHANGES: usize = 20;
const ENTRIES: usize = 1000;
const SYNCS: usize = 10;
/// Tags of the entry whose announces are measured.
const TAGS: u32 = 20;
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(300);
const ANNOUNCES: usize = 5;
const SETTLING: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "victim"
    {
        return be_victim(rest).await;
    }
    let started = Instant::now();
    let network = node(Digest::random(), None).await?;
    println!(
        "Network::new, no relay, no DHT: {:.1} ms",
        ms(started.elapsed())
    );
    network.shutdown().await;
    let started = Instant::now();
    let network = Network::new(Digest::random()).await?;
    println!(
        "Network::new, all defaults:     {:.1} ms",
        ms(started.elapsed())
    );
    network.shutdown().await;

    sync_of_equals().await?;

    println!(
        "\n{:>5} {:>14} {:>26} {:>16} {:>18} {:>16}",
        "nodes",
        "all know all",
        "a change reaches all",
        "joining, a node",
        "idle, a node",
        "one is gone"
    );
    let counts = arguments
        .iter()
        .map(|n| n.parse::<usize>())
        .collect::<Result<Vec<_>, _>>()?;
    let counts = if counts.is_empty() {
        vec![12, 24, 48, 96]
    } else {
        counts
    };
    for count in counts {
        measure(count)
            .await
            .with_context(|| format!("{count} nodes"))?;
    }
    // Last, as counting costs a little from then on.
    println!(
        "\na periodic announce of an unchanged entry with {TAGS} tags: {} bytes a message",
        announce_of_the_unchanged().await?
    );
    Ok(())
}

/// Bytes that an unchanged node hands to gossip for each announcement, by its own count.
async fn announce_of_the_unchanged() -> anyhow::Result<u64> {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let discovery = discovery::Config::builder()
        .no_dht_bootstrap()
        .with_tags((0..TAGS).map(Digest::from_u32).collect::<Vec<_>>())
        .with_announce_interval(ANNOUNCE_INTERVAL)
        .with_announce_jitter(0.0);
    let network = Network::builder(Digest::random())
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery)
        .with_prometheus_addr(metrics)
        .build()
        .await?;
    let measuring = async {
        let mut totals = vec![announced_bytes(metrics).await?];
        // The first ones are of the entry that is new.
        while totals.len() <= 2 + ANNOUNCES {
            tokio::time::sleep(ANNOUNCE_INTERVAL / 10).await;
            let total = announced_bytes(metrics).await?;
            if totals.last() != Some(&total) {
                totals.push(total);
            }
        }
        let messages = totals[2..].windows(2).map(|pair| pair[1] - pair[0]);
        messages.max().context("no announce")
    };
    let size = timeout(PATIENCE, measuring).await.context("not in time")?;
    network.shutdown().await;
    size
}

/// Reads the exporter of this process.
async fn announced_bytes(metrics: SocketAddr) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(metrics).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let line = response
        .lines()
        .find(|line| line.starts_with("mosaik_discovery_announce_bytes{"))
        .context("nothing was announced yet")?;
    let (_, total) = line.rsplit_once(' ').context("a sample has a value")?;
    Ok(total.parse()?)
}

/// Traffic with which two nodes find out that their catalogs are equal.
async fn sync_of_equals() -> anyhow::Result<()> {
    let id = Digest::random();
    let mut entries = Vec::new();
    for _ in 0..ENTRIES {
        let peer = node(id, None).await?;
        entries.push(peer.discovery().me());
        peer.shutdown().await;
    }
    let nodes = [node(id, None).await?, node(id, None).await?];
    for node in &nodes {
        for entry in &entries {
            node.discovery().feed(entry.clone());
        }
    }
    let peer = nodes[1].local().addr();
    let mut costs = Vec::new();
    for _ in 0..SYNCS {
        let before = sent_bytes(&nodes);
        nodes[0].discovery().sync_with(peer.clone()).await?;
        costs.push(sent_bytes(&nodes) - before);
    }
    let known = nodes.each_ref().map(|node| node.discovery().catalog());
    anyhow::ensure!(
        known.iter().all(|catalog| catalog.peers_count() > ENTRIES),
        "the catalogs lost entries"
    );
    // The first has to connect; some carry a probe or an acknowledgement besides.
    costs.sort_unstable();
    println!(
        "a sync of two equal catalogs of {ENTRIES} entries: {} bytes, packets included",
        costs[SYNCS / 2]
    );
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}

async fn measure(count: usize) -> anyhow::Result<()> {
    let id = Digest::random();
    let first = node(id, None).await?;
    let bootstrap = first.local().addr();
    let mut nodes = vec![first];
    for _ in 1..count {
        nodes.push(node(id, Some(bootstrap.clone())).await?);
    }
    let last_start = Instant::now();
    all(&nodes, |catalog| catalog.peers_count() == count - 1).await?;
    let formed = last_start.elapsed();
    let joining = sent_bytes(&nodes) / count as u64;

    let mut changes = Vec::new();
    for round in 0..CHANGES {
        let owner = &nodes[round * (count - 1) / CHANGES];
        let (owner_id, tag) = (owner.local().id(), Digest::random());
        let changed = Instant::now();
        owner.discovery().add_tags(tag);
        all(&nodes, |c| {
            c.get(&owner_id)
                .is_some_and(|entry| entry.tags().contains(&tag))
        })
        .await?;
        changes.push(changed.elapsed());
    }
    changes.sort();

    let before = sent_bytes(&nodes);
    tokio::time::sleep(IDLE).await;
    let idle = (sent_bytes(&nodes) - before) / count as u64 / IDLE.as_secs();

    let mut victim = Victim::start(id, &bootstrap).await?;
    let victim_id = victim.peer;
    all(&nodes, |catalog| catalog.get(&victim_id).is_some()).await?;
    // It becomes a peer like the others before it dies.
    tokio::time::sleep(SETTLING).await;
    victim.process.kill().await?;
    let crashed = Instant::now();
    all(&nodes, |catalog| catalog.get(&victim_id).is_none()).await?;
    println!(
        "{count:>5} {:>11.0} ms {:>15.1} / {:.1} ms {:>13.1} kB {:>14.2} kB/s {:>14.1} s",
        ms(formed),
        ms(changes[CHANGES / 2]),
        ms(changes[CHANGES - 1]),
        joining as f64 / 1e3,
        idle as f64 / 1e3,
        crashed.elapsed().as_secs_f64(),
    );
    let shutdowns = nodes.into_iter().map(|node| tokio::spawn(node.shutdown()));
    for shutdown in shutdowns.collect::<Vec<_>>() {
        shutdown.await?;
    }
    Ok(())
}

async fn node(id: Digest, bootstrap: Option<EndpointAddr>) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
        .no_dht_bootstrap()
        .with_bootstrap(bootstrap);
    let network = Network::builder(id)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery)
        .build();
    Ok(network.await?)
}

async fn all(nodes: &[Network], condition: impl Fn(&Catalog) -> bool) -> anyhow::Result<()> {
    for node in nodes {
        let mut watch = node.discovery().catalog_watch();
        timeout(PATIENCE, watch.wait_for(&condition))
            .await
            .context("not in time")??;
    }
    Ok(())
}

/// A node in a process of its own, to be killed.
struct Victim {
    process: Child,
    peer: PeerId,
}

impl Victim {
    async fn start(id: Digest, bootstrap: &EndpointAddr) -> anyhow::Result<Self> {
        let addr = bootstrap.ip_addrs().next().context("no address")?;
        let mut process = Command::new(std::env::current_exe()?)
            .args([
                "victim",
                &id.to_string(),
                &bootstrap.id.to_string(),
                &addr.to_string(),
            ])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = timeout(PATIENCE, lines.next_line())
            .await??
            .context("no peer id")?;
        Ok(Self {
            process,
            peer: line.parse()?,
        })
    }
}

/// The victim's side.
async fn be_victim(arguments: &[String]) -> anyhow::Result<()> {
    let [id, peer, addr] = arguments else {
        anyhow::bail!("network, peer and address expected")
    };
    let peer: PeerId = peer.parse()?;
    let bootstrap = EndpointAddr::from(peer).with_ip_addr(addr.parse()?);
    let network = node(id.as_str().into(), Some(bootstrap)).await?;
    println!("{}", network.local().id());
    std::future::pending().await
}

fn sent_bytes(nodes: &[Network]) -> u64 {
    nodes
        .iter()
        .map(|node| node.local().endpoint().metrics().socket.send_ipv4.get())
        .sum()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
