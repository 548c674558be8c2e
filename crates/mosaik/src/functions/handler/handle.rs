//! The handle to a registered function.

use core::{fmt, marker::PhantomData};
use std::sync::Arc;

use super::{BuilderError, HandlerConfig, Stats, handlers::Handlers, registered::Registered};
use crate::primitives::{Datum, FunctionId};

/// Serves a function for as long as it exists.
///
/// # On drop
///
/// The id leaves the local entry at once, later calls are refused with `FunctionNotFound` and find
/// another handler, and the futures of running calls are dropped; their callers are told
/// `FunctionNotFound` too, and call another handler only if the function is idempotent, as it may
/// have had effects. The id can be registered again immediately. The end of the network does the
/// same.
pub struct Handler<Req: Datum, Res: Datum, E: Datum = ()> {
    served: Served,
    types: PhantomData<fn(Req) -> Result<Res, E>>,
}

/// A function among those served, until this is dropped.
pub(super) struct Served {
    id: FunctionId,
    registered: Arc<Registered>,
    handlers: Arc<Handlers>,
}

impl<Req: Datum, Res: Datum, E: Datum> Handler<Req, Res, E> {
    pub(super) const fn new(served: Served) -> Self {
        Self {
            served,
            types: PhantomData,
        }
    }

    /// The id under which callers find this function: the given or derived one, with the
    /// signatures of all ticket validators folded in.
    pub const fn function_id(&self) -> &FunctionId {
        &self.served.id
    }

    /// Counts of this handler's calls.
    pub fn stats(&self) -> &Stats {
        &self.served.registered.stats
    }

    /// Configuration of this handler.
    pub fn config(&self) -> &HandlerConfig {
        &self.served.registered.config
    }
}

impl Served {
    /// Adds a function to those served.
    pub(super) fn open(
        handlers: Arc<Handlers>,
        registered: Registered,
    ) -> Result<Self, BuilderError> {
        let registered = Arc::new(registered);
        let id = registered.id;
        let discovery = &handlers.core.discovery;
        handlers
            .registry
            .add(&registered, || discovery.add_function(id))?;
        Ok(Self {
            id,
            registered,
            handlers,
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Self {
            registered,
            handlers,
            ..
        } = self;
        let discovery = &handlers.core.discovery;
        handlers
            .registry
            .remove(registered, || discovery.remove_function(registered.id));
    }
}

impl<Req: Datum, Res: Datum, E: Datum> fmt::Debug for Handler<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("function_id", self.function_id())
            .field("stats", self.stats())
            .finish_non_exhaustive()
    }
}
