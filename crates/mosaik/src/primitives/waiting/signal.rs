//! Wakes everybody who waits for a change, without losing a wake-up.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;

/// A set of wakers that a change wakes all at once.
///
/// The rule for users: register first, then look at the state, then return `Pending`. A change
/// after the look finds the waker; a change before it was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    wakers: Mutex<HashMap<u64, Waker>>,
    next_slot: AtomicU64,
}

impl Signal {
    /// Wakes everybody registered now.
    pub(crate) fn notify(&self) {
        let wakers = core::mem::take(&mut *self.0.wakers.lock());
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    /// A place for one waiter.
    pub(crate) fn slot(&self) -> WakerSlot {
        WakerSlot {
            signal: self.clone(),
            id: self.0.next_slot.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// One waiter's place in a [`Signal`]; holds at most one waker, the latest.
#[derive(Debug)]
pub(crate) struct WakerSlot {
    signal: Signal,
    id: u64,
}

impl WakerSlot {
    /// Registers a waker for the next change, replacing an earlier one.
    pub(crate) fn register(&self, waker: &Waker) {
        self.signal.0.wakers.lock().insert(self.id, waker.clone());
    }
}

impl Clone for WakerSlot {
    /// A place of its own on the same signal, with no waker.
    fn clone(&self) -> Self {
        self.signal.slot()
    }
}

impl Drop for WakerSlot {
    fn drop(&mut self) {
        self.signal.0.wakers.lock().remove(&self.id);
    }
}
