//! The former value of a change is the one that is known.

use super::{
    super::{
        truth::Truth,
        watcher::{Note, Record},
    },
    is_whole, replay,
};

pub(super) fn check(record: &Record, _: &Truth) -> Result<(), String> {
    let mut whole = is_whole(record);
    replay(record, |_, content, note| {
        let Note::Changed(version, changes) = note else {
            whole |= matches!(note, Note::Anew(..));
            return Ok(());
        };
        let mut known = content.clone();
        let wrong = changes.iter().find(|change| !known.follow(change));
        match wrong {
            Some(wrong) if whole => Err(format!("version {version}: {wrong:?} finds {content:?}")),
            _ => Ok(()),
        }
    })
}
