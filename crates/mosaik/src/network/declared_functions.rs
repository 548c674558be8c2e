//! What `function!` declares: opening a function's handler and caller on a network.

use super::Network;
use crate::{
    functions::{CallContext, handler},
    primitives::Datum,
};

/// The handler side of a declared function; implemented by
/// [`function!`](crate::function), or by hand.
pub trait FunctionHandler {
    /// What the function is given.
    type Req: Datum;
    /// What it answers.
    type Res: Datum;
    /// What it answers when it can't.
    type Err: Datum;
    /// The handle that keeps it served.
    type Handler;

    /// Serves the function on a network.
    ///
    /// # Errors
    ///
    /// When the node serves it already.
    fn handler<F, Fut>(network: &Network, serve: F) -> Result<Self::Handler, handler::BuilderError>
    where
        F: Fn(Self::Req, CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Self::Res, Self::Err>> + Send + 'static;
}

/// The caller side of a declared function; implemented by
/// [`function!`](crate::function), or by hand.
pub trait FunctionCaller {
    /// The handle that calls it.
    type Caller;

    /// A caller of the function on a network.
    fn caller(network: &Network) -> Self::Caller;

    /// Makes a caller, and resolves with it once it is online.
    fn online_caller(
        network: &Network,
    ) -> impl Future<Output = Self::Caller> + Send + Sync + 'static;
}

/// The handler type of a declared function.
pub type HandlerOf<F> = <F as FunctionHandler>::Handler;
/// The caller type of a declared function.
pub type CallerOf<F> = <F as FunctionCaller>::Caller;
