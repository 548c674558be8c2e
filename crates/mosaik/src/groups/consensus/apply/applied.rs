//! Applied state of a member, and everybody who waits for it.

use std::{
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use metrics::Counter;
use openraft::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::{
    groups::{
        Cursor, Index, Term,
        catch_up::{
            snapshot_cache::{CachedSnapshot, SnapshotCache},
            volume::{Volume, is_due},
        },
        consensus::pending_commands::PendingCommands,
        log::{
            disk_log::StoredHeader,
            raft_log::RaftLog,
            types::{Batch, Types, term_of},
        },
        machine::{
            commands,
            replica::{CatchUpSettings, Place, Replica},
            sessions::Sessions,
            snapshot::Assembly,
        },
        model::{lineage::MemberId, status::Status},
    },
    primitives::{GroupId, NetworkId, encoding},
};

/// Applied state of a member. Shared by the apply task and everybody who asks.
pub(crate) struct Applied {
    group: GroupId,
    network: NetworkId,
    pub(crate) replica: Arc<dyn Replica>,
    pub(super) pending_commands: Arc<PendingCommands>,
    status: Arc<Status>,
    pub(super) log: RaftLog,
    pub(super) state: Mutex<State>,
    /// Lock of the task that changes the machine.
    pub(crate) turn: tokio::sync::Mutex<Turn>,
    /// Interval of snapshots, and the sizes of their pieces.
    pub(super) terms: CatchUpSettings,
    pub(crate) snapshot_cache: SnapshotCache,
    /// Snapshot that is safe, behind which the log may be discarded.
    compacted: Mutex<Compacted>,
    /// A snapshot on the disk that is to be installed first of all.
    pub(super) stored: Mutex<Option<StoredHeader>>,
    /// Consensus index up to which everything is applied, plus one.
    next: AtomicU64,
    advanced: Notify,
    /// The term of the last blank entry that was applied.
    pub(super) blank_term: AtomicU64,
    failure: watch::Sender<Option<Failure>>,
    /// The next entry is not to be applied any more.
    ending: AtomicBool,
    undecodable: Counter,
    undecodable_told: AtomicBool,
    replay: Mutex<Replay>,
    /// Notified after every turn of the apply task.
    listener: OnceLock<Listener>,
}

/// The last snapshot that is safe: on disk if the member is durable.
#[derive(Debug, Default)]
struct Compacted {
    snapshot: Option<Arc<CachedSnapshot>>,
    /// Its size on the disk, 0 if it is not there.
    stored_bytes: u64,
}

/// The right to change the machine.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// This instance must not change it any more.
    pub(crate) is_over: bool,
}

type Listener = Box<dyn Fn() + Send + Sync>;

/// Outcome of replaying the commands that the log held when it was opened.
#[derive(Debug, Default)]
struct Replay {
    /// The consensus index behind them.
    end: u64,
    commands: u64,
    undecodable: u64,
}

/// None of the commands that were kept can be decoded: they are not this program's. One among others
/// is its sender's fault, and is passed over; of a single one nobody can tell, and to go on from an
/// empty state is worse than to stop.
#[derive(Debug, thiserror::Error)]
#[error("of the commands in the log, {0} in all, none is decodable for this program")]
struct NothingDecodable(u64);

/// Everything that follows from the entries that were applied.
#[derive(Default, Clone)]
pub(crate) struct State {
    pub(crate) last: Option<LogIdOf<Types>>,
    pub(super) position: Cursor,
    pub(crate) membership: StoredMembershipOf<Types>,
    pub(super) sessions: Sessions,
    pub(super) volume: Volume,
}

impl State {
    /// Returns whether the entry with this id was applied; true for none.
    pub(crate) fn has_applied(&self, id: Option<&LogIdOf<Types>>) -> bool {
        self.last.as_ref() >= id
    }
}

/// Content of a snapshot beside the machine's state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub(super) position: Cursor,
    pub(super) sessions: Sessions,
}

pub(crate) struct AppliedOptions {
    pub(crate) group: GroupId,
    pub(crate) network: NetworkId,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) pending_commands: Arc<PendingCommands>,
    pub(crate) status: Arc<Status>,
    pub(crate) log: RaftLog,
    /// Counts commands that can't be read here.
    pub(crate) undecodable: Counter,
    /// State that an earlier instance has applied to the machine.
    pub(crate) state: State,
    /// The snapshot that is on disk and must be installed.
    pub(crate) stored: Option<StoredHeader>,
    /// The consensus index behind the entries that were kept and must be applied again; 0 if what
    /// this program can read is known from elsewhere.
    pub(crate) replayed_to: u64,
}

impl Applied {
    pub(crate) fn new(options: AppliedOptions) -> Arc<Self> {
        let state = options.state;
        let terms = options.replica.terms();
        options.status.set_committed(state.position.index());
        Arc::new(Self {
            group: options.group,
            network: options.network,
            replica: options.replica,
            pending_commands: options.pending_commands,
            status: options.status,
            log: options.log,
            next: AtomicU64::new(state.last.as_ref().map_or(0, |id| id.index() + 1)),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            terms,
            snapshot_cache: SnapshotCache::new(),
            compacted: Mutex::default(),
            stored: Mutex::new(options.stored),
            advanced: Notify::new(),
            blank_term: AtomicU64::new(0),
            failure: watch::Sender::new(None),
            ending: AtomicBool::new(false),
            undecodable: options.undecodable,
            undecodable_told: AtomicBool::new(false),
            replay: Mutex::new(Replay {
                end: options.replayed_to,
                ..Replay::default()
            }),
            listener: OnceLock::new(),
        })
    }

    /// Has the node that proposes told of progress.
    pub(crate) fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        // Set once, when the node is made.
        let _ = self.listener.set(Box::new(listener));
    }

    /// Tells the node that proposes.
    pub(super) fn notify(&self) {
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }

    pub(crate) fn position(&self) -> Cursor {
        self.state.lock().position
    }

    /// The last number of a member that was applied, 0 for none; `None` when that is not known any
    /// more, if there was one.
    pub(crate) fn last_sequence_of(&self, origin: &MemberId) -> Option<u64> {
        let state = self.state.lock();
        let sessions = &state.sessions;
        sessions
            .is_certain_of(origin)
            .then(|| sessions.last_of(origin))
    }

    pub(crate) fn blank_term(&self) -> u64 {
        self.blank_term.load(Ordering::Acquire)
    }

    /// Applied state, for a successor of this instance.
    pub(crate) fn inheritance(&self) -> State {
        self.state.lock().clone()
    }

    /// The consensus index of the last entry that was applied.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.state.lock().last.as_ref().map(openraft::LogId::index)
    }

    /// The last entry that was applied.
    pub(crate) fn last_id(&self) -> Option<LogIdOf<Types>> {
        self.state.lock().last
    }

    /// Failure for which committed entries can no longer be applied here; `None` while there is
    /// none.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.failure.subscribe()
    }

    pub(crate) fn has_applied(&self, index: u64) -> bool {
        self.next.load(Ordering::Acquire) > index
    }

    /// Resolves once the entry with this consensus index is applied.
    pub(crate) async fn wait_applied(&self, index: u64) {
        loop {
            let mut advanced = std::pin::pin!(self.advanced.notified());
            advanced.as_mut().enable();
            if self.has_applied(index) {
                return;
            }
            advanced.await;
        }
    }

    /// Returns whether nothing further is to be applied.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Waits until nothing of this instance changes the machine, and keeps it so.
    pub(crate) async fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.turn.lock().await.is_over = true;
    }

    /// Applies one entry's commands, without those that were applied before. Only the apply task
    /// does so; the lock is not held meanwhile, so that a slow machine stalls nobody else.
    pub(super) fn apply_batch(&self, id: LogIdOf<Types>, batch: &Batch) -> io::Result<Done> {
        let (before, fresh, is_heavy) = {
            let mut state = self.state.lock();
            let last = state.sessions.last_of(&batch.origin);
            let fresh = batch.first.max(last.saturating_add(1));
            let is_heavy = state.volume.note(id.index(), batch.row.len());
            (state.position, fresh, is_heavy)
        };
        let repeated = u32::try_from(fresh - batch.first).unwrap_or(u32::MAX);
        let mut done = Done {
            own: batch.origin == self.pending_commands.origin(),
            is_border: false,
            first: fresh,
            count: batch.count.saturating_sub(repeated),
            index: before.index().next(),
            undecodable: Vec::new(),
        };
        if done.count == 0 {
            return Ok(done);
        }
        let last = Cursor::new(Term(term_of(&id)), before.index() + u64::from(done.count));
        let place = Place {
            before,
            last,
            group: self.group,
            network: self.network,
        };
        // A row that ends too early has nothing to apply, on every member.
        let row = match repeated {
            0 => batch.row.clone(),
            _ => commands::skip(&batch.row, repeated as usize).unwrap_or_default(),
        };
        let applied = self.replica.apply(&row, &place).map_err(io::Error::other)?;
        {
            let mut replay = self.replay.lock();
            if id.index() < replay.end {
                replay.commands += u64::from(done.count);
                replay.undecodable += applied.len() as u64;
            }
        }
        if !applied.is_empty() {
            self.on_undecodable(applied.len());
            done.undecodable = applied;
        }
        let mut state = self.state.lock();
        state.position = last;
        let numbers = (fresh, done.count);
        state
            .sessions
            .note(batch.origin, numbers, done.index, id.index());
        let interval = self.terms.interval;
        done.is_border = interval.is_some_and(|interval| {
            is_heavy || before.index().0 / interval != last.index().0 / interval
        });
        if done.is_border {
            state.volume.at_snapshot();
        }
        Ok(done)
    }

    fn on_undecodable(&self, commands: usize) {
        self.undecodable.increment(commands as u64);
        if !self.undecodable_told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                group = %self.group, commands,
                "committed commands are not decodable here and are skipped: do all members run \
                 the same version?"
            );
        }
    }

    /// Checks that a program that has applied the entry at this index can go on from the log that
    /// it found: it can't when the log was written for another type of commands.
    pub(super) fn check_replay(&self, index: u64) -> io::Result<()> {
        let mut replay = self.replay.lock();
        if index.saturating_add(1) < replay.end {
            return Ok(());
        }
        let Replay {
            commands,
            undecodable,
            ..
        } = std::mem::take(&mut *replay);
        if commands > 0 && undecodable == commands {
            return Err(io::Error::other(NothingDecodable(commands)));
        }
        Ok(())
    }

    /// Freezes the state, between two entries.
    pub(super) fn freeze(&self) -> io::Result<Option<Arc<CachedSnapshot>>> {
        let Some(capture) = self.replica.capture() else {
            return Ok(None);
        };
        let state = self.state.lock();
        let head = encoding::try_serialize(&SnapshotHead {
            position: state.position,
            sessions: state.sessions.clone(),
        });
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: state.last,
            last_membership: state.membership.clone(),
        };
        let position = state.position.index();
        drop(state);
        let head = head.map_err(io::Error::other)?;
        let batch_size = self.terms.batch_size;
        Ok(CachedSnapshot::new(
            meta, position, head, capture, batch_size,
        ))
    }

    /// Takes a snapshot.
    pub(crate) fn take_snapshot(&self) {
        match self.freeze() {
            Ok(Some(held)) => self.snapshot_cache.put(held),
            Ok(None) => {}
            // The next one may work; until then the log is kept.
            Err(error) => {
                tracing::warn!(group = %self.group, %error, "no snapshot was taken");
            }
        }
    }

    pub(crate) fn terms(&self) -> CatchUpSettings {
        self.terms
    }

    /// An empty snapshot to be filled, if the machine takes any.
    pub(crate) fn assembly(&self) -> Option<Box<dyn Assembly>> {
        self.replica.assembly()
    }

    /// The last snapshot that is safe.
    pub(crate) fn compacted(&self) -> Option<Arc<CachedSnapshot>> {
        self.compacted.lock().snapshot.clone()
    }

    /// Takes over an earlier instance's last snapshot: the log may have been discarded behind it.
    pub(crate) fn inherit_compacted(&self, inherited: Option<(Arc<CachedSnapshot>, u64)>) {
        if let Some((snapshot, stored_bytes)) = inherited {
            self.set_compacted(snapshot.clone(), stored_bytes);
            self.snapshot_cache.put(snapshot);
        }
    }

    /// The last snapshot that is safe, and its size on the disk.
    pub(crate) fn compacted_with_size(&self) -> Option<(Arc<CachedSnapshot>, u64)> {
        let compacted = self.compacted.lock();
        let snapshot = compacted.snapshot.clone()?;
        Some((snapshot, compacted.stored_bytes))
    }

    /// Returns whether a durable member should write this snapshot: there is none on its disk, or the log
    /// behind that one has grown by as much as it takes.
    pub(crate) fn should_store(&self, snapshot: &CachedSnapshot) -> bool {
        let (last, bytes) = {
            let compacted = self.compacted.lock();
            let last = compacted.snapshot.as_ref().map(|held| held.id.index);
            (last, compacted.stored_bytes)
        };
        match last {
            Some(last) if last >= snapshot.id.index => false,
            Some(last) => is_due(self.bytes_between(last, snapshot.id.index), bytes),
            None => true,
        }
    }

    /// Index up to which the log before a snapshot takes too much, 0 for nowhere.
    pub(crate) fn excess_before(&self, snapshot: u64) -> u64 {
        self.state.lock().volume.excess_before(snapshot)
    }

    /// Approximate size of the log between two consensus indices, in bytes.
    pub(crate) fn bytes_between(&self, index: u64, last: u64) -> u64 {
        self.state.lock().volume.between(index, last)
    }

    /// The log up to a consensus index was discarded.
    pub(crate) fn discarded(&self, up_to: u64) {
        self.state.lock().volume.discarded(up_to);
    }

    /// The log may be discarded behind this snapshot, which takes so much on the disk.
    pub(crate) fn set_compacted(&self, snapshot: Arc<CachedSnapshot>, stored_bytes: u64) {
        let mut compacted = self.compacted.lock();
        let last = compacted.snapshot.as_ref();
        if last.is_none_or(|last| last.id.index < snapshot.id.index) {
            *compacted = Compacted {
                snapshot: Some(snapshot),
                stored_bytes,
            };
        }
    }

    /// Makes known what was applied: first the position, then the calls that waited for it.
    pub(super) fn publish(&self, done: &mut Vec<Done>) {
        let (next, position) = {
            let state = self.state.lock();
            (
                state.last.as_ref().map_or(0, |id| id.index() + 1),
                state.position,
            )
        };
        self.status.set_committed(position.index());
        self.next.store(next, Ordering::Release);
        self.advanced.notify_waiters();
        for done in done.drain(..) {
            self.pending_commands
                .applied(done.first, done.count, done.index, &done.undecodable);
        }
    }

    /// The machine can't go on: it takes no more commands, and the worker ends the group here.
    pub(super) fn break_off(&self, reason: impl fmt::Display) {
        self.pending_commands.close();
        self.fail(reason);
    }

    /// This member can't go on; the first reason counts, but for crashes: what else has happened
    /// keeps it from starting again.
    pub(crate) fn fail(&self, reason: impl fmt::Display) {
        self.note_failure(Failure::Broken(reason.to_string()));
    }

    /// A task of the consensus library has panicked.
    pub(crate) fn crash(&self, reason: impl fmt::Display) {
        self.note_failure(Failure::Crashed(reason.to_string()));
    }

    fn note_failure(&self, reason: Failure) {
        self.failure.send_if_modified(|failure| {
            let counts = match failure {
                None => true,
                Some(Failure::Crashed(_)) => matches!(reason, Failure::Broken(_)),
                Some(Failure::Broken(_)) => false,
            };
            if counts {
                *failure = Some(reason);
            }
            counts
        });
    }
}

/// Reason for which a consensus instance can't go on.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The machine, the log or the disk does not do its work.
    Broken(String),
    /// A task of the consensus library has panicked. Log and machine are as they were.
    Crashed(String),
}

/// Commands that were applied.
pub(super) struct Done {
    pub(super) own: bool,
    /// A snapshot is to be taken behind them: at the same places on every member.
    pub(super) is_border: bool,
    /// The first that was not applied before.
    first: u64,
    count: u32,
    index: Index,
    /// Those that this program can't read, by their place after `first`.
    undecodable: Vec<u32>,
}

#[cfg(test)]
#[path = "applied_tests.rs"]
mod tests;
