//! Metrics of streams; handles are made once per node, producer and consumer.

use core::{fmt, sync::atomic::AtomicU64};

use metrics::{Counter, Gauge};

use crate::primitives::{LastTime, NetworkId, ShortFmtExt, StreamId, Tally};

/// Metrics of a node.
pub(super) struct NodeMetrics {
    /// Streams produced on this node.
    pub(super) producers_active: Gauge,
    /// Handshakes that reached a producer.
    pub(super) connections_accepted: Counter,
    /// Handshakes that failed before that.
    pub(super) connections_rejected: Counter,
}

impl NodeMetrics {
    pub(super) fn register(network: &NetworkId) -> Self {
        let network = network.short().to_string();
        let counter = |name| metrics::counter!(name, "network" => network.clone());
        Self {
            producers_active: metrics::gauge!("mosaik.streams.producers.active",
                "network" => network.clone()),
            connections_accepted: counter("mosaik.streams.connections.accepted"),
            connections_rejected: counter("mosaik.streams.connections.rejected"),
        }
    }
}

/// Metrics of a producer.
pub(super) struct ProducerMetrics {
    /// Current subscriptions.
    pub(super) consumers: Gauge,
    pub(super) accepted: Tally,
    pub(super) rejected: Tally,
    /// Of those rejected, the ones whose entry or tickets didn't suffice.
    pub(super) not_allowed: AtomicU64,
    pub(super) last_not_allowed: LastTime,
    /// Per datum and consumer, when handed to the link.
    pub(super) items_sent: Tally,
    pub(super) bytes_sent: Tally,
    /// Per datum and consumer, withheld because the consumer lags.
    pub(super) items_dropped: Tally,
    /// Subscriptions that this side ended, by reason.
    cut: [Tally; Cut::ALL.len()],
    pub(super) traffic: Traffic,
}

/// Reasons for which a producer disconnects a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It held up others, or took nothing for too long.
    TooSlow,
    /// It no longer meets the requirements, or its tickets have expired.
    NotAllowed,
    /// It said something that it must not say.
    ProtocolViolation,
}

impl Cut {
    const ALL: [Self; 3] = [Self::TooSlow, Self::NotAllowed, Self::ProtocolViolation];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::NotAllowed => "not_allowed",
            Self::ProtocolViolation => "protocol_violation",
        }
    }
}

impl ProducerMetrics {
    pub(super) fn register(network: &NetworkId, stream: &StreamId) -> Self {
        let labels = Labels::new(network, stream);
        Self {
            consumers: labels.gauge("mosaik.streams.producer.consumers"),
            accepted: labels
                .counter("mosaik.streams.producer.consumers.accepted")
                .into(),
            rejected: labels
                .counter("mosaik.streams.producer.consumers.rejected")
                .into(),
            not_allowed: AtomicU64::new(0),
            last_not_allowed: LastTime::default(),
            items_sent: labels.counter("mosaik.streams.producer.items.sent").into(),
            bytes_sent: labels.counter("mosaik.streams.producer.bytes.sent").into(),
            items_dropped: labels
                .counter("mosaik.streams.producer.items.dropped")
                .into(),
            cut: Cut::ALL.map(|cut| {
                metrics::counter!("mosaik.streams.producer.consumers.cut",
                    "stream" => labels.stream.clone(), "network" => labels.network.clone(),
                    "reason" => cut.label())
                .into()
            }),
            traffic: Traffic::register(&labels),
        }
    }

    pub(super) fn cut(&self, cut: Cut) {
        self.cut[cut as usize].increment(1);
    }

    /// Subscriptions that this side ended.
    pub(super) fn cuts(&self) -> u64 {
        self.cut.iter().map(Tally::total).sum()
    }
}

/// Metrics of a consumer.
pub(super) struct ConsumerMetrics {
    /// Live consumers of the stream on this node.
    pub(super) active: Gauge,
    /// Current subscriptions.
    pub(super) producers: Gauge,
    /// Taken by the application.
    pub(super) items_received: Tally,
    pub(super) bytes_received: Tally,
    /// Known to be missed.
    pub(super) items_lost: Tally,
    /// Arrived and of no use.
    pub(super) items_undecodable: Tally,
    pub(super) last_undecodable: LastTime,
    pub(super) traffic: Traffic,
}

impl ConsumerMetrics {
    pub(super) fn register(network: &NetworkId, stream: &StreamId) -> Self {
        let labels = Labels::new(network, stream);
        Self {
            active: labels.gauge("mosaik.streams.consumers.active"),
            producers: labels.gauge("mosaik.streams.consumer.producers"),
            items_received: labels
                .counter("mosaik.streams.consumer.items.received")
                .into(),
            bytes_received: labels
                .counter("mosaik.streams.consumer.bytes.received")
                .into(),
            items_lost: labels.counter("mosaik.streams.consumer.items.lost").into(),
            items_undecodable: labels
                .counter("mosaik.streams.consumer.items.undecodable")
                .into(),
            last_undecodable: LastTime::default(),
            traffic: Traffic::register(&labels),
        }
    }
}

/// Counts of the datums and bytes on the links of a stream, once per side.
pub(super) struct Traffic {
    datums: Counter,
    bytes: Counter,
}

impl Traffic {
    fn register(labels: &Labels) -> Self {
        Self {
            datums: labels.counter("mosaik.streams.datums.total"),
            bytes: labels.counter("mosaik.streams.bytes.total"),
        }
    }

    pub(super) fn add(&self, datums: usize, bytes: usize) {
        self.datums.increment(datums as u64);
        self.bytes.increment(bytes as u64);
    }
}

struct Labels {
    network: String,
    stream: String,
}

impl Labels {
    fn new(network: &NetworkId, stream: &StreamId) -> Self {
        Self {
            network: network.short().to_string(),
            stream: stream.short().to_string(),
        }
    }

    fn counter(&self, name: &'static str) -> Counter {
        metrics::counter!(name, "stream" => self.stream.clone(), "network" => self.network.clone())
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        metrics::gauge!(name, "stream" => self.stream.clone(), "network" => self.network.clone())
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

opaque!(NodeMetrics, ProducerMetrics, ConsumerMetrics, Traffic);
