//! Elements whose encoding is odd.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

use mosaik::{
    Bytes,
    collections::{self, Error, Expected, Map, OrderedMap, Set},
    primitives::{Datum, encoding},
};

use super::fleet;
use crate::support::within;

/// A text that is the same in any case of letters. Those that begin with `!` are refused by whoever
/// decodes them.
#[derive(Debug, Clone)]
struct Name(String);

impl Name {
    fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl Datum for Name {
    type EncodeError = encoding::EncodeError;
    type DecodeError = encoding::DecodeError;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        Ok(Bytes::copy_from_slice(self.0.as_bytes()))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        let text = std::str::from_utf8(bytes).ok();
        let text = text.filter(|text| !text.starts_with('!'));
        text.map(|text| Self(text.to_owned()))
            .ok_or(encoding::DecodeError::DeserializeBadEncoding)
    }
}

fn name(text: &str) -> Name {
    Name(text.to_owned())
}

/// The elements as they are encoded, which equality does not tell.
fn spelled<T: Borrow<Name>>(names: impl Iterator<Item = T>) -> Vec<String> {
    names.map(|name| name.borrow().0.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_decode_has_no_effect_on_any_member_of_any_kind() {
    let nodes = fleet(2).await;
    let (one, two) = (&nodes[0], &nodes[1]);
    let bad = || name("!");
    let maps = [Map::<Name, Name>::writer(one, "m"), Map::writer(two, "m")];
    let sets = [Set::<Name>::writer(one, "s"), Set::writer(two, "s")];
    let vecs = [
        collections::Vec::<Name>::writer(one, "v"),
        collections::Vec::writer(two, "v"),
    ];
    for n in 0..2 {
        for when in [maps[n].when(), sets[n].when(), vecs[n].when()] {
            within(10, when.online()).await;
        }
    }
    // From the leader and from another one, alone and within a batch.
    for n in 0..2 {
        let (map, set, vec) = (&maps[n], &sets[n], &vecs[n]);
        let inserted = within(10, map.insert(name("a"), bad())).await;
        assert!(
            matches!(&inserted, Err(Error::Encoding((key, _), _)) if *key == name("a")),
            "{inserted:?}"
        );
        let extended = within(10, set.extend([name("a"), bad()])).await;
        assert!(
            matches!(&extended, Err(Error::Encoding(all, _)) if all.len() == 2),
            "{extended:?}"
        );
        let pushed = within(10, vec.push_back(bad())).await;
        assert!(matches!(pushed, Err(Error::Encoding(..))), "{pushed:?}");
        let batch = map
            .batch()
            .insert(name("b"), name("b"))
            .insert(bad(), bad());
        let batch = within(10, batch.commit()).await;
        assert!(matches!(batch, Err(Error::Encoding(..))), "{batch:?}");
    }
    // Both go on as before.
    let version = maps[1].insert(name("c"), name("d")).await.unwrap();
    within(10, maps[0].when().reaches(version)).await;
    for map in &maps {
        assert_eq!(spelled(map.keys()), ["c"]);
    }
    let pushed = vecs[1].push_back(name("e")).await.unwrap();
    within(10, vecs[0].when().reaches(pushed)).await;
    assert_eq!(spelled(vecs[0].iter()), ["e"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_differ_in_their_encoding_only_are_one_key_everywhere() {
    let nodes = fleet(3).await;
    let maps = [
        Map::<Name, u32>::writer(&nodes[0], "m"),
        Map::writer(&nodes[1], "m"),
    ];
    let trees = [
        OrderedMap::<Name, u32>::writer(&nodes[0], "o"),
        OrderedMap::writer(&nodes[1], "o"),
    ];
    let sets = [
        Set::<Name>::writer(&nodes[0], "s"),
        Set::writer(&nodes[1], "s"),
    ];
    for n in 0..2 {
        for when in [maps[n].when(), trees[n].when(), sets[n].when()] {
            within(10, when.online()).await;
        }
    }
    let mut watch = maps[1].watch_key(name("KEY"));
    for (n, spelling) in ["key", "Key", "KEY"].into_iter().enumerate() {
        let (turn, value) = (n % 2, n as u32);
        maps[turn].insert(name(spelling), value).await.unwrap();
        trees[turn].insert(name(spelling), value).await.unwrap();
        let new = sets[turn].insert_returning(name(spelling)).await.unwrap();
        assert_eq!(new.value, n == 0);
    }
    let batch = maps[1]
        .batch()
        .expect(name("kEy"), Expected::Value(2))
        .insert(name("other"), 0)
        .remove(name("OTHER"));
    let batch = batch.commit().await.unwrap();
    assert!(batch.applied);
    assert_eq!(batch.previous, [None, Some(0)]);
    let last = [
        batch.version,
        trees[1].insert(name("z"), 9).await.unwrap(),
        sets[1].insert(name("z")).await.unwrap(),
    ];
    // One that comes late gets the same spellings.
    let readers = (
        Map::<Name, u32>::reader(&nodes[2], "m"),
        OrderedMap::<Name, u32>::reader(&nodes[2], "o"),
        Set::<Name>::reader(&nodes[2], "s"),
    );
    for (n, when) in [
        (0, maps[0].when()),
        (0, readers.0.when()),
        (1, trees[0].when()),
        (1, readers.1.when()),
        (2, sets[0].when()),
        (2, readers.2.when()),
    ] {
        within(10, when.reaches(last[n])).await;
    }
    for keys in [
        maps[0].keys().collect::<Vec<_>>(),
        readers.0.keys().collect(),
    ] {
        assert_eq!(spelled(keys.iter()), ["KEY"], "of the last write");
    }
    for keys in [
        trees[0].keys().collect::<Vec<_>>(),
        readers.1.keys().collect(),
    ] {
        assert_eq!(spelled(keys.iter()), ["KEY", "z"]);
    }
    let mut elements = [
        spelled(sets[0].iter()),
        spelled(sets[1].iter()),
        spelled(readers.2.iter()),
    ];
    for elements in &mut elements {
        elements.sort();
        assert_eq!(*elements, ["key", "z"], "an element that is there stays");
    }
    // Each of the writes was of the key that is watched.
    for n in 0..3 {
        let event = within(10, watch.recv()).await.unwrap();
        let collections::Event::Changed { changes, .. } = event else {
            panic!("nothing was missed: {event:?}");
        };
        assert_eq!((changes.len(), changes[0].new()), (1, Some(&n)));
    }
    let removed = maps[0].remove_returning(&name("kEY")).await.unwrap();
    assert_eq!(removed.value, Some(2));
}
