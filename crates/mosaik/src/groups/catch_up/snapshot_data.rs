//! Snapshots on their way from one member to another.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{snapshot_cache::CachedSnapshot, wire::SnapshotId};
use crate::{
    groups::{
        log::disk_log::{SnapshotWriter, StoredHeader},
        machine::snapshot::Assembly,
    },
    primitives::Bytes,
};

/// A snapshot as the consensus library passes it around.
pub(crate) enum SnapshotData {
    /// One of this member's, to be sent.
    CachedSnapshot(Arc<CachedSnapshot>),
    /// One that lies on the disk, to be installed when the member starts.
    Stored(StoredHeader),
    /// One that was fetched from other members, to be installed.
    Fetched(FetchedSnapshot),
}

/// A snapshot that was put together of other members' pieces.
pub(crate) struct FetchedSnapshot {
    pub(crate) head: Bytes,
    pub(crate) assembly: Box<dyn Assembly>,
    /// The pieces on this member's disk, if it is durable.
    pub(crate) stored: Option<SnapshotWriter>,
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CachedSnapshot(_) => "CachedSnapshot",
            Self::Stored(_) => "Stored",
            Self::Fetched(_) => "Fetched",
        })
    }
}

/// Snapshot that was fetched in part: a later transfer of the same one continues it.
pub(crate) struct Partial {
    pub(crate) id: SnapshotId,
    /// Digest of all its pieces.
    pub(crate) digest: [u8; 32],
    /// Pieces that are taken in.
    pub(crate) taken: usize,
    pub(crate) assembly: Box<dyn Assembly>,
    pub(crate) writer: Option<SnapshotWriter>,
    /// Time at which the transfer was interrupted.
    pub(crate) since: Instant,
}
