//! Profile of a group, for reports.

use core::any::Any;
use std::sync::{Arc, OnceLock};

/// Names of a group and of what it replicates, for people; set by who joins it.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    label: OnceLock<String>,
    machine: OnceLock<String>,
    /// Description by a layer above, which knows what is in the machine.
    content: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Profile {
    /// Names the group; the first name stays.
    pub(crate) fn set_label(&self, label: String) {
        let _ = self.label.set(label);
    }

    pub(crate) fn set_machine(&self, machine: String) {
        let _ = self.machine.set(machine);
    }

    pub(crate) fn set_content(&self, content: Arc<dyn Any + Send + Sync>) {
        let _ = self.content.set(content);
    }

    pub(crate) fn label(&self) -> Option<&str> {
        self.label.get().map(String::as_str)
    }

    pub(super) fn machine(&self) -> &str {
        self.machine.get().map_or("", String::as_str)
    }

    pub(crate) fn content(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.content.get().cloned()
    }
}
