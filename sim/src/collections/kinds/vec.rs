//! `Vec`.

use mosaik::collections::{VecChange, VecReader, VecSnapshot, VecWriter};
use rand::{Rng, rngs::SmallRng};

use super::{
    super::content::{Content, Delta, Load},
    Answer, Kind, Mutation, elements, handles,
};

pub(in super::super) struct VecKind;

/// Elements that are left of many.
const FEW: usize = 30;

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

fn popped(load: Option<Load>) -> Answer {
    Answer::Elements(load.into_iter().map(|load| load.mark).collect())
}

impl Kind for VecKind {
    handles!(
        VecWriter<Load>,
        VecReader<Load>,
        VecSnapshot<Load>,
        VecChange<Load>
    );

    fn empty() -> Content {
        Content::Elements(Vec::new())
    }

    fn content(snapshot: &Self::Snapshot) -> Content {
        Content::Elements(snapshot.iter().map(|load| load.mark).collect())
    }

    fn delta(change: &Self::Change) -> Delta {
        Delta::Splice {
            index: index(change.index()),
            removed: change.removed().map(|load| load.mark).collect(),
            inserted: change.inserted().map(|load| load.mark).collect(),
        }
    }

    fn heavy(writer: &Self::Writer, mark: u32) -> Mutation {
        let writing = writer.push_back(Load::heavy(mark));
        Mutation::silent("push a heavy one".to_owned(), writing, move |content| {
            elements(content).push(mark);
        })
        .marked([mark])
    }

    fn lighten(writer: &Self::Writer) -> Mutation {
        Mutation::silent("clear".to_owned(), writer.clear(), |content| {
            elements(content).clear();
        })
    }

    #[expect(clippy::too_many_lines, reason = "one branch for each way to mutate")]
    fn mutate(writer: &Self::Writer, random: &mut SmallRng, mark: u32) -> Mutation {
        let load = Load::light(mark);
        let len = writer.len() as u64;
        // Also those that are out of range.
        let (i, j) = (
            random.random_range(0..len + 3),
            random.random_range(0..len + 3),
        );
        let (at, to) = (index(i), index(j));
        match random.random_range(0..16) {
            0 => Mutation::new(
                "pop at the front".to_owned(),
                writer.pop_front_returning(),
                popped,
                |content| {
                    let elements = elements(content);
                    let popped = (!elements.is_empty()).then(|| elements.remove(0));
                    Answer::Elements(popped.into_iter().collect())
                },
            ),
            1 => Mutation::new(
                "pop at the back".to_owned(),
                writer.pop_back_returning(),
                popped,
                |content| Answer::Elements(elements(content).pop().into_iter().collect()),
            ),
            2 => Mutation::silent(
                format!("remove at {at}"),
                writer.remove(i),
                move |content| {
                    let elements = elements(content);
                    if at < elements.len() {
                        elements.remove(at);
                    }
                },
            ),
            3 => Mutation::silent(
                format!("swap {at}, {to}"),
                writer.swap(i, j),
                move |content| {
                    let elements = elements(content);
                    if at.max(to) < elements.len() {
                        elements.swap(at, to);
                    }
                },
            ),
            4 => {
                let writing = writer.replace(i, load);
                Mutation::new(
                    format!("replace at {at}, {mark}"),
                    writing,
                    popped,
                    move |content| {
                        let found = elements(content).get_mut(at);
                        let former = found.map(|found| core::mem::replace(found, mark));
                        Answer::Elements(former.into_iter().collect())
                    },
                )
                .marked([mark])
            }
            5 => {
                let answer = |removed: Vec<Load>| {
                    Answer::Elements(removed.iter().map(|load| load.mark).collect())
                };
                let writing = writer.drain(i..j);
                Mutation::new(
                    format!("drain {at}..{to}"),
                    writing,
                    answer,
                    move |content| {
                        let elements = elements(content);
                        let end = to.min(elements.len());
                        let start = at.min(end);
                        Answer::Elements(elements.drain(start..end).collect())
                    },
                )
            }
            6 => {
                let odd = random.random_range(0..5);
                let writing = writer.retain(move |load| load.mark / 32 % 5 != odd);
                Mutation::new(
                    format!("retain all but {odd}"),
                    writing,
                    Answer::Removed,
                    move |content| {
                        let elements = elements(content);
                        let len = elements.len();
                        elements.retain(|mark| mark / 32 % 5 != odd);
                        Answer::Removed((len - elements.len()) as u64)
                    },
                )
            }
            7 => {
                let writing = writer.push_front(load);
                Mutation::silent(
                    format!("push {mark} at the front"),
                    writing,
                    move |content| {
                        elements(content).insert(0, mark);
                    },
                )
                .marked([mark])
            }
            8 | 9 => {
                let writing = writer.insert(i, load);
                Mutation::silent(format!("insert at {at}, {mark}"), writing, move |content| {
                    let elements = elements(content);
                    if at <= elements.len() {
                        elements.insert(at, mark);
                    }
                })
                .marked([mark])
            }
            10 => {
                let marks: Vec<_> = (mark..).take(random.random_range(1..20)).collect();
                let writing = writer.extend(marks.iter().copied().map(Load::light));
                let written = marks.clone();
                Mutation::silent(format!("extend {marks:?}"), writing, move |content| {
                    elements(content).extend(&marks);
                })
                .marked(written)
            }
            11 if len > 3 * FEW as u64 => Mutation::silent(
                format!("truncate to {FEW}"),
                writer.truncate(FEW),
                |content| {
                    elements(content).truncate(FEW);
                },
            ),
            12 if random.random_bool(0.1) => Self::lighten(writer),
            _ => {
                let writing = writer.push_back(load);
                Mutation::silent(format!("push {mark}"), writing, move |content| {
                    elements(content).push(mark);
                })
                .marked([mark])
            }
        }
    }
}
