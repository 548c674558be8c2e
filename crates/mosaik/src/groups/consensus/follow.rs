//! Feeding observers: they are no members, and follow the committed log of whoever is near.
//!
//! An observer opens a stream to its *source*, a member or another observer, and gets all that this
//! one applies, in batches. Only what is committed is sent, so an observer's log is a prefix of the
//! committed one, and it may go on from another source at any time.
//!
//! ```text
//! observer ── Follow { from, … } ──────► source       nothing before this entry is lacking
//! observer ◄─ Sign, Part, Part, … ────── source       a batch: a few at most without an answer
//! observer ── Taken { next } ──────────► source       later, where the observer limits its rate
//! observer ◄─ Sign ───────────────────── source       whenever it hears of the leader
//! ```
//!
//! - **Slow observers** wait alone: their stream is a task of its own, and what is not answered is
//!   bounded. What the source's log no longer holds comes as a snapshot, while signs go on.
//! - **Large entries** come in small parts, with signs between them, so that an observer on a slow
//!   link sees that something comes.
//! - **Signs of life** of the leader are passed on as they come, with their age: an observer knows
//!   of no leader that its source has not heard of in time. It never takes an entry for committed
//!   that its source has not applied.
//! - **Entries** need no sign of life: what was applied is committed for good, and goes on to those who
//!   lack it also when its source is gone.
//! - **No circles**: each message names the members and observers that it came through, and an
//!   observer that finds itself among them leaves.
//! - **Bounded work**: nobody feeds more than 16 others, and a leader lets 4 come to it. Who takes no
//!   snapshot, again and again, gets the next one ever later.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use openraft::{
    alias::{EntryOf, VoteOf},
    async_runtime::watch::WatchReceiver,
    entry::RaftEntry,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    committed::index_after,
    core::NodeCore,
    replication::network::{NotTaken, note_sent, offer_snapshot},
    state::feed::{Applicant, Child, MAX_DEPTH, Transfer},
    wire::{self, Fed, Follow, Sign, Taken},
};
use crate::{
    groups::{
        catch_up::{pace::Pace, snapshot_cache::SnapshotLease},
        log::{
            format::{decode_entries, encode_entries},
            types::{Types, term_of},
        },
        model::{
            lineage::MemberId,
            member_info::Feeds,
            member_stream::{Channel, FrameReceiver, FrameSender, Gone, MemberStream},
        },
    },
    primitives::{Bytes, BytesMut},
};

/// Batches that an observer has not answered yet, at most.
const MAX_UNANSWERED: usize = 4;
/// Size of the entries in one batch, about.
const BATCH_BYTES: usize = 256 * 1024;
/// A batch travels in parts of this size, and one with the rest.
pub(super) const PART_BYTES: usize = 64 * 1024;
/// A larger batch is not accepted. One entry makes a batch by itself.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;
/// Interval between two batches: entries that come meanwhile go together.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// Time limit for opening a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

impl NodeCore {
    /// Offer to feed another observer; `None` when this member or observer can't.
    pub(crate) fn offers_to_feed(&self) -> Option<Feeds> {
        self.status.leader()?;
        self.feed.offer(self.member, self.view().leading)
    }

    /// Feeds an observer, until it ends the stream or loses its place.
    pub(crate) async fn serve_follow(
        self: &Arc<Self>,
        child: MemberId,
        stream: MemberStream,
    ) -> Result<(), Gone> {
        let MemberStream { tx, mut rx } = stream;
        let follow: Follow = wire::decode(&rx.recv().await?)?;
        let applicant = Applicant {
            member: child,
            next: follow.from,
            is_guest: !self.peers.may_vote(&child),
        };
        let leads = self.view().leading;
        let place = self.feed.admit(applicant, leads).ok_or(Gone)?;
        let feeding = Feeding {
            core: self,
            child,
            place: &place,
            tx,
            vote: None,
            told: None,
            sign_due: Instant::now(),
        };
        tokio::select! {
            biased;
            () = place.displaced() => Err(Gone),
            fed = feeding.run(follow, rx) => fed,
        }
    }

    /// The vote of the leader that this member or observer knows of.
    fn leaders_vote(&self) -> Option<VoteOf<Types>> {
        let server = self.server.borrow_watched();
        // The vote lags behind until it is on disk.
        let is_leaders =
            server.vote.committed && server.current_leader == Some(server.vote.leader_id.voted_for);
        is_leaders.then_some(server.vote)
    }

    /// Time since the leader was heard of, zero for itself, and the index that it has committed.
    fn last_sign(&self) -> (Option<Duration>, Option<u64>) {
        let view = self.view().clone();
        if view.leading {
            let lives = self.has_majority(&view);
            return (lives.then_some(Duration::ZERO), None);
        }
        self.health.last_contact()
    }

    /// Brings an observer a snapshot; returns the index of the entry after it. The vote is the last
    /// leader's that was known.
    async fn feed_snapshot(
        &self,
        child: MemberId,
        vote: VoteOf<Types>,
        is_newcomers: bool,
    ) -> Result<u64, Gone> {
        // Whoever fails again and again must not keep the snapshot, and the log behind it, alive.
        sleep_until(self.progress.rest(child)).await;
        let held = if is_newcomers {
            self.snapshot_for_newcomer().await
        } else {
            self.applied.snapshot_cache.offer()
        };
        let held = held.ok_or(Gone)?;
        let vote = self.leaders_vote().unwrap_or(vote);
        // The leader of a later term is about to be known here as well.
        if vote.leader_id.term < held.id.term {
            return Err(Gone);
        }
        let mut sending = Sending {
            core: self,
            child,
            held: SnapshotLease::new(held),
            sent: Err(NotTaken::Gone),
        };
        let held = sending.held.0.clone();
        let sent = async {
            let stream = self.peers.open(child, Channel::Snapshot).await?;
            offer_snapshot(&held, vote, held.meta.clone(), stream).await
        };
        sending.sent = sent.await.map(drop);
        sending.sent.map_err(|_| Gone)?;
        Ok(held.id.index + 1)
    }

    /// Follows a source, until the stream ends, or the source turns out to be none.
    pub(super) async fn follow(&self, source: MemberId) -> Result<(), Gone> {
        let following = self.feed.follow(source);
        let opening = timeout(OPEN_TIMEOUT, self.peers.open(source, Channel::Follow));
        let MemberStream { mut tx, mut rx } = opening.await.map_err(|_| Gone)??;
        let from = index_after(self.last_committed());
        // A preference: where nobody can make one, the log does.
        let snapshot = from == 0 && self.applied.terms().snapshot_first;
        tx.send(&wire::encode(&Follow { from, snapshot })?).await?;
        let mut pace = Pace::new(self.applied.terms().fetch_rate);
        // Batches that are taken in and not told of: telling is asking for more. Meanwhile signs are
        // heard.
        let mut untold: VecDeque<(Instant, u64)> = VecDeque::new();
        let mut batch = BytesMut::new();
        let mut vote = None;
        loop {
            let due = untold.front().map(|(due, _)| *due);
            if let Some(due) = due {
                // The source may have nothing to send before it is told.
                self.feed.pause_until(due);
            }
            let frame = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, next)) = untold.pop_front() {
                        tx.send(&wire::encode(&Taken { next })?).await?;
                    }
                    continue;
                }
                frame = rx.recv() => frame?,
            };
            match wire::decode(&frame)? {
                Fed::Sign(sign) => {
                    self.check_sign(source, &sign)?;
                    // Whoever is fed from here is told how it comes.
                    following.set_path(&sign.path);
                    self.note_sign(&sign);
                    if vote != Some(sign.vote) {
                        vote = Some(sign.vote);
                        let taken = self.take_committed(sign.vote, Vec::new()).await;
                        taken.inspect_err(|_| self.report_own_vote(&sign.vote))?;
                    }
                }
                Fed::Part { bytes, is_last } => {
                    self.feed.arrived();
                    if untold.len() >= MAX_UNANSWERED || batch.len() + bytes.len() > MAX_BATCH_BYTES
                    {
                        return Err(Gone);
                    }
                    batch.extend_from_slice(&bytes);
                    if !is_last {
                        continue;
                    }
                    let bytes = batch.split().freeze();
                    let next = self.take_batch(vote.ok_or(Gone)?, &bytes).await?;
                    pace.spend(bytes.len());
                    untold.push_back((pace.next(), next));
                }
            }
        }
    }

    /// Reports that this observer follows nobody because it has voted for itself in a later term than
    /// its group's leader: as a voter that was stopped before anybody knew of its candidacy. To forget
    /// that vote is not safe: it might be given to another one in the same term.
    fn report_own_vote(&self, vote: &VoteOf<Types>) {
        let Some((term, candidate)) = self.log.stored_vote() else {
            return;
        };
        if candidate == self.member && term > vote.leader_id.term && self.feed.is_first_report() {
            tracing::error!(
                member = %self.member, own_term = term, term = vote.leader_id.term,
                "this observer stood for election when it was a voter, in a later term than that of the \
                 group's leader: it follows nobody before the next election. Open it as a member for a \
                 moment, or restart the leader's node"
            );
        }
    }

    async fn take_batch(&self, vote: VoteOf<Types>, batch: &Bytes) -> Result<u64, Gone> {
        let entries = decode_entries(batch).map_err(|_| Gone)?;
        self.take_committed(vote, entries).await
    }

    /// Finds out whether a source is one: it is led by somebody, and not fed from here.
    pub(super) fn check_sign(&self, source: MemberId, sign: &Sign) -> Result<(), Gone> {
        let is_circle = sign.path.contains(&self.member);
        if !sign.vote.committed
            || !self.is_anothers(&sign.vote)
            || is_circle
            || sign.path.last() != Some(&source)
            || sign.path.len() > MAX_DEPTH + 1
        {
            return Err(Gone);
        }
        Ok(())
    }

    /// Takes in what a source says of the leader.
    fn note_sign(&self, sign: &Sign) {
        let Some(age) = sign.age_ms else { return };
        let age = Duration::from_millis(u64::from(age));
        if let Some(at) = Instant::now().checked_sub(age) {
            self.on_contact_at(sign.vote.leader_id.term, sign.commit, at);
        }
    }

    /// Observers that are fed from here.
    pub(crate) fn children(&self) -> Vec<MemberId> {
        self.feed.children()
    }

    /// True while an observer that is fed from here lacks something that this member has applied.
    pub(crate) fn has_more_for_observers(&self) -> bool {
        let last = self.applied.last_index();
        self.feed
            .needs()
            .iter()
            .any(|(_, next)| Some(*next) <= last)
    }

    /// Number of observers and members that an observer's log comes through.
    pub(crate) fn steps_to_membership(&self) -> u32 {
        self.feed.steps()
    }

    /// Number of arrivals from sources so far.
    pub(crate) fn arrivals(&self) -> u64 {
        self.feed.arrivals()
    }

    /// State of the snapshot that this observer gets from its source.
    pub(crate) fn transfer(&self) -> Transfer {
        self.feed.transfer()
    }

    /// Returns whether it is this observer's own affair if nothing arrives: it has not applied yet what
    /// it got, or keeps to its rate.
    pub(crate) fn is_busy(&self) -> bool {
        self.last_committed() > self.applied.last_id() || self.feed.is_paused()
    }
}

/// Feeds one observer.
struct Feeding<'a> {
    core: &'a Arc<NodeCore>,
    child: MemberId,
    place: &'a Child<'a>,
    tx: FrameSender,
    /// The last leader's: during an election there is none.
    vote: Option<VoteOf<Types>>,
    /// The vote that the observer was last told of.
    told: Option<VoteOf<Types>>,
    sign_due: Instant,
}

impl Feeding<'_> {
    async fn run(mut self, follow: Follow, mut rx: FrameReceiver) -> Result<(), Gone> {
        let core = self.core;
        let mut signs = core.feed.signs();
        signs.mark_changed();
        let (mut next, mut unanswered) = (follow.from, 0_usize);
        let mut batch_due = Instant::now();
        let mut is_newcomers = follow.snapshot && !core.applied.position().is_zero();
        let mut snapshot: Option<BoxFuture<'_, Result<u64, Gone>>> = None;
        loop {
            self.vote = core.leaders_vote().or(self.vote);
            let vote = self.entries_vote();
            let lacks = async {
                // Without a vote, nothing is sent before a sign brings one.
                let Some(vote) = vote else {
                    return std::future::pending().await;
                };
                core.applied.wait_applied(next).await;
                sleep_until(batch_due).await;
                vote
            };
            let sign_due = self.sign_due;
            let sign = async {
                sleep_until(sign_due).await;
                // The feed lives as long as this member.
                let _ = signs.changed().await;
            };
            tokio::select! {
                biased;
                frame = rx.recv() => {
                    let Taken { next } = wire::decode(&frame?)?;
                    self.place.set_next(next)?;
                    unanswered = unanswered.saturating_sub(1);
                }
                brought = outcome(&mut snapshot), if snapshot.is_some() => {
                    snapshot = None;
                    // A preference: where nobody can make one, the log does.
                    match brought {
                        Ok(after) => next = after,
                        Err(Gone) if is_newcomers => {}
                        Err(Gone) => return Err(Gone),
                    }
                    is_newcomers = false;
                    self.place.set_next(next)?;
                }
                vote = lacks, if unanswered < MAX_UNANSWERED && snapshot.is_none() => {
                    batch_due = Instant::now() + BATCH_INTERVAL;
                    if is_newcomers || next < core.log.first_index() {
                        snapshot = Some(core.feed_snapshot(self.child, vote, is_newcomers).boxed());
                        continue;
                    }
                    let applied = index_after(core.applied.last_id());
                    let read = core.log.read(next..applied, BATCH_BYTES).await;
                    let entries = read.map_err(|_| Gone)?;
                    if entries.first().is_none_or(|entry| entry.index() != next) {
                        // It was discarded meanwhile.
                        continue;
                    }
                    let last = entries.last().map_or(0, |last| term_of(&last.log_id));
                    if vote.leader_id.term >= last {
                        next += entries.len() as u64;
                        unanswered += 1;
                        self.send_batch(&entries).await?;
                    } else {
                        // The leader of a later term is about to be known here as well.
                        batch_due = Instant::now() + core.timing.beat / 2;
                    }
                }
                () = sign => {
                    self.queue_sign()?;
                    self.tx.flush().await?;
                }
            }
        }
    }

    /// The vote under which entries are sent: what was applied stays committed, so where nobody can be
    /// named as its way at present, the last one that the observer was told of.
    fn entries_vote(&self) -> Option<VoteOf<Types>> {
        let has_path = self.core.feed.path(self.core.member).is_some();
        self.vote.filter(|_| has_path).or(self.told)
    }

    /// Sends entries in parts, and signs when they are due.
    async fn send_batch(&mut self, entries: &[EntryOf<Types>]) -> Result<(), Gone> {
        let mut rest = encode_entries(entries).map_err(|_| Gone)?;
        self.queue_sign()?;
        loop {
            let bytes = rest.split_to(rest.len().min(PART_BYTES));
            let is_last = rest.is_empty();
            let part = Fed::Part { bytes, is_last };
            self.tx.send(&wire::encode(&part)?).await?;
            if is_last {
                return Ok(());
            }
            if Instant::now() >= self.sign_due {
                self.queue_sign()?;
            }
        }
    }

    /// Adds a sign to what is sent next, unless nothing can be said.
    fn queue_sign(&mut self) -> Result<(), Gone> {
        self.sign_due = Instant::now() + self.core.timing.beat / 2;
        let path = self.core.feed.path(self.core.member);
        let (Some(vote), Some(path)) = (self.vote, path) else {
            return Ok(());
        };
        let (age, heard) = self.core.last_sign();
        let sign = Fed::Sign(Sign {
            vote,
            age_ms: age.map(|age| u32::try_from(age.as_millis()).unwrap_or(u32::MAX)),
            commit: heard.max(self.core.applied.last_index()),
            path,
        });
        self.told = Some(vote);
        self.tx.queue(&wire::encode(&sign)?)
    }
}

/// A snapshot on its way to an observer. It counts as not taken if the observer goes meanwhile.
struct Sending<'a> {
    core: &'a NodeCore,
    child: MemberId,
    held: SnapshotLease,
    sent: Result<(), NotTaken>,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        note_sent(&self.core.progress, self.child, &mut self.held, self.sent);
    }
}

/// Outcome of what is under way.
async fn outcome<T>(under_way: &mut Option<BoxFuture<'_, T>>) -> T {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}
