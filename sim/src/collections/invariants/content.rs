//! The content that a watch begins with, or goes on from, is that of its version.

use super::super::{
    truth::Truth,
    watcher::{Note, Record},
};

pub(super) fn check(record: &Record, truth: &Truth) -> Result<(), String> {
    let begin = (record.begin_version, &record.begin);
    let anew = record.notes.iter().filter_map(|note| match note {
        Note::Anew(version, now) => Some((*version, now)),
        _ => None,
    });
    for (version, shown) in std::iter::once(begin).chain(anew) {
        let there = truth.content(version).part(record.part);
        if *shown != there {
            return Err(format!(
                "at {version} there was {there:?}, and it shows {shown:?}"
            ));
        }
    }
    Ok(())
}
