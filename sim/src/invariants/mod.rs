//! Invariants of every run, one per file.
//!
//! Two kinds: *states* are looked at when a network should have settled; *histories* watch the
//! events of every node from its start.

pub mod alternation;
pub mod convergence;
pub mod ghosts;
mod history;
pub mod progress;

pub use history::{History, Rule};

/// Violation of an invariant, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}
