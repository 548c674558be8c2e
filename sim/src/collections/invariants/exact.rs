//! A watch of a part brings changes of that part only, and shows that part only.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    let foreign = |key: &u8| !record.part.has(*key);
    if let Some(key) = record.begin.keys().copied().find(foreign) {
        return Err(format!("key {key} is in the first content"));
    }
    replay(record, |_, _, note| {
        let found = match note {
            Note::Changed(_, changes) => changes.iter().map(|change| change.key).find(foreign),
            Note::Anew(_, now) => now.keys().copied().find(foreign),
            _ => None,
        };
        match found {
            Some(key) => Err(format!("key {key} is in {note:?}")),
            None => Ok(()),
        }
    })
}
