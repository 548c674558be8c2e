//! Applies committed entries to the machine, and tells everybody who waits for them.

use std::{
    collections::BTreeMap,
    io,
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
    log::Log,
    node::NodeCore,
    types::{Batch, Types, term_of},
};
use crate::{
    groups::{
        Cursor, Index, Term,
        member::MemberId,
        replica::{Place, Replica},
        status::Status,
        submissions::Submissions,
        sync::Capture,
    },
    primitives::{Bytes, GroupId, NetworkId, encoding},
};

/// While a long backlog is applied, waiters are told every so many entries.
const PROGRESS_ENTRIES: usize = 256;
/// Members that are remembered for de-duplication; the one that was silent for longest goes first.
const MAX_ORIGINS: usize = 4096;
/// Items per chunk of a snapshot.
const ITEMS_PER_CHUNK: u64 = 2000;

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
    snapshot: Mutex<Option<Snapshot>>,
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

#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) meta: SnapshotMetaOf<Types>,
    pub(super) data: SnapshotData,
}

/// A machine's state with the group's own bookkeeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotData {
    /// An encoded [`SnapshotHead`].
    pub(crate) head: Bytes,
    /// The machine's items.
    pub(crate) chunks: Vec<Bytes>,
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
    /// The snapshot that is on disk.
    pub(super) snapshot: Option<Snapshot>,
}

impl Applied {
    pub(crate) fn new(options: AppliedOptions) -> Arc<Self> {
        let state = options.state;
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
            snapshot: Mutex::new(options.snapshot),
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
            first: batch.first,
            count: batch.count,
            index: before.index().next(),
        })
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
            match &entry.payload {
                EntryPayload::Blank => {
                    let term = term_of(&entry.log_id);
                    applied.blank_term.store(term, Ordering::Release);
                }
                EntryPayload::Normal(batch) => {
                    let result = applied.apply_batch(entry.log_id, batch);
                    let batch = result.inspect_err(|error| applied.fail(error))?;
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

    async fn try_create_snapshot_builder(&mut self, _: bool) -> Option<Builder> {
        // Taken here, between two entries, so that state and bookkeeping agree.
        let state = self.0.state.lock().clone();
        let capture = self.0.replica.capture()?;
        Some(Builder {
            applied: self.0.clone(),
            state,
            capture: Mutex::new(Some(capture)),
        })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.0.state.lock().clone();
        Builder {
            applied: self.0.clone(),
            state,
            capture: Mutex::new(self.0.replica.capture()),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        data: SnapshotData,
    ) -> io::Result<()> {
        let applied = &*self.0;
        let head: SnapshotHead = encoding::deserialize(&data.head).map_err(io::Error::other)?;
        let snapshot = Snapshot {
            meta: meta.clone(),
            data: data.clone(),
        };
        // At a restart it comes from the disk.
        let known = applied
            .snapshot
            .lock()
            .as_ref()
            .map(|known| known.meta.last_log_id);
        if known != Some(meta.last_log_id) {
            applied.log.save_snapshot(&snapshot).await?;
        }
        let installed = applied.replica.install(&data.chunks, head.position);
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
        *applied.snapshot.lock() = Some(snapshot);
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
        let snapshot = self.0.snapshot.lock().clone();
        Ok(snapshot.map(|snapshot| SnapshotOf::<Types, SnapshotData> {
            meta: snapshot.meta,
            snapshot: snapshot.data,
        }))
    }
}

/// Encodes a frozen state.
pub(crate) struct Builder {
    applied: Arc<Applied>,
    state: State,
    /// Behind a lock only because a snapshot need not be `Sync`.
    capture: Mutex<Option<Box<dyn Capture>>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        let capture = self
            .capture
            .get_mut()
            .take()
            .ok_or_else(|| io::Error::other("the machine makes no snapshots"))?;
        let head = encoding::try_serialize(&SnapshotHead {
            position: self.state.position,
            origins: self.state.origins.clone(),
        })
        .map_err(io::Error::other)?;
        let len = capture.len();
        let mut chunks = Vec::new();
        let mut from = 0;
        while from < len {
            let to = from.saturating_add(ITEMS_PER_CHUNK).min(len);
            let chunk = capture
                .encode(from..to)
                .ok_or_else(|| io::Error::other("the snapshot is shorter than it says"))?
                .map_err(io::Error::other)?;
            chunks.push(chunk);
            from = to;
        }
        let meta = SnapshotMetaOf::<Types> {
            last_log_id: self.state.last,
            last_membership: self.state.membership.clone(),
        };
        let data = SnapshotData { head, chunks };
        let snapshot = Snapshot {
            meta: meta.clone(),
            data: data.clone(),
        };
        self.applied.log.save_snapshot(&snapshot).await?;
        *self.applied.snapshot.lock() = Some(snapshot);
        Ok(SnapshotOf::<Types, SnapshotData> {
            meta,
            snapshot: data,
        })
    }
}
