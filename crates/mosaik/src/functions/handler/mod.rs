//! The serving side: registering a function, admitting calls and running them.

mod acceptor;
mod admission;
mod builder;
mod config;
mod error;
mod handle;
mod handlers;
mod places;
mod registered;
mod registry;
mod reply;
mod service;
mod stats;

pub(super) use acceptor::FunctionsAcceptor;
#[cfg(feature = "unstable-bench")]
pub(super) use admission::admit_often;
pub use builder::Builder;
pub use config::HandlerConfig;
pub use error::BuilderError;
pub use handle::Handler;
pub(super) use handlers::Handlers;
pub use stats::Stats;
