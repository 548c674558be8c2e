//! The handle to a registered function.

use core::{fmt, marker::PhantomData};
use std::sync::Arc;

use super::{HandlerConfig, Stats, registered::Registered};
use crate::{
    functions_layer::core::Core,
    primitives::{Datum, FunctionId},
};

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
    registered: Arc<Registered>,
    core: Arc<Core>,
    types: PhantomData<fn(Req) -> Result<Res, E>>,
}

impl<Req: Datum, Res: Datum, E: Datum> Handler<Req, Res, E> {
    /// Adds the function to those served; `None` if its id is taken.
    pub(super) fn open(core: Arc<Core>, registered: Registered) -> Option<Self> {
        let registered = Arc::new(registered);
        let id = registered.id;
        let is_added = core
            .registry
            .add(&registered, || core.discovery.add_function(id));
        is_added.then_some(Self {
            registered,
            core,
            types: PhantomData,
        })
    }

    /// The id under which callers find this function: the given or derived one, with the
    /// signatures of all ticket validators folded in.
    pub fn function_id(&self) -> &FunctionId {
        &self.registered.id
    }

    /// What this handler has done so far.
    pub fn stats(&self) -> &Stats {
        &self.registered.stats
    }

    /// What this handler was registered with.
    pub fn config(&self) -> &HandlerConfig {
        &self.registered.config
    }
}

impl<Req: Datum, Res: Datum, E: Datum> Drop for Handler<Req, Res, E> {
    fn drop(&mut self) {
        let Self {
            registered, core, ..
        } = self;
        core.registry
            .remove(registered, || core.discovery.remove_function(registered.id));
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
