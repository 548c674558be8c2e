//! State shared by the handlers and callers of one node.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Config, report::FunctionReport, route::Routes};
use crate::{
    discovery::Discovery,
    net::Links,
    primitives::{FunctionId, Scope},
};

/// Peers whose distance is measured at the same time.
const MAX_MEASUREMENTS: usize = 32;

/// The node's part in functions, shared by all its handles and tasks.
pub(crate) struct Core {
    pub(super) discovery: Discovery,
    pub(super) links: Links,
    pub(super) config: Config,
    pub(super) routes: Routes,
    /// A permit for each measurement.
    pub(super) measuring: Arc<Semaphore>,
    pub(super) scope: Scope,
    /// The callers that are open, to describe them.
    callers: Mutex<Vec<Weak<dyn Described>>>,
}

/// A caller that can be described.
pub(super) trait Described: Send + Sync {
    fn function(&self) -> FunctionId;

    /// The report; so many peers are known to serve the function.
    fn describe(&self, handlers_known: u64) -> FunctionReport;
}

impl Core {
    pub(super) fn new(config: Config, discovery: Discovery, links: Links, scope: Scope) -> Self {
        Self {
            discovery,
            links,
            config,
            routes: Routes::default(),
            measuring: Arc::new(Semaphore::new(MAX_MEASUREMENTS)),
            scope,
            callers: Mutex::default(),
        }
    }

    /// Enters a caller, until it is dropped.
    pub(super) fn enter(&self, caller: Weak<dyn Described>) {
        let mut callers = self.callers.lock();
        callers.retain(|caller| caller.strong_count() > 0);
        callers.push(caller);
    }

    /// The callers that are open now.
    pub(super) fn callers(&self) -> Vec<Arc<dyn Described>> {
        self.callers
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("config", &self.config)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
