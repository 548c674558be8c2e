//! What a member currently knows of its group, for handles and waiters.

use tokio::sync::watch;

use crate::{
    groups::{Cursor, Index},
    primitives::PeerId,
};

/// The observable state of one member, written by its tasks and read by everybody.
#[derive(Debug)]
pub(crate) struct Status {
    local: PeerId,
    leader: watch::Sender<Option<PeerId>>,
    online: watch::Sender<bool>,
    committed: watch::Sender<Index>,
    log: watch::Sender<Cursor>,
    terminated: watch::Sender<bool>,
}

impl Status {
    pub(crate) fn new(local: PeerId) -> Self {
        Self {
            local,
            leader: watch::Sender::new(None),
            online: watch::Sender::new(false),
            committed: watch::Sender::new(Index::zero()),
            log: watch::Sender::new(Cursor::zero()),
            terminated: watch::Sender::new(false),
        }
    }

    pub(crate) fn local(&self) -> PeerId {
        self.local
    }

    pub(crate) fn leader(&self) -> Option<PeerId> {
        *self.leader.borrow()
    }

    pub(crate) fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    pub(crate) fn committed(&self) -> Index {
        *self.committed.borrow()
    }

    pub(crate) fn log_position(&self) -> Cursor {
        *self.log.borrow()
    }

    pub(crate) fn is_terminated(&self) -> bool {
        *self.terminated.borrow()
    }

    pub(crate) fn watch_leader(&self) -> watch::Receiver<Option<PeerId>> {
        self.leader.subscribe()
    }

    pub(crate) fn watch_online(&self) -> watch::Receiver<bool> {
        self.online.subscribe()
    }

    pub(crate) fn watch_committed(&self) -> watch::Receiver<Index> {
        self.committed.subscribe()
    }

    pub(crate) fn watch_log(&self) -> watch::Receiver<Cursor> {
        self.log.subscribe()
    }

    pub(crate) fn watch_terminated(&self) -> watch::Receiver<bool> {
        self.terminated.subscribe()
    }

    /// Sets the known leader; none once this member has ended.
    pub(crate) fn set_leader(&self, leader: Option<PeerId>) {
        replace(&self.leader, leader.filter(|_| !self.is_terminated()));
    }

    pub(crate) fn set_online(&self, online: bool) {
        replace(&self.online, online && !self.is_terminated());
    }

    pub(crate) fn set_committed(&self, committed: Index) {
        replace(&self.committed, committed);
    }

    pub(crate) fn set_log_position(&self, position: Cursor) {
        replace(&self.log, position);
    }

    /// Marks the end of this member: no leader, offline, for good.
    pub(crate) fn terminate(&self) {
        replace(&self.terminated, true);
        self.set_leader(None);
        self.set_online(false);
    }
}

fn replace<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let changed = *current != value;
        if changed {
            *current = value;
        }
        changed
    });
}
