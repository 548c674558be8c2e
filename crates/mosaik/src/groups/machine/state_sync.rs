//! Strategies that bring a newcomer to the group's state.

use core::{fmt, marker::PhantomData, num::NonZero, time::Duration};

use super::snapshot::{self, SnapshotHooks};
use crate::{
    groups::{SnapshotStateMachine, StateMachine},
    primitives::{Digest, UniqueId},
};

const DEFAULT_BATCH_SIZE: NonZero<u64> = NonZero::new(2000).expect("not zero");
const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(25);
const DEFAULT_SNAPSHOT_INTERVAL: NonZero<u64> = NonZero::new(100_000).expect("not zero");
const DEFAULT_FETCH_RATE: NonZero<u64> = NonZero::new(48 * 1024 * 1024).expect("not zero");
const DEFAULT_KEPT_COMMANDS: u64 = 10_000;

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

/// Properties of a strategy that the rest of the crate needs.
#[doc(hidden)]
pub struct Strategy<M> {
    pub(crate) batch_size: u64,
    pub(crate) fetch_timeout: Duration,
    pub(crate) fetch_rate: u64,
    pub(crate) snapshots: Option<Snapshots<M>>,
}

impl<M> fmt::Debug for Strategy<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategy")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .field("fetch_rate", &self.fetch_rate)
            .field("snapshots", &self.snapshots.is_some())
            .finish()
    }
}

/// Settings and hooks with which a machine makes and takes snapshots.
pub(crate) struct Snapshots<M> {
    /// Commands between two snapshots.
    pub(crate) interval: u64,
    /// Commands before a snapshot that are not discarded.
    pub(crate) kept: u64,
    /// Set if a member that joins asks for a snapshot also where the log would do.
    pub(crate) first: bool,
    pub(crate) hooks: Box<dyn SnapshotHooks<M>>,
}

/// A newcomer applies all commands from the first on. Works for every machine, and is the default.
///
/// The whole history is kept, in memory or in the group's storage. A newcomer fetches it from
/// several members at once, followers first; what each sends is checked against digests that the
/// leader names.
pub struct LogReplaySync<M: StateMachine> {
    batch_size: NonZero<u64>,
    fetch_timeout: Duration,
    fetch_rate: NonZero<u64>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> LogReplaySync<M> {
    /// Sets the number of commands that are transferred at a time. Default 2000. Part of the group
    /// id.
    #[must_use]
    pub const fn with_batch_size(mut self, batch_size: NonZero<u64>) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Sets the timeout after which an unanswered transfer is retried with another member. Default
    /// 25 s; whole seconds are part of the group id.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }

    /// Sets the limit on the bytes a second that this member fetches when it catches up, so that
    /// those that give them have time for the group. Default 48 MiB. Each member's own affair.
    #[must_use]
    pub const fn with_fetch_rate(mut self, fetch_rate: NonZero<u64>) -> Self {
        self.fetch_rate = fetch_rate;
        self
    }
}

impl<M: StateMachine> Default for LogReplaySync<M> {
    fn default() -> Self {
        Self {
            batch_size: DEFAULT_BATCH_SIZE,
            fetch_timeout: DEFAULT_FETCH_TIMEOUT,
            fetch_rate: DEFAULT_FETCH_RATE,
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for LogReplaySync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReplaySync")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .field("fetch_rate", &self.fetch_rate)
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
            fetch_rate: self.fetch_rate.get(),
            snapshots: None,
        }
    }
}

/// A newcomer installs a snapshot and applies the commands after it; the log before it is
/// discarded.
///
/// Every member takes a snapshot at the same places: wherever the number of commands passes a
/// multiple of the [interval](Self::with_interval), and every 32 MiB of commands. So the pieces that
/// a newcomer fetches from several members at once fit together; each is checked against a digest
/// that the leader names. A member in memory only holds the frozen state and encodes it when somebody
/// asks; a durable one writes it to its store, and starts from there when it comes back.
pub struct SnapshotSync<M: SnapshotStateMachine> {
    batch_size: NonZero<u64>,
    fetch_timeout: Duration,
    fetch_rate: NonZero<u64>,
    interval: NonZero<u64>,
    kept_commands: u64,
    snapshot_first: bool,
    machine: PhantomData<fn() -> M>,
}

impl<M: SnapshotStateMachine> SnapshotSync<M> {
    /// Sets the limit on the items or commands that are transferred at a time. Default 2000. Part
    /// of the group id.
    #[must_use]
    pub const fn with_batch_size(mut self, batch_size: NonZero<u64>) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Sets the timeout after which an unanswered transfer is retried with another member. Default
    /// 25 s; whole seconds are part of the group id.
    #[must_use]
    pub const fn with_fetch_timeout(mut self, fetch_timeout: Duration) -> Self {
        self.fetch_timeout = fetch_timeout;
        self
    }

    /// Sets the limit on the bytes a second that this member fetches when it catches up, so that
    /// those that give them have time for the group. Default 48 MiB. Each member's own affair.
    #[must_use]
    pub const fn with_fetch_rate(mut self, fetch_rate: NonZero<u64>) -> Self {
        self.fetch_rate = fetch_rate;
        self
    }

    /// Sets the approximate number of commands between two snapshots. Default 100 000. Part of the
    /// group id. Fewer when they are large: 32 MiB of them lie between two snapshots at most.
    ///
    /// The log holds no more than the commands since the last snapshot and the
    /// [kept ones](Self::with_kept_commands) before it, and about 64 MiB of them, except while a
    /// newcomer is being brought up to date. A durable member's log grows up to the size of the
    /// last snapshot, if that is larger, before it writes the next one.
    #[must_use]
    pub const fn with_interval(mut self, interval: NonZero<u64>) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the approximate number of commands that stay in the log before a snapshot, so that a
    /// member that lags a little, or was away for a moment, needs no snapshot. Default 10 000, and
    /// 32 MiB of them at most. Each member's own affair.
    #[must_use]
    pub const fn with_kept_commands(mut self, kept_commands: u64) -> Self {
        self.kept_commands = kept_commands;
        self
    }

    /// Preference of a joining member for a snapshot, also where the log would do. Default
    /// no. Each member's own affair.
    #[must_use]
    pub(crate) const fn with_snapshot_first(mut self, snapshot_first: bool) -> Self {
        self.snapshot_first = snapshot_first;
        self
    }
}

impl<M: SnapshotStateMachine> Default for SnapshotSync<M> {
    fn default() -> Self {
        Self {
            batch_size: DEFAULT_BATCH_SIZE,
            fetch_timeout: DEFAULT_FETCH_TIMEOUT,
            fetch_rate: DEFAULT_FETCH_RATE,
            interval: DEFAULT_SNAPSHOT_INTERVAL,
            kept_commands: DEFAULT_KEPT_COMMANDS,
            snapshot_first: false,
            machine: PhantomData,
        }
    }
}

impl<M: SnapshotStateMachine> fmt::Debug for SnapshotSync<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotSync")
            .field("batch_size", &self.batch_size)
            .field("fetch_timeout", &self.fetch_timeout)
            .field("fetch_rate", &self.fetch_rate)
            .field("interval", &self.interval)
            .field("kept_commands", &self.kept_commands)
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
            fetch_rate: self.fetch_rate.get(),
            snapshots: Some(Snapshots {
                interval: self.interval.get(),
                kept: self.kept_commands,
                first: self.snapshot_first,
                hooks: snapshot::hooks(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::NoOp;

    /// Other ones would part members of two versions.
    #[test]
    fn signatures_are_as_they_were_recorded() {
        let replay = LogReplaySync::<NoOp>::default().signature();
        let snapshot = signature("mosaik.groups.snapshot.v1", [1, 2, 3]);
        crate::primitives::vectors::check(|v| {
            v.bytes(
                "signature of a replay",
                replay.as_bytes(),
                "239b6905d70e92b22dcfed310b7b03fc90c80ecbd835d8b677cd68dda8c3ab2d",
            );
            v.bytes(
                "signature of snapshots",
                snapshot.as_bytes(),
                "7fc2f3705679f81df57084c824cf89170a9a70a01fa92483393745d02128aae2",
            );
        });
    }

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
