//! Common parts of maps with and without an order.

use std::{collections::BTreeMap, time::Duration};

use mosaik::collections::MapChange;
use rand::{Rng, rngs::SmallRng};

use super::super::content::{ALL_KEYS, Content, Delta, Entry, KEYS, Load};

/// A time to live, so short that it may end before another write takes it away.
pub(super) fn ttl(random: &mut SmallRng) -> Duration {
    Duration::from_millis(random.random_range(0..120))
}

/// A key and the time to live that it is written with.
pub(super) fn expiring(key: u8, random: &mut SmallRng) -> (u8, Duration) {
    if random.random_bool(0.3) {
        return (key, ttl(random));
    }
    // Far longer than anything else takes: an early end is seen.
    let ttl = Duration::from_millis(random.random_range(300..700));
    (random.random_range(KEYS..ALL_KEYS), ttl)
}

/// Some keys that follow on one.
pub(super) fn keys(key: u8, random: &mut SmallRng) -> Vec<u8> {
    let count = random.random_range(1..20);
    (0..count).map(|n| (key + n) % KEYS).collect()
}

/// A content in which the entries have no priority.
pub(super) fn content<'a>(entries: impl Iterator<Item = (&'a u8, &'a Load)>) -> Content {
    let entries = entries.map(|(key, load)| (*key, (0, load.mark)));
    Content::Entries(entries.collect::<BTreeMap<_, Entry>>())
}

pub(super) fn delta(change: &MapChange<u8, Load>) -> Delta {
    let entry = |load: &Load| (0, load.mark);
    Delta::Entry {
        key: *change.key(),
        old: change.old().map(entry),
        new: change.new().map(entry),
        created: change.is_created(),
        cause: change.cause(),
    }
}

/// The part of a [`Kind`](super::Kind) that is the same for maps with and without an order.
macro_rules! maps {
    () => {
        fn content(snapshot: &Self::Snapshot) -> Content {
            keyed::content(snapshot.iter())
        }

        fn delta(change: &Self::Change) -> Delta {
            keyed::delta(change)
        }

        fn expires(reader: &Self::Reader) -> bool {
            (0..ALL_KEYS).any(|key| reader.ttl(&key).is_some())
        }

        fn heavy(writer: &Self::Writer, mark: u32) -> Mutation {
            let writing = writer.insert(0, Load::heavy(mark));
            Mutation::silent("insert a heavy one".to_owned(), writing, move |content| {
                entries(content).insert(0, (0, mark));
            })
            .timed([(0, None)])
        }

        fn lighten(writer: &Self::Writer) -> Mutation {
            Mutation::silent("clear".to_owned(), writer.clear(), |content| {
                entries(content).clear();
            })
            .timed((0..ALL_KEYS).map(|key| (key, None)))
        }

        #[expect(clippy::too_many_lines, reason = "one branch for each way to mutate")]
        fn mutate(writer: &Self::Writer, random: &mut SmallRng, mark: u32) -> Mutation {
            let key = random.random_range(0..KEYS);
            let ttl = keyed::ttl(random);
            let load = Load::light(mark);
            let current = writer.get(&key);
            let load_of = |entry: Option<Load>| entry.map(|load| (0, load.mark));
            match random.random_range(0..16) {
                0 => {
                    let writing = writer.remove_returning(&key);
                    let answer = move |removed| Answer::Previous(load_of(removed));
                    Mutation::new(format!("remove {key}"), writing, answer, move |content| {
                        Answer::Previous(entries(content).remove(&key))
                    })
                    .timed([(key, None)])
                }
                1 | 2 => {
                    let keys = keyed::keys(key, random);
                    let pairs: Vec<_> = keys.iter().copied().zip(mark..).collect();
                    let writing =
                        writer.extend(pairs.clone().into_iter().map(|(k, m)| (k, Load::light(m))));
                    let marks: Vec<_> = pairs.iter().map(|(_, mark)| *mark).collect();
                    Mutation::silent(format!("extend {pairs:?}"), writing, move |content| {
                        let pairs = pairs.iter().map(|(key, mark)| (*key, (0, *mark)));
                        entries(content).extend(pairs);
                    })
                    .marked(marks)
                    .timed(keys.into_iter().map(|key| (key, None)))
                }
                3 => {
                    let keys = keyed::keys(key, random);
                    let writing = writer.remove_many(keys.clone());
                    let timers: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
                    Mutation::silent(format!("remove {keys:?}"), writing, move |content| {
                        entries(content).retain(|key, _| !keys.contains(key));
                    })
                    .timed(timers)
                }
                4 | 5 => {
                    let (key, ttl) = keyed::expiring(key, random);
                    let writing = writer.insert_with_ttl(key, load, ttl);
                    let text = format!("insert {key}, {mark} for {ttl:?}");
                    Mutation::silent(text, writing, move |content| {
                        entries(content).insert(key, (0, mark));
                    })
                    .marked([mark])
                    .timed([(key, Some(ttl))])
                }
                6 => {
                    let new = random.random_bool(0.8).then_some(load);
                    let writing = writer.compare_exchange_returning(key, current, new);
                    let text = format!("exchange {key}: {current:?} for {new:?}");
                    let answer = move |exchange: Exchange<Load>| {
                        Answer::Exchanged(exchange.applied, load_of(exchange.current))
                    };
                    Mutation::new(text, writing, answer, move |content| {
                        let entries = entries(content);
                        let found = entries.get(&key).copied();
                        let applied = found == load_of(current);
                        match load_of(new) {
                            _ if !applied => {}
                            Some(new) => drop(entries.insert(key, new)),
                            None => drop(entries.remove(&key)),
                        }
                        Answer::Exchanged(applied, found)
                    })
                    .marked([mark])
                }
                7 | 8 => {
                    let (next, last) = ((key + 1) % KEYS, (key + 2) % KEYS);
                    let expected = match current {
                        Some(current) => Expected::Value(current),
                        None => Expected::Absent,
                    };
                    let writing = writer
                        .batch()
                        .expect(key, expected)
                        .insert(next, load)
                        .remove(last)
                        .insert(key, Load::light(mark + 1))
                        .insert(next, Load::light(mark + 2))
                        .commit();
                    let writing = async move {
                        let outcome = writing.await?;
                        Ok::<_, Error<Batch<u8, Load>>>(Committed(outcome))
                    };
                    let answer = move |previous: Option<Vec<Option<Load>>>| {
                        let previous = previous.map(|all| all.into_iter().map(load_of).collect());
                        Answer::Batch(previous)
                    };
                    let text = format!("batch at {key}, {mark}, expects {current:?}");
                    Mutation::new(text, writing, answer, move |content| {
                        let entries = entries(content);
                        if entries.get(&key).copied() != load_of(current) {
                            return Answer::Batch(None);
                        }
                        Answer::Batch(Some(vec![
                            entries.insert(next, (0, mark)),
                            entries.remove(&last),
                            entries.insert(key, (0, mark + 1)),
                            entries.insert(next, (0, mark + 2)),
                        ]))
                    })
                    .marked([mark, mark + 1, mark + 2])
                }
                9 => {
                    let writing = writer.expire(&key, ttl);
                    Mutation::new(
                        format!("let {key} expire after {ttl:?}"),
                        writing,
                        Answer::Was,
                        move |content| Answer::Was(entries(content).contains_key(&key)),
                    )
                    .perhaps_timed(key, ttl)
                }
                10 => {
                    let change = move |found: Option<&Load>| found.map(|_| load);
                    let writing = writer.update(key, change);
                    let answer = move |new| Answer::Previous(load_of(new));
                    let text = format!("update {key} to {mark}");
                    Mutation::new(text, writing, answer, move |content| {
                        let found = entries(content).get_mut(&key);
                        Answer::Previous(found.map(|entry| {
                            *entry = (0, mark);
                            *entry
                        }))
                    })
                    .marked([mark])
                }
                11 if random.random_bool(0.2) => Self::lighten(writer),
                _ => {
                    let writing = writer.insert_returning(key, load);
                    let answer = move |previous| Answer::Previous(load_of(previous));
                    Mutation::new(
                        format!("insert {key}, {mark}"),
                        writing,
                        answer,
                        move |content| Answer::Previous(entries(content).insert(key, (0, mark))),
                    )
                    .marked([mark])
                    .timed([(key, None)])
                }
            }
        }
    };
}
pub(super) use maps;
