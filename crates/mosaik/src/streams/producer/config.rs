//! Configuration of a producer.

use core::fmt;
use std::sync::Arc;

use crate::{
    primitives::{NetworkId, Short, StreamId},
    streams_layer::status::ChannelConditions,
    tickets::{PeerInfo, TicketValidator},
};

/// Treatment of a lagging consumer: one that makes the producer wait, and with it other consumers
/// that have nothing left to take, for a second, in which it takes less than its backlog may hold.
/// A single consumer never lags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LagPolicy {
    /// Its subscription is closed with `TooSlow` (10 413). It subscribes again once its queue has
    /// room. Also one that takes nothing for 10 s while something waits for it is disconnected, be
    /// it alone.
    #[default]
    Disconnect,
    /// Datums are withheld from it, and counted, until it has taken its backlog; the others go on,
    /// and it is told how many it missed. Nobody is disconnected for being slow, so one that never
    /// takes anything keeps its place.
    Drop,
    /// The producer waits for it, and so do the others. Nobody is disconnected for being slow, only
    /// for being gone.
    Wait,
}

/// Configuration of a producer; see [`Producer::config`](super::Producer::config).
pub struct ProducerConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// Datums that may be accepted and not yet taken, per consumer. At least 1.
    pub buffer_size: usize,
    /// Bytes that may be accepted and not yet taken, per consumer. At least 1.
    pub buffer_bytes: usize,
    /// True if a lagging consumer is disconnected: `lag_policy` is
    /// [`Disconnect`](LagPolicy::Disconnect).
    pub disconnect_lagging: bool,
    /// Treatment of a lagging consumer.
    pub lag_policy: LagPolicy,
    /// Predicate on consumers: those that pass may subscribe.
    pub require: Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>,
    /// Condition under which the producer is online.
    pub online_when: Box<dyn Fn(ChannelConditions) -> ChannelConditions + Send + Sync>,
    /// The network.
    pub network_id: NetworkId,
    /// Simultaneous subscriptions.
    pub max_consumers: usize,
    /// A consumer needs a valid ticket for each of these.
    pub ticket_validators: Vec<Arc<dyn TicketValidator>>,
    /// Schema that consumers must expect of the datums, if they name one.
    pub schema: Option<String>,
}

impl fmt::Debug for ProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerConfig")
            .field("stream_id", &Short(self.stream_id))
            .field("buffer_size", &self.buffer_size)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("lag_policy", &self.lag_policy)
            .field("max_consumers", &self.max_consumers)
            .field("ticket_validators", &self.ticket_validators.len())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
