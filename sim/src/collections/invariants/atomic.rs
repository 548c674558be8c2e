//! The changes of one version come together, in the order in which they took effect.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, truth: &Truth) -> Result<(), String> {
    replay(record, |_, _, note| {
        let Note::Changed(version, told) = note else {
            return Ok(());
        };
        let whole = truth.at(*version).unwrap_or_default();
        let whole: Vec<_> = whole
            .iter()
            .filter(|change| record.part.has(change))
            .collect();
        // A version that no watcher of everything was told has nothing to be compared with.
        if whole.is_empty() || whole.iter().copied().eq(told) {
            Ok(())
        } else {
            Err(format!("of version {version}, {whole:?}, only {told:?}"))
        }
    })
}
