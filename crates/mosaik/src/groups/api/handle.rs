//! The groups of a node.

use core::{any::Any, fmt};
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{
    discovery::Discovery,
    groups::{
        Config, GroupBuilder, GroupId, GroupKey, GroupReport,
        bond::{keep_alive::KeepAlive, wire::ALPN},
        bonding::acceptor::GroupsAcceptor,
        instance::{Host, registry::Registry},
        model::config::LONGEST,
        store::{NodeStore, StoreError},
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

/// Description of what is in a group, by the layer that put it there.
pub(crate) struct Content {
    pub(crate) group: GroupId,
    pub(crate) label: Option<String>,
    /// True if this node only observes.
    pub(crate) observes: bool,
    pub(crate) description: Arc<dyn Any + Send + Sync>,
}

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

    /// Describes the groups that the node has joined.
    pub(crate) fn reports(&self) -> Vec<GroupReport> {
        let all = self.0.instances();
        all.iter().map(|instance| instance.describe()).collect()
    }

    /// Descriptions of what is in the groups, as their layers have set them.
    pub(crate) fn contents(&self) -> Vec<Content> {
        let all = self.0.instances();
        let with_content = all.iter().filter_map(|instance| {
            Some(Content {
                group: instance.id(),
                label: instance.profile().label().map(str::to_owned),
                observes: instance.observes(),
                description: instance.profile().content()?,
            })
        });
        with_content.collect()
    }

    /// Returns whether the node has a store, and its failure, if it has failed.
    pub(crate) fn store_state(&self) -> (bool, Option<String>) {
        let store = self.0.host.store.as_ref();
        let failure = store.and_then(|store| {
            let failure = store.failure();
            failure.borrow().as_ref().map(StoreError::without_path)
        });
        (store.is_some(), failure)
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
