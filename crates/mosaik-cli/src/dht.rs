//! `mosaik dht`: what a network published in the DHT.

use std::{fmt::Display, io::Write, time::Duration};

use anyhow::Context;
use futures::{StreamExt, stream::FuturesOrdered};
use mosaik::{
    Network, NetworkId,
    discovery::{
        self, SignedPeerEntry,
        dht::{Client, Record, ResolveError, SLOT_COUNT, Slot, slots},
    },
    network::link::{LinkError, RecvError},
};

use crate::observe::chain;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Network: a name, or an id of 64 hex digits.
    #[arg(short, long)]
    network: NetworkId,

    /// Ping each peer found.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        action = clap::ArgAction::Set
    )]
    check_status: bool,

    /// Seconds that each step of a status check may take.
    #[arg(short, long, value_name = "SECS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,

    /// DHT node to start from, as <host:port>. Repeat for several. Default: the public ones.
    #[arg(long, value_name = "HOST:PORT")]
    dht_node: Vec<String>,
}

/// Findings about a slot.
struct Finding {
    slot: usize,
    record: Result<Option<Record>, ResolveError>,
    /// `None` if the peer was not asked.
    status: Option<Result<SignedPeerEntry, String>>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::open(&options.dht_node)
        .await
        .context("can't use the DHT")?;
    let pinger = if options.check_status {
        Some(pinger(options.network).await?)
    } else {
        None
    };
    let limit = Duration::from_secs(options.timeout);
    let slots = slots(&options.network);
    let mut findings: FuturesOrdered<_> = slots
        .iter()
        .map(|slot| inspect(&client, slot, pinger.as_ref(), limit))
        .collect();
    let mut all = Vec::with_capacity(SLOT_COUNT);
    writeln!(std::io::stdout(), "network: {}", options.network)?;
    while let Some(finding) = findings.next().await {
        print(&finding)?;
        all.push(finding);
    }
    drop(findings);
    summarize(&all)?;
    if let Some(pinger) = pinger {
        pinger.shutdown().await;
    }
    let answered = all
        .iter()
        .any(|found| found.record != Err(ResolveError::NoAnswer));
    anyhow::ensure!(answered, "no DHT node answered");
    Ok(())
}

/// A node that is not looked for and looks for nobody, to ping from.
async fn pinger(network: NetworkId) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder().no_dht_bootstrap();
    let building = Network::builder(network).with_discovery(discovery).build();
    building.await.context("can't start a node to check from")
}

async fn inspect(
    client: &Client,
    slot: &Slot,
    pinger: Option<&Network>,
    limit: Duration,
) -> Finding {
    let record = client.resolve(slot).await;
    let status = match (pinger, &record) {
        (Some(pinger), Ok(Some(record))) => {
            let ping = pinger.discovery().ping_within(record.addr(), limit).await;
            Some(ping.map_err(|error| match error {
                discovery::Error::Link(LinkError::Recv(RecvError::TimedOut)) => {
                    format!("no answer within {} s", limit.as_secs())
                }
                error => chain(&error),
            }))
        }
        _ => None,
    };
    Finding {
        slot: slot.index(),
        record,
        status,
    }
}

fn print(finding: &Finding) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let slot = format!("[{:2}]", finding.slot);
    let record = match &finding.record {
        Ok(Some(record)) => record,
        Ok(None) => return writeln!(out, "{slot} empty"),
        Err(ResolveError::NoAnswer) => {
            return writeln!(out, "{slot} failed (no DHT node answered)");
        }
        Err(error) => return writeln!(out, "{slot} invalid ({})", chain(error)),
    };
    writeln!(out, "{slot} {}", record.peer)?;
    writeln!(
        out,
        "     published: {}",
        record.published_at.format("%Y-%m-%d %H:%M:%S UTC")
    )?;
    writeln!(out, "     addresses: {}", list(&record.addresses))?;
    writeln!(out, "     relays: {}", list(&record.relays))?;
    match &finding.status {
        Some(Ok(entry)) => {
            let uptime = Duration::from_secs(entry.uptime().as_secs());
            writeln!(
                out,
                "     status: healthy (uptime: {})",
                humantime::format_duration(uptime)
            )
        }
        Some(Err(error)) => writeln!(out, "     status: unhealthy ({error})"),
        None => Ok(()),
    }
}

fn summarize(findings: &[Finding]) -> std::io::Result<()> {
    let count = |what: &dyn Fn(&Finding) -> bool| findings.iter().filter(|f| what(f)).count();
    let occupied = count(&|found| matches!(found.record, Ok(Some(_))));
    let mut out = std::io::stdout().lock();
    writeln!(out, "summary: {occupied}/{SLOT_COUNT} slots occupied")?;
    if findings.iter().any(|found| found.status.is_some()) {
        let healthy = count(&|found| matches!(found.status, Some(Ok(_))));
        let unhealthy = count(&|found| matches!(found.status, Some(Err(_))));
        writeln!(out, "healthy: {healthy}, unhealthy: {unhealthy}")?;
    }
    out.flush()
}

fn list(items: &[impl Display]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
