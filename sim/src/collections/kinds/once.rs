//! `Once`.

use mosaik::collections::{OnceChange, OnceReader, OnceSnapshot, OnceWriter};
use rand::rngs::SmallRng;

use super::{
    super::content::{Content, Delta, Load},
    Answer, Kind, Mutation,
    cell::{self, PLACE},
    entries, handles,
};

pub(in super::super) struct OnceKind;

fn write(writer: &OnceWriter<Load>, load: Load) -> Mutation {
    let answer = |found: Option<Load>| Answer::Previous(found.map(|load| (0, load.mark)));
    let text = format!("write {load:?}");
    Mutation::new(text, writer.write_returning(load), answer, move |content| {
        let entries = entries(content);
        let found = entries.get(&PLACE).copied();
        entries.entry(PLACE).or_insert((0, load.mark));
        Answer::Previous(found)
    })
    .marked([load.mark])
}

impl Kind for OnceKind {
    handles!(
        OnceWriter<Load>,
        OnceReader<Load>,
        OnceSnapshot<Load>,
        OnceChange<Load>
    );

    fn content(snapshot: &Self::Snapshot) -> Content {
        cell::content(snapshot.get())
    }

    fn delta(change: &Self::Change) -> Delta {
        cell::delta(change)
    }

    fn heavy(writer: &Self::Writer, mark: u32) -> Mutation {
        write(writer, Load::heavy(mark))
    }

    /// Without effect, as everything after the first value.
    fn lighten(writer: &Self::Writer) -> Mutation {
        write(writer, Load::light(u32::MAX))
    }

    fn mutate(writer: &Self::Writer, _: &mut SmallRng, mark: u32) -> Mutation {
        write(writer, Load::light(mark))
    }
}
