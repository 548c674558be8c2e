//! Peers as they are written on the command line.

use std::str::FromStr;

use anyhow::Context;
use mosaik::{PeerId, discovery::ConfigBuilder, iroh::EndpointAddr};

/// A peer to dial.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    At(EndpointAddr),
    AtHost(PeerId, String),
}

impl Peer {
    pub(crate) fn id(&self) -> PeerId {
        match self {
            Self::At(addr) => addr.id,
            Self::AtHost(id, _) => *id,
        }
    }

    /// Makes it one that is dialed at start.
    pub(crate) fn bootstrap(&self, discovery: ConfigBuilder) -> ConfigBuilder {
        match self {
            Self::At(addr) => discovery.with_bootstrap(addr.clone()),
            Self::AtHost(id, host) => discovery.with_bootstrap_host(*id, host.clone()),
        }
    }
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (id, host) = match text.split_once('@') {
            Some((id, host)) => (id, Some(host)),
            None => (text, None),
        };
        let id = id
            .parse::<PeerId>()
            .context("not a peer id of 64 hex digits")?;
        let Some(host) = host else {
            return Ok(Self::At(id.into()));
        };
        if let Ok(addr) = host.parse() {
            return Ok(Self::At(EndpointAddr::new(id).with_ip_addr(addr)));
        }
        let (name, port) = host.rsplit_once(':').context("there is no port")?;
        port.parse::<u16>().context("not a port")?;
        // A name with colons is an address that was mistyped.
        anyhow::ensure!(!name.is_empty() && !name.contains(':'), "not a host name");
        Ok(Self::AtHost(id, host.to_owned()))
    }
}
