//! One node of one network.

use futures::{FutureExt, future::BoxFuture};
use iroh::EndpointAddr;
use tokio::{sync::oneshot, time::Instant};

#[cfg(feature = "prometheus")]
use super::exporter::Exporter;
use super::{
    Error, LeftBehind, NetworkBuilder,
    shutdown::{Released, Shutdown},
};
use crate::{
    discovery::{Discovery, IntoConfig, Remembered},
    functions_layer::Functions,
    groups::{Groups, NodeStore},
    net::{self, EndpointOptions, LocalNode},
    primitives::{NetworkId, Opaque, Scope},
    status::{self, Report, Sources, Status},
    streams_layer::Streams,
};

/// One node of one network. Any number may live in a process.
///
/// Built from a network name alone, it finds the other nodes of that name by itself. It is usable
/// as soon as it is built.
///
/// # On drop
///
/// The node leaves in the background: it announces its departure, closes its streams, groups and
/// functions in order, and ends every task within a few seconds, provided that the runtime lives
/// that long. Handles that outlive it stay safe to use. [`Network::shutdown`] does the same and
/// waits.
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
    status: Status,
    shutdown: Option<Shutdown>,
}

impl NetworkBuilder {
    /// Builds the network: checks the configuration, binds the endpoint and starts everything.
    ///
    /// Waits for no relay, name server or DHT; ready within milliseconds also without internet.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Nothing is left running then.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn build(self) -> Result<Network, Error> {
        Network::compose(self).await
    }
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

    /// All the steps of building a network, out of the callers' futures.
    fn compose(builder: NetworkBuilder) -> Opaque<'static, Result<Self, Error>> {
        Opaque::new(Self::start(builder))
    }

    async fn start(builder: NetworkBuilder) -> Result<Self, Error> {
        let started = Instant::now();
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

        let remembered = remembered(store.as_ref()).await;
        let scope = Scope::new();
        let options = EndpointOptions {
            network_id,
            secret_key: config.secret_key,
            relay_mode: config.relay_mode,
            addresses: config.addresses,
            external_addresses: config.external_addresses,
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
            remembered,
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
        let sources = Sources {
            discovery: discovery.clone(),
            links: links.clone(),
            streams: streams.reports(),
            functions: functions.reports(),
            groups: groups.clone(),
            scope: scope.clone(),
            started,
        };
        let status = Status::start(config.status.build(), sources, &router);
        router.start();
        #[cfg(feature = "prometheus")]
        if let Some(exporter) = exporter {
            exporter.start(&scope);
        }
        #[cfg(feature = "mdns")]
        if config.mdns_discovery {
            discovery.start_mdns();
        }
        let shutdown = Shutdown {
            discovery: discovery.clone(),
            local: local.clone(),
            links: Released(links),
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
            status,
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

    /// Status of this node: what it runs, with whom, and how much of it.
    ///
    /// Totals, from which the difference of two reports makes rates. Costs some microseconds for
    /// each stream, function and group.
    pub fn status(&self) -> Report {
        self.status.report()
    }

    /// Asks a peer, given by address or by bare id, for its status. Takes 10 s at most.
    ///
    /// # Errors
    ///
    /// See [`status::Error`]. A node may be configured to answer nobody, or only peers with a ticket.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(network: mosaik::Network) -> Result<(), mosaik::status::Error> {
    /// let peers: Vec<_> = network.discovery().catalog().peers().map(|entry| *entry.id()).collect();
    /// for peer in peers {
    ///     let report = network.status_of(peer).await?;
    ///     for stream in report.streams {
    ///         println!("{} {:?}: {} datums", report.node.peer, stream.label, stream.datums);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn status_of(
        &self,
        peer: impl Into<EndpointAddr>,
    ) -> impl Future<Output = Result<Report, status::Error>> + Send + 'static {
        self.status.ask(peer.into())
    }

    /// Leaves the network and waits until everything has ended: at most some seconds. Then the
    /// node's ports are free, its tasks have ended, and its store is closed, also while handles
    /// of it are kept; [`LocalNode`] alone keeps the sockets.
    ///
    /// Returns what did not end in time, and what has panicked: nothing, if all is well.
    ///
    /// # Cancel safety
    ///
    /// A node whose shutdown is no longer awaited goes on to leave in the background.
    pub async fn shutdown(mut self) -> LeftBehind {
        let left = self.start_shutdown();
        // Before the end is awaited: this holds the endpoint.
        drop(self);
        match left {
            // Without an answer the runtime has ended, and everything with it.
            Some(left) => left.await.unwrap_or_default(),
            None => LeftBehind::default(),
        }
    }
}

impl Network {
    /// Starts the orderly end, the first time; tells what is left when it is done.
    fn start_shutdown(&mut self) -> Option<oneshot::Receiver<LeftBehind>> {
        let shutdown = self.shutdown.take()?;
        let (closing, end) = (
            shutdown.closing.clone(),
            shutdown.run(self.close_subsystems()),
        );
        let (done, left) = oneshot::channel();
        closing.spawn_orderly(async move {
            // Fails when nobody waits.
            let _ = done.send(end.await);
        });
        Some(left)
    }

    /// Starts to close everything above discovery; resolves when that is done, after some seconds
    /// at most.
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
        self.start_shutdown();
    }
}

/// The addresses that a former run has left in the store's directory.
#[cfg(feature = "storage")]
async fn remembered(store: Option<&NodeStore>) -> Option<Remembered> {
    let directory = store?.path().to_owned();
    let loading = tokio::task::spawn_blocking(move || Remembered::load(&directory));
    loading.await.ok()
}

#[cfg(not(feature = "storage"))]
#[allow(clippy::unused_async, reason = "as with storage, where a file is read")]
async fn remembered(_: Option<&NodeStore>) -> Option<Remembered> {
    None
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
