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
        let mut content = content.clone();
        for change in changes {
            let known = match change.new {
                Some(new) => content.insert(change.key, new),
                None => content.remove(&change.key),
            };
            if whole && known != change.old {
                return Err(format!(
                    "version {version}: key {} had {known:?}, not {:?}",
                    change.key, change.old
                ));
            }
        }
        Ok(())
    })
}
