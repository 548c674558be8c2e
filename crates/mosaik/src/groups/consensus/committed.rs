//! Committed entries and snapshots that come from others than the leader, on its word.
//!
//! They go on from what is known to be committed, not from the end of the log: what a member has
//! beyond that may be from a leader that could not commit it. The consensus library passes over what
//! is there already, and replaces what differs.

use openraft::{
    alias::{EntryOf, LogIdOf, SnapshotOf, VoteOf},
    async_runtime::watch::WatchReceiver,
    entry::RaftEntry,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse},
};

use super::{core::NodeCore, wire::is_in_bounds};
use crate::groups::{
    catch_up::snapshot_data::SnapshotData,
    log::types::{Types, term_of},
    model::member_stream::Gone,
};

type LogId = LogIdOf<Types>;

/// Highest index that is believed of a snapshot: no log comes near it, and the consensus library adds
/// one.
const MAX_INDEX: u64 = 1 << 62;

impl NodeCore {
    /// The last entry that is known here to be committed.
    pub(super) fn last_committed(&self) -> Option<LogId> {
        let metrics = self.raft.metrics();
        let committed = metrics.borrow_watched().local_committed;
        self.applied.last_id().max(committed)
    }

    /// Returns whether a message with this vote may reach the consensus library. That takes up the
    /// leadership which a vote gives to this member, whoever tells of it; but a leader that was
    /// restarted may lack entries that others have committed in its term, and must not lead it again.
    pub(super) fn is_anothers(&self, vote: &VoteOf<Types>) -> bool {
        is_in_bounds(vote) && vote.leader_id.voted_for != self.member
    }

    /// Takes committed entries as if the leader with this vote had sent them; returns the index of
    /// the entry after the last one.
    pub(super) async fn take_committed(
        &self,
        vote: VoteOf<Types>,
        mut entries: Vec<EntryOf<Types>>,
    ) -> Result<u64, Gone> {
        if !self.is_anothers(&vote) {
            return Err(Gone);
        }
        // One after the other: what the library shows may be older than what it was handed.
        let mut committed = self.committed.lock().await;
        let prev = (*committed).max(self.last_committed());
        let begin = index_after(prev);
        // A snapshot may have brought them.
        entries.retain(|entry| entry.index() >= begin);
        let mut last = prev;
        for entry in &entries {
            let id = entry.log_id;
            let follows = id.index() == index_after(last) && Some(id) > last;
            if !follows || term_of(&id) > vote.leader_id.term {
                return Err(Gone);
            }
            last = Some(id);
        }
        let request = AppendEntriesRequest {
            vote,
            prev_log_id: prev,
            leader_commit: last,
            entries,
        };
        let appending = self.raft.append_entries(request);
        match self.while_running(appending).await {
            Some(AppendEntriesResponse::Success) => {
                *committed = last;
                Ok(index_after(last))
            }
            _ => Err(Gone),
        }
    }

    /// Installs a snapshot that a leader with this vote stands behind.
    pub(super) async fn install(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
    ) -> Result<SnapshotResponse<Types>, Gone> {
        let committed = self.committed.lock().await;
        let known = (*committed).max(self.last_committed());
        let last = snapshot.meta.last_log_id.ok_or(Gone)?;
        if !self.is_anothers(&vote) || !is_installable(&vote, last, known) {
            return Err(Gone);
        }
        let installing = self.raft.install_full_snapshot(vote, snapshot);
        self.while_running(installing).await.ok_or(Gone)
    }
}

/// Returns whether the consensus library takes a snapshot with this last entry. It takes for granted
/// that nobody sends another one, and panics.
pub(super) fn is_installable(vote: &VoteOf<Types>, last: LogId, committed: Option<LogId>) -> bool {
    let is_behind = Some(last) <= committed;
    vote.committed
        && term_of(&last) <= vote.leader_id.term
        && last.index() <= MAX_INDEX
        && (is_behind || last.index() >= index_after(committed))
}

/// The consensus index of the entry after this one.
pub(super) fn index_after(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index().saturating_add(1))
}
