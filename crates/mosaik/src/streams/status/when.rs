//! Waiting for a stream to be online, or for its subscriptions.

use core::{fmt, future::poll_fn, task::Poll};
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use super::{ChannelConditions, Channels};
use crate::primitives::ConditionSource;

const OFFLINE: u8 = 0;
const ONLINE: u8 = 1;
const ENDED: u8 = 2;

/// Online state of a producer or consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::streams_layer) enum Standing {
    Offline,
    Online,
    /// For good.
    Ended,
}

/// Online state of a producer or consumer, readable at the cost of one load.
#[derive(Debug, Default)]
pub(in crate::streams_layer) struct Flag(AtomicU8);

impl Flag {
    pub(in crate::streams_layer) fn get(&self) -> Standing {
        match self.0.load(Ordering::SeqCst) {
            OFFLINE => Standing::Offline,
            ONLINE => Standing::Online,
            _ => Standing::Ended,
        }
    }

    /// Goes online or offline, unless it has ended.
    pub(in crate::streams_layer) fn set_online(&self, online: bool) {
        let (old, new) = if online {
            (OFFLINE, ONLINE)
        } else {
            (ONLINE, OFFLINE)
        };
        // Fails when it is so already or has ended.
        let _ = self
            .0
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub(in crate::streams_layer) fn end(&self) {
        self.0.store(ENDED, Ordering::SeqCst);
    }
}

/// Waits for changes of a producer or consumer.
#[derive(Clone)]
pub struct When {
    channels: Channels,
    flag: Arc<Flag>,
}

impl When {
    pub(in crate::streams_layer) const fn new(channels: Channels, flag: Arc<Flag>) -> Self {
        Self { channels, flag }
    }

    /// Resolves once online, at once if it is so; never after the stream has ended.
    pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.until(|standing| standing == Standing::Online)
    }

    /// Resolves once offline, at once if it is so or the stream has ended.
    pub fn offline(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.until(|standing| standing != Standing::Online)
    }

    /// Returns whether it is online now: whether the `online_when` condition is met.
    pub fn is_online(&self) -> bool {
        self.standing() == Standing::Online
    }

    /// At least one connected subscription; to be refined.
    pub fn subscribed(&self) -> ChannelConditions {
        ChannelConditions::new(self.channels.clone())
    }

    /// No connected subscription; the same as `subscribed().unmet()`.
    pub fn unsubscribed(&self) -> ChannelConditions {
        self.subscribed().unmet()
    }

    pub(in crate::streams_layer) fn standing(&self) -> Standing {
        self.flag.get()
    }

    fn until(
        &self,
        reached: fn(Standing) -> bool,
    ) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let (slot, flag) = (self.channels.signal().slot(), self.flag.clone());
        poll_fn(move |cx| {
            slot.register(cx.waker());
            if reached(flag.get()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When")
            .field("standing", &self.standing())
            .field("subscriptions", &self.channels.snapshot().len())
            .finish()
    }
}
