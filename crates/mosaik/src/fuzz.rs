//! Entry points for fuzzing, of all layers. Not part of the public interface.

use crate::{discovery, functions_layer, groups, net, streams_layer, tickets};

pub use crate::primitives::fuzz::Target;

/// All targets.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    [
        tickets::fuzz::TARGETS,
        net::fuzz::TARGETS,
        discovery::fuzz::TARGETS,
        #[cfg(feature = "dht")]
        discovery::dht::fuzz::TARGETS,
        streams_layer::fuzz::TARGETS,
        functions_layer::fuzz::TARGETS,
        groups::fuzz::TARGETS,
    ]
    .into_iter()
    .flatten()
}

/// Feeds bytes to the target of this name.
///
/// # Panics
///
/// When the target has a fault, or does not exist.
pub fn run(name: &str, data: &[u8]) {
    let target = targets().find(|target| target.name() == name);
    target.expect("the target exists").run(data);
}

#[cfg(test)]
#[path = "fuzz_tests.rs"]
mod tests;
