//! State shared by the handle and the tasks of a consumer.

use core::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

use super::{ConsumerConfig, Event, events::MAX_KEPT_EVENTS, queue::Intake, seen::Memory};
use crate::{
    primitives::{Scope, ShortFmtExt, Signal, StreamId},
    streams_layer::{
        channel::Presence,
        hub::Hub,
        metrics::ConsumerMetrics,
        status::{ChannelInfo, Stats},
        warnings::Warnings,
    },
};

/// Names of a consumer's stream and datums, for people.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) label: Option<String>,
    pub(super) datum: &'static str,
}

/// A consumer, without the type of its datums.
pub(in crate::streams_layer) struct ConsumerCore {
    pub(super) hub: Arc<Hub>,
    pub(super) config: ConsumerConfig,
    named: Named,
    /// True if `require` accepts every producer.
    pub(super) requires_nothing: bool,
    pub(super) presence: Arc<Presence>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) metrics: ConsumerMetrics,
    /// Counts of the datums that the application has taken out.
    pub(super) stats: Stats,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) memory: Memory,
    pub(super) warnings: Warnings,
    pub(super) scope: Scope,
}

impl ConsumerCore {
    pub(super) fn new(
        hub: Arc<Hub>,
        config: ConsumerConfig,
        named: Named,
        requires_nothing: bool,
        intake: Arc<dyn Intake>,
    ) -> Arc<Self> {
        let metrics = ConsumerMetrics::register(hub.network_id(), &config.stream_id);
        let gauge = metrics.producers.clone();
        metrics.active.increment(1);
        Arc::new(Self {
            presence: Presence::new(&config.online_when, Signal::default(), gauge),
            scope: hub.scope.child(),
            hub,
            config,
            named,
            requires_nothing,
            intake,
            metrics,
            stats: Stats::running(),
            events: broadcast::channel(MAX_KEPT_EVENTS).0,
            memory: Memory::default(),
            warnings: Warnings::default(),
        })
    }

    pub(in crate::streams_layer) const fn stream(&self) -> &StreamId {
        &self.config.stream_id
    }

    pub(in crate::streams_layer) fn label(&self) -> Option<&str> {
        self.named.label.as_deref()
    }

    pub(in crate::streams_layer) const fn datum_name(&self) -> &'static str {
        self.named.datum
    }

    pub(in crate::streams_layer) const fn metrics(&self) -> &ConsumerMetrics {
        &self.metrics
    }

    pub(in crate::streams_layer) fn channels(&self) -> Vec<ChannelInfo> {
        self.presence.channels().iter().collect()
    }

    pub(in crate::streams_layer) fn is_online(&self) -> bool {
        self.presence.when().is_online()
    }

    /// Ends all subscriptions; what was received can still be taken.
    pub(in crate::streams_layer) fn close(&self) {
        self.scope.cancel();
        self.presence.end();
        self.intake.close();
    }
}

impl Drop for ConsumerCore {
    fn drop(&mut self) {
        self.metrics.active.decrement(1);
    }
}

impl fmt::Debug for ConsumerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerCore")
            .field("stream", &self.config.stream_id.short())
            .finish_non_exhaustive()
    }
}
