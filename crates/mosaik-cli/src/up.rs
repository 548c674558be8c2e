//! `mosaik up`: a node that stays, for services that need one on a machine.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use mosaik::{Network, NetworkId, discovery, iroh::RelayMode};

use crate::{
    key,
    output::{json, note, print},
    peer::Peer,
    stop::Stop,
};

#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Options {
    /// Network: a name, or an id of 64 hex digits.
    #[arg(short, long, env = "MOSAIK_NETWORK", hide_env_values = true)]
    network: NetworkId,

    /// File with the node's secret key, which is made if there is none, readable for its owner only.
    /// Without it the node has another id at each start.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// Peer to dial at start: a peer id, `<peer id>@<ip:port>`, or `<peer id>@<host:port>`. Repeat for
    /// several.
    #[arg(short, long)]
    peers: Vec<Peer>,

    /// Tag of the node. Repeat for several.
    #[arg(short, long)]
    tags: Vec<String>,

    /// Socket address to bind. Repeat for several. Default: a random port on all interfaces.
    #[arg(long, value_name = "IP:PORT")]
    bind: Vec<SocketAddr>,

    /// Address at which others reach this node although no socket here has it. Repeat for several.
    #[arg(long, value_name = "IP:PORT")]
    external: Vec<SocketAddr>,

    /// Address at which metrics are served in the Prometheus text format.
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,

    /// Use no relays.
    #[arg(long)]
    no_relay: bool,

    /// Neither publish in the DHT nor look for peers there.
    #[arg(long)]
    no_dht: bool,

    /// Find and be found by nodes on the local segment.
    #[arg(long)]
    mdns: bool,

    /// Print id and addresses as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let relay_mode = if options.no_relay {
        RelayMode::Disabled
    } else {
        RelayMode::Default
    };
    let mut discovery = discovery::Config::builder()
        .with_tags(options.tags.iter().map(String::as_str))
        .with_no_dht_bootstrap(options.no_dht);
    for peer in &options.peers {
        discovery = peer.bootstrap(discovery);
    }
    let addresses = |addrs: &[SocketAddr]| -> std::collections::BTreeSet<SocketAddr> {
        addrs.iter().copied().collect()
    };
    let mut builder = Network::builder(options.network)
        .with_relay_mode(relay_mode)
        .with_mdns_discovery(options.mdns)
        .with_addresses(addresses(&options.bind))
        .with_external_addresses(addresses(&options.external))
        .with_prometheus_addr(options.metrics)
        .with_discovery(discovery);
    if let Some(key) = key::of_option(options.key_file.as_ref())? {
        builder = builder.with_secret_key(key);
    }
    let network = tokio::select! {
        built = builder.build() => built.context("the node could not be started")?,
        () = stop.requested() => return Ok(()),
    };
    let (id, addr) = (network.local().id(), network.local().addr());
    let addresses: Vec<_> = addr.ip_addrs().map(|ip| format!("{id}@{ip}")).collect();
    let lines = if options.json {
        json(&serde_json::json!({"node": id, "addresses": addresses}))?
    } else {
        addresses
            .iter()
            .fold(format!("{id}\n"), |mut lines, address| {
                let _ = writeln!(lines, "{address}");
                lines
            })
    };
    print(&lines)?;
    note(&format!(
        "up: {} addresses; stops at Ctrl+C",
        addresses.len()
    ));
    stop.requested().await;
    network.shutdown().await;
    Ok(())
}
