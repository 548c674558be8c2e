//! `Set`.

use std::hash::{Hash, Hasher};

use mosaik::{
    Bytes,
    collections::{Error, Expected, SetBatch, SetChange, SetReader, SetSnapshot, SetWriter, Watch},
    primitives::{Datum, encoding},
};
use rand::{Rng, rngs::SmallRng};

use super::{
    super::content::{ALL_KEYS, Content, Delta, KEYS, Load, Part},
    Answer, Committed, Kind, Mutation, entries, handles, keyed,
};

/// An element: the padding is part of its encoding, and not of what it is.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Element(Load);

impl Element {
    const fn of(key: u8) -> Self {
        Self(Load::light(key as u32))
    }

    fn key(self) -> u8 {
        u8::try_from(self.0.mark).unwrap_or(u8::MAX)
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.0.mark == other.0.mark
    }
}

impl Eq for Element {}

impl Hash for Element {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.mark.hash(state);
    }
}

impl Datum for Element {
    type EncodeError = encoding::EncodeError;
    type DecodeError = encoding::DecodeError;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        self.0.encode()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        Load::decode(bytes).map(Self)
    }
}

pub(in super::super) struct SetKind;

const THERE: (u8, u32) = (0, 0);

impl Kind for SetKind {
    handles!(
        SetWriter<Element>,
        SetReader<Element>,
        SetSnapshot<Element>,
        SetChange<Element>
    );

    fn content(snapshot: &Self::Snapshot) -> Content {
        Content::Entries(snapshot.iter().map(|one| (one.key(), THERE)).collect())
    }

    fn delta(change: &Self::Change) -> Delta {
        Delta::Entry {
            key: change.key().key(),
            old: change.old().map(|()| THERE),
            new: change.new().map(|()| THERE),
            created: change.is_created(),
            cause: change.cause(),
        }
    }

    fn expires(reader: &Self::Reader) -> bool {
        (0..ALL_KEYS).any(|key| reader.ttl(&Element::of(key)).is_some())
    }

    fn watch_part(
        reader: &Self::Reader,
        part: Part,
    ) -> Option<Watch<Self::Snapshot, Self::Change>> {
        match part {
            Part::Key(key) => Some(reader.watch_key(Element::of(key))),
            Part::All | Part::Range(..) => None,
        }
    }

    fn heavy(writer: &Self::Writer, _: u32) -> Mutation {
        let writing = writer.insert(Element(Load::heavy(0)));
        Mutation::silent("insert a heavy one".to_owned(), writing, |content| {
            entries(content).insert(0, THERE);
        })
        .timed([(0, None)])
    }

    fn lighten(writer: &Self::Writer) -> Mutation {
        Mutation::silent("clear".to_owned(), writer.clear(), |content| {
            entries(content).clear();
        })
        .timed((0..ALL_KEYS).map(|key| (key, None)))
    }

    fn mutate(writer: &Self::Writer, random: &mut SmallRng, _: u32) -> Mutation {
        let key = random.random_range(0..KEYS);
        let ttl = keyed::ttl(random);
        let one = Element::of(key);
        match random.random_range(0..12) {
            0..=2 => Mutation::new(
                format!("remove {key}"),
                writer.remove_returning(&one),
                Answer::Was,
                move |content| Answer::Was(entries(content).remove(&key).is_some()),
            )
            .timed([(key, None)]),
            3 => {
                let keys = keyed::keys(key, random);
                let writing = writer.extend(keys.iter().copied().map(Element::of));
                let timers: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
                Mutation::silent(format!("extend {keys:?}"), writing, move |content| {
                    entries(content).extend(keys.iter().map(|key| (*key, THERE)));
                })
                .timed(timers)
            }
            4 => {
                let keys = keyed::keys(key, random);
                let writing = writer.remove_many(keys.iter().copied().map(Element::of));
                let timers: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
                Mutation::silent(format!("remove {keys:?}"), writing, move |content| {
                    entries(content).retain(|key, _| !keys.contains(key));
                })
                .timed(timers)
            }
            5 | 6 => {
                let (key, ttl) = keyed::expiring(key, random);
                let writing = writer.insert_with_ttl(Element::of(key), ttl);
                Mutation::silent(
                    format!("insert {key} for {ttl:?}"),
                    writing,
                    move |content| {
                        entries(content).insert(key, THERE);
                    },
                )
                .timed([(key, Some(ttl))])
            }
            7 => Mutation::new(
                format!("let {key} expire after {ttl:?}"),
                writer.expire(&one, ttl),
                Answer::Was,
                move |content| Answer::Was(entries(content).contains_key(&key)),
            )
            .perhaps_timed(key, ttl),
            8 => {
                let next = (key + 1) % KEYS;
                let present = writer.contains(&one);
                let expected = if present {
                    Expected::Present
                } else {
                    Expected::Absent
                };
                let writing = writer
                    .batch()
                    .expect(one, expected)
                    .insert(Element::of(next))
                    .remove(one)
                    .commit();
                let writing = async move {
                    let outcome = writing.await?;
                    Ok::<_, Error<SetBatch<Element>>>(Committed(outcome))
                };
                let answer = move |previous: Option<Vec<Option<()>>>| {
                    let there = |one: Option<()>| one.map(|()| THERE);
                    Answer::Batch(previous.map(|all| all.into_iter().map(there).collect()))
                };
                let text = format!("batch at {key}, expects {present}");
                Mutation::new(text, writing, answer, move |content| {
                    let entries = entries(content);
                    if entries.contains_key(&key) != present {
                        return Answer::Batch(None);
                    }
                    Answer::Batch(Some(vec![
                        entries.insert(next, THERE),
                        entries.remove(&key),
                    ]))
                })
            }
            9 if random.random_bool(0.2) => Self::lighten(writer),
            _ => Mutation::new(
                format!("insert {key}"),
                writer.insert_returning(one),
                Answer::Was,
                move |content| Answer::Was(entries(content).insert(key, THERE).is_none()),
            )
            .timed([(key, None)]),
        }
    }
}
