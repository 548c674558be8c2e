//! Conditions of a collection that can be awaited.

use core::fmt;

use tokio::sync::watch;

use crate::{
    collections_layer::Version,
    groups::{self, Index},
};

/// Waits for conditions of a collection; from its `when()`.
///
/// All futures can be dropped at any time. They stay pending when the condition is never met, as
/// after the end of the network.
pub struct When {
    group: groups::When,
    version: watch::Receiver<Version>,
}

impl When {
    pub(super) fn new(group: groups::When, version: watch::Receiver<Version>) -> Self {
        Self { group, version }
    }

    /// Resolves when this node knows a leader and is in sync with it.
    pub async fn online(&self) {
        self.group.online().await;
    }

    /// Resolves when this node is not online: before it has joined, without a leader, and while it
    /// catches up.
    pub async fn offline(&self) {
        self.group.offline().await;
    }

    /// Resolves at the next change of the local version after the call.
    pub fn updated(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let seen = *self.version.borrow();
        let changed = self.until(Box::new(move |version| version != seen));
        async move {
            changed.await;
        }
    }

    /// Resolves with the local version once it is greater than `version`; at once if it is
    /// already. In a loop, no change is missed.
    pub fn updated_since(
        &self,
        version: Version,
    ) -> impl Future<Output = Version> + Send + Sync + 'static + use<> {
        self.until(Box::new(move |current| current > version))
    }

    /// Resolves once the local version is at least `pos`; at once if it is already.
    pub fn reaches(
        &self,
        pos: Version,
    ) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let reached = self.until(Box::new(move |current| current >= pos));
        async move {
            reached.await;
        }
    }

    fn until(
        &self,
        condition: Box<dyn Fn(Version) -> bool + Send + Sync>,
    ) -> impl Future<Output = Version> + Send + Sync + 'static + use<> {
        let mut version = self.version.clone();
        async move {
            loop {
                let current = *version.borrow_and_update();
                if condition(current) {
                    return current;
                }
                if version.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When")
            .field("group", &self.group)
            .field("version", &Version(Index(self.version.borrow().0.0)))
            .finish()
    }
}
