//! Leader: acceptance of commands, which follow each other in the log without a gap.
//!
//! A *tenure* begins when this member leads and has applied all that its predecessors committed: then
//! it knows at which index the next command will stand, and which commands are repeated.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use openraft::alias::CommittedLeaderIdOf;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{
    apply::applied::Applied,
    library::{Consensus, caught},
    pending_commands::{CommandRoute, Parcel, PendingCommands},
    state::view::View,
};
use crate::groups::{
    Index,
    log::types::{Batch, OnCompletion, Types},
    machine::commands,
    model::lineage::MemberId,
};

/// Time for which voters are missed before that is worth a warning.
const LACK: Duration = Duration::from_secs(2);

/// Reasons for which commands were not proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This member does not lead, or is not ready to.
    NotLeading,
    /// Too much is under way.
    Busy,
}

/// Outcome of proposing commands to a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proposed {
    /// They are in the log from the command with this number on, which has this index.
    New(u64, Index),
    /// All had been there already, or were overtaken.
    Known,
    /// They were sent before, and the group does not know any more what came of it. They are not put
    /// into the log: what was applied is never applied again.
    Forgotten,
}

/// Told when the fate of a proposal is known; with `true` if none is open any more, and a tenure may
/// begin.
type OnDecided = Box<dyn Fn(bool) + Send + Sync>;

/// A leader's right to put commands into the log, and what it needs for that.
pub(super) struct Leader {
    raft: Consensus,
    applied: Arc<Applied>,
    pending_commands: Arc<PendingCommands>,
    /// Told when the fate of a proposal is known.
    on_decided: OnDecided,
    tenure: Mutex<Option<Tenure>>,
    /// The number of the current tenure; 0 while there is none. Changed with `tenure` held.
    number: watch::Sender<u64>,
    /// Number of tenures so far.
    count: AtomicU64,
    /// Time until which this leader takes no commands.
    rests_until: Mutex<Option<Instant>>,
    /// Present while nothing but the number of voters keeps a tenure from beginning.
    lack: Mutex<Option<Lack>>,
    /// Held while commands are taken from the queue and proposed, before `tenure`: they must not
    /// overtake each other.
    proposing: Mutex<()>,
    /// Proposals whose fate is not known yet.
    undecided: AtomicUsize,
    this: Weak<Self>,
}

/// Want of voters.
struct Lack {
    since: Instant,
    is_told: bool,
}

/// Tenure: the time in which this member may put commands into the log. It leads, and has applied all
/// that its predecessors committed.
struct Tenure {
    number: u64,
    term: u64,
    /// The index of the next command.
    next: Index,
    /// The last sequence number in the log, per member.
    sequences: HashMap<MemberId, u64>,
}

impl Leader {
    pub(super) fn new(
        raft: Consensus,
        applied: Arc<Applied>,
        pending_commands: Arc<PendingCommands>,
        on_decided: impl Fn(bool) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            raft,
            applied,
            pending_commands,
            on_decided: Box::new(on_decided),
            this: this.clone(),
            tenure: Mutex::new(None),
            number: watch::Sender::new(0),
            count: AtomicU64::new(0),
            rests_until: Mutex::new(None),
            lack: Mutex::new(None),
            proposing: Mutex::new(()),
            undecided: AtomicUsize::new(0),
        })
    }

    /// Returns whether this member leads, and has applied all that its predecessors committed.
    pub(super) fn accepts_commands(&self) -> bool {
        *self.number.borrow() != 0
    }

    /// The number of the current tenure, 0 while there is none.
    pub(super) fn tenures(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }

    /// The term in which this member leads and has applied all that its predecessors committed.
    pub(super) fn term(&self) -> Option<u64> {
        self.tenure.lock().as_ref().map(|tenure| tenure.term)
    }

    /// Takes no commands for a while.
    pub(super) fn rest(&self, time: Duration) {
        let mut rests_until = self.rests_until.lock();
        *rests_until = rests_until.max(Some(Instant::now() + time));
    }

    fn rests(&self) -> bool {
        self.rests_until
            .lock()
            .is_some_and(|until| Instant::now() < until)
    }

    /// Returns whether this member could take commands, if enough voters were present.
    pub(super) fn lacks_voters(&self) -> bool {
        self.lack.lock().is_some()
    }

    /// Begins or ends this member's tenure. `holds_lease` tells whether a majority was heard of
    /// lately, `has_voters` whether as many voters were as are needed.
    pub(super) fn update(&self, view: &View, holds_lease: bool, has_voters: bool) {
        let leads = view.leading && holds_lease && !self.rests();
        let may_lead = leads && has_voters;
        let has_applied = self.applied.blank_term() == view.term;
        self.note_lack(leads && !has_voters && has_applied);
        let mut tenure = self.tenure.lock();
        if let Some(current) = &*tenure {
            if !may_lead || view.term != current.term {
                self.close(&mut tenure);
            }
            return;
        }
        let ready = may_lead && has_applied && self.undecided.load(Ordering::Acquire) == 0;
        if !ready {
            return;
        }
        // Each has a number of its own: who has missed the end of one sees that this is another.
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        *tenure = Some(Tenure {
            number,
            term: view.term,
            next: self.applied.position().index().next(),
            sequences: HashMap::new(),
        });
        // With the tenure held, as where it ends: commands go into the log here exactly as long as
        // there is one.
        self.number.send_modify(|current| *current = number);
        self.pending_commands.leader_is_known();
        self.pending_commands.set_route(CommandRoute::Local);
        drop(tenure);
        self.propose_pending();
    }

    /// Notes whether nothing but the number of voters is wanting, and warns once if that lasts: a
    /// member that leaves, or begins, is missed for a moment only.
    fn note_lack(&self, lacks_voters: bool) {
        let mut lack = self.lack.lock();
        if !lacks_voters {
            *lack = None;
            return;
        }
        let lack = lack.get_or_insert_with(|| Lack {
            since: Instant::now(),
            is_told: false,
        });
        if !lack.is_told && lack.since.elapsed() >= LACK {
            lack.is_told = true;
            tracing::warn!("fewer voters answer than the leader needs: commands are not taken");
        }
    }

    /// Ends this member's tenure, if it has one.
    pub(super) fn end(&self) {
        self.close(&mut self.tenure.lock());
    }

    /// Ends a tenure, which is held meanwhile, with everything that depends on it.
    fn close(&self, tenure: &mut Option<Tenure>) {
        if tenure.take().is_some() {
            self.number.send_modify(|count| *count = 0);
            self.pending_commands.leave_route(CommandRoute::Local);
        }
    }

    /// Puts queued commands of this member into its log, if it leads.
    pub(super) fn propose_pending(&self) {
        let _in_order = self.proposing.lock();
        while let Some(parcel) = self.pending_commands.take(CommandRoute::Local) {
            let (first, count) = (parcel.first, parcel.count);
            match self.propose(self.pending_commands.origin(), parcel) {
                Ok(Proposed::New(new, index)) => {
                    self.pending_commands
                        .accepted(first, count, Some((new, index)));
                }
                Ok(Proposed::Known) => self.pending_commands.accepted(first, count, None),
                Ok(Proposed::Forgotten) => self.pending_commands.refused_as_forgotten(first, count),
                Err(_) => {
                    self.pending_commands.refused(first, count);
                    // They are sent again when a tenure begins.
                    self.end();
                    return;
                }
            }
        }
    }

    /// Puts commands into the log, as the leader.
    ///
    /// Whether a command takes effect is decided when it is applied. What is known to be passed
    /// over then is left out here, so that positions can be told in advance.
    pub(super) fn propose(
        &self,
        origin: MemberId,
        mut parcel: Parcel,
    ) -> Result<Proposed, Refusal> {
        let mut tenure = self.tenure.lock();
        let tenure = tenure.as_mut().ok_or(Refusal::NotLeading)?;
        let first_time = (!parcel.again).then_some(0);
        let known = match tenure.sequences.entry(origin) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let Some(last) = self.applied.last_sequence_of(&origin).or(first_time) else {
                    return Ok(Proposed::Forgotten);
                };
                unknown.insert(last)
            }
        };
        let repeated = known.saturating_add(1).saturating_sub(parcel.first);
        if repeated >= u64::from(parcel.count) {
            return Ok(Proposed::Known);
        }
        let repeated = u32::try_from(repeated).unwrap_or(0);
        if repeated > 0 {
            let rest = commands::skip(&parcel.row, repeated as usize);
            parcel.row = rest.map_err(|_| Refusal::NotLeading)?;
            parcel.first += u64::from(repeated);
            parcel.count -= repeated;
        }
        let batch = Batch {
            origin,
            first: parcel.first,
            count: parcel.count,
            row: parcel.row,
        };
        self.write(batch, (tenure.number, tenure.term))?;
        *known = parcel.first + u64::from(parcel.count) - 1;
        let index = tenure.next;
        tenure.next = index + parcel.count;
        Ok(Proposed::New(parcel.first, index))
    }

    /// Hands an entry to the consensus library without waiting.
    fn write(&self, batch: Batch, (number, term): (u64, u64)) -> Result<(), Refusal> {
        let leader = self.this.clone();
        let decided = OnCompletion::new(move |result: Result<_, _>| {
            if let Some(leader) = leader.upgrade() {
                leader.on_decided(number, result.is_err());
            }
        });
        let write = self
            .raft
            .write(batch)
            .with_leader(CommittedLeaderIdOf::<Types>::new(term))
            .responder(decided);
        self.undecided.fetch_add(1, Ordering::AcqRel);
        // The queue is deep; when it is full nothing is sent.
        let sent = tokio::task::unconstrained(caught(write.into_future())).now_or_never();
        match sent {
            Some(Some(Ok(()))) => Ok(()),
            refused => {
                self.undecided.fetch_sub(1, Ordering::AcqRel);
                Err(refused.map_or(Refusal::Busy, |_| Refusal::NotLeading))
            }
        }
    }

    /// The fate of a proposal is known.
    fn on_decided(&self, number: u64, rejected: bool) {
        let left = self.undecided.fetch_sub(1, Ordering::AcqRel) - 1;
        if rejected {
            let mut tenure = self.tenure.lock();
            if tenure
                .as_ref()
                .is_some_and(|tenure| tenure.number == number)
            {
                self.close(&mut tenure);
            }
        }
        // After a rejection the next tick tries again: the lease is over, nothing changes now.
        (self.on_decided)(left == 0 && !rejected && !self.accepts_commands());
    }
}
