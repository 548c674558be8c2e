//! Snapshots on their way from one member to another.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{
    disk::{SnapshotWriter, StoredHeader},
    shelf::Held,
};
use crate::{
    groups::{catch_up::wire::SnapshotId, snapshot::Assembly},
    primitives::Bytes,
};

/// A snapshot as the consensus library passes it around.
pub(crate) enum SnapshotData {
    /// One of this member's, to be sent.
    Held(Arc<Held>),
    /// One that lies on the disk, to be installed when the member starts.
    Stored(StoredHeader),
    /// One that was fetched from other members, to be installed.
    Fetched(FetchedSnapshot),
}

/// A snapshot that was put together of other members' pieces.
pub(crate) struct FetchedSnapshot {
    pub(super) head: Bytes,
    pub(super) assembly: Box<dyn Assembly>,
    /// The pieces on this member's disk, if it is durable.
    pub(super) stored: Option<SnapshotWriter>,
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held(_) => "Held",
            Self::Stored(_) => "Stored",
            Self::Fetched(_) => "Fetched",
        })
    }
}

/// Snapshot that was fetched in part: a later transfer of the same one continues it.
pub(super) struct Partial {
    pub(super) id: SnapshotId,
    /// Digest of all its pieces.
    pub(super) digest: [u8; 32],
    /// Pieces that are taken in.
    pub(super) taken: usize,
    pub(super) assembly: Box<dyn Assembly>,
    pub(super) writer: Option<SnapshotWriter>,
    /// Time at which the transfer was interrupted.
    pub(super) since: Instant,
}
