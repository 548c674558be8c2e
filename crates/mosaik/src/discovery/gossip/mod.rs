//! Announcements over the network's gossip topic.
//!
//! Every change of the local entry is broadcast at once; an unchanged entry is broadcast as a
//! small signed heartbeat every `announce_interval`. Gossip is fast and usually reaches everybody;
//! what it loses is healed by probes that compare catalogs (see `liveness`) and by syncs.

mod command;
mod worker;

pub(crate) use command::{GossipHandle, GossipInbox, gossip_channel};
pub(crate) use worker::GossipWorker;
