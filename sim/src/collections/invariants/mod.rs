//! Promises, one per file: nine of every watch, and those of the collection.

mod acknowledged;
mod atomic;
mod complete;
mod content;
mod created;
mod exact;
mod expiry;
mod ordered;
mod previous;
mod progress;
mod replicas;
mod resumable;
mod unique;

use super::{
    content::Content,
    kinds::{Answer, Effect, Failure},
    truth::Truth,
    watcher::{Note, Record},
};
use crate::invariants::Violation;

/// A mutation, and what came of it.
pub(super) type Call = (Effect, Result<(u64, Answer), Failure>);

/// All that was seen in a run.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) records: Vec<Record>,
    /// Contents that handles showed, with the place and the version.
    pub(super) looks: Vec<(usize, u64, Content)>,
    pub(super) calls: Vec<Call>,
}

/// A promise: how it is broken by what a watcher was told, if it is.
type Promise = fn(&Record, &Truth) -> Result<(), String>;

const PROMISES: [(&str, Promise); 10] = [
    ("ordered", ordered::check),
    ("unique", unique::check),
    ("complete", complete::check),
    ("atomic", atomic::check),
    ("resumable", resumable::check),
    ("progress", progress::check),
    ("exact", exact::check),
    ("previous", previous::check),
    ("created", created::check),
    ("content", content::check),
];

/// A promise of the collection: how it is broken by what was seen, in all ways.
type Rule = fn(&Seen, &Truth) -> Vec<String>;

const RULES: [(&str, Rule); 3] = [
    ("replicas", replicas::check),
    ("acknowledged", acknowledged::check),
    ("expiry", expiry::check),
];

/// All that is wrong with what was seen.
pub(super) fn judge(seen: &Seen, truth: &Truth) -> Vec<Violation> {
    let rules = RULES.iter().flat_map(|(name, rule)| {
        let broken = rule(seen, truth).into_iter();
        broken.map(move |reason| Violation(format!("{name}: {reason}")))
    });
    let watchers = seen.records.iter();
    rules
        .chain(watchers.flat_map(|record| judge_watcher(record, truth)))
        .collect()
}

/// All that is wrong with what a watcher was told.
fn judge_watcher(record: &Record, truth: &Truth) -> Vec<Violation> {
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
                    // Whether it fits is a promise of its own.
                    content.follow(change);
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
