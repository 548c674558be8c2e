//! How a newcomer is brought to the group's state.

use core::{fmt, marker::PhantomData, num::NonZero, ops::Range, time::Duration};
use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    groups::StateMachine,
    primitives::{Bytes, Digest, UniqueId, encoding},
};

const DEFAULT_BATCH_SIZE: NonZero<u64> = NonZero::new(2000).expect("not zero");
const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(25);
const DEFAULT_SNAPSHOT_INTERVAL: NonZero<u64> = NonZero::new(100_000).expect("not zero");

/// Selects how a newcomer is brought to the group's state: [`LogReplaySync`] or [`SnapshotSync`].
pub trait StateSync: Send + 'static + sealed::Sealed {
    /// The machine that is synchronised.
    type Machine: StateMachine;

    /// Identifies the strategy and its settings; part of the group id.
    fn signature(&self) -> UniqueId;

    #[doc(hidden)]
    fn strategy(&self) -> Strategy<Self::Machine>;
}

mod sealed {
    pub trait Sealed {}
}

/// What the rest of the crate needs to know of a strategy.
#[doc(hidden)]
pub struct Strategy<M> {
    pub(crate) batch_size: u64,
    pub(crate) fetch_timeout: Duration,
    pub(crate) snapshots: Option<Snapshots<M>>,
}

impl<M> fmt::Debug for Strategy<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategy")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .field("snapshots", &self.snapshots.is_some())
            .finish()
    }
}

/// How a machine makes and takes snapshots.
pub(crate) struct Snapshots<M> {
    /// Commands between two snapshots.
    pub(crate) interval: u64,
    pub(crate) hooks: Arc<dyn SnapshotHooks<M>>,
}

/// A newcomer applies all commands from the first on. Works for every machine, and is the default.
///
/// The whole history is kept, in memory or in the group's storage.
pub struct LogReplaySync<M: StateMachine> {
    batch_size: NonZero<u64>,
    fetch_timeout: Duration,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> LogReplaySync<M> {
    /// How many commands are transferred at a time. Default 2000. Part of the group id.
    #[must_use]
    pub const fn with_batch_size(mut self, batch_size: NonZero<u64>) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// A transfer unanswered for so long is retried with another member. Default 25 s; whole
    /// seconds are part of the group id.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }
}

impl<M: StateMachine> Default for LogReplaySync<M> {
    fn default() -> Self {
        Self {
            batch_size: DEFAULT_BATCH_SIZE,
            fetch_timeout: DEFAULT_FETCH_TIMEOUT,
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for LogReplaySync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReplaySync")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> sealed::Sealed for LogReplaySync<M> {}

impl<M: StateMachine> StateSync for LogReplaySync<M> {
    type Machine = M;

    fn signature(&self) -> UniqueId {
        signature(
            "mosaik.groups.log-replay.v1",
            [self.batch_size.get(), self.fetch_timeout.as_secs()],
        )
    }

    fn strategy(&self) -> Strategy<M> {
        Strategy {
            batch_size: self.batch_size.get(),
            fetch_timeout: self.fetch_timeout,
            snapshots: None,
        }
    }
}

/// A newcomer installs a snapshot and applies the commands after it; the log before it is
/// discarded.
pub struct SnapshotSync<M: SnapshotStateMachine> {
    batch_size: NonZero<u64>,
    fetch_timeout: Duration,
    interval: NonZero<u64>,
    machine: PhantomData<fn() -> M>,
}

impl<M: SnapshotStateMachine> SnapshotSync<M> {
    /// How many items or commands are transferred at a time. Default 2000. Part of the group id.
    #[must_use]
    pub const fn with_batch_size(mut self, batch_size: NonZero<u64>) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// A transfer unanswered for so long is retried with another member. Default 25 s; whole
    /// seconds are part of the group id.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }

    /// How many commands lie between two snapshots, at least. Default 100 000. Part of the group
    /// id.
    #[must_use]
    pub const fn with_interval(mut self, interval: NonZero<u64>) -> Self {
        self.interval = interval;
        self
    }
}

impl<M: SnapshotStateMachine> Default for SnapshotSync<M> {
    fn default() -> Self {
        Self {
            batch_size: DEFAULT_BATCH_SIZE,
            fetch_timeout: DEFAULT_FETCH_TIMEOUT,
            interval: DEFAULT_SNAPSHOT_INTERVAL,
            machine: PhantomData,
        }
    }
}

impl<M: SnapshotStateMachine> fmt::Debug for SnapshotSync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotSync")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl<M: SnapshotStateMachine> sealed::Sealed for SnapshotSync<M> {}

impl<M: SnapshotStateMachine> StateSync for SnapshotSync<M> {
    type Machine = M;

    fn signature(&self) -> UniqueId {
        signature(
            "mosaik.groups.snapshot.v1",
            [
                self.batch_size.get(),
                self.fetch_timeout.as_secs(),
                self.interval.get(),
            ],
        )
    }

    fn strategy(&self) -> Strategy<M> {
        Strategy {
            batch_size: self.batch_size.get(),
            fetch_timeout: self.fetch_timeout,
            snapshots: Some(Snapshots {
                interval: self.interval.get(),
                hooks: Arc::new(Hooks(PhantomData)),
            }),
        }
    }
}

fn signature<const N: usize>(name: &str, settings: [u64; N]) -> UniqueId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(Digest::from(name).as_bytes());
    for setting in settings {
        hasher.update(&setting.to_le_bytes());
    }
    Digest::from_hasher(&hasher)
}

/// A machine whose whole state can be taken and replaced.
pub trait SnapshotStateMachine: StateMachine {
    /// The state, frozen.
    type Snapshot: Snapshot;

    /// Freezes the current state. Called between commands, so it must be cheap: persistent data
    /// structures are the way.
    fn create_snapshot(&self) -> Self::Snapshot;

    /// Replaces the whole state.
    fn install_snapshot(&mut self, snapshot: Self::Snapshot);
}

/// A frozen state as a sequence of items. The default value is the state before the first command.
pub trait Snapshot: Default + Clone + Send + 'static {
    /// What a snapshot consists of.
    type Item: SnapshotItem;

    /// How many items there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items by position; the same items in the same order on every member, for one snapshot.
    /// `None` when the range is out of bounds.
    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Self::Item>>;

    /// Adds items at the end.
    fn append(&mut self, items: impl IntoIterator<Item = Self::Item>);
}

/// What a [`Snapshot`] may consist of.
pub trait SnapshotItem: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> SnapshotItem for T {}

/// The snapshot methods of a machine, behind an object: machines without them have none.
pub(crate) trait SnapshotHooks<M>: Send + Sync {
    /// Freezes the current state.
    fn capture(&self, machine: &M) -> Box<dyn Capture>;

    /// Replaces the state by decoded chunks; the machine is unchanged when this fails.
    fn install(&self, machine: &mut M, chunks: &[Bytes]) -> Result<(), encoding::DecodeError>;
}

/// A frozen state that can be encoded in pieces.
pub(crate) trait Capture: Send {
    /// How many items there are.
    fn len(&self) -> u64;

    /// Encodes a range of items, or `None` when the machine refuses the range.
    fn encode(&self, range: Range<u64>) -> Option<Result<Bytes, encoding::EncodeError>>;
}

struct Hooks<M>(PhantomData<fn() -> M>);

impl<M: SnapshotStateMachine> SnapshotHooks<M> for Hooks<M> {
    fn capture(&self, machine: &M) -> Box<dyn Capture> {
        Box::new(Captured(machine.create_snapshot()))
    }

    fn install(&self, machine: &mut M, chunks: &[Bytes]) -> Result<(), encoding::DecodeError> {
        let mut snapshot = M::Snapshot::default();
        for chunk in chunks {
            snapshot.append(encoding::deserialize::<Vec<<M::Snapshot as Snapshot>::Item>>(chunk)?);
        }
        machine.install_snapshot(snapshot);
        Ok(())
    }
}

struct Captured<S>(S);

impl<S: Snapshot> Capture for Captured<S> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn encode(&self, range: Range<u64>) -> Option<Result<Bytes, encoding::EncodeError>> {
        let items: Vec<_> = self.0.iter_range(range)?.collect();
        Some(encoding::try_serialize(&items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::NoOp;

    #[test]
    fn settings_are_part_of_the_signature() {
        let default = LogReplaySync::<NoOp>::default();
        let seven = LogReplaySync::<NoOp>::default().with_batch_size(NonZero::new(7).unwrap());
        let same_second =
            LogReplaySync::<NoOp>::default().with_fetch_timeout(Duration::from_millis(25_999));
        assert_ne!(default.signature(), seven.signature());
        assert_eq!(default.signature(), same_second.signature());
    }
}
