//! `mosaik beacon`: a node that does nothing but be there.

use std::{fmt::Display, io::Write, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use mosaik::{Digest, Network, NetworkId, SecretKey, discovery, iroh::RelayMode};

use crate::{peer::Peer, stop::Stop};

/// Timeout for the first relay; the addresses are printed without it after that.
const RELAY_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Network: a name, or an id of 64 hex digits.
    #[arg(short, long)]
    network: NetworkId,

    /// Secret key of 64 hex digits, or any text to hash into one. Default: random. Other users of
    /// the machine may see the command line: prefer the variable or --secret-file.
    #[arg(short, long, env = "MOSAIK_SECRET", hide_env_values = true)]
    secret: Option<String>,

    /// File with the secret in its first line.
    #[arg(long, value_name = "PATH", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,

    /// Peer to dial at start: a peer id, `<peer id>@<ip:port>`, or `<peer id>@<host:port>`, whose
    /// name is looked up at each attempt. Repeat for several.
    #[arg(short, long)]
    peers: Vec<Peer>,

    /// Tag of the node. Repeat for several.
    #[arg(short, long, default_value = "beacon-node")]
    tags: Vec<String>,

    /// Use no relays.
    #[arg(long)]
    no_relay: bool,

    /// Neither publish in the DHT nor look for peers there.
    #[arg(long)]
    no_dht: bool,

    /// DHT node to start from, as <host:port>. Repeat for several. Default: the public ones.
    #[arg(long, value_name = "HOST:PORT")]
    dht_node: Vec<String>,

    /// Socket address to bind. Repeat for several. Default: a random port on all interfaces.
    #[arg(long, value_name = "IP:PORT")]
    bind: Vec<SocketAddr>,

    /// Address at which others reach this node although no socket here has it, as behind a
    /// forwarded port. Repeat for several.
    #[arg(long, value_name = "IP:PORT")]
    external: Vec<SocketAddr>,

    /// Find and be found by nodes on the local segment.
    #[arg(long)]
    mdns: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let network_id = options.network;
    let relay_mode = if options.no_relay {
        RelayMode::Disabled
    } else {
        RelayMode::Default
    };
    let mut discovery = discovery::Config::builder()
        .with_tags(options.tags.iter().map(String::as_str))
        .with_no_dht_bootstrap(options.no_dht)
        .with_dht_nodes(options.dht_node.clone());
    for peer in &options.peers {
        discovery = peer.bootstrap(discovery);
    }
    let mut builder = Network::builder(network_id)
        .with_relay_mode(relay_mode)
        .with_mdns_discovery(options.mdns)
        .with_addresses(
            options
                .bind
                .iter()
                .copied()
                .collect::<std::collections::BTreeSet<_>>(),
        )
        .with_external_addresses(
            options
                .external
                .iter()
                .copied()
                .collect::<std::collections::BTreeSet<_>>(),
        )
        .with_discovery(discovery);
    if let Some(secret) = secret(&options)? {
        builder = builder.with_secret_key(secret);
    }
    let network = builder
        .build()
        .await
        .context("the node could not be started")?;
    tokio::select! {
        shown = show(&network, &options) => {
            match shown {
                // Whoever read it has gone, and the node stays for the others.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                shown => shown.context("can't print")?,
            }
            stop.requested().await;
        }
        () = stop.requested() => {}
    }
    network.shutdown().await;
    Ok(())
}

/// The secret key that was given, if any: 64 hex digits are the key itself, else the text's hash.
fn secret(options: &Options) -> anyhow::Result<Option<SecretKey>> {
    let text = match &options.secret_file {
        Some(path) => {
            let content = std::fs::read_to_string(path)
                .with_context(|| format!("can't read the secret from {}", path.display()))?;
            Some(content.lines().next().unwrap_or_default().trim().to_owned())
        }
        None => options.secret.clone(),
    };
    anyhow::ensure!(text.as_deref() != Some(""), "the secret is empty");
    Ok(text.map(|text| SecretKey::from(Digest::from(text.as_str()))))
}

/// Prints who the node is, once it has found its relay.
async fn show(network: &Network, options: &Options) -> std::io::Result<()> {
    if !options.no_relay {
        wait_for_relay(network).await;
    }
    print(network, options)
}

async fn wait_for_relay(network: &Network) {
    let mut catalog = network.discovery().catalog_watch();
    let has_relay =
        |catalog: &discovery::Catalog| catalog.local().address().relay_urls().next().is_some();
    // Without one, the node is as good for those who reach it directly.
    let _ = tokio::time::timeout(RELAY_PATIENCE, catalog.wait_for(has_relay)).await;
}

fn print(network: &Network, options: &Options) -> std::io::Result<()> {
    let addr = network.local().addr();
    let relays = match list(addr.relay_urls()) {
        _ if options.no_relay => "disabled".to_owned(),
        relays => relays,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "mosaik beacon")?;
    writeln!(out, "network: {}", network.network_id())?;
    writeln!(out, "peer id: {}", network.local().id())?;
    writeln!(out, "tags   : {}", list(&options.tags))?;
    writeln!(out, "peers  : {}", list(options.peers.iter().map(Peer::id)))?;
    writeln!(out, "ips    : {}", list(addr.ip_addrs()))?;
    writeln!(out, "relays : {relays}")?;
    writeln!(out, "press Ctrl+C to stop")?;
    out.flush()
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
