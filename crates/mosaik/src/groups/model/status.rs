//! Current knowledge of a member about its group, for handles and waiters.

use tokio::sync::watch;

use crate::{
    groups::{Cursor, Index, Membership},
    primitives::PeerId,
};

/// The observable state of one member, written by its tasks and read by everybody.
#[derive(Debug)]
pub(crate) struct Status {
    local: PeerId,
    leader: watch::Sender<Option<PeerId>>,
    online: watch::Sender<Flips>,
    committed: Position<Index>,
    log: Position<Cursor>,
    membership: watch::Sender<Membership>,
    /// Commands that this member has given up, over all its histories.
    discarded: watch::Sender<u64>,
    terminated: watch::Sender<bool>,
}

/// A condition that comes and goes, with the number of its changes: a waiter that is slow to look
/// still learns of a state that has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flips {
    pub(crate) on: bool,
    pub(crate) count: u64,
}

/// A position, and besides, each value that it fell back to.
#[derive(Debug)]
struct Position<T> {
    current: watch::Sender<T>,
    reverted: watch::Sender<T>,
}

impl<T: Copy + PartialOrd + Default> Position<T> {
    fn new() -> Self {
        Self {
            current: watch::Sender::new(T::default()),
            reverted: watch::Sender::new(T::default()),
        }
    }

    fn set(&self, value: T) {
        let reverted = value < *self.current.borrow();
        replace(&self.current, value);
        if reverted {
            self.reverted.send_replace(value);
        }
    }

    fn watch(&self) -> PositionWatch<T> {
        PositionWatch {
            current: self.current.subscribe(),
            reverted: self.reverted.subscribe(),
        }
    }
}

/// Watches a position.
#[derive(Debug, Clone)]
pub(crate) struct PositionWatch<T> {
    pub(crate) current: watch::Receiver<T>,
    /// Changes with every fall.
    pub(crate) reverted: watch::Receiver<T>,
}

impl Status {
    pub(crate) fn new(local: PeerId) -> Self {
        Self {
            local,
            leader: watch::Sender::new(None),
            online: watch::Sender::new(Flips::default()),
            committed: Position::new(),
            log: Position::new(),
            membership: watch::Sender::default(),
            discarded: watch::Sender::new(0),
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
        self.online.borrow().on
    }

    pub(crate) fn committed(&self) -> Index {
        *self.committed.current.borrow()
    }

    pub(crate) fn log_position(&self) -> Cursor {
        *self.log.current.borrow()
    }

    pub(crate) fn is_terminated(&self) -> bool {
        *self.terminated.borrow()
    }

    pub(crate) fn watch_leader(&self) -> watch::Receiver<Option<PeerId>> {
        self.leader.subscribe()
    }

    pub(crate) fn watch_online(&self) -> watch::Receiver<Flips> {
        self.online.subscribe()
    }

    pub(crate) fn watch_committed(&self) -> PositionWatch<Index> {
        self.committed.watch()
    }

    pub(crate) fn watch_log(&self) -> PositionWatch<Cursor> {
        self.log.watch()
    }

    pub(crate) fn watch_membership(&self) -> watch::Receiver<Membership> {
        self.membership.subscribe()
    }

    pub(crate) fn watch_discarded(&self) -> watch::Receiver<u64> {
        self.discarded.subscribe()
    }

    pub(crate) fn watch_terminated(&self) -> watch::Receiver<bool> {
        self.terminated.subscribe()
    }

    /// Sets the known leader; none once this member has ended.
    pub(crate) fn set_leader(&self, leader: Option<PeerId>) {
        self.leader.send_if_modified(|known| {
            // Looked at under the lock: the end also takes it, after it is marked.
            let leader = leader.filter(|_| !self.is_terminated());
            core::mem::replace(known, leader) != leader
        });
    }

    pub(crate) fn set_online(&self, online: bool) {
        self.online.send_if_modified(|flips| {
            let online = online && !self.is_terminated();
            let changed = flips.on != online;
            if changed {
                flips.on = online;
                flips.count += 1;
            }
            changed
        });
    }

    pub(crate) fn set_committed(&self, committed: Index) {
        self.committed.set(committed);
    }

    pub(crate) fn set_log_position(&self, position: Cursor) {
        self.log.set(position);
    }

    /// Sets who belongs to the group; nobody once this member has ended.
    pub(crate) fn set_membership(&self, membership: Membership) {
        self.membership.send_if_modified(|known| {
            let membership = if self.is_terminated() {
                Membership::default()
            } else {
                membership
            };
            let changed = *known != membership;
            *known = membership;
            changed
        });
    }

    pub(crate) fn add_discarded(&self, commands: u64) {
        self.discarded.send_modify(|count| *count += commands);
    }

    /// Marks the end of this member: no leader, offline, for good.
    pub(crate) fn terminate(&self) {
        replace(&self.terminated, true);
        self.set_membership(Membership::default());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a leader that was named while a member ended stayed for good.
    #[test]
    fn nothing_is_known_of_a_member_that_has_ended_whoever_comes_last() {
        let local = iroh::SecretKey::from_bytes(&[7; 32]).public();
        for _ in 0..100 {
            let status = Status::new(local);
            let (leader, online) = (status.leader.borrow(), status.online.borrow());
            let begun = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                let setters: [fn(&Status); 2] = [
                    |status| status.set_leader(Some(status.local)),
                    |status| status.set_online(true),
                ];
                for set in setters {
                    let (begun, status) = (&begun, &status);
                    scope.spawn(move || {
                        begun.wait();
                        set(status);
                    });
                }
                begun.wait();
                // They have looked, or wait for the lock.
                std::thread::yield_now();
                replace(&status.terminated, true);
                drop((leader, online));
            });
            assert_eq!(status.leader(), None);
            assert!(!status.is_online());
        }
    }
}
