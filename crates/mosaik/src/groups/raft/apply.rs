//! Applies committed entries to the machine, and tells everybody who waits for them.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::{
    disk::{SnapshotWriter, StoredHeader},
    log::Log,
    node::NodeCore,
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
    primitives::{Bytes, GroupId, NetworkId, encoding},
};

/// While a long backlog is applied, waiters are told every so many entries.
const PROGRESS_ENTRIES: usize = 256;
/// Members that are remembered for de-duplication; the one that was silent for longest goes first.
const MAX_ORIGINS: usize = 4096;

/// What a member has applied. Shared by the apply task and everybody who asks.
pub(crate) struct Applied {
    pub(super) member: MemberId,
    group: GroupId,
    network: NetworkId,
    replica: Arc<dyn Replica>,
    submissions: Arc<Submissions>,
    status: Arc<Status>,
    log: Log,
    state: Mutex<State>,
    /// How often snapshots are taken, and how they are cut.
    terms: Terms,
    pub(super) shelf: Shelf,
    /// What the log may be discarded behind: a snapshot that is safe.
    compacted: Mutex<Option<Arc<Held>>>,
    /// A snapshot on the disk that is to be installed first of all.
    stored: Mutex<Option<StoredHeader>>,
    /// Consensus index up to which everything is applied, plus one.
    next: AtomicU64,
    advanced: Notify,
    /// The term of the last blank entry that was applied.
    blank_term: AtomicU64,
    failure: watch::Sender<Option<String>>,
    node: OnceLock<Weak<NodeCore>>,
}

#[derive(Default, Clone)]
pub(super) struct State {
    last: Option<LogIdOf<Types>>,
    position: Cursor,
    membership: StoredMembershipOf<Types>,
    origins: Origins,
}

impl State {
    /// Whether the entry with this id was applied; true for none.
    pub(super) fn has_applied(&self, id: Option<&LogIdOf<Types>>) -> bool {
        self.last.as_ref() >= id
    }
}

/// The last sequence number that was applied, per member, and when (as a consensus index).
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origins(BTreeMap<MemberId, (u64, u64)>);

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
}

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

#[derive(Serialize, Deserialize)]
struct SnapshotHead {
    position: Cursor,
    origins: Origins,
}

pub(crate) struct AppliedOptions {
    pub(crate) member: MemberId,
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
            member: options.member,
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
            node: OnceLock::new(),
        })
    }

    /// Connects the apply task with the node that proposes.
    pub(super) fn attach(&self, node: Weak<NodeCore>) {
        // Set once, when the node is made.
        let _ = self.node.set(node);
    }

    pub(super) fn attached(&self) -> Option<Weak<NodeCore>> {
        self.node.get().cloned()
    }

    pub(super) fn position(&self) -> Cursor {
        self.state.lock().position
    }

    pub(super) fn last_sequence_of(&self, origin: &MemberId) -> u64 {
        let state = self.state.lock();
        state.origins.0.get(origin).map_or(0, |(last, _)| *last)
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
    fn apply_batch(&self, id: LogIdOf<Types>, batch: &Batch) -> io::Result<Done> {
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
            own: batch.origin == self.member,
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
    fn freeze(&self) -> io::Result<Option<Arc<Held>>> {
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
    fn take_snapshot(&self) {
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
        *self.compacted.lock() = Some(snapshot);
    }

    /// Makes known what was applied: first the position, then the calls that waited for it.
    fn publish(&self, done: &mut Vec<Done>) {
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

    fn fail(&self, error: &io::Error) {
        tracing::error!(group = %self.group, %error, "the group ends on this node");
        self.failure.send_replace(Some(error.to_string()));
    }
}

/// Commands that were applied.
struct Done {
    own: bool,
    /// A snapshot is to be taken behind them.
    is_border: bool,
    first: u64,
    count: u32,
    index: Index,
}

/// The consensus library's view of what is applied.
#[derive(Clone)]
pub(crate) struct Applier(pub(super) Arc<Applied>);

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let state = self.0.state.lock();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let applied = &*self.0;
        let mut done = Vec::new();
        let mut unpublished = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut is_border = false;
            match &entry.payload {
                EntryPayload::Blank => {
                    let term = term_of(&entry.log_id);
                    applied.blank_term.store(term, Ordering::Release);
                }
                EntryPayload::Normal(batch) => {
                    let result = applied.apply_batch(entry.log_id, batch);
                    let batch = result.inspect_err(|error| applied.fail(error))?;
                    is_border = batch.is_border;
                    if batch.own {
                        done.push(batch);
                    }
                }
                EntryPayload::Membership(membership) => {
                    let stored =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), membership.clone());
                    applied.state.lock().membership = stored;
                }
            }
            applied.state.lock().last = Some(entry.log_id);
            if is_border {
                applied.take_snapshot();
            }
            if let Some(responder) = responder {
                responder.send(());
            }
            unpublished += 1;
            if unpublished == PROGRESS_ENTRIES {
                applied.publish(&mut done);
                unpublished = 0;
                tokio::task::yield_now().await;
            }
        }
        applied.publish(&mut done);
        if let Some(node) = applied.node.get().and_then(Weak::upgrade) {
            node.on_applied();
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            return Some(self.get_snapshot_builder().await);
        }
        let compacted = self.0.compacted.lock().clone();
        compacted.map(|held| Builder(Ok(held)))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let frozen = self.0.freeze().and_then(|frozen| {
            frozen.ok_or_else(|| io::Error::other("the machine makes no snapshots"))
        });
        if let Ok(held) = &frozen {
            self.0.shelf.put(held.clone());
        }
        Builder(frozen)
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        data: SnapshotData,
    ) -> io::Result<()> {
        let applied = &*self.0;
        let (head, assembly) = match data {
            SnapshotData::Fetched(fetched) => {
                if let Some(stored) = fetched.stored {
                    stored.finish(meta, &fetched.head).await?;
                }
                (fetched.head, fetched.assembly)
            }
            SnapshotData::Stored(stored) => {
                let assembly = applied.replica.assembly();
                let assembly =
                    assembly.ok_or_else(|| io::Error::other("the machine takes no snapshots"))?;
                let assembly = applied.log.load_snapshot(&stored, assembly).await?;
                (stored.head, assembly)
            }
            SnapshotData::Held(_) => {
                return Err(io::Error::other("a snapshot of this member's own state"));
            }
        };
        let head_bytes = head;
        let head: SnapshotHead = encoding::deserialize(&head_bytes).map_err(io::Error::other)?;
        let installed = applied.replica.install(assembly, head.position);
        installed
            .map_err(io::Error::other)
            .inspect_err(|error| applied.fail(error))?;
        let own_last = {
            let mut state = applied.state.lock();
            *state = State {
                last: meta.last_log_id,
                position: head.position,
                membership: meta.last_membership.clone(),
                origins: head.origins,
            };
            state.origins.0.get(&applied.member).map(|(last, _)| *last)
        };
        if let Some(last) = meta.last_log_id {
            applied.log.snapshot_installed(last, head.position).await?;
        }
        *applied.stored.lock() = None;
        let capture = applied.replica.capture();
        let held = capture.and_then(|capture| {
            let position = head.position.index();
            let batch_size = applied.terms.batch_size;
            Held::new(meta.clone(), position, head_bytes, capture, batch_size)
        });
        if let Some(held) = held {
            applied.set_compacted(held.clone());
            applied.shelf.put(held);
        }
        applied.publish(&mut Vec::new());
        if let Some(last) = own_last {
            // They took effect, but at which position is no longer known.
            applied.submissions.lost_track(last);
        }
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, SnapshotData>>> {
        let stored = self.0.stored.lock().clone();
        let snapshot = match stored {
            Some(stored) => Some((stored.meta.clone(), SnapshotData::Stored(stored))),
            None => self
                .0
                .shelf
                .offer()
                .map(|held| (held.meta.clone(), SnapshotData::Held(held))),
        };
        Ok(snapshot.map(|(meta, snapshot)| SnapshotOf::<Types, SnapshotData> { meta, snapshot }))
    }
}

/// Hands a frozen state to the consensus library.
pub(crate) struct Builder(io::Result<Arc<Held>>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        let held = match &self.0 {
            Ok(held) => held.clone(),
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        Ok(SnapshotOf::<Types, SnapshotData> {
            meta: held.meta.clone(),
            snapshot: SnapshotData::Held(held),
        })
    }
}
