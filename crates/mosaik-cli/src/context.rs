//! `mosaik ctx`: named networks, kept in a file that only its owner can read.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use mosaik::NetworkId;
use serde::{Deserialize, Serialize};

use crate::{
    key::create_private,
    output::{Table, is_styled, json, print},
    peer::Peer,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print one line of JSON for each context.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep a network under a name, in the place of what had it before.
    Add(Add),
    /// Forget a network.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Name of the context.
    name: String,

    /// Network: a name, or an id of 64 hex digits.
    #[arg(short, long, env = "MOSAIK_NETWORK", hide_env_values = true)]
    network: NetworkId,

    /// Peer to begin with: a peer id, `<peer id>@<ip:port>`, or `<peer id>@<host:port>`. Repeat for
    /// several.
    #[arg(short, long)]
    peers: Vec<String>,

    /// File with the secret key of the node that looks on.
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,

    /// File with a token (JWT) to present to nodes that want a ticket.
    #[arg(long, value_name = "PATH", requires = "key_file")]
    ticket_file: Option<PathBuf>,

    /// Use no relays.
    #[arg(long)]
    no_relay: bool,

    /// Don't look for peers in the DHT.
    #[arg(long)]
    no_dht: bool,
}

/// A network as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Context {
    pub(crate) network: NetworkId,
    #[serde(default)]
    peers: Vec<String>,
    #[serde(default)]
    pub(crate) key_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) ticket_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) no_relay: bool,
    #[serde(default)]
    pub(crate) no_dht: bool,
}

impl Context {
    pub(crate) fn peers(&self) -> anyhow::Result<Vec<Peer>> {
        self.peers.iter().map(|peer| peer.parse()).collect()
    }
}

type Contexts = BTreeMap<String, Context>;

pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let path = place()?;
    let mut contexts = read(&path)?;
    match options.command {
        Some(Command::Add(add)) => {
            let context = Context {
                network: add.network,
                peers: add.peers,
                key_file: absolute(add.key_file)?,
                ticket_file: absolute(add.ticket_file)?,
                no_relay: add.no_relay,
                no_dht: add.no_dht,
            };
            context.peers()?;
            contexts.insert(add.name, context);
            write(&path, &contexts)
        }
        Some(Command::Remove { name }) => {
            contexts.remove(&name).with_context(|| missing(&name))?;
            write(&path, &contexts)
        }
        None if options.json => {
            #[derive(Serialize)]
            struct Line<'c> {
                name: &'c str,
                peers: &'c [String],
            }
            for (name, context) in &contexts {
                let peers = &context.peers;
                if !print(&json(&Line { name, peers })?)? {
                    break;
                }
            }
            Ok(())
        }
        None => {
            let mut table = Table::new(&["name", "peers"]);
            for (name, context) in contexts {
                let peers = context.peers.iter().map(|peer| shortened(peer));
                table.row([name, peers.collect::<Vec<_>>().join(", ")]);
            }
            print(&table.render(is_styled())).map(drop)?;
            Ok(())
        }
    }
}

/// The context of a name.
pub(crate) fn find(name: &str) -> anyhow::Result<Context> {
    read(&place()?)?.remove(name).with_context(|| missing(name))
}

/// A peer with the first digits of its id, as the lists have it.
fn shortened(peer: &str) -> String {
    let (id, place) = peer.split_once('@').unwrap_or((peer, ""));
    let id: String = id.chars().take(10).collect();
    if place.is_empty() {
        id
    } else {
        format!("{id}@{place}")
    }
}

fn missing(name: &str) -> String {
    format!("there is no context {name}: `mosaik ctx` lists them")
}

/// Paths are looked for from wherever the context is used.
fn absolute(path: Option<PathBuf>) -> std::io::Result<Option<PathBuf>> {
    path.map(std::path::absolute).transpose()
}

/// The file, in the user's folder for configuration.
fn place() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = if cfg!(windows) {
        variable("APPDATA").map(PathBuf::from)
    } else {
        let home = || variable("HOME").map(|home| Path::new(&home).join(".config"));
        variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)
    };
    let folder = folder.context("there is no folder for configuration: set XDG_CONFIG_HOME")?;
    Ok(folder.join("mosaik").join("contexts.json"))
}

fn read(path: &Path) -> anyhow::Result<Contexts> {
    let at = || format!("the contexts in {}", path.display());
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::new()),
        read => read.with_context(at)?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Six bits for the group and for all others.
        let mode = std::fs::metadata(path)
            .with_context(at)?
            .permissions()
            .mode();
        anyhow::ensure!(
            mode.trailing_zeros() >= 6,
            "others can read {}, and whoever has the id of a network can join it: chmod 600 it",
            path.display()
        );
    }
    serde_json::from_str(&text).with_context(at)
}

/// Writes a file beside the old one and puts it in its place: it is never half written.
fn write(path: &Path, contexts: &Contexts) -> anyhow::Result<()> {
    let at = || format!("the contexts in {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(at)?;
    }
    let next = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = create_private(&next).with_context(at)?;
    file.write_all(&serde_json::to_vec_pretty(contexts)?)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&next, path))
        .with_context(at)
}
