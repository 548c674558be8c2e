//! Configuration of a caller.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    functions_layer::status::HandlerConditions,
    primitives::FunctionId,
    tickets::{PeerInfo, TicketValidator},
};

/// Configuration of a caller.
pub struct Config {
    /// Id of the function: the given or derived one, with the signatures of all validators folded
    /// in.
    pub function_id: FunctionId,
    /// Predicate on handlers: those that pass are eligible.
    pub require: Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>,
    /// Validators for the tickets of handlers; enforced here.
    pub handler_auth: Vec<Arc<dyn TicketValidator>>,
    /// Validators for the tickets of callers; enforced by handlers.
    pub caller_auth: Vec<Arc<dyn TicketValidator>>,
    /// Budget of one call.
    pub call_timeout: Duration,
    /// Condition under which the caller is online.
    pub online_when: Box<dyn Fn(HandlerConditions) -> HandlerConditions + Send + Sync>,
    /// True if a call may run more than once.
    pub is_idempotent: bool,
    /// The tag that handlers must share, if they have one.
    pub schema: Option<String>,
    /// Time after which a second handler is asked too, if there is no reply.
    pub hedge_after: Option<Duration>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("function_id", &self.function_id)
            .field("handler_auth", &self.handler_auth.len())
            .field("caller_auth", &self.caller_auth.len())
            .field("call_timeout", &self.call_timeout)
            .field("is_idempotent", &self.is_idempotent)
            .field("schema", &self.schema)
            .field("hedge_after", &self.hedge_after)
            .finish_non_exhaustive()
    }
}
