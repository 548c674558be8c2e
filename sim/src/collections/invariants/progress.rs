//! A watch brings no version that its progress has passed.

use super::super::{
    truth::Truth,
    watcher::{Note, Record},
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    let mut done = 0;
    for note in &record.notes {
        match note {
            Note::Progress(version) if *version < done => {
                return Err(format!("progress fell from {done} to {version}"));
            }
            Note::Progress(version) => done = *version,
            Note::Changed(version, _) if *version <= done => {
                return Err(format!("version {version} came after {done} was done"));
            }
            _ => {}
        }
    }
    Ok(())
}
