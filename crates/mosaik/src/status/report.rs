//! The report of a node. Its parts cross the network as [records](crate::primitives::record).

use serde::{Deserialize, Serialize};

use crate::{
    collections_layer::CollectionReport,
    functions_layer::FunctionReport,
    groups::GroupReport,
    net::LinkReport,
    primitives::{
        PeerId, Tag,
        record::{list, long_list},
        text, wire,
    },
    streams_layer::StreamReport,
};

/// Tag of nodes that only look on, as those of the `mosaik` command have. Others don't count them
/// among their peers and neighbours.
pub const OBSERVER_TAG: &str = "mosaik-observer";

/// Status of a node, as it tells it itself.
///
/// In JSON it has the same fields. A later version may add fields and words.
///
/// # Examples
///
/// ```
/// # use mosaik::{Network, iroh::RelayMode, discovery};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), mosaik::network::Error> {
/// # let network = Network::builder("example").with_relay_mode(RelayMode::Disabled)
/// #     .with_discovery(discovery::Config::builder().no_dht_bootstrap()).build().await?;
/// let _sensor = network.streams().producer::<f32>().with_stream_id("weather/wind").open();
/// let report = network.status();
/// assert_eq!(report.node.peer, network.local().id());
/// assert_eq!(report.streams[0].label.as_deref(), Some("weather/wind"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The node itself.
    pub node: NodeReport,
    /// Its connections, one for each peer.
    pub links: Vec<LinkReport>,
    /// Its producers and consumers.
    pub streams: Vec<StreamReport>,
    /// Its handlers and callers.
    pub functions: Vec<FunctionReport>,
    /// The groups that it has joined, those of collections among them.
    pub groups: Vec<GroupReport>,
    /// Its collections.
    pub collections: Vec<CollectionReport>,
    /// Number of items that are not in these lists, as there are too many.
    pub left_off: u64,
}

/// A node. The network is not among this: its id lets others in, and the asker knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeReport {
    /// Its id.
    #[serde(with = "wire::peer_id")]
    pub peer: PeerId,
    /// Version of the library.
    #[serde(with = "text::one")]
    pub build: String,
    /// Time for which it runs.
    pub uptime_ms: u64,
    /// Its clock when it answered, in milliseconds of Unix time.
    pub clock_ms: u64,
    /// Difference between its clock and the asker's when the answer came, positive if its clock is
    /// ahead; right to half a round trip. `None` in the report of the own node.
    pub clock_ahead_ms: Option<i64>,
    /// Time from question to answer; `None` in the report of the own node.
    pub asked_us: Option<u64>,
    /// Its tags.
    #[serde(with = "long_list")]
    pub tags: Vec<TagReport>,
    /// Addresses at which it can be reached, as it knows them.
    #[serde(with = "text::list")]
    pub addresses: Vec<String>,
    /// The relay through which it can be reached.
    #[serde(with = "text::optional")]
    pub relay: Option<String>,
    /// Peers in its catalog, without those that only look on.
    pub peers: u64,
    /// Neighbours in gossip, without those that only look on.
    pub neighbours: u64,
    /// Size of its signed entry.
    pub entry_bytes: u64,
    /// Largest size of an entry.
    pub max_entry_bytes: u64,
    /// Tickets in its entry.
    pub tickets: u64,
    /// Entries of others that it refused, by the reason.
    #[serde(with = "list")]
    pub refused_entries: Vec<RefusalCount>,
    /// Difference that its clock and that of another may have before it refuses the other's entry.
    pub max_clock_drift_ms: u64,
    /// Encounters with another process that has the same secret key.
    pub identity_conflicts: u64,
    /// Address of such a process, if it was there within the last minutes, or has shut this one out.
    #[serde(with = "text::optional")]
    pub duplicate: Option<String>,
    /// True if the node has storage.
    pub has_storage: bool,
    /// Failure of the storage.
    #[serde(with = "text::optional")]
    pub storage_failure: Option<String>,
}

/// A tag of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TagReport {
    /// The tag.
    pub tag: Tag,
    /// Name that the program gave it.
    #[serde(with = "text::optional")]
    pub label: Option<String>,
}

/// Number of refusals for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusalCount {
    /// The reason, as the metric `mosaik.discovery.entries.refused` has it.
    #[serde(with = "text::one")]
    pub reason: String,
    /// The number.
    pub count: u64,
}

impl Report {
    /// The first label that is known of an id, of a tag, stream, function or group.
    pub fn label_of(&self, id: &crate::UniqueId) -> Option<&str> {
        let tags = self.node.tags.iter().map(|t| (&t.tag, &t.label));
        let streams = self.streams.iter().map(|s| (&s.stream, &s.label));
        let functions = self.functions.iter().map(|f| (&f.function, &f.label));
        let groups = self.groups.iter().map(|g| (&g.group, &g.label));
        let mut all = tags.chain(streams).chain(functions).chain(groups);
        all.find_map(|(other, label)| label.as_deref().filter(|_| other == id))
    }
}
