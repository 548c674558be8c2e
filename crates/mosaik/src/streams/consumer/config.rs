//! How a consumer was configured.

use core::fmt;
use std::sync::Arc;

use crate::{
    primitives::{BackoffFactory, Short, StreamId},
    streams_layer::{Criteria, status::ChannelConditions},
    tickets::{PeerInfo, TicketValidator},
};

/// How a consumer was configured; see [`Consumer::config`](super::Consumer::config).
pub struct ConsumerConfig {
    /// The stream.
    pub stream_id: StreamId,
    /// Which datums are asked for.
    pub criteria: Criteria,
    /// Which producers are subscribed to.
    pub require: Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>,
    /// How a subscription is made again after a failure.
    pub backoff: BackoffFactory,
    /// When the consumer is online.
    pub online_when: Box<dyn Fn(ChannelConditions) -> ChannelConditions + Send + Sync>,
    /// A producer needs a valid ticket for each of these.
    pub ticket_validators: Vec<Arc<dyn TicketValidator>>,
    /// How much may be received and not yet taken, in bytes.
    pub receive_buffer_bytes: usize,
    /// What the datums are taken for, if this was said.
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
