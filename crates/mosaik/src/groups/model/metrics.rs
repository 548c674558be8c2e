//! Metrics of groups.

use core::sync::atomic::{AtomicBool, Ordering};

use metrics::{Counter, Gauge};
use parking_lot::Mutex;

use crate::primitives::{GroupId, NetworkId, ShortFmtExt};

/// One joining's part of a group's metrics.
///
/// Gauges are shared with a later joining of the same group, which may begin before this one has
/// fully ended: so they go back when this one [settles](Self::settle), and stay alone from then on.
pub(crate) struct GroupMetrics {
    active: Gauge,
    bonds: Gauge,
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) elections: Counter,
    pub(crate) leader_changes: Counter,
    committed: Gauge,
    pub(crate) discarded: Counter,
    pub(crate) undecodable: Counter,
    halted: Gauge,
    voters: Gauge,
    non_voters: Gauge,
    size: Gauge,
    shown: Mutex<Shown>,
    is_halted: AtomicBool,
}

/// Shares of this joining in gauges.
#[derive(Default)]
struct Shown {
    bonds: u32,
    settled: bool,
}

impl GroupMetrics {
    /// Registers the metrics and counts the group as active until settled.
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
            undecodable: handle!(counter, "mosaik.groups.raft.commands.undecodable"),
            halted: handle!(gauge, "mosaik.groups.raft.halted"),
            voters: handle!(gauge, "mosaik.groups.raft.committee.voters"),
            non_voters: handle!(gauge, "mosaik.groups.raft.committee.non_voters"),
            size: handle!(gauge, "mosaik.groups.raft.committee.size"),
            shown: Mutex::default(),
            is_halted: AtomicBool::new(false),
        };
        registered.active.increment(1);
        registered.bonds.increment(0);
        registered
    }

    pub(crate) fn bond_made(&self) {
        let mut shown = self.shown.lock();
        if !shown.settled {
            shown.bonds += 1;
            self.bonds.increment(1);
        }
    }

    pub(crate) fn bond_ended(&self) {
        let mut shown = self.shown.lock();
        if !shown.settled && shown.bonds > 0 {
            shown.bonds -= 1;
            self.bonds.decrement(1);
        }
    }

    pub(crate) fn committed(&self, position: u64) {
        self.show(&self.committed, position);
    }

    /// Records whether the group can't go on for lack of a leader.
    pub(crate) fn halted(&self, halted: bool) {
        self.is_halted.store(halted, Ordering::Relaxed);
        self.show(&self.halted, u64::from(halted));
    }

    /// Returns whether the group can't go on for lack of a leader.
    pub(crate) fn is_halted(&self) -> bool {
        self.is_halted.load(Ordering::Relaxed)
    }

    pub(crate) fn committee(&self, voters: usize, non_voters: usize) {
        self.show(&self.voters, voters as u64);
        self.show(&self.non_voters, non_voters as u64);
        self.show(&self.size, (voters + non_voters) as u64);
    }

    /// The group has ended here: what this joining shows goes back, for good.
    pub(crate) fn settle(&self) {
        let mut shown = self.shown.lock();
        if shown.settled {
            return;
        }
        shown.settled = true;
        self.active.decrement(1);
        self.bonds.decrement(shown.bonds);
        for gauge in [
            &self.committed,
            &self.halted,
            &self.voters,
            &self.non_voters,
            &self.size,
        ] {
            gauge.set(0);
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a gauge is a floating point number"
    )]
    fn show(&self, gauge: &Gauge, value: u64) {
        let shown = self.shown.lock();
        if !shown.settled {
            gauge.set(value as f64);
        }
    }
}

impl Drop for GroupMetrics {
    fn drop(&mut self) {
        self.settle();
    }
}

impl std::fmt::Debug for GroupMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GroupMetrics")
    }
}
