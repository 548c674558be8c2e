//! Configures a caller.

use core::{fmt, marker::PhantomData};
use std::{sync::Arc, time::Duration};

use super::{Caller, Config, dispatch::Dispatcher};
use crate::{
    functions_layer::{
        core::Core,
        function::{derived_id, effective_id, type_names},
        status::HandlerConditions,
        wire::schema_tag,
    },
    primitives::{Datum, FunctionId, ShortFmtExt, names},
    tickets::{PeerInfo, TicketValidator},
};

type Predicate = Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>;
type OnlineWhen = Box<dyn Fn(HandlerConditions) -> HandlerConditions + Send + Sync>;

/// Configures a caller. Obtained from [`Functions::caller`](crate::functions::Functions::caller).
///
/// A caller finds only handlers that declare the same ticket validators in the same order: they
/// are part of the function's identity, see
/// [`handler::Builder`](crate::functions::handler::Builder).
#[must_use]
pub struct Builder<'f, Req: Datum, Res: Datum, E: Datum = ()> {
    core: &'f Arc<Core>,
    function_id: Option<FunctionId>,
    label: Option<String>,
    id_text: Option<String>,
    require: Vec<Predicate>,
    handler_auth: Vec<Arc<dyn TicketValidator>>,
    caller_auth: Vec<Arc<dyn TicketValidator>>,
    call_timeout: Duration,
    online_when: OnlineWhen,
    is_idempotent: bool,
    hedge_after: Option<Duration>,
    schema: Option<String>,
    types: PhantomData<fn(Req) -> Result<Res, E>>,
}

impl<'f, Req: Datum, Res: Datum, E: Datum> Builder<'f, Req, Res, E> {
    pub(in crate::functions_layer) fn new(core: &'f Arc<Core>) -> Self {
        Self {
            core,
            function_id: None,
            label: None,
            id_text: None,
            require: Vec::new(),
            handler_auth: Vec::new(),
            caller_auth: Vec::new(),
            call_timeout: core.config.call_timeout,
            online_when: Box::new(|conditions| conditions.minimum_of(1)),
            is_idempotent: false,
            hedge_after: None,
            schema: None,
            types: PhantomData,
        }
    }

    /// Sets the base id, instead of one derived from type names.
    pub fn with_function_id(mut self, id: impl Into<FunctionId>) -> Self {
        let (id, text) = names::named(id);
        self.function_id = Some(id);
        self.id_text = text;
        self
    }

    /// Names the function for people who look at the network's status; changes nothing else.
    /// Default: the text of [`with_function_id`](Self::with_function_id), if that was given one. Cut
    /// at 64 characters.
    pub fn with_label(mut self, label: impl AsRef<str>) -> Self {
        self.label = names::label(label.as_ref());
        self
    }

    /// Calls only handlers that the predicate accepts; with several, all must. The round-trip time
    /// is always known to it. One that panics excludes the handler.
    pub fn require<F>(mut self, predicate: F) -> Self
    where
        F: Fn(&PeerInfo) -> bool + Send + Sync + 'static,
    {
        self.require.push(Box::new(predicate));
        self
    }

    /// The same as [`require_handler_ticket`](Self::require_handler_ticket).
    pub fn require_ticket(self, validator: impl TicketValidator) -> Self {
        self.require_handler_ticket(validator)
    }

    /// Calls only handlers with a ticket that the validator accepts. Part of the identity.
    pub fn require_handler_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.handler_auth.push(Arc::new(validator));
        self
    }

    /// Declares that handlers require a ticket of callers. Part of the identity; checked by
    /// handlers, not here.
    pub fn require_caller_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.caller_auth.push(Arc::new(validator));
        self
    }

    /// Sets the budget of one [`call`](Caller::call). Default
    /// [`Config::call_timeout`](crate::functions::Config::call_timeout), 30 s.
    pub const fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets when the caller is online. Default: with one eligible handler.
    pub fn online_when<F>(mut self, condition: F) -> Self
    where
        F: Fn(HandlerConditions) -> HandlerConditions + Send + Sync + 'static,
    {
        self.online_when = Box::new(condition);
        self
    }

    /// Declares that a call may run more than once without harm. Default `false`.
    ///
    /// Then a call whose handler was lost or failed after the request was sent is made again with
    /// another handler, instead of ending with [`Transport`](crate::functions::CallError::Transport).
    pub const fn with_idempotent(mut self, is_idempotent: bool) -> Self {
        self.is_idempotent = is_idempotent;
        self
    }

    /// Asks a second handler too when the first has not answered after this time; the first answer
    /// counts, and the other call is dropped. Default off. Cuts the slowest replies at the price
    /// of some more load: choose a time that most replies stay below.
    ///
    /// Without effect unless the function is declared
    /// [idempotent](Self::with_idempotent), as it can run twice.
    pub const fn with_hedging(mut self, after: Duration) -> Self {
        self.hedge_after = Some(after);
        self
    }

    /// Sets a tag that names what requests and replies mean, such as `"orders v2"`. By a
    /// handler with another tag a call is
    /// refused with `SchemaMismatch` (11 409), which names both; one without a tag answers it.
    /// Default none. Of a tag above 256 bytes the digest counts.
    pub fn with_schema(mut self, tag: impl Into<String>) -> Self {
        self.schema = Some(schema_tag(tag.into()));
        self
    }

    /// The caller. Never fails and never waits; handlers that are known already are eligible at
    /// once.
    pub fn build(self) -> Caller<Req, Res, E> {
        let base = self.function_id.unwrap_or_else(derived_id::<Req, Res>);
        if self.hedge_after.is_some() && !self.is_idempotent {
            tracing::warn!(function = %base.short(),
                "calls are not hedged: the function is not declared idempotent");
        }
        let require = self.require;
        let config = Config {
            function_id: effective_id(base, &self.caller_auth, &self.handler_auth),
            require: Box::new(move |peer| require.iter().all(|accepts| accepts(peer))),
            handler_auth: self.handler_auth,
            caller_auth: self.caller_auth,
            call_timeout: self.call_timeout,
            online_when: self.online_when,
            is_idempotent: self.is_idempotent,
            hedge_after: self.hedge_after,
            schema: self.schema,
        };
        let name = self.label.or(self.id_text);
        let (dispatcher, when) =
            Dispatcher::open(self.core, config, name, type_names::<Req, Res>());
        Caller::new(dispatcher, when)
    }
}

impl<Req: Datum, Res: Datum, E: Datum> fmt::Debug for Builder<'_, Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("function_id", &self.function_id)
            .field("require", &self.require.len())
            .field("handler_auth", &self.handler_auth.len())
            .field("caller_auth", &self.caller_auth.len())
            .field("call_timeout", &self.call_timeout)
            .field("is_idempotent", &self.is_idempotent)
            .field("hedge_after", &self.hedge_after)
            .finish_non_exhaustive()
    }
}
