//! Promises of every watch, one per file.

mod atomic;
mod complete;
mod created;
mod exact;
mod ordered;
mod previous;
mod progress;
mod resumable;
mod unique;

use super::{
    truth::Truth,
    watcher::{Content, Note, Record},
};
use crate::invariants::Violation;

/// A promise: how it is broken by what a watcher was told, if it is.
type Promise = fn(&Record, &Truth) -> Result<(), String>;

const PROMISES: [(&str, Promise); 9] = [
    ("ordered", ordered::check),
    ("unique", unique::check),
    ("complete", complete::check),
    ("atomic", atomic::check),
    ("resumable", resumable::check),
    ("progress", progress::check),
    ("exact", exact::check),
    ("previous", previous::check),
    ("created", created::check),
];

/// All that is wrong with what a watcher was told.
pub(super) fn judge(record: &Record, truth: &Truth) -> Vec<Violation> {
    let broken = PROMISES.iter().filter_map(|(name, promise)| {
        let reason = promise(record, truth).err()?;
        let Record {
            place,
            part,
            resumed,
            begin_version,
            ..
        } = record;
        Some(Violation(format!(
            "{name}: {reason}; of {part:?} at place {place}, begun at {begin_version}, resumed from \
             {resumed:?}"
        )))
    });
    broken.collect()
}

/// Replays what was told: `visit` gets the known version, the content known before each note, and
/// the note.
fn replay(
    record: &Record,
    mut visit: impl FnMut(u64, &Content, &Note) -> Result<(), String>,
) -> Result<(), String> {
    let mut content = record.begin.clone();
    // A watch of what is to come is told nothing of what comes before.
    let mut known = record.begin_version.max(record.resumed.unwrap_or_default());
    if record
        .resumed
        .is_some_and(|from| from < record.begin_version)
    {
        known = record.begin_version;
    }
    for note in &record.notes {
        visit(known, &content, note)?;
        match note {
            Note::Changed(version, changes) => {
                for change in changes {
                    match change.new {
                        Some(new) => content.insert(change.key, new),
                        None => content.remove(&change.key),
                    };
                }
                known = *version;
            }
            Note::Anew(version, now) => {
                content.clone_from(now);
                known = *version;
            }
            Note::Progress(version) => known = known.max(*version),
            Note::Reset => return Err("a history was given up".to_owned()),
        }
    }
    Ok(())
}

/// Returns whether the content that a watcher builds is the whole: one that waits for a version to
/// come does not learn what happens before.
fn is_whole(record: &Record) -> bool {
    record
        .resumed
        .is_none_or(|from| from <= record.begin_version)
}
