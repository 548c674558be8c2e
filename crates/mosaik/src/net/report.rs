//! Reports of a node's connections, for its status. They cross the network as
//! [records](crate::primitives::record).

use std::collections::BTreeMap;

use iroh::{TransportAddr, endpoint::Connection};
use serde::{Deserialize, Serialize};

use super::link::path_rtt;
use crate::primitives::{PeerId, record::codes, text, wire};

/// The connections of a node with one peer.
///
/// Counts are totals of the connections that stand now: they begin anew with a new connection. The
/// connections of gossip are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LinkReport {
    /// The peer.
    #[serde(with = "wire::peer_id")]
    pub peer: PeerId,
    /// Round-trip time of the path in use, in microseconds.
    pub rtt_us: Option<u64>,
    /// Kind of that path.
    pub path: LinkPath,
    /// Address of the peer on that path.
    #[serde(with = "text::one")]
    pub address: String,
    /// Connections, one for each protocol.
    pub connections: u64,
    /// Bytes of all packets that were sent.
    pub bytes_sent: u64,
    /// Bytes of all packets that were received.
    pub bytes_received: u64,
    /// Packets that were lost on the way to the peer.
    pub packets_lost: u64,
    /// True if the peer's entry says that it only looks on, as
    /// [`OBSERVER_TAG`](crate::status::OBSERVER_TAG) does.
    #[serde(default)]
    pub observes: bool,
}

codes! {
    /// Kind of a path.
    pub enum LinkPath {
        /// None is chosen, or another kind.
        Unknown = "unknown",
        /// From address to address.
        Direct = "direct",
        /// Through a relay.
        Relay = "relay",
        /// By a transport of the program's own.
        Custom = "custom",
    }
}

/// Describes connections, one report for each peer, in the order of their ids.
pub(super) fn describe(connections: impl Iterator<Item = Connection>) -> Vec<LinkReport> {
    let mut by_peer = BTreeMap::<PeerId, LinkReport>::new();
    for connection in connections {
        let peer = connection.remote_id();
        let report = by_peer.entry(peer).or_insert_with(|| LinkReport {
            peer,
            rtt_us: None,
            path: LinkPath::Unknown,
            address: String::new(),
            connections: 0,
            bytes_sent: 0,
            bytes_received: 0,
            packets_lost: 0,
            observes: false,
        });
        let stats = connection.stats();
        report.connections += 1;
        report.bytes_sent += stats.udp_tx.bytes;
        report.bytes_received += stats.udp_rx.bytes;
        report.packets_lost += stats.lost_packets;
        if report.path != LinkPath::Direct {
            let paths = connection.paths();
            if let Some(path) = paths.iter().find(|path| path.is_selected()) {
                report.path = match path.remote_addr() {
                    TransportAddr::Ip(_) => LinkPath::Direct,
                    TransportAddr::Relay(_) => LinkPath::Relay,
                    _ => LinkPath::Custom,
                };
                report.address = path.remote_addr().to_string();
            }
            let rtt = path_rtt(&connection).map(|rtt| rtt.as_micros());
            report.rtt_us = rtt.and_then(|rtt| u64::try_from(rtt).ok());
        }
    }
    by_peer.into_values().collect()
}
