//! Registry of the functions that this node serves.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock};

use super::{BuilderError, registered::Registered};
use crate::{primitives::FunctionId, tickets::LimitError};

/// The functions that this node serves, by their effective ids.
#[derive(Debug, Default)]
pub(super) struct Registry {
    functions: RwLock<HashMap<FunctionId, Arc<Registered>>>,
    /// Held while a function comes or goes, so that table and catalog entry agree. Never taken by
    /// calls.
    changing: Mutex<()>,
}

impl Registry {
    pub(super) fn find(&self, id: &FunctionId) -> Option<Arc<Registered>> {
        self.functions.read().get(id).cloned()
    }

    /// Adds a function and has it advertised. It is served before anybody can know of it.
    pub(super) fn add(
        &self,
        function: &Arc<Registered>,
        advertise: impl FnOnce() -> Result<(), LimitError>,
    ) -> Result<(), BuilderError> {
        let _changing = self.changing.lock();
        if self.functions.read().contains_key(&function.id) {
            return Err(BuilderError::AlreadyExists);
        }
        function.offered();
        self.functions.write().insert(function.id, function.clone());
        advertise().map_err(|LimitError { what, len, max }| {
            self.functions.write().remove(&function.id);
            function.withdraw();
            BuilderError::EntryFull { what, len, max }
        })
    }

    /// Takes a function away, if it is still there.
    pub(super) fn remove(&self, function: &Arc<Registered>, conceal: impl FnOnce()) {
        let _changing = self.changing.lock();
        let is_there = self
            .find(&function.id)
            .is_some_and(|there| Arc::ptr_eq(&there, function));
        if is_there {
            self.functions.write().remove(&function.id);
            function.withdraw();
            conceal();
        }
    }

    /// The functions that are served now.
    pub(super) fn all(&self) -> Vec<Arc<Registered>> {
        self.functions.read().values().cloned().collect()
    }

    /// Takes all functions away, at the end of the node.
    pub(super) fn close(&self) {
        let _changing = self.changing.lock();
        let all = core::mem::take(&mut *self.functions.write());
        for function in all.into_values() {
            function.withdraw();
        }
    }
}
