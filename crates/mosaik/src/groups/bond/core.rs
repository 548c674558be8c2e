//! One bond: the control stream with one other member.

use core::fmt;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use iroh::endpoint::{ApplicationClose, Connection};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{access::Access, wire::Control};
use crate::{
    groups::model::{
        lineage::{Lineage, MemberId},
        member_info::MemberInfo,
        member_stream::Gone,
        metrics::GroupMetrics,
    },
    net::LinkSender,
    primitives::{Bytes, Digest, PeerId, Scope, encoding},
    tickets::{SignedPeerEntry, Validity},
};

/// An established bond.
pub(crate) struct BondCore {
    pub(crate) id: Digest,
    pub(crate) peer: PeerId,
    /// Random for each time that the peer joins the group.
    pub(crate) session: u64,
    pub(crate) established: Instant,
    /// Evidence that the peer has the write key.
    pub(crate) access: Access,
    /// Set if this member has proven a write key to the peer.
    pub(crate) has_proven: bool,
    /// Connection of the bond. All that belongs to it goes there: another connection may be left
    /// from before the peer crashed.
    pub(crate) connection: Connection,
    state: Mutex<State>,
    sender: Arc<tokio::sync::Mutex<Option<LinkSender>>>,
    questions: Mutex<HashMap<u64, oneshot::Sender<Option<Bytes>>>>,
    next_question: AtomicU64,
    ended: watch::Sender<Option<ApplicationClose>>,
    /// The end of what this member has opened on the bond: its connection may be dead, and need
    /// seconds to notice.
    pub(crate) streams: CancellationToken,
    metrics: Arc<GroupMetrics>,
    /// Carries the bond's tasks.
    pub(crate) scope: Scope,
}

struct State {
    entry: SignedPeerEntry,
    standing: MemberInfo,
    /// Number of the message that told it; 0 for the introduction.
    standing_number: u64,
    validity: Validity,
}

pub(crate) struct BondOptions {
    pub(crate) id: Digest,
    pub(crate) peer: PeerId,
    pub(crate) session: u64,
    pub(crate) access: Access,
    pub(crate) has_proven: bool,
    pub(crate) entry: SignedPeerEntry,
    pub(crate) standing: MemberInfo,
    pub(crate) validity: Validity,
    pub(crate) connection: Connection,
    pub(crate) sender: LinkSender,
    pub(crate) metrics: Arc<GroupMetrics>,
    pub(crate) scope: Scope,
}

impl BondCore {
    pub(crate) fn new(options: BondOptions) -> Arc<Self> {
        Arc::new(Self {
            id: options.id,
            peer: options.peer,
            session: options.session,
            established: Instant::now(),
            access: options.access,
            has_proven: options.has_proven,
            connection: options.connection,
            state: Mutex::new(State {
                entry: options.entry,
                standing: options.standing,
                standing_number: 0,
                validity: options.validity,
            }),
            sender: Arc::new(tokio::sync::Mutex::new(Some(options.sender))),
            questions: Mutex::default(),
            next_question: AtomicU64::new(0),
            ended: watch::Sender::new(None),
            streams: CancellationToken::new(),
            metrics: options.metrics,
            scope: options.scope,
        })
    }

    pub(crate) fn entry(&self) -> SignedPeerEntry {
        self.state.lock().entry.clone()
    }

    /// Takes in an entry of the peer, unless a newer one is known.
    pub(crate) fn set_entry(&self, entry: SignedPeerEntry) {
        let mut state = self.state.lock();
        if entry.id() == &self.peer && entry.is_newer_than(&state.entry) {
            state.entry = entry;
        }
    }

    pub(crate) fn standing(&self) -> MemberInfo {
        self.state.lock().standing.clone()
    }

    /// Takes in the peer's standing, unless something later is known; returns whether that is news.
    pub(crate) fn set_standing(&self, number: u64, standing: MemberInfo) -> bool {
        let mut state = self.state.lock();
        if number <= state.standing_number {
            return false;
        }
        state.standing_number = number;
        let news = state.standing != standing;
        state.standing = standing;
        news
    }

    pub(crate) fn member(&self) -> MemberId {
        self.state.lock().standing.member
    }

    pub(crate) fn set_validity(&self, validity: Validity) {
        self.state.lock().validity = validity;
    }

    /// Returns whether the peer's tickets have to be checked again.
    pub(crate) fn is_due(&self) -> bool {
        self.state.lock().validity.is_due()
    }

    /// Sends a message. Once it has begun it is completed, also when the future is dropped.
    pub(crate) async fn send(&self, message: &Control) -> Result<(), Gone> {
        let frame = encoding::try_serialize(message).map_err(|_| Gone)?;
        self.metrics.messages_sent.increment(1);
        self.metrics.bytes_sent.increment(frame.len() as u64);
        let mut sender = self.sender.clone().lock_owned().await;
        let mut sending = Box::pin(async move {
            let link = sender.as_mut().ok_or(Gone)?;
            link.queue_bytes(&frame).map_err(|_| Gone)?;
            link.flush().await.map_err(|_| Gone)
        });
        if let Some(sent) = tokio::task::unconstrained(&mut sending).now_or_never() {
            return sent;
        }
        // The peer takes nothing at the moment. A write that was begun must not be dropped: the
        // rest of the frame would be missing.
        self.scope.spawn(async move {
            // A bond that is lost says so to everybody.
            let _ = sending.await;
        });
        Ok(())
    }

    /// Keeps others from sending for a while; `None` when somebody sends already.
    pub(crate) fn hold(&self) -> Option<tokio::sync::OwnedMutexGuard<Option<LinkSender>>> {
        self.sender.clone().try_lock_owned().ok()
    }

    /// Sends a message in the background.
    pub(crate) fn post(self: &Arc<Self>, message: Control) {
        let bond = self.clone();
        self.scope.spawn(async move {
            // A bond that is lost says so to everybody.
            let _ = bond.send(&message).await;
        });
    }

    /// Asks the peer's consensus instance.
    pub(crate) async fn ask(
        &self,
        lineage: Lineage,
        from: MemberId,
        to: MemberId,
        request: Bytes,
    ) -> Result<Bytes, Gone> {
        let answer = self.question(lineage, from, to, request).await?;
        answer.ok_or(Gone)
    }

    /// Sends a liveness probe on this very bond; returns whether it was answered.
    pub(crate) async fn is_answered(&self, limit: Duration) -> bool {
        let nobody = MemberId::default();
        let asking = self.question(Lineage::zero(), nobody, nobody, Bytes::new());
        matches!(tokio::time::timeout(limit, asking).await, Ok(Ok(_)))
    }

    /// The answer to a question; `None` from a peer that has no such instance.
    async fn question(
        &self,
        lineage: Lineage,
        from: MemberId,
        to: MemberId,
        request: Bytes,
    ) -> Result<Option<Bytes>, Gone> {
        let id = self.next_question.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.questions.lock().insert(id, reply);
        let _forget = Forget(self, id);
        if self.is_ended() {
            return Err(Gone);
        }
        self.send(&Control::Ask {
            id,
            lineage,
            from,
            to,
            request,
        })
        .await?;
        answer.await.map_err(|_| Gone)
    }

    /// Hands an answer to the task that asked.
    pub(crate) fn answered(&self, id: u64, response: Option<Bytes>) {
        if let Some(question) = self.questions.lock().remove(&id) {
            // The asker has given up: fine.
            let _ = question.send(response);
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) fn end(&self) -> watch::Receiver<Option<ApplicationClose>> {
        self.ended.subscribe()
    }

    /// Marks the bond as ended; returns whether it was not yet.
    pub(crate) fn set_ended(&self, reason: &ApplicationClose) -> bool {
        let first = self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(reason.clone());
            }
            first
        });
        if first {
            self.streams.cancel();
            self.questions.lock().clear();
        }
        first
    }

    /// Tells the peer why the bond ends, for a bounded time, and ends the bond's tasks.
    pub(crate) async fn shut(&self, reason: &ApplicationClose) {
        let limit = Duration::from_secs(1);
        let sender = tokio::time::timeout(limit, self.sender.lock()).await;
        let sender = sender.ok().and_then(|mut sender| sender.take());
        if let Some(sender) = sender {
            sender.close_now(reason).await;
        }
        self.scope.cancel();
    }
}

/// Takes a question off the list when nobody waits for its answer any more.
struct Forget<'a>(&'a BondCore, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.questions.lock().remove(&self.1);
    }
}

impl fmt::Debug for BondCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BondCore")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("ended", &self.is_ended())
            .finish_non_exhaustive()
    }
}
