//! The inside of a subscription's status, and of being online.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    guard,
    status::{ChannelConditions, ChannelInfo, Channels, Flag, State, Stats, When},
};
use crate::{
    primitives::{ConditionSource, PeerId, Signal, StreamId},
    streams_layer::Criteria,
    tickets::PeerEntry,
};

/// A user's definition of being online.
pub(super) type OnlineWhen = Box<dyn Fn(ChannelConditions) -> ChannelConditions + Send + Sync>;

/// The subscriptions of a producer or consumer, and whether they make it online.
///
/// Everything that changes a subscription goes through here, so that the answer is worked out
/// again and everybody who waits is woken, after each change.
#[derive(Debug)]
pub(super) struct Presence {
    channels: Channels,
    flag: Arc<Flag>,
    online_when: ChannelConditions,
    /// Held while the condition is evaluated, so that an older answer never replaces a newer one.
    evaluating: Mutex<()>,
    changes: AtomicU64,
    next_key: AtomicU64,
    /// Fired as well when the standing changes.
    senders: Signal,
    gauge: Gauge,
}

impl Presence {
    pub(super) fn new(online_when: &OnlineWhen, senders: Signal, gauge: Gauge) -> Arc<Self> {
        let channels = Channels::default();
        let presence = Self {
            online_when: online_when(ChannelConditions::new(channels.clone())),
            channels,
            flag: Arc::default(),
            evaluating: Mutex::default(),
            changes: AtomicU64::default(),
            next_key: AtomicU64::default(),
            senders,
            gauge,
        };
        presence.changed();
        Arc::new(presence)
    }

    pub(super) fn when(&self) -> When {
        When::new(self.channels.clone(), self.flag.clone())
    }

    pub(super) const fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Offline for good.
    pub(super) fn end(&self) {
        self.flag.end();
        self.channels.signal().notify();
        self.senders.notify();
    }

    /// Lists a new subscription.
    pub(super) fn open(self: &Arc<Self>, parties: Parties, state: State) -> Channel {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = watch::channel(state);
        let stats = Stats::default();
        stats.set_connected(state == State::Connected);
        let info = ChannelInfo {
            stream_id: parties.stream_id,
            criteria: parties.criteria,
            producer_id: parties.producer_id,
            consumer_id: parties.consumer_id,
            peer: parties.peer,
            stats,
            state: receiver,
        };
        self.channels.insert(key, info.clone());
        self.gauge.increment(1);
        self.changed();
        Channel {
            key,
            info,
            state: sender,
            presence: self.clone(),
        }
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        // Whoever evaluates right now sees afterwards that there was a change, and repeats.
        while let Some(evaluating) = self.evaluating.try_lock() {
            let seen = self.changes.load(Ordering::SeqCst);
            let online = guard::holds(|| self.online_when.is_condition_met());
            self.flag.set_online(online);
            drop(evaluating);
            if self.changes.load(Ordering::SeqCst) == seen {
                break;
            }
        }
        self.channels.signal().notify();
        self.senders.notify();
    }
}

/// Participants of a subscription.
pub(super) struct Parties {
    pub(super) stream_id: StreamId,
    pub(super) criteria: Criteria,
    pub(super) producer_id: PeerId,
    pub(super) consumer_id: PeerId,
    /// The remote one's entry.
    pub(super) peer: Arc<PeerEntry>,
}

/// A listed subscription; it has ended for good when this is dropped.
#[derive(Debug)]
pub(super) struct Channel {
    key: u64,
    info: ChannelInfo,
    state: watch::Sender<State>,
    presence: Arc<Presence>,
}

impl Channel {
    pub(super) const fn info(&self) -> &ChannelInfo {
        &self.info
    }

    pub(super) const fn stats(&self) -> &Stats {
        &self.info.stats
    }

    pub(super) fn set_state(&self, state: State) {
        let changed = self.state.send_if_modified(|current| {
            let changes = *current != state;
            *current = state;
            changes
        });
        if changed {
            self.info.stats.set_connected(state == State::Connected);
            self.presence.changed();
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.presence.channels.remove(self.key);
        self.presence.gauge.decrement(1);
        self.set_state(State::Terminated);
    }
}
