//! Versions rise.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    replay(record, |known, _, note| match note {
        Note::Changed(version, _) if *version < known => {
            Err(format!("version {version} follows on {known}"))
        }
        Note::Anew(version, _) if *version < known => {
            Err(format!("the content of {version} follows on {known}"))
        }
        _ => Ok(()),
    })
}
