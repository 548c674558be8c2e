//! Nothing is missed without a report.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, truth: &Truth) -> Result<(), String> {
    replay(record, |known, _, note| {
        let (Note::Changed(version, _) | Note::Progress(version)) = note else {
            return Ok(());
        };
        let untold = match note {
            // The version itself is told now.
            Note::Changed(..) => version.saturating_sub(1),
            _ => *version,
        };
        match truth.between(known, untold, record.part).next() {
            Some((missed, changes)) => Err(format!(
                "version {missed}, which changed {changes:?}, is missing between {known} and {note:?}"
            )),
            None => Ok(()),
        }
    })
}
