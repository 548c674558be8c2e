//! Choice of the peers that a node watches.

use std::collections::{BTreeSet, HashMap};

use crate::primitives::{Digest, PeerId};

/// Number of observers of each peer.
const RINGS: usize = 3;

/// Positions of a peer, one for each ring.
type Places = [u64; RINGS];

/// The places of all peers, computed once each.
#[derive(Debug, Default)]
pub(super) struct Rings {
    places: HashMap<PeerId, Places>,
}

impl Rings {
    /// The peers that `local` watches: its successor on each ring, of all that it knows.
    pub(super) fn subjects<'a>(
        &mut self,
        local: &PeerId,
        peers: impl IntoIterator<Item = &'a PeerId>,
    ) -> BTreeSet<PeerId> {
        let own = places(local);
        let mut next: [Option<((bool, u64), PeerId)>; RINGS] = [None; RINGS];
        let mut known = HashMap::with_capacity(self.places.len());
        for peer in peers.into_iter().filter(|peer| *peer != local) {
            let others = self.places.remove(peer).unwrap_or_else(|| places(peer));
            known.insert(*peer, others);
            for (next, (own, other)) in next.iter_mut().zip(own.iter().zip(&others)) {
                // Behind the own place first, then around the end.
                let distance = (other <= own, *other);
                if next.is_none_or(|(nearest, _)| distance < nearest) {
                    *next = Some((distance, *peer));
                }
            }
        }
        self.places = known;
        next.into_iter().flatten().map(|(_, peer)| peer).collect()
    }
}

fn places(peer: &PeerId) -> Places {
    let digest: [u8; 32] = Digest::from_parts(&[&b"mosaik observers"[..], peer.as_bytes()]).into();
    let mut places = [0; RINGS];
    for (place, bytes) in places.iter_mut().zip(digest.as_chunks().0) {
        *place = u64::from_le_bytes(*bytes);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::SecretKey;

    #[test]
    fn every_peer_is_watched_by_others() {
        let peers: Vec<_> = (0..40u8)
            .map(|n| SecretKey::from_bytes(&[n; 32]).public())
            .collect();
        let mut rings = Rings::default();
        let mut watched = BTreeSet::new();
        for local in &peers {
            let subjects = rings.subjects(local, &peers);
            assert!(!subjects.contains(local) && (1..=RINGS).contains(&subjects.len()));
            watched.extend(subjects);
        }
        assert_eq!(watched.len(), peers.len());
        assert!(rings.subjects(&peers[0], &peers[..1]).is_empty());
    }

    #[test]
    fn newcomers_and_leavers_change_few_subjects() {
        let peers: Vec<_> = (0..40u8)
            .map(|n| SecretKey::from_bytes(&[n; 32]).public())
            .collect();
        let mut rings = Rings::default();
        let before = rings.subjects(&peers[0], &peers[..39]);
        let after = rings.subjects(&peers[0], &peers);
        let again = rings.subjects(&peers[0], &peers[..39]);
        assert_eq!(
            before, again,
            "whom a node watches depends on who is there only"
        );
        assert!(after.difference(&before).all(|peer| *peer == peers[39]));
    }
}
