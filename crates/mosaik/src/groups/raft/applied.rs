//! What a member has applied, and everybody who waits for that.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use openraft::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::{
    disk::StoredHeader,
    log::Log,
    shelf::{Held, Shelf},
    types::{Batch, Types, term_of},
};
use crate::{
    groups::{
        Cursor, Index, Term,
        lineage::MemberId,
        replica::{Place, Replica, Terms},
        snapshot::Assembly,
        status::Status,
        submissions::Submissions,
    },
    primitives::{GroupId, NetworkId, encoding},
};

/// Members that are remembered for de-duplication; the one that was silent for longest goes first.
const MAX_ORIGINS: usize = 4096;

/// What a member has applied. Shared by the apply task and everybody who asks.
pub(crate) struct Applied {
    group: GroupId,
    network: NetworkId,
    pub(super) replica: Arc<dyn Replica>,
    pub(super) submissions: Arc<Submissions>,
    status: Arc<Status>,
    pub(super) log: Log,
    pub(super) state: Mutex<State>,
    /// How often snapshots are taken, and how they are cut.
    pub(super) terms: Terms,
    pub(super) shelf: Shelf,
    /// What the log may be discarded behind: a snapshot that is safe.
    pub(super) compacted: Mutex<Option<Arc<Held>>>,
    /// A snapshot on the disk that is to be installed first of all.
    pub(super) stored: Mutex<Option<StoredHeader>>,
    /// Consensus index up to which everything is applied, plus one.
    next: AtomicU64,
    advanced: Notify,
    /// The term of the last blank entry that was applied.
    pub(super) blank_term: AtomicU64,
    failure: watch::Sender<Option<String>>,
    /// Told after every turn of the apply task.
    listener: OnceLock<Listener>,
}

type Listener = Box<dyn Fn() + Send + Sync>;

/// Everything that follows from the entries that were applied.
#[derive(Default, Clone)]
pub(super) struct State {
    pub(super) last: Option<LogIdOf<Types>>,
    pub(super) position: Cursor,
    pub(super) membership: StoredMembershipOf<Types>,
    pub(super) origins: Origins,
}

impl State {
    /// Whether the entry with this id was applied; true for none.
    pub(super) fn has_applied(&self, id: Option<&LogIdOf<Types>>) -> bool {
        self.last.as_ref() >= id
    }
}

/// The last sequence number that was applied, per member, and when (as a consensus index).
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origins(BTreeMap<MemberId, (u64, u64)>);

impl Origins {
    /// Notes a sequence number. What is forgotten here is forgotten by every member alike.
    fn note(&mut self, origin: MemberId, sequence: u64, at: u64) {
        self.0.insert(origin, (sequence, at));
        if self.0.len() > MAX_ORIGINS {
            let oldest = self.0.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.0.remove(&oldest);
            }
        }
    }

    /// The last sequence number of a member.
    pub(super) fn last_of(&self, origin: &MemberId) -> Option<u64> {
        self.0.get(origin).map(|(last, _)| *last)
    }
}

/// What a snapshot says beside the machine's state.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub(super) position: Cursor,
    pub(super) origins: Origins,
}

pub(crate) struct AppliedOptions {
    pub(crate) group: GroupId,
    pub(crate) network: NetworkId,
    pub(crate) replica: Arc<dyn Replica>,
    pub(crate) submissions: Arc<Submissions>,
    pub(crate) status: Arc<Status>,
    pub(crate) log: Log,
    /// What an earlier instance has applied to the machine.
    pub(super) state: State,
    /// The snapshot that is on disk and must be installed.
    pub(super) stored: Option<StoredHeader>,
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
            submissions: options.submissions,
            status: options.status,
            log: options.log,
            next: AtomicU64::new(state.last.as_ref().map_or(0, |id| id.index() + 1)),
            state: Mutex::new(state),
            terms,
            shelf: Shelf::new(),
            compacted: Mutex::new(None),
            stored: Mutex::new(options.stored),
            advanced: Notify::new(),
            blank_term: AtomicU64::new(0),
            failure: watch::Sender::new(None),
            listener: OnceLock::new(),
        })
    }

    /// Has the node that proposes told of progress.
    pub(super) fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        // Set once, when the node is made.
        let _ = self.listener.set(Box::new(listener));
    }

    /// Tells the node that proposes.
    pub(super) fn notify(&self) {
        if let Some(listener) = self.listener.get() {
            listener();
        }
    }

    pub(super) fn position(&self) -> Cursor {
        self.state.lock().position
    }

    pub(super) fn last_sequence_of(&self, origin: &MemberId) -> u64 {
        let state = self.state.lock();
        state.origins.last_of(origin).unwrap_or(0)
    }

    pub(super) fn blank_term(&self) -> u64 {
        self.blank_term.load(Ordering::Acquire)
    }

    /// What was applied, for a successor of this instance.
    pub(super) fn inheritance(&self) -> State {
        self.state.lock().clone()
    }

    /// The consensus index of the last entry that was applied.
    pub(super) fn last_index(&self) -> Option<u64> {
        self.state.lock().last.as_ref().map(openraft::LogId::index)
    }

    /// The last entry that was applied.
    pub(super) fn last_id(&self) -> Option<LogIdOf<Types>> {
        self.state.lock().last
    }

    /// Why committed entries can no longer be applied here, once that is so.
    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    pub(super) fn has_applied(&self, index: u64) -> bool {
        self.next.load(Ordering::Acquire) > index
    }

    /// Resolves once the entry with this consensus index is applied.
    pub(super) async fn wait_applied(&self, index: u64) {
        loop {
            let mut advanced = std::pin::pin!(self.advanced.notified());
            advanced.as_mut().enable();
            if self.has_applied(index) {
                return;
            }
            advanced.await;
        }
    }

    /// Applies one entry's commands. Only the apply task does so; the lock is not held meanwhile,
    /// so that a slow machine stalls nobody else.
    pub(super) fn apply_batch(&self, id: LogIdOf<Types>, batch: &Batch) -> io::Result<Done> {
        let before = self.position();
        let last = Cursor::new(Term(term_of(&id)), before.index() + u64::from(batch.count));
        let place = Place {
            before,
            last,
            group: self.group,
            network: self.network,
        };
        self.replica
            .apply(&batch.row, &place)
            .map_err(io::Error::other)?;
        let mut state = self.state.lock();
        state.position = last;
        let sequence = batch.first + u64::from(batch.count).saturating_sub(1);
        state.origins.note(batch.origin, sequence, id.index());
        Ok(Done {
            own: batch.origin == self.submissions.origin(),
            is_border: self.is_border(before.index(), last.index()),
            first: batch.first,
            count: batch.count,
            index: before.index().next(),
        })
    }

    /// Whether a snapshot is to be taken here: at the same places on every member.
    fn is_border(&self, before: Index, last: Index) -> bool {
        let interval = self.terms.interval;
        interval.is_some_and(|interval| before.0 / interval != last.0 / interval)
    }

    /// Freezes the state, between two entries.
    pub(super) fn freeze(&self) -> io::Result<Option<Arc<Held>>> {
        let Some(capture) = self.replica.capture() else {
            return Ok(None);
        };
        let state = self.state.lock();
        let head = encoding::try_serialize(&SnapshotHead {
            position: state.position,
            origins: state.origins.clone(),
        });
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: state.last,
            last_membership: state.membership.clone(),
        };
        let position = state.position.index();
        drop(state);
        let head = head.map_err(io::Error::other)?;
        let batch_size = self.terms.batch_size;
        Ok(Held::new(meta, position, head, capture, batch_size))
    }

    /// Takes a snapshot.
    pub(super) fn take_snapshot(&self) {
        match self.freeze() {
            Ok(Some(held)) => self.shelf.put(held),
            Ok(None) => {}
            // The next one may work; until then the log is kept.
            Err(error) => {
                tracing::warn!(group = %self.group, %error, "no snapshot was taken");
            }
        }
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms
    }

    /// An empty snapshot to be filled, if the machine takes any.
    pub(super) fn assembly(&self) -> Option<Box<dyn Assembly>> {
        self.replica.assembly()
    }

    /// The consensus index of the last snapshot that is safe, 0 for none.
    pub(super) fn compacted_up_to(&self) -> u64 {
        let compacted = self.compacted.lock();
        compacted.as_ref().map_or(0, |held| held.id.index)
    }

    /// The log may be discarded behind this snapshot.
    pub(super) fn set_compacted(&self, snapshot: Arc<Held>) {
        let mut compacted = self.compacted.lock();
        if compacted
            .as_ref()
            .is_none_or(|other| other.id.index < snapshot.id.index)
        {
            *compacted = Some(snapshot);
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
        for Done {
            first,
            count,
            index,
            ..
        } in done.drain(..)
        {
            self.submissions.applied(first, count, index);
        }
    }

    /// This member can't go on; the first reason counts.
    pub(super) fn fail(&self, reason: impl fmt::Display) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.to_string());
            first
        });
    }
}

/// Commands that were applied.
pub(super) struct Done {
    pub(super) own: bool,
    /// A snapshot is to be taken behind them.
    pub(super) is_border: bool,
    first: u64,
    count: u32,
    index: Index,
}
