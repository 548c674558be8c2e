//! No version is told twice, also not after a snapshot that has it.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    replay,
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    replay(record, |known, _, note| match note {
        Note::Changed(version, _) if *version == known => {
            Err(format!("version {version} was known already"))
        }
        _ => Ok(()),
    })
}
