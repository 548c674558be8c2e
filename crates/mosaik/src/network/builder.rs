//! Builds a network.

use std::{collections::BTreeSet, net::SocketAddr, time::SystemTime};

use iroh::{RelayMode, SecretKey, endpoint::Builder as EndpointBuilder};

use crate::{
    discovery::{self, clock::Clock},
    functions_layer, groups,
    net::EndpointHook,
    primitives::NetworkId,
    status, streams_layer as streams,
};

/// The options of a network, in plain fields.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The network to belong to.
    pub network_id: NetworkId,
    /// Relays to use; `Disabled` neither listens on nor dials relays. Default `RelayMode::Default`.
    pub relay_mode: RelayMode,
    /// Socket addresses to bind. Default none: a random port on all interfaces.
    pub addresses: BTreeSet<SocketAddr>,
    /// Addresses at which others reach the node although no socket here has them. Default none.
    pub external_addresses: BTreeSet<SocketAddr>,
    /// Decides the peer id. Default random.
    pub secret_key: SecretKey,
    /// Switch for finding peers on the local segment by multicast DNS. Default `false`.
    pub mdns_discovery: bool,
    /// Discovery's configuration.
    pub discovery: discovery::ConfigBuilder,
    /// Streams' configuration.
    pub streams: streams::ConfigBuilder,
    /// The configuration of functions.
    pub functions: functions_layer::ConfigBuilder,
    /// The configuration of groups.
    pub groups: groups::ConfigBuilder,
    /// Settings of what the node tells others about itself.
    pub status: status::ConfigBuilder,
    /// Directory of the state that must survive the node's end. Default nowhere.
    #[cfg(feature = "storage")]
    pub storage: Option<std::path::PathBuf>,
    /// Address on which metrics are served. Default nowhere.
    #[cfg(feature = "prometheus")]
    pub prometheus_addr: Option<SocketAddr>,
}

/// Builds a [`Network`](super::Network).
///
/// A network name alone is a complete configuration. Setting an option twice keeps the last value.
///
/// # Examples
///
/// ```
/// use mosaik::{Network, discovery, iroh::RelayMode};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mosaik::network::Error> {
/// let network = Network::builder("example")
///     .with_relay_mode(RelayMode::Disabled)
///     .with_addresses(["127.0.0.1:0".parse().unwrap()])
///     .with_discovery(discovery::Config::builder().no_dht_bootstrap().with_tags("matcher"))
///     .build()
///     .await?;
/// assert!(network.discovery().me().tags().contains(&"matcher".into()));
/// # Ok(())
/// # }
/// ```
#[allow(missing_debug_implementations, reason = "it may hold a user's hook")]
pub struct NetworkBuilder {
    pub(super) network_id: Option<NetworkId>,
    pub(super) config: NetworkConfig,
    /// True if `secret_key` was chosen, not drawn.
    pub(super) has_identity: bool,
    pub(super) endpoint_hook: Option<EndpointHook>,
    pub(super) clock: Clock,
}

impl Default for NetworkBuilder {
    fn default() -> Self {
        Self {
            network_id: None,
            config: NetworkConfig {
                network_id: NetworkId::zero(),
                relay_mode: RelayMode::Default,
                addresses: BTreeSet::new(),
                external_addresses: BTreeSet::new(),
                secret_key: SecretKey::generate(),
                mdns_discovery: false,
                discovery: discovery::ConfigBuilder::default(),
                streams: streams::ConfigBuilder::default(),
                functions: functions_layer::ConfigBuilder::default(),
                groups: groups::ConfigBuilder::default(),
                status: status::ConfigBuilder::default(),
                #[cfg(feature = "storage")]
                storage: None,
                #[cfg(feature = "prometheus")]
                prometheus_addr: None,
            },
            has_identity: false,
            endpoint_hook: None,
            clock: Clock::default(),
        }
    }
}

impl NetworkBuilder {
    /// Sets the network to belong to: a name, or an id. Required.
    #[must_use]
    pub fn with_network_id<V: Into<NetworkId>>(mut self, value: V) -> Self {
        let id = value.into();
        self.network_id = Some(id);
        self.config.network_id = id;
        self
    }

    /// Sets which relays to use.
    #[must_use]
    pub fn with_relay_mode(mut self, value: RelayMode) -> Self {
        self.config.relay_mode = value;
        self
    }

    /// Sets the socket addresses to bind, replacing those set before; port 0 is any free port.
    ///
    /// Of several addresses of one family each serves its own subnet. One of them serves the rest:
    /// the unspecified address, or else the one on the interface of the default route.
    #[must_use]
    pub fn with_addresses<V: Into<BTreeSet<SocketAddr>>>(mut self, value: V) -> Self {
        self.config.addresses = value.into();
        self
    }

    /// Sets addresses at which others reach this node although no socket of it has them, as behind
    /// a port that a router, a load balancer or a container's host forwards; replaces those set
    /// before. They are told to others beside those that the node finds out itself.
    #[must_use]
    pub fn with_external_addresses<V: Into<BTreeSet<SocketAddr>>>(mut self, value: V) -> Self {
        self.config.external_addresses = value.into();
        self
    }

    /// Sets whether peers of this network on the local segment are looked for.
    #[must_use]
    pub fn with_mdns_discovery(mut self, value: bool) -> Self {
        self.config.mdns_discovery = value;
        self
    }

    /// Sets the secret key, which decides the peer id. Needed only where an identity must be
    /// stable, as for bootstrap nodes.
    #[must_use]
    pub fn with_secret_key<V: Into<SecretKey>>(mut self, value: V) -> Self {
        self.config.secret_key = value.into();
        self.has_identity = true;
        self
    }

    /// Sets the configuration of discovery.
    #[must_use]
    pub fn with_discovery(mut self, value: discovery::ConfigBuilder) -> Self {
        self.config.discovery = value;
        self
    }

    /// Sets the configuration of streams.
    #[must_use]
    pub fn with_streams(mut self, value: streams::ConfigBuilder) -> Self {
        self.config.streams = value;
        self
    }

    /// Sets the configuration of groups.
    #[must_use]
    pub fn with_groups(mut self, value: groups::ConfigBuilder) -> Self {
        self.config.groups = value;
        self
    }

    /// Sets who may ask this node about itself. Default: every member of the network.
    ///
    /// # Examples
    ///
    /// ```
    /// use mosaik::{Network, status, tickets::{Hs256, Jwt}};
    ///
    /// let operators = Jwt::with_key(Hs256::new([7; 32])).allow_issuer("operations");
    /// let builder = Network::builder("example")
    ///     .with_status(status::Config::builder().require_ticket(operators));
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn with_status(mut self, value: status::ConfigBuilder) -> Self {
        self.config.status = value;
        self
    }

    /// Gives the node a directory, which is made if there is none, for what must survive its end:
    /// durable members of groups, see
    /// [`GroupBuilder::durable`](crate::groups::GroupBuilder::durable), and, if no secret key was
    /// set, the node's identity. One directory serves one node at a time, on a local file system.
    ///
    /// Building the network reads and verifies all of it, at some hundred megabytes per second.
    ///
    /// Never bring back an older copy of the directory: a member that forgets what it has
    /// acknowledged or voted for breaks its groups.
    #[cfg(feature = "storage")]
    #[must_use]
    pub fn with_storage(mut self, directory: impl Into<std::path::PathBuf>) -> Self {
        self.config.storage = Some(directory.into());
        self
    }

    /// Sets the configuration of functions.
    #[must_use]
    pub fn with_functions(mut self, value: functions_layer::ConfigBuilder) -> Self {
        self.config.functions = value;
        self
    }

    /// Sets where metrics are served in the Prometheus text format, by HTTP on any path.
    ///
    /// The first node that asks for it installs the process's recorder of the `metrics` facade,
    /// which is never removed; further ones share it, each serving at an address of its own for as
    /// long as it lives. Everything that the process measures is served. Metrics that carry no
    /// `network` label of their own are given that of the node that serves them.
    ///
    /// Without it nothing is installed, and a recorder of the application receives everything.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn with_prometheus_addr<V: Into<Option<SocketAddr>>>(mut self, value: V) -> Self {
        self.config.prometheus_addr = value.into();
        self
    }

    /// Sets a hook that changes the endpoint's builder last: other transports, address lookups or
    /// transport settings.
    #[must_use]
    pub fn with_endpoint(
        mut self,
        hook: impl FnOnce(EndpointBuilder) -> EndpointBuilder + Send + 'static,
    ) -> Self {
        self.endpoint_hook = Some(Box::new(hook));
        self
    }

    /// Replaces the wall clock that entries are stamped and judged with, to test clock skew.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }
}
