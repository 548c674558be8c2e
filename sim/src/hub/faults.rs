//! Current faults.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use mosaik::PeerId;

use super::{inbox::Packet, port::Port};

/// Packets that are held for one paused node; more are lost.
const MAX_HELD: usize = 16 * 1024;

/// Current faults.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Directions in which nothing passes: from, to.
    cut: HashSet<(PeerId, PeerId)>,
    /// Nodes whose packets, in both directions, wait until they are resumed.
    paused: HashMap<PeerId, Vec<Held>>,
}

/// A packet that waits for a paused node.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) to: Arc<Port>,
    pub(super) packet: Packet,
}

/// Fate of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Drop,
    Hold(PeerId),
}

impl Faults {
    pub(super) fn fate(&self, from: PeerId, to: PeerId) -> Fate {
        if self.cut.contains(&(from, to)) {
            return Fate::Drop;
        }
        let paused = [from, to]
            .into_iter()
            .find(|peer| self.paused.contains_key(peer));
        paused.map_or(Fate::Pass, Fate::Hold)
    }

    pub(super) fn cut(&mut self, from: &[PeerId], to: &[PeerId]) {
        let directions = from
            .iter()
            .flat_map(|from| to.iter().map(|to| (*from, *to)));
        self.cut.extend(directions);
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn pause(&mut self, peer: PeerId) {
        self.paused.entry(peer).or_default();
    }

    /// Ends a pause and returns what waited.
    pub(super) fn resume(&mut self, peer: PeerId) -> Vec<Held> {
        self.paused.remove(&peer).unwrap_or_default()
    }

    /// Keeps a packet for a paused node; `false` if it is lost.
    pub(super) fn hold(&mut self, paused: PeerId, held: Held) -> bool {
        match self.paused.get_mut(&paused) {
            Some(waiting) if waiting.len() < MAX_HELD => {
                waiting.push(held);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaik::SecretKey;

    fn peer(n: u8) -> PeerId {
        SecretKey::from_bytes(&[n; 32]).public()
    }

    #[test]
    fn a_cut_has_a_direction() {
        let (a, b) = (peer(1), peer(2));
        let mut faults = Faults::default();
        faults.cut(&[a], &[b]);
        assert_eq!(faults.fate(a, b), Fate::Drop);
        assert_eq!(faults.fate(b, a), Fate::Pass);
        faults.heal();
        assert_eq!(faults.fate(a, b), Fate::Pass);
    }

    #[test]
    fn a_pause_holds_both_directions_until_it_ends() {
        let (a, b) = (peer(1), peer(2));
        let mut faults = Faults::default();
        faults.pause(a);
        assert_eq!(faults.fate(a, b), Fate::Hold(a));
        assert_eq!(faults.fate(b, a), Fate::Hold(a));
        faults.heal();
        assert_eq!(faults.fate(b, a), Fate::Hold(a), "a pause is no cut");
        assert!(faults.resume(a).is_empty());
        assert_eq!(faults.fate(b, a), Fate::Pass);
    }
}
