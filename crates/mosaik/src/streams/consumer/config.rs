//! Configuration of a consumer.

use core::fmt;
use std::sync::Arc;

use crate::{
    primitives::{BackoffFactory, Short, StreamId},
    streams_layer::{Criteria, status::ChannelConditions},
    tickets::{PeerInfo, TicketValidator},
};

/// Configuration of a consumer; see [`Consumer::config`](super::Consumer::config).
pub struct ConsumerConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// Criteria of the datums asked for.
    pub criteria: Criteria,
    /// Predicate on producers: those that pass are subscribed to.
    pub require: Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>,
    /// Backoff between attempts to restore a failed subscription.
    pub backoff: BackoffFactory,
    /// Condition under which the consumer is online.
    pub online_when: Box<dyn Fn(ChannelConditions) -> ChannelConditions + Send + Sync>,
    /// A producer needs a valid ticket for each of these.
    pub ticket_validators: Vec<Arc<dyn TicketValidator>>,
    /// Limit on the bytes received and not yet taken.
    pub receive_buffer_bytes: usize,
    /// Schema that the consumer expects of the datums, if one was set.
    pub schema: Option<String>,
}

impl fmt::Debug for ConsumerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerConfig")
            .field("stream_id", &Short(self.stream_id))
            .field("criteria", &self.criteria)
            .field("ticket_validators", &self.ticket_validators.len())
            .field("receive_buffer_bytes", &self.receive_buffer_bytes)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
