//! Counters of the transport.

use std::{fmt, sync::Arc};

use metrics::{Counter, Gauge};

use crate::primitives::{NetworkId, ShortFmtExt};

/// Handles to the transport's metrics, registered once per node.
#[derive(Clone)]
pub(crate) struct TransportMetrics(Arc<Handles>);

struct Handles {
    opened: Counter,
    closed: Counter,
    active: Gauge,
    egress: Counter,
    ingress: Counter,
    refused: [Counter; Refusal::ALL.len()],
    violated: [Counter; Violation::ALL.len()],
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection(TransportMetrics);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let handles = &self.0.0;
        handles.closed.increment(1);
        handles.active.decrement(1);
    }
}

/// Reasons for refusing an incoming connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The transport's own handshake failed or took too long.
    Unfinished,
    /// A protocol that nobody serves here.
    InvalidAlpn,
    /// The proof of the network is wrong.
    DifferentNetwork,
    /// Something else than a proof.
    ProtocolViolation,
    /// No proof in time.
    Silent,
    /// The peer has connections enough.
    TooMany,
    /// Not finished when another connection needed its place.
    GivenAway,
}

/// Violations of the rules by a peer on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A message that can't be decoded.
    Undecodable,
    /// A frame above the limit.
    TooLarge,
    /// The stream was finished within a frame.
    Truncated,
    /// More than the receiver was ready for.
    Overdrawn,
    /// Nothing arrived where a message was due.
    Silent,
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::Unfinished,
        Self::InvalidAlpn,
        Self::DifferentNetwork,
        Self::ProtocolViolation,
        Self::Silent,
        Self::TooMany,
        Self::GivenAway,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::InvalidAlpn => "invalid_alpn",
            Self::DifferentNetwork => "different_network",
            Self::ProtocolViolation => "protocol_violation",
            Self::Silent => "silent",
            Self::TooMany => "too_many",
            Self::GivenAway => "given_away",
        }
    }
}

impl Violation {
    const ALL: [Self; 5] = [
        Self::Undecodable,
        Self::TooLarge,
        Self::Truncated,
        Self::Overdrawn,
        Self::Silent,
    ];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::Overdrawn => "overdrawn",
            Self::Silent => "silent",
        }
    }
}

impl TransportMetrics {
    pub(crate) fn register(network: &NetworkId) -> Self {
        let network = network.short().to_string();
        let counter = |name| metrics::counter!(name, "network" => network.clone());
        Self(Arc::new(Handles {
            opened: counter("mosaik.network.connections.opened"),
            closed: counter("mosaik.network.connections.closed"),
            active: metrics::gauge!("mosaik.network.connections.active",
                "network" => network.clone()),
            egress: counter("mosaik.network.egress.bytes"),
            ingress: counter("mosaik.network.ingress.bytes"),
            refused: Refusal::ALL.map(|refusal| {
                metrics::counter!("mosaik.network.connections.refused",
                    "network" => network.clone(), "reason" => refusal.label())
            }),
            violated: Violation::ALL.map(|violation| {
                metrics::counter!("mosaik.network.links.violated",
                    "network" => network.clone(), "reason" => violation.label())
            }),
        }))
    }

    /// Counts a connection as open until the result is dropped.
    pub(crate) fn open(&self) -> OpenConnection {
        self.0.opened.increment(1);
        self.0.active.increment(1);
        OpenConnection(self.clone())
    }

    pub(crate) fn connection_refused(&self, refusal: Refusal) {
        self.0.refused[refusal as usize].increment(1);
    }

    pub(crate) fn link_violated(&self, violation: Violation) {
        self.0.violated[violation as usize].increment(1);
    }

    pub(crate) fn egress(&self, bytes: usize) {
        self.0.egress.increment(bytes as u64);
    }

    pub(crate) fn ingress(&self, bytes: usize) {
        self.0.ingress.increment(bytes as u64);
    }
}

impl fmt::Debug for TransportMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_counter() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index, "{}", refusal.label());
        }
        for (index, violation) in Violation::ALL.into_iter().enumerate() {
            assert_eq!(violation as usize, index, "{}", violation.label());
        }
    }
}
