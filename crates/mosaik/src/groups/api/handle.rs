//! The groups of a node.

use core::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{
    discovery::Discovery,
    groups::{
        Config, GroupBuilder, GroupKey,
        bond::{keep_alive::KeepAlive, wire::ALPN},
        bonding::acceptor::GroupsAcceptor,
        instance::{Host, registry::Registry},
        model::config::LONGEST,
        store::NodeStore,
    },
    net::{Links, Router},
    primitives::Scope,
};

/// Joins groups; a node has one, see [`Network::groups`](crate::Network::groups).
///
/// Cheap to clone. A node can be in many groups at a time; they share connections and signs of
/// life.
#[derive(Clone)]
pub struct Groups(Arc<Registry>);

impl Groups {
    /// Starts to serve bonds; groups are joined later.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a subsystem owns its configuration"
    )]
    pub(crate) fn start(
        config: Config,
        discovery: &Discovery,
        links: &Links,
        router: &Router,
        store: Option<NodeStore>,
        scope: &Scope,
    ) -> Self {
        let scope = scope.child();
        let host = Host {
            discovery: discovery.clone(),
            links: links.clone(),
            beats: KeepAlive::new(links.clone(), scope.clone()),
            handshake_timeout: config.handshake_timeout.min(LONGEST),
            store,
        };
        let registry = Arc::new(Registry::new(host, scope));
        router.install(ALPN, GroupsAcceptor(Arc::downgrade(&registry)));
        Self(registry)
    }

    /// Starts to join the group of this key. The id also depends on what is configured next.
    /// Nothing happens before [`GroupBuilder::join`].
    pub fn with_key(&self, key: impl Into<GroupKey>) -> GroupBuilder<'_> {
        GroupBuilder::new(&self.0, key.into())
    }

    /// Returns whether the node has storage for durable members.
    #[cfg(feature = "storage")]
    pub(crate) fn has_storage(&self) -> bool {
        self.0.host.store.is_some()
    }

    /// Leaves all groups in order, see [`Registry::shutdown`].
    pub(crate) fn shutdown(&self) -> BoxFuture<'static, ()> {
        self.0.shutdown()
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("joined", &self.0.len())
            .finish()
    }
}
