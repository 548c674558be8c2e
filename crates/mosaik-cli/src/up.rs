//! `mosaik up`: a node that stays, for services that need one on a machine.

use std::{
    fmt::Write as _,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use mosaik::{Network, NetworkId, SecretKey, discovery, iroh::RelayMode};

use crate::{output::print, peer::Peer, stop::Stop};

#[derive(Debug, clap::Args)]
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
    if let Some(path) = &options.key_file {
        builder = builder.with_secret_key(key(path)?);
    }
    let network = builder
        .build()
        .await
        .context("the node could not be started")?;
    let addr = network.local().addr();
    let mut lines = format!("{}\n", network.local().id());
    for ip in addr.ip_addrs() {
        let _ = writeln!(lines, "{}@{ip}", network.local().id());
    }
    print(&lines)?;
    eprintln!("up: {} addresses; stops at Ctrl+C", addr.ip_addrs().count());
    stop.requested().await;
    network.shutdown().await;
    Ok(())
}

/// The key in a file, made if there is none.
fn key(path: &Path) -> anyhow::Result<SecretKey> {
    let at = || format!("the key file {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim();
            anyhow::ensure!(
                text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()),
                "{} does not hold 64 hex digits",
                at()
            );
            Ok(mosaik::Digest::from(text).into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SecretKey::generate();
            let mut open = std::fs::OpenOptions::new();
            open.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
            let mut file = open.open(path).with_context(at)?;
            let text = mosaik::Digest::from_bytes(key.to_bytes());
            writeln!(file, "{text}").with_context(at)?;
            file.sync_all().with_context(at)?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = key(&path).unwrap();
        assert_eq!(key(&path).unwrap().to_bytes(), made.to_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "not a key").unwrap();
        assert!(key(&path).is_err());
    }
}
