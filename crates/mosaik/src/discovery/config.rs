//! Configuration of discovery.

use std::time::Duration;

use iroh::EndpointAddr;
use serde::{Deserialize, Serialize};

use crate::{
    primitives::{IntoIterOrSingle, PeerId, Tag},
    tickets::MAX_TAGS,
};

/// Past events that a slow receiver may lag behind.
pub(super) const DEFAULT_EVENTS_BACKLOG: usize = 100;
/// Age after which an entry is stale.
pub(super) const DEFAULT_PURGE_AFTER: Duration = Duration::from_mins(5);
/// Largest accepted clock difference.
pub(super) const DEFAULT_MAX_TIME_DRIFT: Duration = Duration::from_secs(10);
/// Period of re-announcement.
pub(super) const DEFAULT_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(15);
/// Random part of the period of re-announcement.
pub(super) const DEFAULT_ANNOUNCE_JITTER: f32 = 0.5;
/// Period of publishing to the DHT.
pub(super) const DEFAULT_DHT_PUBLISH_INTERVAL: Duration = Duration::from_mins(5);
/// Period of polling the DHT.
pub(super) const DEFAULT_DHT_POLL_INTERVAL: Duration = Duration::from_mins(1);
/// Period of RTT probing.
pub(super) const DEFAULT_RTT_PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Time that a shutdown gives the announcement of departure to propagate.
pub(super) const DEFAULT_GRACEFUL_DEPARTURE_WINDOW: Duration = Duration::from_millis(500);
/// Limit on the peers in a catalog.
pub(super) const DEFAULT_MAX_PEERS: usize = 16 * 1024;
/// The largest catalog: what its syncs put in one turn fits a frame.
pub(super) const MAX_MAX_PEERS: usize = 32 * 1024;
/// The longest backlog of events: its memory is taken at the start.
const MAX_EVENTS_BACKLOG: usize = 64 * 1024;
/// The longest interval or age, ample for "never" and far from any overflow.
const MAX_INTERVAL: Duration = Duration::from_hours(365 * 24);
/// The largest difference of clocks that can be accepted.
const MAX_MAX_TIME_DRIFT: Duration = Duration::from_hours(24);
/// The longest that a shutdown can wait.
const MAX_GRACEFUL_DEPARTURE_WINDOW: Duration = Duration::from_mins(1);
/// Workers wait this long at least between two rounds, whatever interval is configured.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// The configuration of discovery. Made by [`Config::builder`].
///
/// Only `max_time_drift` and `purge_after` should be alike on all nodes of a network; nothing
/// here is part of the network's identity. An interval or an age of more than a year counts as a
/// year, so [`Duration::MAX`] is as good as never; waits between two rounds of anything are at least
/// 1 ms. Read from a text, what it leaves out has its default.
///
/// # Examples
///
/// ```
/// use mosaik::discovery::Config;
///
/// let config: Config = serde_json::from_str(r#"{ "no_dht_bootstrap": true }"#)?;
/// assert_eq!(config, Config::builder().no_dht_bootstrap().build()?);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Events that a slow receiver may lag behind before it loses some. Default 100; not 0. More
    /// than 65 536 count as 65 536: the memory for them is taken at the start.
    pub events_backlog: usize,
    /// Peers that are dialed at start, and again while they can't be reached. Default none.
    pub bootstrap_peers: Vec<EndpointAddr>,
    /// Bootstrap peers whose address is a name, as `host:port`, which is looked up at each attempt.
    /// Default none.
    pub bootstrap_hosts: Vec<(PeerId, String)>,
    /// Tags in the local entry from the start. Default none; at most 1024.
    pub tags: Vec<Tag>,
    /// Age of an entry's update after which it is hidden and removed. Default 300 s; not 0.
    pub purge_after: Duration,
    /// Largest accepted difference between two peers' clocks. Default 10 s; more than a day counts as
    /// a day.
    pub max_time_drift: Duration,
    /// Period of re-announcement. Default 15 s; not 0.
    pub announce_interval: Duration,
    /// Factor j from 0 to 1: each delay is drawn from interval·(1−j) … interval·(1+j).
    /// Default 0.5.
    pub announce_jitter: f32,
    /// Period of publishing to the DHT; `None` never publishes. Default 300 s; not 0.
    pub dht_publish_interval: Option<Duration>,
    /// Period of polling the DHT for peers; `None` never polls. Default 60 s; not 0.
    pub dht_poll_interval: Option<Duration>,
    /// Switches the DHT off altogether. Default `false`.
    pub no_dht_bootstrap: bool,
    /// DHT nodes to start from, as `host:port`. Default none: the public ones.
    pub dht_nodes: Vec<String>,
    /// Period of RTT probing, jittered by ±50 %. Default 30 s; not 0.
    pub rtt_probe_interval: Duration,
    /// Peers with a greater smoothed round-trip time are hidden. Default `None`.
    pub max_rtt: Option<Duration>,
    /// Time that a shutdown gives the announcement of departure to propagate. Default 500 ms; more
    /// than a minute counts as a minute.
    pub graceful_departure_window: Duration,
    /// Limit on the peers in the catalog; beyond, the longest silent of those that this node was
    /// never in contact with is dropped, the newcomer among them. Default 16 384; from 1 to 32 768.
    pub max_peers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            events_backlog: DEFAULT_EVENTS_BACKLOG,
            bootstrap_peers: Vec::new(),
            bootstrap_hosts: Vec::new(),
            tags: Vec::new(),
            purge_after: DEFAULT_PURGE_AFTER,
            max_time_drift: DEFAULT_MAX_TIME_DRIFT,
            announce_interval: DEFAULT_ANNOUNCE_INTERVAL,
            announce_jitter: DEFAULT_ANNOUNCE_JITTER,
            dht_publish_interval: Some(DEFAULT_DHT_PUBLISH_INTERVAL),
            dht_poll_interval: Some(DEFAULT_DHT_POLL_INTERVAL),
            no_dht_bootstrap: false,
            dht_nodes: Vec::new(),
            rtt_probe_interval: DEFAULT_RTT_PROBE_INTERVAL,
            max_rtt: None,
            graceful_departure_window: DEFAULT_GRACEFUL_DEPARTURE_WINDOW,
            max_peers: DEFAULT_MAX_PEERS,
        }
    }
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// The ids of the bootstrap peers, in the order given, those with host names last.
    pub fn bootstrap_peers_ids(&self) -> Vec<PeerId> {
        let hosts = self.bootstrap_hosts.iter().map(|(peer, _)| *peer);
        let peers = self.bootstrap_peers.iter().map(|addr| addr.id);
        peers.chain(hosts).collect()
    }

    fn validate(&self) -> Result<(), ConfigBuilderError> {
        let intervals = [
            ("announce_interval", Some(self.announce_interval)),
            ("purge_after", Some(self.purge_after)),
            ("rtt_probe_interval", Some(self.rtt_probe_interval)),
            ("dht_publish_interval", self.dht_publish_interval),
            ("dht_poll_interval", self.dht_poll_interval),
        ];
        for (name, interval) in intervals {
            if interval == Some(Duration::ZERO) {
                return Err(format!("{name} must be greater than zero").into());
            }
        }
        let has_port = |node: &String| {
            node.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
            })
        };
        let mut hosts = self.bootstrap_hosts.iter().map(|(_, host)| host);
        if let Some(host) = hosts.find(|host| !has_port(host)) {
            return Err(format!("the bootstrap host {host} is not of the form host:port").into());
        }
        if let Some(node) = self.dht_nodes.iter().find(|node| !has_port(node)) {
            return Err(format!("the DHT node {node} is not of the form host:port").into());
        }
        if self.events_backlog == 0 || self.max_peers == 0 {
            return Err("events_backlog and max_peers must be at least 1"
                .to_owned()
                .into());
        }
        at_most("max_peers", self.max_peers, MAX_MAX_PEERS)?;
        at_most("the number of tags", self.tags.len(), MAX_TAGS)?;
        if !(0.0..=1.0).contains(&self.announce_jitter) {
            let jitter = self.announce_jitter;
            return Err(format!("announce_jitter must be from 0.0 to 1.0, not {jitter}").into());
        }
        Ok(())
    }

    /// The same configuration with what is larger than can be carried out cut down to that.
    fn bounded(self) -> Self {
        let interval = |interval: Duration| interval.min(MAX_INTERVAL);
        Self {
            events_backlog: self.events_backlog.min(MAX_EVENTS_BACKLOG),
            purge_after: interval(self.purge_after),
            max_time_drift: self.max_time_drift.min(MAX_MAX_TIME_DRIFT),
            announce_interval: interval(self.announce_interval),
            dht_publish_interval: self.dht_publish_interval.map(interval),
            dht_poll_interval: self.dht_poll_interval.map(interval),
            rtt_probe_interval: interval(self.rtt_probe_interval),
            graceful_departure_window: self
                .graceful_departure_window
                .min(MAX_GRACEFUL_DEPARTURE_WINDOW),
            ..self
        }
    }
}

fn at_most(name: &str, value: usize, max: usize) -> Result<(), ConfigBuilderError> {
    if value <= max {
        return Ok(());
    }
    Err(format!("{name} must be at most {max}, not {value}").into())
}

/// The wait before the next round: an interval times a factor.
pub(super) fn pause(interval: Duration, factor: f64) -> Duration {
    interval.mul_f64(factor).max(MIN_PAUSE)
}

/// Builds a [`Config`]; given to
/// [`NetworkBuilder::with_discovery`](crate::network::NetworkBuilder::with_discovery).
///
/// # Examples
///
/// ```
/// use mosaik::discovery;
/// use std::time::Duration;
///
/// let config = discovery::Config::builder()
///     .with_tags("matcher")
///     .with_tags(["validator", "signer"])
///     .with_announce_interval(Duration::from_secs(10))
///     .build()?;
/// assert_eq!(config.tags.len(), 3);
/// # Ok::<_, discovery::ConfigBuilderError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Adds bootstrap peers: addresses, or bare ids of peers that can be looked up.
    #[must_use]
    pub fn with_bootstrap<V>(mut self, peers: impl IntoIterOrSingle<EndpointAddr, V>) -> Self {
        self.0.bootstrap_peers.extend(peers.iterator());
        self
    }

    /// Adds a bootstrap peer at a host name, as `host:port`.
    ///
    /// The name is looked up again at each attempt, so that the peer may move. Its id is needed
    /// too: it is what the peer proves to be.
    #[must_use]
    pub fn with_bootstrap_host(mut self, peer: PeerId, host: impl Into<String>) -> Self {
        self.0.bootstrap_hosts.push((peer, host.into()));
        self
    }

    /// Adds tags to the local entry.
    #[must_use]
    pub fn with_tags<V>(mut self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        for tag in tags.iterator() {
            if !self.0.tags.contains(&tag) {
                self.0.tags.push(tag);
            }
        }
        self
    }

    /// Sets the age after which entries are stale. Never, with [`Duration::MAX`].
    #[must_use]
    pub const fn with_purge_after(mut self, age: Duration) -> Self {
        self.0.purge_after = age;
        self
    }

    /// Sets the largest accepted clock difference.
    #[must_use]
    pub const fn with_max_time_drift(mut self, drift: Duration) -> Self {
        self.0.max_time_drift = drift;
        self
    }

    /// Sets the period of re-announcement.
    #[must_use]
    pub const fn with_announce_interval(mut self, interval: Duration) -> Self {
        self.0.announce_interval = interval;
        self
    }

    /// Sets the random part of the period of re-announcement, from 0.0 to 1.0.
    #[must_use]
    pub const fn with_announce_jitter(mut self, jitter: f32) -> Self {
        self.0.announce_jitter = jitter;
        self
    }

    /// Sets how many events a slow receiver may lag behind.
    #[must_use]
    pub const fn with_events_backlog(mut self, events: usize) -> Self {
        self.0.events_backlog = events;
        self
    }

    /// Sets the period of publishing to the DHT; `None` never publishes.
    #[must_use]
    pub fn with_dht_publish_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.0.dht_publish_interval = interval.into();
        self
    }

    /// Sets the period of polling the DHT; `None` never polls.
    #[must_use]
    pub fn with_dht_poll_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.0.dht_poll_interval = interval.into();
        self
    }

    /// Switches the DHT off altogether.
    #[must_use]
    pub const fn no_dht_bootstrap(self) -> Self {
        self.with_no_dht_bootstrap(true)
    }

    /// The same as [`ConfigBuilder::no_dht_bootstrap`].
    #[must_use]
    pub const fn no_auto_bootstrap(self) -> Self {
        self.with_no_dht_bootstrap(true)
    }

    /// Switches the DHT off or on.
    #[must_use]
    pub const fn with_no_dht_bootstrap(mut self, off: bool) -> Self {
        self.0.no_dht_bootstrap = off;
        self
    }

    /// Adds DHT nodes to start from, as `host:port`; none means the public ones.
    ///
    /// For private DHTs and tests. When all of them are on loopback, so is this node's DHT socket.
    #[must_use]
    pub fn with_dht_nodes<V>(mut self, nodes: impl IntoIterOrSingle<String, V>) -> Self {
        self.0.dht_nodes.extend(nodes.iterator());
        self
    }

    /// Sets the period of RTT probing.
    #[must_use]
    pub const fn with_rtt_probe_interval(mut self, interval: Duration) -> Self {
        self.0.rtt_probe_interval = interval;
        self
    }

    /// Hides peers with a greater smoothed round-trip time.
    #[must_use]
    pub const fn with_max_rtt(mut self, rtt: Duration) -> Self {
        self.0.max_rtt = Some(rtt);
        self
    }

    /// Sets how many peers the catalog holds.
    #[must_use]
    pub const fn with_max_peers(mut self, peers: usize) -> Self {
        self.0.max_peers = peers;
        self
    }

    /// Checks and returns the configuration.
    ///
    /// # Errors
    ///
    /// When a value is out of the bounds that its field of [`Config`] names.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        self.0.validate()?;
        Ok(self.0)
    }
}

/// Errors of an invalid configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigBuilderError {
    /// A value is missing.
    #[error("`{0}` must be initialized")]
    UninitializedField(&'static str),
    /// A value is out of its bounds.
    #[error("{0}")]
    ValidationError(String),
}

impl From<String> for ConfigBuilderError {
    fn from(text: String) -> Self {
        Self::ValidationError(text)
    }
}

/// A configuration, or a builder of one.
#[doc(hidden)]
pub trait IntoConfig {
    /// The checked configuration, as it can be carried out.
    ///
    /// # Errors
    ///
    /// As [`ConfigBuilder::build`].
    fn into_config(self) -> Result<Config, ConfigBuilderError>;
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config, ConfigBuilderError> {
        self.validate()?;
        Ok(self.bounded())
    }
}

impl IntoConfig for ConfigBuilder {
    fn into_config(self) -> Result<Config, ConfigBuilderError> {
        self.0.into_config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adders_add_and_duplicates_collapse() {
        let config = Config::builder()
            .with_tags("a")
            .with_tags(["b", "a"])
            .with_tags("c")
            .build()
            .unwrap();
        assert_eq!(config.tags, ["a", "b", "c"].map(Tag::from));
    }

    #[test]
    fn bad_values_are_refused() {
        let peer = iroh::SecretKey::generate().public();
        let bad = [
            Config::builder().with_announce_interval(Duration::ZERO),
            Config::builder().with_purge_after(Duration::ZERO),
            Config::builder().with_rtt_probe_interval(Duration::ZERO),
            Config::builder().with_dht_poll_interval(Duration::ZERO),
            Config::builder().with_dht_publish_interval(Some(Duration::ZERO)),
            Config::builder().with_events_backlog(0),
            Config::builder().with_dht_nodes("router.example.net"),
            Config::builder().with_bootstrap_host(peer, "example.net"),
            Config::builder().with_dht_nodes(["127.0.0.1:1", "127.0.0.1:0"]),
            Config::builder().with_max_peers(0),
            Config::builder().with_max_peers(usize::MAX),
            Config::builder().with_tags((0..1025u32).map(Tag::from_u32).collect::<Vec<_>>()),
            Config::builder().with_announce_jitter(1.5),
            Config::builder().with_announce_jitter(f32::INFINITY),
            Config::builder().with_announce_jitter(-0.1),
            Config::builder().with_announce_jitter(f32::NAN),
        ];
        for builder in bad {
            assert!(matches!(
                builder.clone().build(),
                Err(ConfigBuilderError::ValidationError(_))
            ));
            assert!(builder.0.into_config().is_err());
        }
        assert!(
            Config::builder()
                .with_dht_poll_interval(None)
                .build()
                .is_ok()
        );
    }
    #[test]
    fn what_is_more_than_can_be_carried_out_counts_as_the_most_that_can() {
        let endless = Config {
            graceful_departure_window: Duration::MAX,
            ..Config::default()
        };
        let endless = ConfigBuilder(endless)
            .with_announce_interval(Duration::MAX)
            .with_purge_after(Duration::MAX)
            .with_rtt_probe_interval(Duration::MAX)
            .with_dht_poll_interval(Duration::MAX)
            .with_dht_publish_interval(Duration::MAX)
            .with_max_time_drift(Duration::MAX)
            .with_events_backlog(usize::MAX);
        let built = endless.clone().build().unwrap();
        assert_eq!(built.purge_after, Duration::MAX, "as it was set");
        let carried_out = built.into_config().unwrap();
        assert_eq!(endless.into_config().unwrap(), carried_out);
        assert_eq!(carried_out.purge_after, MAX_INTERVAL);
        assert_eq!(carried_out.dht_poll_interval, Some(MAX_INTERVAL));
        assert_eq!(carried_out.max_time_drift, MAX_MAX_TIME_DRIFT);
        assert_eq!(carried_out.events_backlog, MAX_EVENTS_BACKLOG);
        assert_eq!(
            carried_out.graceful_departure_window,
            MAX_GRACEFUL_DEPARTURE_WINDOW
        );
    }

    #[test]
    fn a_text_needs_no_field() {
        let empty: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, Config::default());
    }
}
