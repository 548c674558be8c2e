//! The orderly end of a node.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;

use crate::{
    discovery::Discovery,
    groups::NodeStore,
    net::{Links, LocalNode, close::GracefulShutdown},
    primitives::Scope,
};

/// Timeout for the endpoint to tell its peers that it closes. It takes about a second when some of
/// them are gone themselves.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for tasks to end after that.
const TASKS_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for the sockets to be free after that.
const SOCKETS_TIMEOUT: Duration = Duration::from_secs(1);

/// Leftovers of a [shutdown](crate::Network::shutdown): nothing, if all is well.
///
/// A task is named by the place in this library that started it. What is left says where to look;
/// it is a fault of this library, or of a handler or state machine that does not return.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// Tasks that had not ended 2 s after they were told to, by kind.
    pub tasks: BTreeMap<String, usize>,
    /// Tasks that have panicked while the node lived, by kind.
    pub panics: BTreeMap<String, usize>,
    /// True if the sockets are still bound, as somebody holds a clone of
    /// [`LocalNode`](crate::network::LocalNode) or of its endpoint.
    pub sockets: bool,
}

impl LeftBehind {
    /// Returns whether everything has ended, and nothing has panicked.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.panics.is_empty() && !self.sockets
    }
}

/// Lets go of the acceptors and connections when dropped: also when the runtime ended before this
/// could run, nothing may keep the sockets.
pub(super) struct Released(pub(super) Links);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The orderly end of a node.
pub(super) struct Shutdown {
    pub(super) discovery: Discovery,
    pub(super) local: LocalNode,
    pub(super) links: Released,
    pub(super) store: Option<NodeStore>,
    pub(super) scope: Scope,
    /// Runs this.
    pub(super) closing: Scope,
}

impl Shutdown {
    /// From the top layer down.
    pub(super) fn run(self, subsystems: BoxFuture<'static, ()>) -> BoxFuture<'static, LeftBehind> {
        Box::pin(async move {
            subsystems.await;
            self.discovery.depart().await;
            self.scope.cancel();
            self.links.0.close_all(GracefulShutdown);
            drop(self.links);
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.local.endpoint().close()).await;
            let tasks = self.scope.finish(TASKS_TIMEOUT).await;
            if let Some(store) = self.store {
                // It ends by itself if the runtime ends first.
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
            }
            let left = LeftBehind {
                tasks,
                panics: self.scope.panicked(),
                sockets: !self.local.free(SOCKETS_TIMEOUT).await,
            };
            if !left.tasks.is_empty() {
                tracing::warn!(tasks = ?left.tasks, "tasks did not end in time");
            }
            left
        })
    }
}
