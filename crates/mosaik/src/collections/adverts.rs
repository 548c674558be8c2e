//! Adverts of a node's collections in its catalog entry, by which others notice that one of theirs
//! has the same store id and is another collection all the same.
//!
//! All adverts of a node are the data of one ticket of a class of its own, which peers that know
//! nothing of it pass over. It counts against the limits of the entry as any ticket does; where
//! there is no room, collections work without.
//!
//! ```text
//! advert   store 8 B │ 4 B for each ingredient       32 bytes, sorted, 1024 of them at most
//! ```
//!
//! Every part is a hash under a key that is made of the store id. Whoever does not know the store id
//! learns nothing but how many collections there are, and which nodes share one.

use std::collections::BTreeSet;

use crate::{
    collections_layer::{CollectionConfig, Ingredient, StoreId},
    primitives::{Bytes, Digest},
    tickets::{PeerEntry, Ticket},
};

const CONTEXT: &str = "mosaik collections advert v1";
const STORE_BYTES: usize = 8;
const PART_BYTES: usize = 4;
/// Bytes of an encoded advert.
const ADVERT_BYTES: usize = STORE_BYTES + PART_BYTES * Ingredient::ALL.len();
/// Adverts of one node that are read: as many as it can have groups.
const MAX_ADVERTS: usize = 1024;
/// Part of an ingredient that is not told.
const ABSENT: [u8; PART_BYTES] = [0; PART_BYTES];

fn class() -> Digest {
    Digest::from("mosaik.collections.adverts.v1")
}

/// Advert of one collection: hashes of its store id and its ingredients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Advert {
    store: [u8; STORE_BYTES],
    parts: [[u8; PART_BYTES]; Ingredient::ALL.len()],
}

impl Advert {
    pub(crate) fn new(
        store_id: StoreId,
        kind: &str,
        types: &[&str],
        capacity: Option<u64>,
        config: &CollectionConfig,
    ) -> Self {
        let key = blake3::derive_key(CONTEXT, store_id.as_bytes());
        let part = |ingredient| {
            let mut hasher = blake3::Hasher::new_keyed(&key);
            let mut add = |bytes: &[u8]| {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            };
            add(&[ingredient as u8]);
            match ingredient {
                Ingredient::Kind => add(kind.as_bytes()),
                Ingredient::Types => {
                    match &config.type_tag {
                        Some(tag) => add(tag.as_bytes()),
                        None => {
                            for name in types {
                                add(name.as_bytes());
                            }
                        }
                    }
                    if let Some(capacity) = capacity {
                        add(&capacity.to_le_bytes());
                    }
                    add(&[u8::from(config.type_tag.is_some())]);
                }
                Ingredient::Sync => {
                    let numbers = config.sync.shared();
                    for number in numbers {
                        add(&number.to_le_bytes());
                    }
                }
                Ingredient::Limits => {
                    add(&config.max_entries.to_le_bytes());
                    add(&config.max_bytes.to_le_bytes());
                }
                Ingredient::Tickets => {
                    for validator in &config.validators {
                        add(validator.signature().as_bytes());
                    }
                }
                // The two find each other, and tell by a proof. A hash of the key here would be an
                // oracle for whoever tries keys.
                Ingredient::WriteKey => return ABSENT,
            }
            let hash = hasher.finalize();
            let mut part = [0; PART_BYTES];
            part.copy_from_slice(&hash.as_bytes()[..PART_BYTES]);
            part
        };
        let mut store = [0; STORE_BYTES];
        let name = blake3::keyed_hash(&key, b"store");
        store.copy_from_slice(&name.as_bytes()[..STORE_BYTES]);
        Self {
            store,
            parts: Ingredient::ALL.map(part),
        }
    }

    /// Returns whether an entry has this very advert.
    pub(crate) fn is_in(&self, entry: &PeerEntry) -> bool {
        adverts_of_store(entry, self.store).any(|advert| advert == *self)
    }

    /// Adds this advert to a node's own entry.
    pub(crate) fn publish(self, entry: PeerEntry) -> PeerEntry {
        let mut adverts = adverts_of(&entry);
        if !adverts.insert(self) {
            return entry;
        }
        with(entry, &adverts)
    }

    /// Takes this advert out of a node's own entry.
    pub(crate) fn withdraw(self, entry: PeerEntry) -> PeerEntry {
        let mut adverts = adverts_of(&entry);
        if !adverts.remove(&self) {
            return entry;
        }
        with(entry, &adverts)
    }

    /// The ingredients in which a peer's collections with this store id differ; none where it has
    /// none of these, or one that is the same.
    pub(crate) fn differences(&self, entry: &PeerEntry) -> Vec<Ingredient> {
        let mut all = BTreeSet::new();
        for theirs in adverts_of_store(entry, self.store) {
            let parts = self.parts.iter().zip(&theirs.parts);
            let differing: Vec<_> = Ingredient::ALL
                .into_iter()
                .zip(parts)
                .filter(|(ingredient, (own, theirs))| ingredient.differ(**own, **theirs))
                .map(|(ingredient, _)| ingredient)
                .collect();
            if differing.is_empty() {
                return Vec::new();
            }
            all.extend(differing);
        }
        all.into_iter().collect()
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(self.parts.as_flattened());
    }

    /// `None` for another number of bytes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (store, rest) = bytes.split_first_chunk()?;
        let (parts, rest) = rest.as_chunks();
        let parts = parts.try_into().ok()?;
        rest.is_empty().then_some(Self {
            store: *store,
            parts,
        })
    }
}

impl Ingredient {
    /// Comparison of two parts; `true` if the collections differ in this.
    fn differ(self, own: [u8; PART_BYTES], theirs: [u8; PART_BYTES]) -> bool {
        self != Self::WriteKey && own != theirs
    }
}

/// The adverts of one store in an entry. They lie side by side, as all are sorted, and are looked up
/// without decoding the rest: each collection of a node does so for each change of an entry.
fn adverts_of_store(
    entry: &PeerEntry,
    store: [u8; STORE_BYTES],
) -> impl Iterator<Item = Advert> + '_ {
    let tickets = entry.tickets_of(class());
    tickets.flat_map(move |ticket| {
        let (adverts, _) = ticket.data().as_chunks::<ADVERT_BYTES>();
        let adverts = &adverts[..adverts.len().min(MAX_ADVERTS)];
        let begin = adverts.partition_point(|advert| advert[..STORE_BYTES] < store[..]);
        let found = adverts[begin..].iter();
        found
            .map_while(|advert| Advert::decode(advert))
            .take_while(move |advert| advert.store == store)
    })
}

/// The adverts in an entry, as far as they can be read.
fn adverts_of(entry: &PeerEntry) -> BTreeSet<Advert> {
    entry
        .tickets_of(class())
        .flat_map(|ticket| ticket.data().chunks(ADVERT_BYTES))
        .take(MAX_ADVERTS)
        .filter_map(Advert::decode)
        .collect()
}

fn with(entry: PeerEntry, adverts: &BTreeSet<Advert>) -> PeerEntry {
    if adverts.is_empty() {
        return entry.remove_tickets_of(class());
    }
    let mut data = Vec::with_capacity(adverts.len() * ADVERT_BYTES);
    for advert in adverts {
        advert.encode(&mut data);
    }
    entry.replace_ticket(Ticket::new(class(), Bytes::from(data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        collections_layer::{SyncConfig, identity::signature},
        primitives::{NetworkId, vectors},
        tickets::{Hs256, Jwt},
    };

    #[test]
    fn adverts_and_identities_are_as_they_were_recorded() {
        let config = CollectionConfig::default()
            .with_type_tag("tag")
            .with_write_key("key");
        let mut encoded = Vec::new();
        advert(&config).encode(&mut encoded);
        let identity = signature("map", &["u8", "u16"], None, &config);
        vectors::check(|v| {
            v.bytes(
                "advert",
                &encoded,
                "7c32745d2bf06eed87ccee6021977a730b352d26b9a19cbb79c1d9e900000000",
            );
            v.bytes(
                "identity of a collection",
                identity.as_bytes(),
                "21c797efd194596d58f3df4175c39219306040bf531210ac5126e1e3fb1b7472",
            );
        });
        assert_eq!(Advert::decode(&encoded), Some(advert(&config)));
    }

    fn entry() -> PeerEntry {
        let peer = iroh::SecretKey::from_bytes(&rand::random()).public();
        PeerEntry::new(NetworkId::random(), peer)
    }

    fn advert(config: &CollectionConfig) -> Advert {
        Advert::new("store".into(), "map", &["u8", "u16"], None, config)
    }

    fn differences(own: Advert, theirs: Advert) -> Vec<Ingredient> {
        own.differences(&theirs.publish(entry()))
    }

    #[test]
    fn every_ingredient_is_told_apart() {
        use Ingredient::{Kind, Limits, Sync, Tickets, Types};
        let config = CollectionConfig::default;
        let own = advert(&config());
        assert_eq!(differences(own, own), []);
        let kind = Advert::new("store".into(), "vec", &["u8", "u16"], None, &config());
        assert_eq!(differences(own, kind), [Kind]);
        let types = Advert::new("store".into(), "map", &["u8", "u32"], None, &config());
        assert_eq!(differences(own, types), [Types]);
        let bounded = Advert::new("store".into(), "map", &["u8", "u16"], Some(3), &config());
        assert_eq!(differences(own, bounded), [Types]);
        let tagged = advert(&config().with_type_tag("u8"));
        assert_eq!(differences(own, tagged), [Types]);
        let sync = SyncConfig::default().with_fetch_batch_size(7);
        assert_eq!(differences(own, advert(&config().with_sync(sync))), [Sync]);
        let limited = config().with_max_entries(9);
        assert_eq!(differences(own, advert(&limited)), [Limits]);
        let guarded = config().require_ticket(Jwt::with_key(Hs256::new([7; 32])));
        assert_eq!(differences(own, advert(&guarded)), [Tickets]);
        let both = advert(&limited.with_type_tag("tag"));
        assert_eq!(differences(own, both), [Types, Limits]);
        let keyed = |key: &str| advert(&config().with_write_key(key));
        assert_eq!(keyed("a"), own, "nothing tells of a key");
        let other = Advert::new("another".into(), "vec", &["u8"], None, &config());
        assert_eq!(differences(own, other), [], "another store");
    }

    #[test]
    fn who_has_the_same_beside_others_is_not_told_of() {
        let config = CollectionConfig::default();
        let own = advert(&config);
        let other = Advert::new("store".into(), "set", &["u8"], None, &config);
        let entry = other.publish(own.publish(entry()));
        assert_eq!(own.differences(&entry), []);
        let entry = own.withdraw(entry);
        assert_eq!(
            own.differences(&entry),
            [Ingredient::Kind, Ingredient::Types]
        );
        let entry = other.withdraw(entry);
        assert!(entry.tickets().is_empty());
    }

    #[test]
    fn all_that_a_node_can_have_fits_and_nonsense_is_passed_over() {
        let config = CollectionConfig::default();
        let adverts: BTreeSet<_> = (0..MAX_ADVERTS)
            .map(|n| Advert::new(n.to_string().as_str().into(), "map", &["u8"], None, &config))
            .collect();
        let full = with(entry(), &adverts);
        full.check_limits().unwrap();
        assert_eq!(adverts_of(&full), adverts);
        for advert in &adverts {
            assert!(advert.is_in(&full) && advert.differences(&full).is_empty());
        }
        let config = config.with_max_entries(9);
        let other = Advert::new("7".into(), "map", &["u8"], None, &config);
        assert!(!other.is_in(&full));
        assert_eq!(other.differences(&full), [Ingredient::Limits]);
        let odd = Ticket::new(class(), Bytes::from_static(&[7; 3 * ADVERT_BYTES - 1]));
        assert_eq!(adverts_of(&entry().add_ticket(odd)).len(), 1);
    }
}
