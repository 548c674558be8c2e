//! A peer is discovered, then updated any number of times, then departs, and so on.
//!
//! Source: "exactly one event per change, never duplicated when several syncs deliver the same
//! entry".

use std::collections::BTreeSet;

use mosaik::{PeerId, discovery::Event};

use super::{Rule, Violation};

/// Discovered and departed alternate for each peer, with updates in between only.
#[derive(Debug, Default)]
pub struct Alternation {
    present: BTreeSet<PeerId>,
}

impl Rule for Alternation {
    fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        let (peer, fits) = match event {
            Event::PeerDiscovered(entry) => (*entry.id(), self.present.insert(*entry.id())),
            Event::PeerUpdated(entry) => (*entry.id(), self.present.contains(entry.id())),
            Event::PeerDeparted(id) => (*id, self.present.remove(id)),
        };
        let peer = peer.fmt_short();
        if fits {
            Ok(())
        } else {
            Err(Violation(format!("{event:?} of {peer} is out of order")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaik::{Digest, SecretKey, tickets::PeerEntry};

    #[test]
    fn repeated_and_missing_events_are_found() {
        let id = SecretKey::from_bytes(&[1; 32]).public();
        let entry = PeerEntry::new(Digest::random(), id);
        let mut rule = Alternation::default();
        assert!(rule.observe(&Event::PeerUpdated(entry.clone())).is_err());
        assert!(rule.observe(&Event::PeerDiscovered(entry.clone())).is_ok());
        assert!(rule.observe(&Event::PeerDiscovered(entry.clone())).is_err());
        assert!(rule.observe(&Event::PeerUpdated(entry)).is_ok());
        assert!(rule.observe(&Event::PeerDeparted(id)).is_ok());
        assert!(rule.observe(&Event::PeerDeparted(id)).is_err());
    }
}
