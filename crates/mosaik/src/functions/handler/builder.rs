//! Registers a handler.

use core::{fmt, marker::PhantomData};
use std::{sync::Arc, time::Duration};

use futures::Stream;

use super::{
    BuilderError, Handler, HandlerConfig,
    handle::Served,
    handlers::Handlers,
    registered::{Named, Registered},
    service::{Service, Streaming, Unary},
};
use crate::{
    functions_layer::{
        CallContext, Function,
        function::{derived_id, effective_id, type_names},
        wire::schema_tag,
    },
    primitives::{Datum, FunctionId, names},
    tickets::{PeerInfo, TicketValidator},
};

/// Limit on the time in which a caller takes nothing of a stream of replies.
const STALL_LIMIT: Duration = Duration::from_mins(10);

type Predicate = Box<dyn Fn(&PeerInfo) -> bool + Send + Sync>;

/// Registers a handler. Obtained from [`Functions::handler`](crate::functions::Functions::handler).
///
/// # Identity
///
/// The id under which a function is advertised and found is its base id — given, or derived from
/// type names — with the signature of every ticket validator folded in: those of callers first,
/// then those of handlers, each in the order added. A caller that doesn't declare the same
/// validators in the same order looks for another function and finds nobody. Type names change
/// with compilers and renames, and the error type isn't among them; programs that are built
/// separately should give an explicit id.
#[must_use]
pub struct Builder<'f, Req: Datum, Res: Datum, E: Datum = ()> {
    handlers: &'f Arc<Handlers>,
    function_id: Option<FunctionId>,
    label: Option<String>,
    id_text: Option<String>,
    require: Vec<Predicate>,
    caller_auth: Vec<Arc<dyn TicketValidator>>,
    handler_auth: Vec<Arc<dyn TicketValidator>>,
    max_concurrent: usize,
    stall_limit: Duration,
    schema: Option<String>,
    types: PhantomData<fn(Req) -> Result<Res, E>>,
}

impl<'f, Req: Datum, Res: Datum, E: Datum> Builder<'f, Req, Res, E> {
    pub(in crate::functions_layer) fn new(handlers: &'f Arc<Handlers>) -> Self {
        Self {
            handlers,
            function_id: None,
            label: None,
            id_text: None,
            require: Vec::new(),
            caller_auth: Vec::new(),
            handler_auth: Vec::new(),
            max_concurrent: usize::MAX,
            stall_limit: STALL_LIMIT,
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

    /// Serves only callers that the predicate accepts; with several, all must. It sees the
    /// caller's current entry and round-trip time. One that panics refuses the call.
    ///
    /// Predicates are not part of the function's identity.
    pub fn require<F>(mut self, predicate: F) -> Self
    where
        F: Fn(&PeerInfo) -> bool + Send + Sync + 'static,
    {
        self.require.push(Box::new(predicate));
        self
    }

    /// The same as [`require_caller_ticket`](Self::require_caller_ticket).
    pub fn require_ticket(self, validator: impl TicketValidator) -> Self {
        self.require_caller_ticket(validator)
    }

    /// Serves only callers with a ticket that the validator accepts. Part of the identity.
    pub fn require_caller_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.caller_auth.push(Arc::new(validator));
        self
    }

    /// Declares that callers require a ticket of handlers. Part of the identity; checked by
    /// callers, not here.
    pub fn require_handler_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.handler_auth.push(Arc::new(validator));
        self
    }

    /// Limits how many calls run at once; more are refused with `NoCapacity`, not queued, and
    /// their callers try again, here or elsewhere. 0 refuses all. Default unlimited.
    ///
    /// A call takes its place once its request has arrived. One above 64 KiB is asked for only while
    /// a place is free, which is kept for it for 5 s, and a second longer for each MiB that has come;
    /// if it takes longer, it waits for a place for a second once it is there.
    pub const fn with_max_concurrent(mut self, calls: usize) -> Self {
        self.max_concurrent = calls;
        self
    }

    /// Sets how long a caller of a stream of replies may take nothing while items wait for it.
    /// Default 10 minutes. Then the call ends, its place is free, and the caller is told with
    /// `Undelivered` (104). Without effect on functions with one reply.
    pub const fn with_stall_limit(mut self, limit: Duration) -> Self {
        self.stall_limit = limit;
        self
    }

    /// Sets a tag that names what requests and replies mean, such as `"orders v2"`. A call of
    /// a caller with another tag is
    /// refused with `SchemaMismatch` (11 409), which names both; one without a tag is served.
    /// Default none. Of a tag above 256 bytes the digest counts.
    pub fn with_schema(mut self, tag: impl Into<String>) -> Self {
        self.schema = Some(schema_tag(tag.into()));
        self
    }

    /// Serves the function with a closure.
    ///
    /// When this returns, the function is in the local catalog entry, which is announced at once.
    ///
    /// The function must not block its thread: it runs on the node's own runtime. Callers take a
    /// node that is silent for 0.75 s
    /// ([`silence_limit`](crate::functions::Config::silence_limit)) for dead, and all calls that
    /// it was running are lost. Work that takes long without awaiting belongs on
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`BuilderError::AlreadyExists`] when this node has a handler of that id already, which goes
    /// on undisturbed; [`BuilderError::EntryFull`] when its entry has no room for another id.
    pub fn serve<F, Fut>(self, function: F) -> Result<Handler<Req, Res, E>, BuilderError>
    where
        F: Fn(Req, CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Res, E>> + Send + 'static,
    {
        let max_bytes = self.handlers.core.config.max_message_bytes;
        let service = Box::new(Unary::new(function, max_bytes));
        self.register(derived_id::<Req, Res>, service)
    }

    /// Serves the function with a value that implements it.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub fn serve_fn<F>(self, function: F) -> Result<Handler<Req, Res, E>, BuilderError>
    where
        F: Function<Req = Req, Res = Res, Err = E>,
    {
        let max_bytes = self.handlers.core.config.max_message_bytes;
        let function = Arc::new(function);
        let call = move |request, context| {
            let function = function.clone();
            async move { function.call(request, context).await }
        };
        self.register(F::signature, Box::new(Unary::new(call, max_bytes)))
    }

    /// Serves the function with a closure that returns a stream of replies, which callers receive
    /// through [`call_stream`](crate::functions::Caller::call_stream).
    ///
    /// An application error is an item like any other; the reply ends when the stream does. The
    /// stream is polled only as fast as the caller takes its items, give or take what the
    /// buffers between them hold (1.5 MiB), and is dropped when the caller drops its end. A call
    /// occupies its place under [`with_max_concurrent`](Self::with_max_concurrent) until then, or
    /// until the caller has taken nothing for the [stall limit](Self::with_stall_limit).
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    ///
    /// # Examples
    ///
    /// ```
    /// use mosaik::{CallContext, Network, futures::stream};
    ///
    /// fn serve(network: &Network) {
    ///     let handler = network
    ///         .functions()
    ///         .handler()
    ///         .with_function_id("example/count")
    ///         .serve_stream(|to: u64, _: CallContext| stream::iter((1..=to).map(Ok::<_, ()>)));
    /// #   drop(handler);
    /// }
    /// ```
    pub fn serve_stream<F, S>(self, function: F) -> Result<Handler<Req, Res, E>, BuilderError>
    where
        F: Fn(Req, CallContext) -> S + Send + Sync + 'static,
        S: Stream<Item = Result<Res, E>> + Send + 'static,
    {
        let max_bytes = self.handlers.core.config.max_message_bytes;
        let service = Box::new(Streaming::new(function, max_bytes));
        self.register(derived_id::<Req, Res>, service)
    }

    fn register(
        self,
        derive: fn() -> FunctionId,
        service: Box<dyn Service>,
    ) -> Result<Handler<Req, Res, E>, BuilderError> {
        let base = self.function_id.unwrap_or_else(derive);
        let require = self.require;
        let config = HandlerConfig {
            function_id: self.function_id,
            require: Box::new(move |peer| require.iter().all(|accepts| accepts(peer))),
            caller_auth: self.caller_auth,
            handler_auth: self.handler_auth,
            max_concurrent: self.max_concurrent,
            stall_limit: self.stall_limit,
            schema: self.schema,
        };
        let named = Named {
            label: self.label.or(self.id_text),
            types: type_names::<Req, Res>(),
        };
        open(self.handlers, base, named, config, service).map(Handler::new)
    }
}

fn open(
    handlers: &Arc<Handlers>,
    base: FunctionId,
    named: Named,
    config: HandlerConfig,
    service: Box<dyn Service>,
) -> Result<Served, BuilderError> {
    let registered = Registered::new(
        effective_id(base, &config.caller_auth, &config.handler_auth),
        named,
        config,
        service,
        handlers.metrics.clone(),
        handlers.core.scope.child(),
    );
    Served::open(handlers.clone(), registered)
}

impl<Req: Datum, Res: Datum, E: Datum> fmt::Debug for Builder<'_, Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("function_id", &self.function_id)
            .field("require", &self.require.len())
            .field("caller_auth", &self.caller_auth.len())
            .field("handler_auth", &self.handler_auth.len())
            .field("max_concurrent", &self.max_concurrent)
            .finish_non_exhaustive()
    }
}
