//! Discovery keeps, on every node, a catalog of all peers of its network: who they are, where they
//! can be reached, and what they offer. All other subsystems find their partners by watching it.
//!
//! ```text
//! seeker ───── dials bootstrap peers and lost ones ──┐
//! dht, mdns ── find peers without an address ────────┤
//! sync ─────── brings two catalogs up to date ───────┤
//! gossip ───── spreads changes within milliseconds ──┼──► store ──► catalog, events, changes
//! liveness ─── probes peers, declares them dead ─────┤     (rules in `state`)
//! ping ─────── measures, delivers, announces the end ┘
//! ```
//!
//! Entries are signed by their owners and versioned; only a newer version replaces an older one.
//! One rule of admission holds for every way in, see [`Discovery::feed`].
//!
//! | task | ends when |
//! |---|---|
//! | gossip worker, prober, seeker, RTT probes, purge, address follower, mDNS | the node ends |
//! | DHT worker | the node ends, 1.5 s later at most |
//! | one per accepted gossip connection | the connection ends |
//! | one per accepted sync or ping | the exchange ends, 20 s at most |
//! | one per background sync | the sync ends, 10 s at most |
//!
//! A worker that panics is started again, see `supervision`.

mod bootstrap;
mod catalog;
pub(crate) mod clock;
mod config;
mod duplicate;
mod entry;
mod error;
mod event;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod gossip;
mod gossip_handle;
mod handle;
mod identity_conflict;
mod liveness;
mod metrics;
mod rtt;
mod state;
mod store;
mod supervision;
mod suspicions;
mod sync;
pub(crate) mod wire;

#[cfg(feature = "dht")]
pub use bootstrap::dht;
pub(crate) use bootstrap::remembered::Remembered;
pub use catalog::Catalog;
pub use config::{Config, ConfigBuilder, ConfigBuilderError, IntoConfig};
pub use duplicate::Duplicate;
pub use error::Error;
pub use event::{AnnounceEvent, Event};
pub use handle::{Dial, Discovery};

pub use crate::tickets::{PeerEntry, PeerEntryVersion, PeerInfo, SignedPeerEntry};
