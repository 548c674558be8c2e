//! One node of one network.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};

#[cfg(feature = "prometheus")]
use super::exporter::Exporter;
use super::{Error, NetworkBuilder};
use crate::{
    discovery::{Discovery, IntoConfig},
    functions_layer::Functions,
    groups::{Groups, NodeStore},
    net::{self, EndpointOptions, Links, LocalNode, close::GracefulShutdown},
    primitives::{NetworkId, Scope},
    streams_layer::Streams,
};

/// How long the endpoint may take to tell its peers that it closes. It would wait for about a second
/// for peers that are gone themselves; those that are not have heard it long before.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long tasks may take to end after that.
const TASKS_TIMEOUT: Duration = Duration::from_secs(2);

/// One node of one network. Any number may live in a process.
///
/// Built from a network name alone, it finds the other nodes of that name by itself. It is usable
/// as soon as it is built.
///
/// # On drop
///
/// The node leaves in the background: it says goodbye, closes its streams, groups and functions in
/// order, and ends every task within a few seconds, provided that the runtime lives that long.
/// Handles that outlive it stay safe to use. [`Network::shutdown`] does the same and waits.
#[allow(
    missing_debug_implementations,
    reason = "a network is a place, not a value to print"
)]
pub struct Network {
    local: LocalNode,
    discovery: Discovery,
    streams: Streams,
    functions: Functions,
    groups: Groups,
    shutdown: Option<Shutdown>,
}

impl Network {
    /// Starts to configure a node of the given network.
    pub fn builder(network_id: impl Into<NetworkId>) -> NetworkBuilder {
        NetworkBuilder::default().with_network_id(network_id)
    }

    /// A node of the given network with every default.
    ///
    /// # Errors
    ///
    /// See [`NetworkBuilder::build`].
    pub async fn new(network_id: impl Into<NetworkId>) -> Result<Self, Error> {
        Self::builder(network_id).build().await
    }

    pub(super) async fn compose(builder: NetworkBuilder) -> Result<Self, Error> {
        let network_id = builder.network_id.ok_or(Error::MissingNetworkId)?;
        #[cfg_attr(
            not(feature = "storage"),
            allow(unused_mut, reason = "storage sets the key")
        )]
        let mut config = builder.config;
        let discovery_config = config.discovery.into_config()?;
        let streams_config = config.streams.build()?;
        let functions_config = config.functions.build()?;
        let groups_config = config.groups.build()?;

        #[cfg(feature = "prometheus")]
        let exporter = match config.prometheus_addr {
            Some(addr) => Some(Exporter::bind(addr, &network_id).await?),
            None => None,
        };
        #[cfg(feature = "storage")]
        let store = match config.storage.take() {
            Some(directory) => {
                let (store, key) =
                    open_store(directory, config.secret_key, builder.has_identity).await?;
                config.secret_key = key;
                Some(store)
            }
            None => None,
        };
        #[cfg(not(feature = "storage"))]
        let store = None;

        let scope = Scope::new();
        let options = EndpointOptions {
            network_id,
            secret_key: config.secret_key,
            relay_mode: config.relay_mode,
            addresses: config.addresses,
            hook: builder.endpoint_hook,
        };
        let transport = net::bind(options, &scope).await?;
        let (local, links, router) = (transport.local, transport.links, transport.router);
        let discovery = Discovery::start(
            discovery_config,
            &local,
            &links,
            &router,
            builder.clock,
            &scope,
        );
        let streams = Streams::start(streams_config, &discovery, &router, &scope);
        let functions = Functions::start(functions_config, &discovery, &links, &router, &scope);
        let groups = Groups::start(
            groups_config,
            &discovery,
            &links,
            &router,
            store.clone(),
            &scope,
        );
        router.start();
        #[cfg(feature = "prometheus")]
        if let Some(exporter) = exporter {
            exporter.start(&scope);
        }
        #[cfg(feature = "mdns")]
        if config.mdns_discovery {
            discovery.look_around();
        }
        let shutdown = Shutdown {
            discovery: discovery.clone(),
            local: local.clone(),
            links,
            store,
            scope,
            closing: Scope::new(),
        };
        Ok(Self {
            local,
            discovery,
            streams,
            functions,
            groups,
            shutdown: Some(shutdown),
        })
    }

    /// The network that this node belongs to.
    pub fn network_id(&self) -> &NetworkId {
        self.local.network_id()
    }

    /// This node's own transport: id, addresses, secret key.
    pub const fn local(&self) -> &LocalNode {
        &self.local
    }

    /// Resolves once the node can be dialed, which is so when it is built.
    pub async fn online(&self) {
        self.local.online().await;
    }

    /// The catalog of peers, and this node's own entry in it.
    pub const fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Typed publish/subscribe channels.
    pub const fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Remote functions: serving and calling them.
    pub const fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Replicated state machines.
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Leaves the network and waits until everything has ended: at most some seconds.
    pub async fn shutdown(mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let subsystems = self.close_subsystems();
            shutdown.run(subsystems).await;
        }
    }
}

impl Network {
    /// Starts to close everything that stands on discovery; resolves when that is done, after some
    /// seconds at most.
    fn close_subsystems(&self) -> BoxFuture<'static, ()> {
        let all = [
            self.streams.close(),
            self.functions.close(),
            self.groups.shutdown(),
        ];
        Box::pin(futures::future::join_all(all).map(drop))
    }
}

impl AsRef<Discovery> for Network {
    fn as_ref(&self) -> &Discovery {
        &self.discovery
    }
}

impl AsRef<Streams> for Network {
    fn as_ref(&self) -> &Streams {
        &self.streams
    }
}

impl AsRef<Functions> for Network {
    fn as_ref(&self) -> &Functions {
        &self.functions
    }
}

impl AsRef<Groups> for Network {
    fn as_ref(&self) -> &Groups {
        &self.groups
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            let closing = shutdown.closing.clone();
            closing.spawn_orderly(shutdown.run(self.close_subsystems()));
        }
    }
}

/// The orderly end of a node.
struct Shutdown {
    discovery: Discovery,
    local: LocalNode,
    links: Links,
    store: Option<NodeStore>,
    scope: Scope,
    closing: Scope,
}

impl Shutdown {
    /// From the top layer down.
    fn run(self, subsystems: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            subsystems.await;
            self.discovery.depart().await;
            self.scope.cancel();
            self.links.close_all(GracefulShutdown);
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.local.endpoint().close()).await;
            let left = self.scope.finish(TASKS_TIMEOUT).await;
            if left > 0 {
                tracing::warn!(tasks = left, "tasks did not end in time");
            }
            if let Some(store) = self.store {
                // It ends by itself if the runtime ends first.
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
            }
        })
    }
}

/// Opens the node's store, and says with which identity.
#[cfg(feature = "storage")]
async fn open_store(
    directory: std::path::PathBuf,
    chosen: iroh::SecretKey,
    is_chosen: bool,
) -> Result<(NodeStore, iroh::SecretKey), Error> {
    let store = NodeStore::open_elsewhere(directory).await?;
    let key = if is_chosen {
        chosen
    } else {
        store.secret_key_or_create()?
    };
    store.claim(key.public()).await?;
    Ok((store, key))
}
