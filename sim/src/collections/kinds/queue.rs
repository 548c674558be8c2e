//! `PriorityQueue`, with fewer places than keys.

use mosaik::collections::{
    PriorityQueueReader, PriorityQueueSnapshot, PriorityQueueWriter, QueueChange,
};
use rand::{Rng, rngs::SmallRng};

use super::{
    super::content::{Content, Delta, Entry, KEYS, Load},
    Answer, Kind, Mutation, entries, handles, keyed,
};

pub(in super::super) struct QueueKind;

const CAPACITY: u64 = 16;
const PRIORITIES: u8 = 8;

/// The key of the lowest entry, or of the highest one: of equal priorities, by their keys.
fn lowest(entries: &std::collections::BTreeMap<u8, Entry>) -> Option<u8> {
    let lowest = entries.iter().min_by_key(|(key, (rank, _))| (*rank, **key));
    lowest.map(|(key, _)| *key)
}

fn highest(entries: &std::collections::BTreeMap<u8, Entry>) -> Option<u8> {
    let highest = entries.iter().max_by_key(|(key, (rank, _))| (*rank, **key));
    highest.map(|(key, _)| *key)
}

fn insert(content: &mut Content, key: u8, entry: Entry) {
    let entries = entries(content);
    entries.insert(key, entry);
    while entries.len() as u64 > CAPACITY {
        let lowest = lowest(entries);
        lowest.map(|key| entries.remove(&key));
    }
}

fn popped(popped: Option<(u8, u8, Load)>) -> Answer {
    Answer::Popped(popped.map(|(rank, key, load)| (rank, key, load.mark)))
}

fn pop(
    content: &mut Content,
    which: fn(&std::collections::BTreeMap<u8, Entry>) -> Option<u8>,
) -> Answer {
    let entries = entries(content);
    let key = which(entries);
    let popped = key.and_then(|key| entries.remove(&key).map(|(rank, mark)| (rank, key, mark)));
    Answer::Popped(popped)
}

impl Kind for QueueKind {
    handles!(
        PriorityQueueWriter<u8, u8, Load, CAPACITY>,
        PriorityQueueReader<u8, u8, Load, CAPACITY>,
        PriorityQueueSnapshot<u8, u8, Load, CAPACITY>,
        QueueChange<u8, u8, Load>
    );

    fn content(snapshot: &Self::Snapshot) -> Content {
        let entries = snapshot.iter();
        Content::Entries(
            entries
                .map(|(rank, key, load)| (*key, (*rank, load.mark)))
                .collect(),
        )
    }

    fn delta(change: &Self::Change) -> Delta {
        let entry = |(rank, load): (&u8, &Load)| (*rank, load.mark);
        Delta::Entry {
            key: *change.key(),
            old: change.old().map(entry),
            new: change.new().map(entry),
            created: change.is_created(),
            cause: change.cause(),
        }
    }

    fn heavy(writer: &Self::Writer, mark: u32) -> Mutation {
        let writing = writer.insert(0, 0, Load::heavy(mark));
        Mutation::silent("insert a heavy one".to_owned(), writing, move |content| {
            insert(content, 0, (0, mark));
        })
    }

    fn lighten(writer: &Self::Writer) -> Mutation {
        Mutation::silent("clear".to_owned(), writer.clear(), |content| {
            entries(content).clear();
        })
    }

    #[expect(clippy::too_many_lines, reason = "one branch for each way to mutate")]
    fn mutate(writer: &Self::Writer, random: &mut SmallRng, mark: u32) -> Mutation {
        let key = random.random_range(0..KEYS);
        let rank = random.random_range(0..PRIORITIES);
        let load = Load::light(mark);
        match random.random_range(0..16) {
            0 => Mutation::new(
                "pop the lowest".to_owned(),
                writer.pop_min(),
                popped,
                |content| pop(content, lowest),
            ),
            1 => Mutation::new(
                "pop the highest".to_owned(),
                writer.pop_max(),
                popped,
                |content| pop(content, highest),
            ),
            2 => Mutation::silent(
                format!("remove {key}"),
                writer.remove(&key),
                move |content| {
                    entries(content).remove(&key);
                },
            ),
            3 => {
                let keys = keyed::keys(key, random);
                let writing = writer.remove_keys(keys.clone());
                Mutation::silent(format!("remove {keys:?}"), writing, move |content| {
                    entries(content).retain(|key, _| !keys.contains(key));
                })
            }
            4 => {
                let range = rank..random.random_range(0..PRIORITIES);
                let writing = writer.remove_range(range.clone());
                Mutation::silent(format!("remove {range:?}"), writing, move |content| {
                    entries(content).retain(|_, (rank, _)| !range.contains(rank));
                })
            }
            5 => {
                let writing = writer.update_priority(&key, rank);
                Mutation::silent(
                    format!("priority of {key}: {rank}"),
                    writing,
                    move |content| {
                        if let Some(entry) = entries(content).get_mut(&key) {
                            entry.0 = rank;
                        }
                    },
                )
            }
            6 => {
                let writing = writer.update_value(&key, load);
                Mutation::silent(format!("value of {key}: {mark}"), writing, move |content| {
                    if let Some(entry) = entries(content).get_mut(&key) {
                        entry.1 = mark;
                    }
                })
                .marked([mark])
            }
            7 => {
                let current = writer.get(&key).unwrap_or(load);
                let new = random.random_bool(0.7).then_some(load);
                let writing = writer.compare_exchange_value(&key, current, new);
                let text = format!("exchange {key}: {current:?} for {new:?}");
                Mutation::silent(text, writing, move |content| {
                    let entries = entries(content);
                    let Some((rank, _)) =
                        entries.get(&key).copied().filter(|e| e.1 == current.mark)
                    else {
                        return;
                    };
                    match new {
                        Some(new) => entries.insert(key, (rank, new.mark)),
                        None => entries.remove(&key),
                    };
                })
                .marked([mark])
            }
            8 | 9 => {
                let keys = keyed::keys(key, random);
                let items: Vec<_> = (mark..)
                    .zip(keys)
                    .map(|(mark, key)| (random.random_range(0..PRIORITIES), key, mark))
                    .collect();
                let loads = items.clone().into_iter();
                let writing = writer.extend(loads.map(|(r, k, m)| (r, k, Load::light(m))));
                let marks: Vec<_> = items.iter().map(|(.., mark)| *mark).collect();
                Mutation::silent(format!("extend {items:?}"), writing, move |content| {
                    for (rank, key, mark) in &items {
                        insert(content, *key, (*rank, *mark));
                    }
                })
                .marked(marks)
            }
            10 if random.random_bool(0.2) => Self::lighten(writer),
            _ => {
                let writing = writer.insert(rank, key, load);
                Mutation::silent(
                    format!("insert {rank}, {key}, {mark}"),
                    writing,
                    move |content| {
                        insert(content, key, (rank, mark));
                    },
                )
                .marked([mark])
            }
        }
    }
}
