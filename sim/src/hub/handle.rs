//! The hub itself.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use mosaik::PeerId;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{
    Conditions,
    faults::{Fate, Faults, Held},
    inbox::Packet,
    port::{Port, Traffic},
};

/// An in-memory network. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    seed: u64,
    conditions: RwLock<Conditions>,
    faults: Mutex<Faults>,
    /// Ports by the bytes of the id, which are cheaper to come by than the id.
    ports: RwLock<HashMap<[u8; 32], Arc<Port>>>,
    next_number: AtomicU64,
}

impl Hub {
    /// A hub without nodes.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self(Arc::new(Inner {
            seed,
            conditions: RwLock::new(conditions),
            faults: Mutex::default(),
            ports: RwLock::default(),
            next_number: AtomicU64::new(0),
        }))
    }

    /// A new place at the hub, instead of the one that a former run of the node had.
    pub(super) fn open_port(&self, id: PeerId) -> Arc<Port> {
        let port = Arc::new(Port::new(id));
        self.0.ports.write().insert(*id.as_bytes(), port.clone());
        port
    }

    /// Changes what packets meet from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        *self.0.conditions.write() = conditions;
    }

    /// Lets nothing pass between the two sides, in both directions.
    pub fn partition(&self, one: &[PeerId], other: &[PeerId]) {
        let mut faults = self.0.faults.lock();
        faults.cut(one, other);
        faults.cut(other, one);
    }

    /// Lets nothing pass from some nodes to others; the way back stays open.
    pub fn cut(&self, from: &[PeerId], to: &[PeerId]) {
        self.0.faults.lock().cut(from, to);
    }

    /// Ends all partitions and cuts.
    pub fn heal(&self) {
        self.0.faults.lock().heal();
    }

    /// Lets nothing pass from and to the current run of a node, for good: what others see of a
    /// crash. A later run under the same id is not concerned.
    pub fn crash(&self, peer: PeerId) {
        if let Some(port) = self.port(peer.as_bytes()) {
            port.dead.store(true, Ordering::Relaxed);
        }
        // What waits for it is lost.
        self.0.faults.lock().resume(peer);
    }

    /// Holds all packets from and to a node until it is resumed.
    pub fn pause(&self, peer: PeerId) {
        self.0.faults.lock().pause(peer);
    }

    /// Ends a pause: all that was held goes its way now.
    pub fn resume(&self, peer: PeerId) {
        let waiting = self.0.faults.lock().resume(peer);
        let now = Instant::now();
        for Held { to, mut packet } in waiting {
            packet.due = packet.due.max(now);
            self.deliver(&to, packet);
        }
    }

    /// Traffic that a node has sent so far.
    pub fn traffic(&self, peer: &PeerId) -> Traffic {
        self.port(peer.as_bytes())
            .map(|port| port.traffic())
            .unwrap_or_default()
    }

    /// The place of the node with these bytes as its id.
    pub(super) fn port(&self, id: &[u8]) -> Option<Arc<Port>> {
        self.0.ports.read().get(id).cloned()
    }

    /// Takes a packet from a node. Like a real network, it reports no loss.
    pub(super) fn send(&self, from: &Port, to: &Arc<Port>, payload: Bytes) {
        let conditions = *self.0.conditions.read();
        let bytes = payload.len() as u64;
        from.sent_packets.fetch_add(1, Ordering::Relaxed);
        from.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        let due = from.due(self.0.seed, to.id, bytes, &conditions);
        let due = due.filter(|_| !from.dead.load(Ordering::Relaxed));
        let delivered = due.is_some_and(|due| {
            let number = self.0.next_number.fetch_add(1, Ordering::Relaxed);
            self.deliver(
                to,
                Packet {
                    due,
                    number,
                    from: from.id,
                    payload,
                },
            )
        });
        if !delivered {
            from.lost_packets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts a packet on its way, if no fault prevents it.
    fn deliver(&self, to: &Arc<Port>, packet: Packet) -> bool {
        if to.dead.load(Ordering::Relaxed) {
            return false;
        }
        {
            let mut faults = self.0.faults.lock();
            match faults.fate(packet.from, to.id) {
                Fate::Pass => {}
                Fate::Drop => return false,
                Fate::Hold(paused) => {
                    let to = to.clone();
                    return faults.hold(paused, Held { to, packet });
                }
            }
        }
        to.inbox.lock().push(packet)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("seed", &self.0.seed)
            .field("nodes", &self.0.ports.read().len())
            .field("conditions", &*self.0.conditions.read())
            .finish_non_exhaustive()
    }
}
