//! Configuration of groups, and the values derived from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// The shortest beat that is used, whatever the configuration says.
const MIN_BEAT: Duration = Duration::from_millis(5);
/// The shortest election timeout that is used.
const MIN_ELECTION_TIMEOUT: Duration = Duration::from_millis(30);

/// The longest time that is waited for anything: any longer one is none, and adding to the clock
/// must not overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Settings of a node that hold for all its groups.
#[derive(Debug, Clone)]
pub struct Config {
    /// Timeout for the steps of a bond's handshake. Default 2 s. A node's own affair: peers need
    /// not agree.
    pub handshake_timeout: Duration,
}

/// Settings of one group.
///
/// The three fields that say so are part of the group id: members must agree on them. The rest is
/// each member's own affair; where only the leader uses a value, the leader's counts.
///
/// # Examples
///
/// ```
/// use mosaik::groups::ConsensusConfig;
/// use std::time::Duration;
///
/// let config = ConsensusConfig::builder()
///     .with_election_timeout(Duration::from_secs(2))
///     .with_min_members(3)
///     .build()?;
/// assert_eq!(config.max_voters, 5);
/// # Ok::<_, mosaik::groups::ConsensusConfigBuilderError>(())
/// ```
#[derive(Debug, Clone, Hash, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsensusConfig {
    /// The liveness beat of bonds and of the leader. Default 150 ms, not zero. **Part of the group
    /// id.**
    ///
    /// The beat in effect is at most 0.3 × `election_timeout`, so that two beats fit into a leader's
    /// lease: a longer interval makes this member beat faster, and leaves the id as it is.
    pub heartbeat_interval: Duration,
    /// A random amount that is subtracted from each beat. Default 50 ms; zero means none. **Part
    /// of the group id.**
    pub heartbeat_jitter: Duration,
    /// Number of silent heartbeat intervals after which a bond is dead. Default 10. **Part of the
    /// group id.**
    pub max_missed_heartbeats: u32,
    /// Time without contact to a leader after which an election is held. Default 500 ms. This node
    /// beats at least every 0.3 × this time, whatever `heartbeat_interval` says.
    pub election_timeout: Duration,
    /// A random amount that is added to the election timeout. Default 250 ms.
    pub election_timeout_jitter: Duration,
    /// Upper bound on the time that a node without a known history waits for others before it
    /// founds a group. Default 1 s. Normally it founds earlier: as soon as its view of the network
    /// has settled.
    pub bootstrap_delay: Duration,
    /// Timeout for a leader to accept a command. Default 2 s.
    pub forward_timeout: Duration,
    /// Timeout for the confirmation of a strong query. Default 2 s.
    pub query_timeout: Duration,
    /// Limit on the voters; further members replicate and take a voter's place when it goes.
    /// Default 5, at least 1. The leader's value counts.
    pub max_voters: usize,
    /// Number of members that may vote, this node included, that must have met before a group is
    /// founded; observers don't count. Default 1. Programs that must not lose an acknowledged
    /// command at start-up set it to the intended size: then two rival groups can't come into
    /// being. A majority of it makes that unlikely, but excludes it only for up to three members.
    /// Each member goes by its own value: one with the default may found alone.
    pub min_members: usize,
    /// A member that is unreachable for longer is removed from the membership. Default 30 s. The
    /// leader's value counts. A member that has commands and no majority keeps them for as long
    /// when it meets a rival history.
    pub evict_after: Duration,
    /// Time after which voters that have had neither a leader nor a majority found a new history
    /// from the log that is longest among them. Default none: a group that has lost its majority
    /// halts. A voter whose log is shorter than that of another which it reaches never does it: all
    /// need this setting, and the same value. **Availability over consistency**: if the lost members
    /// still live, both sides go on, and one side's commands are discarded when they meet.
    pub reform_after: Option<Duration>,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(150),
            heartbeat_jitter: Duration::from_millis(50),
            max_missed_heartbeats: 10,
            election_timeout: Duration::from_millis(500),
            election_timeout_jitter: Duration::from_millis(250),
            bootstrap_delay: Duration::from_secs(1),
            forward_timeout: Duration::from_secs(2),
            query_timeout: Duration::from_secs(2),
            max_voters: 5,
            min_members: 1,
            evict_after: Duration::from_secs(30),
            reform_after: None,
        }
    }
}

macro_rules! builder {
    ($config:ident, $builder:ident, $error:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[doc(hidden)]
        #[derive(Debug, Clone, Default)]
        #[must_use]
        pub struct $builder {
            $($field: Option<$type>,)*
        }

        impl $config {
            /// Starts from the defaults.
            pub fn builder() -> $builder {
                $builder::default()
            }
        }

        #[doc = concat!("Why a [`", stringify!($config), "`] can't be built.")]
        #[derive(Debug, thiserror::Error)]
        #[non_exhaustive]
        pub enum $error {
            /// A field without default was not set.
            #[error("`{0}` must be initialized")]
            UninitializedField(&'static str),
            /// A value is out of bounds.
            #[error("{0}")]
            ValidationError(String),
        }
    };
}

macro_rules! setters {
    ($builder:ident { $($setter:ident($field:ident: $type:ty)),* $(,)? }) => {
        impl $builder {
            $(
                #[doc = concat!("Sets `", stringify!($field), "`.")]
                pub fn $setter(mut self, value: $type) -> Self {
                    self.$field = Some(value);
                    self
                }
            )*
        }
    };
}

builder!(
    Config,
    ConfigBuilder,
    ConfigBuilderError {
        handshake_timeout: Duration
    }
);

setters!(ConfigBuilder { with_handshake_timeout(handshake_timeout: Duration) });

impl ConfigBuilder {
    /// Builds the configuration.
    ///
    /// # Errors
    ///
    /// When the timeout is zero.
    pub fn build(self) -> Result<Config, ConfigBuilderError> {
        let handshake_timeout = self.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT);
        if handshake_timeout.is_zero() {
            return Err(ConfigBuilderError::ValidationError(
                "`handshake_timeout` must not be zero".into(),
            ));
        }
        Ok(Config { handshake_timeout })
    }
}

builder!(
    ConsensusConfig,
    ConsensusConfigBuilder,
    ConsensusConfigBuilderError {
        heartbeat_interval: Duration,
        heartbeat_jitter: Duration,
        max_missed_heartbeats: u32,
        election_timeout: Duration,
        election_timeout_jitter: Duration,
        bootstrap_delay: Duration,
        forward_timeout: Duration,
        query_timeout: Duration,
        max_voters: usize,
        min_members: usize,
        evict_after: Duration,
        reform_after: Option<Duration>,
    }
);

setters!(ConsensusConfigBuilder {
    with_heartbeat_interval(heartbeat_interval: Duration),
    with_heartbeat_jitter(heartbeat_jitter: Duration),
    with_max_missed_heartbeats(max_missed_heartbeats: u32),
    with_election_timeout(election_timeout: Duration),
    with_election_timeout_jitter(election_timeout_jitter: Duration),
    with_bootstrap_delay(bootstrap_delay: Duration),
    with_forward_timeout(forward_timeout: Duration),
    with_query_timeout(query_timeout: Duration),
    with_max_voters(max_voters: usize),
    with_min_members(min_members: usize),
    with_evict_after(evict_after: Duration),
});

impl ConsensusConfigBuilder {
    /// Sets `reform_after`; `None` is the default.
    pub fn with_reform_after(mut self, value: impl Into<Option<Duration>>) -> Self {
        self.reform_after = Some(value.into());
        self
    }

    /// Builds the configuration.
    ///
    /// # Errors
    ///
    /// When an interval or a count that must not be zero is.
    pub fn build(self) -> Result<ConsensusConfig, ConsensusConfigBuilderError> {
        let default = ConsensusConfig::default();
        let config = ConsensusConfig {
            heartbeat_interval: self
                .heartbeat_interval
                .unwrap_or(default.heartbeat_interval),
            heartbeat_jitter: self.heartbeat_jitter.unwrap_or(default.heartbeat_jitter),
            max_missed_heartbeats: self
                .max_missed_heartbeats
                .unwrap_or(default.max_missed_heartbeats),
            election_timeout: self.election_timeout.unwrap_or(default.election_timeout),
            election_timeout_jitter: self
                .election_timeout_jitter
                .unwrap_or(default.election_timeout_jitter),
            bootstrap_delay: self.bootstrap_delay.unwrap_or(default.bootstrap_delay),
            forward_timeout: self.forward_timeout.unwrap_or(default.forward_timeout),
            query_timeout: self.query_timeout.unwrap_or(default.query_timeout),
            max_voters: self.max_voters.unwrap_or(default.max_voters),
            min_members: self.min_members.unwrap_or(default.min_members),
            evict_after: self.evict_after.unwrap_or(default.evict_after),
            reform_after: self.reform_after.unwrap_or(default.reform_after),
        };
        let zero = [
            ("heartbeat_interval", config.heartbeat_interval.is_zero()),
            ("election_timeout", config.election_timeout.is_zero()),
            ("max_voters", config.max_voters == 0),
            ("min_members", config.min_members == 0),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(ConsensusConfigBuilderError::ValidationError(format!(
                "`{name}` must not be zero"
            ))),
            None => Ok(config),
        }
    }
}

impl ConsensusConfig {
    /// This configuration for a member that should lead only when nobody else can: its election
    /// timeout and bootstrap delay are three times as long.
    #[must_use]
    pub fn deprioritize_leadership(self) -> Self {
        self.deprioritize_leadership_by(3)
    }

    /// As [`ConsensusConfig::deprioritize_leadership`], with a factor; zero counts as one.
    #[must_use]
    pub fn deprioritize_leadership_by(mut self, factor: u32) -> Self {
        let factor = factor.max(1);
        self.election_timeout = self.election_timeout.saturating_mul(factor);
        self.bootstrap_delay = self.bootstrap_delay.saturating_mul(factor);
        self
    }

    /// The values that are run with: in bounds, whatever the configuration says.
    pub(crate) fn in_bounds(&self) -> Self {
        let election_timeout = self.election_timeout.clamp(MIN_ELECTION_TIMEOUT, LONGEST);
        // The lease that protects a leader is half an election timeout and more; two beats must
        // fit into it, so that one lost beat ends no leadership.
        let longest_beat = election_timeout * 3 / 10;
        let heartbeat_interval = self.heartbeat_interval.clamp(MIN_BEAT, longest_beat);
        Self {
            heartbeat_interval,
            heartbeat_jitter: self.heartbeat_jitter.min(heartbeat_interval / 2),
            max_missed_heartbeats: self.max_missed_heartbeats.max(1),
            election_timeout,
            election_timeout_jitter: self.election_timeout_jitter.min(election_timeout),
            bootstrap_delay: self.bootstrap_delay.min(LONGEST),
            forward_timeout: self.forward_timeout.min(LONGEST),
            query_timeout: self.query_timeout.min(LONGEST),
            max_voters: self.max_voters.max(1),
            min_members: self.min_members.max(1),
            evict_after: self.evict_after.min(LONGEST),
            reform_after: self.reform_after.map(|after| after.min(LONGEST)),
        }
    }

    /// Intervals and timeouts as they are used.
    pub(crate) fn timing(&self) -> Timing {
        let used = self.in_bounds();
        // The others' beats are those that all agree on, however short this member's own have to be.
        let agreed = self.heartbeat_interval.min(LONGEST);
        let agreed = agreed.max(used.heartbeat_interval);
        Timing {
            beat: used.heartbeat_interval,
            beat_jitter: used.heartbeat_jitter,
            silence: agreed.saturating_mul(used.max_missed_heartbeats),
            election: used.election_timeout,
            election_jitter: used.election_timeout_jitter,
        }
    }
}

/// Intervals and timeouts as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// Interval between two heartbeats.
    pub(crate) beat: Duration,
    /// Upper bound on the random time that is subtracted from it.
    pub(crate) beat_jitter: Duration,
    /// Silence after which a bond is dead.
    pub(crate) silence: Duration,
    /// Silence after which a leader is lost.
    pub(crate) election: Duration,
    /// Upper bound on the random time that is added before an election.
    pub(crate) election_jitter: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untouched_builders_succeed_and_zeros_are_refused() {
        assert_eq!(
            ConsensusConfig::builder().build().unwrap(),
            ConsensusConfig::default()
        );
        assert_eq!(
            Config::builder().build().unwrap().handshake_timeout,
            HANDSHAKE_TIMEOUT
        );
        let zero = ConsensusConfig::builder()
            .with_heartbeat_interval(Duration::ZERO)
            .build();
        assert!(matches!(
            zero,
            Err(ConsensusConfigBuilderError::ValidationError(_))
        ));
    }

    #[test]
    fn no_value_makes_unusable_timing() {
        for (beat, election) in [(0, 0), (500, 1), (1, 500), (u64::MAX, u64::MAX)] {
            let timing = ConsensusConfig {
                heartbeat_interval: Duration::from_millis(beat),
                heartbeat_jitter: Duration::from_millis(beat),
                max_missed_heartbeats: 0,
                election_timeout: Duration::from_millis(election),
                election_timeout_jitter: Duration::MAX,
                ..ConsensusConfig::default()
            }
            .timing();
            assert!(timing.beat >= MIN_BEAT && timing.beat * 3 <= timing.election);
            assert!(timing.beat_jitter < timing.beat && timing.silence >= timing.beat);
        }
        assert_eq!(
            ConsensusConfig::default().in_bounds(),
            ConsensusConfig::default()
        );
        let normal = ConsensusConfig::default().timing();
        assert_eq!(normal.beat, Duration::from_millis(150));
        assert_eq!(normal.silence, Duration::from_millis(1500));
        // Who elects quickly hears from the others as rarely as everybody.
        let hasty = ConsensusConfig {
            election_timeout: Duration::from_millis(50),
            ..ConsensusConfig::default()
        };
        assert_eq!(hasty.timing().silence, normal.silence);
        assert!(hasty.timing().beat < normal.beat);
    }
}
