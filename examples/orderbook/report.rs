//! Reports of a role about itself, for people and for the demo that watches all roles.

use std::{
    fmt,
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use mosaik::{PeerId, UniqueId, discovery::PeerEntry, primitives::ShortFmtExt};
use serde::{Deserialize, Serialize};

use crate::{book::Totals, order::Fill};

/// Something that happened on a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Report {
    /// The node is up; others can bootstrap from this address.
    Ready { peer: PeerId, address: String },
    /// A peer entered the catalog.
    Found { peer: PeerId, role: String },
    /// A peer left the catalog.
    Lost { peer: PeerId },
    /// A stream from `producer` to this node is connected.
    Subscribed { stream: String, producer: PeerId },
    /// This node knows another leader of the matchers' group.
    Leader { peer: Option<PeerId> },
    /// Number of orders sent so far.
    Sent { orders: u64, done: bool },
    /// The state of this matcher's book.
    Book { totals: Totals, digest: UniqueId },
    /// A fill that this reporter had not met before.
    Fill { fill: Fill },
    /// Totals of the fills that this reporter has printed so far.
    Printed {
        fills: u64,
        quantity: u64,
        repeated: u64,
    },
    /// This reporter holds a fill of an order of every trader.
    Formed,
}

/// A report with the time it was made, in ms since the Unix epoch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Timed {
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) report: Report,
}

/// Format of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Writes reports to standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter(pub(crate) Format);

impl Reporter {
    pub(crate) fn tell(self, report: Report) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.0 {
            Format::Text => writeln!(out, "{report}")?,
            Format::Json => {
                let timed = Timed {
                    at_ms: now_ms(),
                    report,
                };
                serde_json::to_writer(&mut out, &timed)?;
                out.write_all(b"\n")?;
            }
        }
        out.flush()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { peer, address } => {
                write!(
                    f,
                    "ready as {}; others join with --bootstrap {address}",
                    peer.short()
                )
            }
            Self::Found { peer, role } => write!(f, "found {role} {}", peer.short()),
            Self::Lost { peer } => write!(f, "lost {}", peer.short()),
            Self::Subscribed { stream, producer } => {
                write!(f, "receives {stream} from {}", producer.short())
            }
            Self::Leader { peer: Some(peer) } => write!(f, "leader is {}", peer.short()),
            Self::Leader { peer: None } => write!(f, "no leader"),
            Self::Sent {
                orders,
                done: false,
            } => write!(f, "sent {orders} orders"),
            Self::Sent { orders, done: true } => write!(f, "sent all {orders} orders"),
            Self::Book { totals, digest } => write!(
                f,
                "book: {} orders in, {} fills out, digest {}",
                totals.accepted,
                totals.fills,
                digest.short()
            ),
            Self::Fill { fill } => write!(f, "{fill}"),
            Self::Printed {
                fills,
                quantity,
                repeated,
            } => {
                write!(
                    f,
                    "{fills} fills of {quantity} in all; {repeated} came more than once"
                )
            }
            Self::Formed => write!(f, "holds a fill of an order of every trader"),
        }
    }
}

/// The role that a peer's tags name.
pub(crate) fn role_of(entry: &PeerEntry) -> &'static str {
    let roles = ["trader", "matcher", "reporter"];
    let role = roles
        .into_iter()
        .find(|role| entry.tags().contains(&(*role).into()));
    role.unwrap_or("peer")
}

pub(crate) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
