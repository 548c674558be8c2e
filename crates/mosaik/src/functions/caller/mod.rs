//! The calling side: following the eligible handlers, choosing one, and moving on when it fails.

mod attempt;
mod balance;
mod builder;
mod config;
mod decoding;
mod dispatch;
mod follower;
mod handle;
mod introduction;
mod line;
mod measure;
mod probe;
mod profile;
mod replies;
mod search;
mod watchdog;

pub use super::error::CallError;
pub use builder::Builder;
pub use config::Config;
pub use handle::Caller;
pub use replies::Replies;
pub(super) use watchdog::watch_connections;
