//! A change says that it created an entry exactly when there was none, and never changes nothing.

use super::{
    super::{
        content::Delta,
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    replay(record, |_, _, note| {
        let Note::Changed(version, changes) = note else {
            return Ok(());
        };
        let wrong = changes.iter().find(|change| match change {
            Delta::Entry {
                old, new, created, ..
            } => *created != (old.is_none() && new.is_some()) || (old.is_none() && new.is_none()),
            Delta::Splice {
                removed, inserted, ..
            } => removed.is_empty() && inserted.is_empty(),
        });
        match wrong {
            Some(change) => Err(format!("version {version}: {change:?}")),
            None => Ok(()),
        }
    })
}
