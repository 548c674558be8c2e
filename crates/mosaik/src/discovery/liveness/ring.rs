//! Which peers a node watches.

use std::collections::BTreeSet;

use crate::primitives::{Digest, PeerId};

/// How many observers each peer has.
const RINGS: u8 = 3;

/// The peers that `local` watches: its successor on each ring, of all that it knows.
pub(super) fn subjects(local: &PeerId, peers: &[PeerId]) -> BTreeSet<PeerId> {
    (0..RINGS)
        .filter_map(|ring| successor(ring, local, peers))
        .collect()
}

/// The peer whose place on the ring is the first behind that of `local`, around the end.
fn successor(ring: u8, local: &PeerId, peers: &[PeerId]) -> Option<PeerId> {
    let own = place(ring, local);
    let distance = |peer: &&PeerId| {
        let other = place(ring, peer);
        (other <= own, other)
    };
    peers
        .iter()
        .filter(|peer| *peer != local)
        .min_by_key(distance)
        .copied()
}

fn place(ring: u8, peer: &PeerId) -> [u8; 32] {
    Digest::from_parts(&[&[ring][..], peer.as_bytes()]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use iroh::SecretKey;

    #[test]
    fn every_peer_is_watched_once_on_each_ring() {
        let peers: Vec<_> = (0..40u8)
            .map(|n| SecretKey::from_bytes(&[n; 32]).public())
            .collect();
        for ring in 0..RINGS {
            let watched: BTreeSet<_> = peers
                .iter()
                .filter_map(|local| successor(ring, local, &peers))
                .collect();
            assert_eq!(watched.len(), peers.len());
        }
        for local in &peers {
            let subjects = subjects(local, &peers);
            assert!(!subjects.contains(local) && !subjects.is_empty());
        }
        assert!(subjects(&peers[0], &peers[..1]).is_empty());
    }
}
