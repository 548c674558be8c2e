//! A peer that is gone stays gone.
//!
//! Source: departures leave tombstones "so that late copies of entries up to that version are
//! refused".

use mosaik::{Network, PeerId};

use super::Violation;

/// No catalog holds a peer that is gone.
///
/// # Errors
///
/// The first ghost found.
pub fn check(nodes: &[Network], gone: &[PeerId]) -> Result<(), Violation> {
    for node in nodes {
        let catalog = node.discovery().catalog();
        for (id, _) in &catalog {
            if gone.contains(id) {
                let (observer, ghost) = (node.local().id().fmt_short(), id.fmt_short());
                return Err(Violation(format!(
                    "{observer} still knows {ghost}, who is gone"
                )));
            }
        }
    }
    Ok(())
}
