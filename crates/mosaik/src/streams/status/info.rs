//! One subscription, seen from outside.

use std::sync::Arc;

use tokio::sync::watch;

use super::Stats;
use crate::{
    primitives::{PeerId, StreamId},
    streams_layer::Criteria,
    tickets::PeerEntry,
};

/// One subscription. A clone stays readable after the subscription is gone.
#[derive(Debug, Clone)]
pub struct ChannelInfo {
    pub(in crate::streams_layer) stream_id: StreamId,
    pub(in crate::streams_layer) criteria: Criteria,
    pub(in crate::streams_layer) producer_id: PeerId,
    pub(in crate::streams_layer) consumer_id: PeerId,
    pub(in crate::streams_layer) peer: Arc<PeerEntry>,
    pub(in crate::streams_layer) stats: Stats,
    pub(in crate::streams_layer) state: watch::Receiver<State>,
}

/// State of a subscription.
///
/// `Connecting` → `Connected` → (`Connecting` → `Connected`)* → `Terminated`. Only consumers
/// reconnect: a producer's subscription goes from `Connected` straight to `Terminated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A connection is being made, for the first time or again.
    Connecting,
    /// Datums flow.
    Connected,
    /// The subscription has ended for good.
    Terminated,
}

impl ChannelInfo {
    /// The stream.
    pub const fn stream_id(&self) -> &StreamId {
        &self.stream_id
    }

    /// Criteria that the consumer asked for.
    pub const fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// The node that produces.
    pub const fn producer_id(&self) -> &PeerId {
        &self.producer_id
    }

    /// The node that consumes.
    pub const fn consumer_id(&self) -> &PeerId {
        &self.consumer_id
    }

    /// The other side's entry as it was when the subscription was made.
    pub fn peer(&self) -> &PeerEntry {
        &self.peer
    }

    /// Current state of the subscription.
    pub fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Watches the state of the subscription.
    pub const fn state_watcher(&self) -> &watch::Receiver<State> {
        &self.state
    }

    /// Traffic of this subscription.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns whether the subscription is connected now.
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// Resolves when the subscription has ended for good.
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let mut state = self.state.clone();
        async move {
            // Fails when the subscription is gone, which is what is waited for.
            let _ = state.wait_for(|state| *state == State::Terminated).await;
        }
    }
}
