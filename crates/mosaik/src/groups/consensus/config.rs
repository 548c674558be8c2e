//! The consensus library's configuration.

use openraft::SnapshotPolicy;

/// Consensus entries per append request.
const MAX_ENTRIES_PER_REQUEST: u64 = 4096;

/// Timeout of the library for the answer to a vote or to a heartbeat, in milliseconds. It has no
/// effect on how soon a lost leader is noticed.
const ANSWER_LIMIT_MS: u64 = 10_000;
/// The lease after which the library would refuse commands and vote for others by itself. It is
/// never over: both are decided by our own clock.
const LEASE_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// Configuration of the consensus library. It has no clock of its own: see
/// [`elections`](super::elections) and [`pulse`](super::heartbeat).
pub(super) fn raft_config() -> openraft::Config {
    openraft::Config {
        heartbeat_interval: ANSWER_LIMIT_MS - 1,
        election_timeout_min: ANSWER_LIMIT_MS,
        election_timeout_max: LEASE_MS,
        enable_tick: false,
        enable_elect: false,
        enable_heartbeat: false,
        // A restarted leader may lack entries that others have committed in its term.
        enable_leader_restore: Some(false),
        max_payload_entries: MAX_ENTRIES_PER_REQUEST,
        // Members that have lost what they had acknowledged are kept out, see `Client::examine`. Were
        // one missed, it is no reason for the leader to stop.
        allow_log_reversion: Some(true),
        broadcast_submitted_on_append: Some(true),
        // Snapshots are taken while commands are applied, and the log is discarded behind them:
        // see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // Members that lag get entries for as long as there are any: a snapshot is sent only when
        // the log was discarded.
        replication_lag_threshold: u64::MAX / 2,
        install_snapshot_timeout: 60_000,
        api_channel_size: Some(8192),
        notification_channel_size: Some(8192),
        state_machine_channel_size: Some(1024),
        ..openraft::Config::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_library_finds_the_configuration_valid() {
        assert!(super::raft_config().validate().is_ok());
    }
}
