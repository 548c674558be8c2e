//! Location of a network's records in the DHT.

use core::fmt;

use pkarr::Keypair;

use crate::primitives::{Digest, NetworkId};

/// Number of slots of a network.
pub const SLOT_COUNT: usize = 16;

/// One place in the DHT, derived from the network id.
#[derive(Clone)]
pub struct Slot {
    index: usize,
    keys: Keypair,
}

/// The slots of a network, in order.
///
/// The seed of a slot's key pair is an id: that of slot 0 is the network id itself, each next one
/// is `id.derive(id)` of the one before.
///
/// # Examples
///
/// ```
/// use mosaik::{Digest, discovery::dht};
///
/// let slots = dht::slots(&Digest::from("example"));
/// assert_eq!(slots.len(), dht::SLOT_COUNT);
/// assert_ne!(slots[0].public_key(), slots[1].public_key());
/// ```
pub fn slots(network: &NetworkId) -> Vec<Slot> {
    let seeds = core::iter::successors(Some(*network), |id: &Digest| Some(id.derive(id)));
    seeds
        .take(SLOT_COUNT)
        .enumerate()
        .map(|(index, seed)| Slot {
            index,
            keys: Keypair::from_secret_key(seed.as_bytes()),
        })
        .collect()
}

impl Slot {
    /// The place of this slot in the chain, from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The Ed25519 public key under which the DHT stores the slot.
    pub fn public_key(&self) -> [u8; 32] {
        self.keys.public_key().to_bytes()
    }

    pub(super) const fn keys(&self) -> &Keypair {
        &self.keys
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Slot({}, {})",
            self.index,
            hex::encode(self.public_key())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_begins_with_the_network_id() {
        let network = Digest::from("example");
        let slots = slots(&network);
        let first = Keypair::from_secret_key(network.as_bytes());
        let second = Keypair::from_secret_key(network.derive(network).as_bytes());
        assert_eq!(slots[0].public_key(), first.public_key().to_bytes());
        assert_eq!(slots[1].public_key(), second.public_key().to_bytes());
        assert_eq!(slots[15].index(), 15);
    }

    #[test]
    fn keys_are_pinned() {
        let slots = slots(&Digest::from("example"));
        let keys = blake3::hash(&slots.iter().flat_map(Slot::public_key).collect::<Vec<_>>());
        let first = hex::encode(slots[0].public_key());
        assert_eq!(
            first,
            "ee21031bdb3728d62d30cce4279751e04eec732483f41d7d131863bf5686333a"
        );
        assert_eq!(
            keys.to_string(),
            "42af65eefe51a9345e5d3f00b85fc3627a6a093e59fa76899ca7aee0fdcfa82e"
        );
    }
}
