//! The consensus library: its type for all groups, and calls that may panic.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use openraft::Raft;

use super::apply::task::Applier;
use crate::groups::log::types::Types;

/// A consensus instance of the library.
pub(super) type Consensus = Raft<Types, Applier>;

/// Waits for a call of the consensus library; `None` if that panics. After its core has panicked,
/// each call waits for the core's end; when one that waits is dropped, the library takes the core
/// for running, and all later calls panic.
pub(super) async fn caught<T>(call: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(call).catch_unwind().await.ok()
}
