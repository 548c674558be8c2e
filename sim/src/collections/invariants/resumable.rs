//! A watch that is resumed begins with the content of that very version.

use super::super::{
    truth::Truth,
    watcher::{Note, Record},
};

pub(super) fn check(record: &Record, truth: &Truth) -> Result<(), String> {
    let Some(from) = record.resumed else {
        return Ok(());
    };
    if matches!(record.notes.first(), Some(Note::Anew(..))) || from > record.begin_version {
        return Ok(());
    }
    if from != record.begin_version {
        return Err(format!(
            "resumed from {from}, it begins with the content of {}",
            record.begin_version
        ));
    }
    let then = truth.content(from);
    if record.begin == *then {
        Ok(())
    } else {
        Err(format!(
            "at {from} there was {then:?}, and it begins with {:?}",
            record.begin
        ))
    }
}
