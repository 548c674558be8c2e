//! What groups count.

use metrics::{Counter, Gauge};

use crate::primitives::{GroupId, NetworkId, ShortFmtExt};

/// Handles to one group's metrics, registered once per group and node.
pub(crate) struct GroupMetrics {
    active: Gauge,
    pub(crate) bonds: Gauge,
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) elections: Counter,
    pub(crate) leader_changes: Counter,
    pub(crate) committed: Gauge,
    pub(crate) discarded: Counter,
    voters: Gauge,
    non_voters: Gauge,
    size: Gauge,
}

impl GroupMetrics {
    /// Registers the metrics and counts the group as active until dropped.
    pub(crate) fn register(network: &NetworkId, group: &GroupId) -> Self {
        let network = network.short().to_string();
        let group = group.short().to_string();
        macro_rules! handle {
            ($kind:ident, $name:literal) => {
                metrics::$kind!($name, "network" => network.clone(), "group" => group.clone())
            };
        }
        let registered = Self {
            active: metrics::gauge!("mosaik.groups.active", "network" => network.clone()),
            bonds: handle!(gauge, "mosaik.groups.bonds.active"),
            bytes_sent: handle!(counter, "mosaik.groups.bonds.bytes.sent"),
            bytes_received: handle!(counter, "mosaik.groups.bonds.bytes.received"),
            messages_sent: handle!(counter, "mosaik.groups.bonds.messages.sent"),
            messages_received: handle!(counter, "mosaik.groups.bonds.messages.received"),
            elections: handle!(counter, "mosaik.groups.raft.elections"),
            leader_changes: handle!(counter, "mosaik.groups.raft.leader.changes"),
            committed: handle!(gauge, "mosaik.groups.raft.committed"),
            discarded: handle!(counter, "mosaik.groups.raft.commands.discarded"),
            voters: handle!(gauge, "mosaik.groups.raft.committee.voters"),
            non_voters: handle!(gauge, "mosaik.groups.raft.committee.non_voters"),
            size: handle!(gauge, "mosaik.groups.raft.committee.size"),
        };
        registered.active.increment(1);
        registered.bonds.set(0);
        registered
    }

    pub(crate) fn committee(&self, voters: usize, non_voters: usize) {
        let gauge = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        self.voters.set(gauge(voters));
        self.non_voters.set(gauge(non_voters));
        self.size.set(gauge(voters + non_voters));
    }
}

impl Drop for GroupMetrics {
    fn drop(&mut self) {
        self.active.decrement(1);
        self.bonds.set(0);
        self.committed.set(0);
        self.committee(0, 0);
    }
}

impl std::fmt::Debug for GroupMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupMetrics")
    }
}
