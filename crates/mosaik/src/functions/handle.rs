//! The gateway to functions.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

use super::{
    Config, Function, FunctionDef, FunctionReport,
    caller::{self, watch_connections},
    core::Core,
    handler::{self, FunctionsAcceptor, Handlers},
    wire::FUNCTIONS_ALPN,
};
use crate::{
    discovery::Discovery,
    net::{Links, Router},
    primitives::{Datum, Scope, names},
};

/// Serves and calls functions: opens handlers and callers.
///
/// Obtained from [`Network::functions`](crate::Network::functions).
pub struct Functions {
    core: Arc<Core>,
    handlers: Arc<Handlers>,
}

/// Describes the functions of a node, also after its [`Functions`] are gone.
#[derive(Clone)]
pub(crate) struct FunctionReports {
    core: Arc<Core>,
    handlers: Arc<Handlers>,
}

impl FunctionReports {
    pub(crate) fn all(&self) -> Vec<FunctionReport> {
        let mut all = self.handlers.describe();
        let callers = self.core.callers();
        let called = callers.iter().map(|caller| caller.function()).collect();
        let known = self.core.discovery.catalog().handlers_of(&called);
        let known = |id| known.get(&id).copied().unwrap_or(0);
        all.extend(callers.iter().map(|c| c.describe(known(c.function()))));
        all.sort_by_key(|report| (report.function, report.side as u8));
        all
    }
}

impl Functions {
    /// Starts the subsystem and installs its protocol.
    pub(crate) fn start(
        config: Config,
        discovery: &Discovery,
        links: &Links,
        router: &Router,
        scope: &Scope,
    ) -> Self {
        let core = Core::new(config, discovery.clone(), links.clone(), scope.child());
        let core = Arc::new(core);
        let handlers = Arc::new(Handlers::new(core.clone()));
        router.install(FUNCTIONS_ALPN, FunctionsAcceptor::new(handlers.clone()));
        core.scope.spawn(watch_connections(core.clone()));
        Self { core, handlers }
    }

    /// Starts to register a handler.
    ///
    /// The types follow from what is given to [`serve`](handler::Builder::serve) or
    /// [`serve_fn`](handler::Builder::serve_fn).
    ///
    /// # Examples
    ///
    /// ```
    /// use mosaik::{CallContext, Network};
    ///
    /// fn serve(network: &Network) {
    ///     let handler = network
    ///         .functions()
    ///         .handler()
    ///         .with_function_id("example/double")
    ///         .serve(|n: u64, _: CallContext| async move { Ok::<_, ()>(n * 2) });
    /// #   drop(handler);
    /// }
    /// ```
    pub fn handler<Req: Datum, Res: Datum, E: Datum>(&self) -> handler::Builder<'_, Req, Res, E> {
        handler::Builder::new(&self.handlers)
    }

    /// Starts to register a handler of a defined function.
    pub fn handler_of<Req: Datum, Res: Datum, E: Datum>(
        &self,
        def: FunctionDef<Req, Res, E>,
    ) -> handler::Builder<'_, Req, Res, E> {
        let builder = self.handler();
        match def.function_id {
            Some(id) => builder.with_function_id(id),
            None => builder,
        }
    }

    /// Starts to configure a caller of the function that has these types and no name.
    pub fn caller<Req: Datum, Res: Datum, E: Datum>(&self) -> caller::Builder<'_, Req, Res, E> {
        caller::Builder::new(&self.core)
    }

    /// Starts to configure a caller of a defined function.
    pub fn caller_of<Req: Datum, Res: Datum, E: Datum>(
        &self,
        def: FunctionDef<Req, Res, E>,
    ) -> caller::Builder<'_, Req, Res, E> {
        let builder = self.caller();
        match def.function_id {
            Some(id) => builder.with_function_id(id),
            None => builder,
        }
    }

    /// Starts to configure a caller of a [`Function`]; its id is
    /// [`F::signature()`](Function::signature).
    pub fn caller_for<F: Function>(&self) -> caller::Builder<'_, F::Req, F::Res, F::Err> {
        let name = names::short_type_name(core::any::type_name::<F>());
        self.caller()
            .with_function_id(F::signature())
            .with_label(name)
    }

    /// Source of reports about the functions of this node.
    pub(crate) fn reports(&self) -> FunctionReports {
        FunctionReports {
            core: self.core.clone(),
            handlers: self.handlers.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// Decides this often about a call of a peer; returns how many would be admitted.
    #[cfg(feature = "unstable-bench")]
    #[doc(hidden)]
    pub fn __admit(
        &self,
        peer: &crate::PeerId,
        function: crate::FunctionId,
        times: usize,
    ) -> usize {
        handler::admit_often(&self.handlers, peer, function, times)
    }

    /// Ends all handlers and callers. Waits, for a bounded time, until the replies under way have
    /// arrived, and the callers of interrupted calls were told.
    pub(crate) fn close(&self) -> BoxFuture<'static, ()> {
        let (core, handlers) = (self.core.clone(), self.handlers.clone());
        Box::pin(async move {
            core.scope.cancel();
            handlers.close().await;
        })
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Functions")
            .field("core", &self.core)
            .field("handlers", &self.handlers)
            .finish()
    }
}
