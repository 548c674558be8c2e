//! `Cell`.

use mosaik::collections::{Cause, CellChange, CellReader, CellSnapshot, CellWriter, Exchange};
use rand::{Rng, rngs::SmallRng};

use super::{
    super::content::{Content, Delta, Load},
    Answer, Kind, Mutation, entries, handles,
};

pub(in super::super) struct CellKind;

/// The key that the value has.
pub(super) const PLACE: u8 = 0;

pub(super) fn content(value: Option<&Load>) -> Content {
    Content::Entries(
        value
            .map(|load| (PLACE, (0, load.mark)))
            .into_iter()
            .collect(),
    )
}

pub(super) fn delta(change: &CellChange<Load>) -> Delta {
    let entry = |load: &Load| (0, load.mark);
    Delta::Entry {
        key: PLACE,
        old: change.old().map(entry),
        new: change.new().map(entry),
        created: change.old().is_none() && change.new().is_some(),
        cause: Cause::Write,
    }
}

impl Kind for CellKind {
    handles!(
        CellWriter<Load>,
        CellReader<Load>,
        CellSnapshot<Load>,
        CellChange<Load>
    );

    fn content(snapshot: &Self::Snapshot) -> Content {
        content(snapshot.get())
    }

    fn delta(change: &Self::Change) -> Delta {
        delta(change)
    }

    fn heavy(writer: &Self::Writer, mark: u32) -> Mutation {
        let writing = writer.write(Load::heavy(mark));
        Mutation::silent("write a heavy one".to_owned(), writing, move |content| {
            entries(content).insert(PLACE, (0, mark));
        })
    }

    fn lighten(writer: &Self::Writer) -> Mutation {
        Mutation::silent("clear".to_owned(), writer.clear(), |content| {
            entries(content).clear();
        })
    }

    fn mutate(writer: &Self::Writer, random: &mut SmallRng, mark: u32) -> Mutation {
        let load = Load::light(mark);
        match random.random_range(0..10) {
            0 => Self::lighten(writer),
            1..=4 => {
                let current = writer.get();
                let new = random.random_bool(0.8).then_some(load);
                let load_of = |load: Option<Load>| load.map(|load| (0, load.mark));
                let writing = writer.compare_exchange_returning(current, new);
                let answer = move |exchange: Exchange<Load>| {
                    Answer::Exchanged(exchange.applied, load_of(exchange.current))
                };
                let text = format!("exchange {current:?} for {new:?}");
                Mutation::new(text, writing, answer, move |content| {
                    let entries = entries(content);
                    let found = entries.get(&PLACE).copied();
                    let applied = found == load_of(current);
                    match load_of(new) {
                        _ if !applied => {}
                        Some(new) => drop(entries.insert(PLACE, new)),
                        None => entries.clear(),
                    }
                    Answer::Exchanged(applied, found)
                })
                .marked([mark])
            }
            _ => {
                let writing = writer.write(load);
                Mutation::silent(format!("write {mark}"), writing, move |content| {
                    entries(content).insert(PLACE, (0, mark));
                })
                .marked([mark])
            }
        }
    }
}
