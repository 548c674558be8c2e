//! The consensus library's configuration.

use std::time::Duration;

use openraft::SnapshotPolicy;

use crate::groups::config::Timing;

/// Consensus entries per append request.
const MAX_ENTRIES_PER_REQUEST: u64 = 4096;

/// What the library is to do, and when.
///
/// It waits a lease of `election_timeout_max` and then a random timeout between `min` and `max`
/// before an election; the two together are to lie between `election` and
/// `election + election_jitter`.
pub(super) fn raft_config(timing: &Timing, elects: bool) -> openraft::Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 8);
    let election = millis(timing.election).max(4);
    let max = u64::midpoint(election, millis(timing.election_jitter)) + 1;
    let min = election.saturating_sub(max).clamp(1, max - 1);
    openraft::Config {
        heartbeat_interval: millis(timing.beat).max(1),
        election_timeout_min: min,
        election_timeout_max: max,
        enable_elect: elects,
        enable_pre_vote: Some(true),
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
