//! Configuration of a handler.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    primitives::FunctionId,
    tickets::{PeerInfo, TicketValidator},
};

/// Configuration of a handler.
pub struct HandlerConfig {
    /// The id that was given; `None` if it was derived.
    pub function_id: Option<FunctionId>,
    /// Predicate on callers: those that pass are served.
    pub require: Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>,
    /// Validators for the tickets of callers; enforced here.
    pub caller_auth: Vec<Arc<dyn TicketValidator>>,
    /// Validators for the tickets of handlers; enforced by callers.
    pub handler_auth: Vec<Arc<dyn TicketValidator>>,
    /// Calls running at once; more are refused.
    pub max_concurrent: usize,
    /// Limit on the time in which a caller of a stream of replies takes nothing.
    pub stall_limit: Duration,
    /// The tag that callers must share, if they have one.
    pub schema: Option<String>,
}

impl fmt::Debug for HandlerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerConfig")
            .field("function_id", &self.function_id)
            .field("caller_auth", &self.caller_auth.len())
            .field("handler_auth", &self.handler_auth.len())
            .field("max_concurrent", &self.max_concurrent)
            .field("stall_limit", &self.stall_limit)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
