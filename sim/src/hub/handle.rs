//! The hub itself.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use iroh::endpoint::{Builder, NetReportConfig, PortmapperConfig};
use mosaik::{PeerId, SecretKey, iroh::RelayMode, network::NetworkBuilder};
use parking_lot::{Mutex, RwLock};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::time::{Duration, Instant};

use super::{
    Conditions,
    faults::{Fate, Faults, Held},
    inbox::{Inbox, Packet},
    transport::{HubLookup, HubTransport},
};

/// What waits behind a node's limited bandwidth at most; beyond it, packets are lost.
const MAX_SEND_QUEUE: Duration = Duration::from_millis(200);

/// An in-memory network. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    seed: u64,
    conditions: RwLock<Conditions>,
    faults: Mutex<Faults>,
    /// By the bytes of the id, which are cheaper to come by than the id.
    ports: RwLock<HashMap<[u8; 32], Arc<Port>>>,
    next_number: AtomicU64,
}

/// One node's place at the hub.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) id: PeerId,
    pub(super) inbox: Mutex<Inbox>,
    sending: Mutex<Sending>,
    /// Its node has crashed: nothing passes from or to it any more.
    dead: AtomicBool,
    sent_packets: AtomicU64,
    sent_bytes: AtomicU64,
    lost_packets: AtomicU64,
}

/// The state of a node's way into the network.
#[derive(Debug, Default)]
struct Sending {
    /// When what was sent so far has left; with limited bandwidth only.
    busy_until: Option<Instant>,
    /// Decides over the packets to each receiver.
    random: HashMap<PeerId, SmallRng>,
}

/// What a node has sent. Payload of UDP packets, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent, lost ones included.
    pub packets: u64,
    /// Bytes sent, lost ones included.
    pub bytes: u64,
    /// Packets that got lost: at random, through a fault, or because a queue was full.
    pub lost_packets: u64,
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

    /// Makes a node talk through this hub only, under the id of this key.
    pub fn attach(&self, builder: NetworkBuilder, secret: SecretKey) -> NetworkBuilder {
        let id = secret.public();
        let hub = self.clone();
        builder
            .with_secret_key(secret)
            .with_relay_mode(RelayMode::Disabled)
            .with_endpoint(move |endpoint| hub.plug_in(id, endpoint))
    }

    fn plug_in(&self, id: PeerId, endpoint: Builder) -> Builder {
        let port = self.open_port(id);
        endpoint
            .clear_ip_transports()
            .clear_relay_transports()
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .add_custom_transport(Arc::new(HubTransport::new(self.clone(), port)))
            .address_lookup(HubLookup::new(self.clone()))
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

    /// What a node has sent so far.
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

impl Port {
    fn new(id: PeerId) -> Self {
        Self {
            id,
            inbox: Mutex::default(),
            sending: Mutex::default(),
            dead: AtomicBool::new(false),
            sent_packets: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            lost_packets: AtomicU64::new(0),
        }
    }

    /// When a packet that is sent now arrives; `None` if it gets lost.
    fn due(&self, seed: u64, to: PeerId, bytes: u64, conditions: &Conditions) -> Option<Instant> {
        let now = Instant::now();
        let mut sending = self.sending.lock();
        let random = sending
            .random
            .entry(to)
            .or_insert_with(|| pair_random(seed, &self.id, &to));
        let travel = conditions.travel(random);
        let start = sending.busy_until.unwrap_or(now).max(now);
        if start - now > MAX_SEND_QUEUE {
            return None;
        }
        let left = start + conditions.transmission(bytes);
        sending.busy_until = Some(left);
        Some(left + travel?)
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            packets: self.sent_packets.load(Ordering::Relaxed),
            bytes: self.sent_bytes.load(Ordering::Relaxed),
            lost_packets: self.lost_packets.load(Ordering::Relaxed),
        }
    }
}

/// The randomness of one direction between two nodes: the n-th packet meets the same in every run.
fn pair_random(seed: u64, from: &PeerId, to: &PeerId) -> SmallRng {
    let mut hasher = blake3::Hasher::new_derive_key("mosaik sim pair of nodes");
    hasher
        .update(&seed.to_le_bytes())
        .update(from.as_bytes())
        .update(to.as_bytes());
    SmallRng::from_seed(*hasher.finalize().as_bytes())
}
