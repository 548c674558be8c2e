//! Profile of a caller, for reports.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    functions_layer::{
        candidates::Candidates,
        core::Described,
        metrics::CallerMetrics,
        report::{FunctionReport, FunctionSide},
    },
    primitives::FunctionId,
};

/// Parts of a caller that reports need; it has no types.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) function: FunctionId,
    pub(super) label: Option<String>,
    pub(super) types: String,
    pub(super) candidates: Candidates,
    pub(super) metrics: Arc<CallerMetrics>,
}

impl Described for Profile {
    fn function(&self) -> FunctionId {
        self.function
    }

    fn describe(&self, handlers_known: u64) -> FunctionReport {
        FunctionReport {
            function: self.function,
            label: self.label.clone(),
            types: self.types.clone(),
            side: FunctionSide::Caller,
            answered: self.metrics.completed.total(),
            failed: self.metrics.failed.load(Ordering::Relaxed),
            refused: 0,
            not_allowed: 0,
            running: self.metrics.running.load(Ordering::Relaxed),
            max_running: None,
            attempts: self.metrics.attempts.total(),
            eligible: self.candidates.look(|all| all.candidates.len()) as u64,
            handlers_known,
            refused_ago_ms: None,
            not_allowed_ago_ms: None,
        }
    }
}
