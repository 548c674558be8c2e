//! A node's view of a peer never goes back in time.
//!
//! Source: "only a newer version replaces an older one", also across departures.

use std::collections::BTreeMap;

use mosaik::{PeerId, discovery::Event, tickets::PeerEntryVersion};

use super::{Rule, Violation};

/// The versions of each peer's entry rise.
#[derive(Debug, Default)]
pub struct Progress {
    newest: BTreeMap<PeerId, PeerEntryVersion>,
}

impl Rule for Progress {
    fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        let (Event::PeerDiscovered(entry) | Event::PeerUpdated(entry)) = event else {
            return Ok(());
        };
        match self.newest.insert(*entry.id(), entry.version()) {
            Some(former) if former >= entry.version() => {
                Err(Violation(format!("{event:?} follows on version {former}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaik::{Digest, SecretKey, tickets::PeerEntry};

    #[test]
    fn an_older_version_is_found() {
        let id = SecretKey::from_bytes(&[1; 32]).public();
        let entry = PeerEntry::new(Digest::random(), id);
        let newer = entry.clone().add_tags("x");
        let mut rule = Progress::default();
        assert!(rule.observe(&Event::PeerDiscovered(entry.clone())).is_ok());
        assert!(rule.observe(&Event::PeerUpdated(newer.clone())).is_ok());
        assert!(rule.observe(&Event::PeerDeparted(id)).is_ok());
        assert!(rule.observe(&Event::PeerDiscovered(newer)).is_err());
    }
}
