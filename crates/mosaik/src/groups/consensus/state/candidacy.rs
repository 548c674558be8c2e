//! A member's part in elections.

use std::sync::atomic::{AtomicBool, Ordering};

/// Candidacy of one member in one history.
pub(crate) struct Candidacy {
    /// True if this member stands for election by itself.
    elects: AtomicBool,
    /// True while this member asks others for pre-votes, and has let none of them go first.
    polls: AtomicBool,
}

impl Candidacy {
    pub(crate) fn new(elects: bool) -> Self {
        Self {
            elects: AtomicBool::new(elects),
            polls: AtomicBool::new(false),
        }
    }

    /// Sets whether this member stands for election by itself.
    pub(crate) fn set_elects(&self, elects: bool) {
        self.elects.store(elects, Ordering::Relaxed);
    }

    /// Returns whether this member stands for election by itself.
    pub(crate) fn elects(&self) -> bool {
        self.elects.load(Ordering::Relaxed)
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
