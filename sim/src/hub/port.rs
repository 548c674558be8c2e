//! A node's place at the hub.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use mosaik::PeerId;
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::SmallRng};
use tokio::time::{Duration, Instant};

use super::{Conditions, inbox::Inbox};

/// Limit on the queue behind a node's limited bandwidth, in time; beyond it, packets are lost.
const MAX_SEND_QUEUE: Duration = Duration::from_millis(200);

/// One node's place at the hub.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) id: PeerId,
    pub(super) inbox: Mutex<Inbox>,
    sending: Mutex<Sending>,
    /// Its node has crashed: nothing passes from or to it any more.
    pub(super) dead: AtomicBool,
    pub(super) sent_packets: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) lost_packets: AtomicU64,
}

/// The state of a node's way into the network.
#[derive(Debug, Default)]
struct Sending {
    /// Time at which the packets sent so far have left; with limited bandwidth only.
    busy_until: Option<Instant>,
    /// Decides over the packets to each receiver.
    random: HashMap<PeerId, SmallRng>,
}

/// Traffic that a node has sent. Payload of UDP packets, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent, lost ones included.
    pub packets: u64,
    /// Bytes sent, lost ones included.
    pub bytes: u64,
    /// Packets that got lost: at random, through a fault, or because a queue was full.
    pub lost_packets: u64,
}

impl Port {
    pub(super) fn new(id: PeerId) -> Self {
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

    /// Arrival time of a packet that is sent now; `None` if it gets lost.
    pub(super) fn due(
        &self,
        seed: u64,
        to: PeerId,
        bytes: u64,
        conditions: &Conditions,
    ) -> Option<Instant> {
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

    pub(super) fn traffic(&self) -> Traffic {
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
