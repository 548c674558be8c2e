//! A member's part in elections.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::groups::machine::preference::Preference;

/// Candidacy of one member in one history.
pub(crate) struct Candidacy {
    /// Says whether this member stands for election by itself.
    preference: Arc<Preference>,
    /// True while this member asks others for pre-votes, and has let none of them go first.
    polls: AtomicBool,
}

impl Candidacy {
    pub(crate) fn new(preference: Arc<Preference>) -> Self {
        Self {
            preference,
            polls: AtomicBool::new(false),
        }
    }

    /// Returns whether this member stands for election by itself.
    pub(crate) fn elects(&self) -> bool {
        self.preference.elects()
    }

    /// Notes that this member asks others for pre-votes.
    pub(crate) fn begin_poll(&self) {
        self.polls.store(true, Ordering::Relaxed);
    }

    /// Returns whether this member asks for pre-votes, and has let nobody go first.
    pub(crate) fn polls(&self) -> bool {
        self.polls.load(Ordering::Relaxed)
    }

    /// Notes that this member asks no more, or lets another one go first; returns whether it did ask.
    pub(crate) fn end_poll(&self) -> bool {
        self.polls.swap(false, Ordering::Relaxed)
    }
}
