//! Output of `function!`: opening a function's handler and caller on a network.

use super::Network;
use crate::{
    functions::{CallContext, handler},
    primitives::Datum,
};

/// The handler side of a declared function; implemented by
/// [`function!`](crate::function), or by hand.
pub trait FunctionHandler {
    /// Request of the function.
    type Req: Datum;
    /// Response of the function.
    type Res: Datum;
    /// Error that the function answers instead of a response.
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

#[cfg(test)]
#[path = "declared_functions_tests.rs"]
mod tests;
