//! The subscriptions of one producer or consumer.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ChannelInfo;
use crate::{
    primitives::{ConditionSource, Signal},
    streams_layer::guard,
    tickets::PeerEntry,
};

/// A set of subscriptions that is read often and changed seldom.
#[derive(Debug, Clone, Default)]
pub(in crate::streams_layer) struct Channels(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    list: Mutex<Arc<Vec<(u64, ChannelInfo)>>>,
    signal: Signal,
}

impl Channels {
    pub(in crate::streams_layer) fn snapshot(&self) -> Arc<Vec<(u64, ChannelInfo)>> {
        self.0.list.lock().clone()
    }

    /// All subscriptions as they are now; holds no lock.
    pub(in crate::streams_layer) fn iter(&self) -> impl Iterator<Item = ChannelInfo> + use<> {
        let snapshot = self.snapshot();
        (0..snapshot.len()).map(move |index| snapshot[index].1.clone())
    }

    pub(in crate::streams_layer) fn insert(&self, key: u64, channel: ChannelInfo) {
        Arc::make_mut(&mut *self.0.list.lock()).push((key, channel));
    }

    pub(in crate::streams_layer) fn remove(&self, key: u64) {
        Arc::make_mut(&mut *self.0.list.lock()).retain(|(other, _)| *other != key);
    }

    /// Resolves once there is no subscription.
    pub(in crate::streams_layer) async fn emptied(&self) {
        let slot = self.0.signal.slot();
        std::future::poll_fn(|cx| {
            slot.register(cx.waker());
            if self.0.list.lock().is_empty() {
                core::task::Poll::Ready(())
            } else {
                core::task::Poll::Pending
            }
        })
        .await;
    }
}

impl ConditionSource for Channels {
    type Entry = PeerEntry;

    /// Signal to fire after each complete change of a subscription.
    fn signal(&self) -> &Signal {
        &self.0.signal
    }

    fn count(&self, accept: &dyn Fn(&PeerEntry) -> bool) -> usize {
        let snapshot = self.snapshot();
        let channels = snapshot.iter().map(|(_, channel)| channel);
        channels
            .filter(|channel| channel.is_connected())
            .filter(|channel| guard::holds(|| accept(channel.peer())))
            .count()
    }
}
