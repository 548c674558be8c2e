//! An entry together with what this node measured.

use core::{ops::Deref, time::Duration};
use std::{collections::BTreeSet, sync::Arc};

use crate::{
    primitives::{Tag, Tagged},
    tickets::PeerEntry,
};

/// A peer's entry, plus what this node measured itself; the argument of `require` predicates.
///
/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    entry: Arc<PeerEntry>,
    rtt: Option<Duration>,
}

impl PeerInfo {
    pub(crate) fn new(entry: impl Into<Arc<PeerEntry>>, rtt: Option<Duration>) -> Self {
        Self {
            entry: entry.into(),
            rtt,
        }
    }

    /// The smoothed round-trip time, `None` if it was never measured.
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Returns whether the round-trip time is below the threshold, or unknown.
    pub fn rtt_below(&self, threshold: Duration) -> bool {
        self.rtt.is_none_or(|rtt| rtt < threshold)
    }

    /// The entry, without a copy of it.
    pub(crate) fn shared_entry(&self) -> Arc<PeerEntry> {
        self.entry.clone()
    }

    /// The entry alone.
    pub fn into_entry(self) -> PeerEntry {
        Arc::unwrap_or_clone(self.entry)
    }
}

impl Deref for PeerInfo {
    type Target = PeerEntry;

    fn deref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl AsRef<PeerEntry> for PeerInfo {
    fn as_ref(&self) -> &PeerEntry {
        &self.entry
    }
}

impl From<PeerInfo> for PeerEntry {
    fn from(info: PeerInfo) -> Self {
        info.into_entry()
    }
}

impl Tagged for PeerInfo {
    fn tags(&self) -> &BTreeSet<Tag> {
        &self.entry.tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id;

    #[test]
    fn unknown_is_below_and_equal_is_not() {
        let entry = PeerEntry::new(id!("network"), iroh::SecretKey::generate().public());
        let second = Duration::from_secs(1);
        assert!(PeerInfo::new(entry.clone(), None).rtt_below(Duration::ZERO));
        let measured = PeerInfo::new(entry.clone(), Some(second));
        assert!(!measured.rtt_below(second));
        assert!(measured.rtt_below(second * 2));
        assert_eq!(measured.tags(), &entry.tags);
        assert_eq!(PeerEntry::from(measured), entry);
    }
}
