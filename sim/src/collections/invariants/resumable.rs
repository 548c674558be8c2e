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
    // What each key had then is what its next change found.
    let mut seen = [false; 256];
    for (version, changes) in truth.between(from, u64::MAX - 1, record.part) {
        for change in changes {
            let then = record.begin.get(&change.key).copied();
            if !core::mem::replace(&mut seen[usize::from(change.key)], true) && then != change.old {
                return Err(format!(
                    "at {from}, key {} had {then:?}, and {:?} until {version}",
                    change.key, change.old
                ));
            }
        }
    }
    Ok(())
}
