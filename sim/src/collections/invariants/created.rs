//! A change says that it created an entry exactly when there was none, and never changes nothing.

use super::{
    super::{
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
        let wrong = changes.iter().find(|change| {
            let created = change.old.is_none() && change.new.is_some();
            change.created != created || (change.old.is_none() && change.new.is_none())
        });
        match wrong {
            Some(change) => Err(format!("version {version}: {change:?}")),
            None => Ok(()),
        }
    })
}
