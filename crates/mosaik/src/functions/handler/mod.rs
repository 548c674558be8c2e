//! The serving side: registering a function, admitting calls and running them.

mod acceptor;
mod admission;
mod builder;
mod config;
mod handle;
mod registered;
mod registry;
mod reply;
mod service;
mod stats;

pub(super) use acceptor::FunctionsAcceptor;
pub use builder::{Builder, BuilderError};
pub use config::HandlerConfig;
pub use handle::Handler;
pub(super) use registry::Registry;
pub use stats::Stats;
