//! The sending side of a stream.
//!
//! Everything of a producer that needs no datum type is in its core, shared by all handles: the
//! log of encoded datums, the subscriptions, and the rules of admission and lag.

mod admission;
mod backlog;
mod builder;
mod config;
mod cuts;
mod encoding;
mod engine;
mod error;
mod handle;
mod lag;
mod log;
mod subscription;
mod warden;

pub use builder::{Builder, BuilderError};
pub use config::{LagPolicy, ProducerConfig};
pub(super) use engine::{Handles, ProducerCore};
pub use error::Error;
pub use handle::Producer;
pub(super) use subscription::serve;
