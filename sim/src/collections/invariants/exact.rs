//! A watch of a part brings changes of that part only, and shows that part only.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    let part = record.part;
    if record.begin != record.begin.part(part) {
        return Err(format!("the first content is {:?}", record.begin));
    }
    replay(record, |_, _, note| {
        let exact = match note {
            Note::Changed(_, changes) => changes.iter().all(|change| part.has(change)),
            Note::Anew(_, now) => *now == now.part(part),
            _ => true,
        };
        if exact {
            Ok(())
        } else {
            Err(format!("more than the part is in {note:?}"))
        }
    })
}
