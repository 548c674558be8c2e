//! Feeding observers: they are no members, and follow the committed log of whoever is near.
//!
//! An observer opens a stream to its *source*, a member or another observer, and gets all that this
//! one applies, in batches. Only what is committed is sent, so an observer's log is a prefix of the
//! committed one, and it may go on from another source at any time.
//!
//! ```text
//! observer ── Follow { from, … } ──────► source       nothing before this entry is lacking
//! observer ◄─ Fed { signs, entries } ─── source       at most a few without an answer
//! observer ── Taken { next } ──────────► source
//! observer ◄─ Fed { signs } ──────────── source       whenever it hears of the leader
//! ```
//!
//! - **Slow observers** wait alone: their stream is a task of its own, and what is not answered is
//!   bounded. What the source's log no longer holds comes as a snapshot.
//! - **Signs of life** of the leader are passed on as they come, with their age: an observer knows
//!   of no leader that its source has not heard of in time. It never takes an entry for committed
//!   that its source has not applied.
//! - **No circles**: each message names the members and observers that it came through, and an
//!   observer that finds itself among them leaves.
//! - **Bounded work**: nobody feeds more than 16 others, and a leader lets 4 come to it.

use std::{sync::Arc, time::Duration};

use openraft::{
    alias::{EntryOf, VoteOf},
    async_runtime::watch::WatchReceiver,
    entry::RaftEntry,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    committed::index_after,
    core::NodeCore,
    feed::{Applicant, MAX_DEPTH},
    replication::network::offer_snapshot,
    wire::{self, Fed, Follow, Taken},
};
use crate::groups::{
    catch_up::{
        pace::Pace,
        snapshot_cache::{CachedSnapshot, SnapshotLease},
    },
    log::types::{Types, term_of},
    model::{
        lineage::MemberId,
        member_info::Feeds,
        member_stream::{Channel, FrameSender, Gone, MemberStream},
    },
};

/// Batches that an observer has not answered yet, at most.
const MAX_UNANSWERED: usize = 4;
/// Size of the entries in one batch, about.
const BATCH_BYTES: usize = 256 * 1024;
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

    /// Feeds an observer, until it ends the stream.
    pub(crate) async fn serve_follow(
        self: &Arc<Self>,
        child: MemberId,
        stream: MemberStream,
    ) -> Result<(), Gone> {
        let MemberStream { mut tx, mut rx } = stream;
        let Follow { from, snapshot } = wire::decode(&rx.recv().await?)?;
        let applicant = Applicant {
            member: child,
            next: from,
            is_guest: !self.peers.may_vote(&child),
        };
        let leads = self.view().leading;
        let place = self.feed.admit(applicant, leads).ok_or(Gone)?;
        let mut signs = self.feed.signs();
        let (mut next, mut unanswered) = (from, 0_usize);
        let mut batch_due = Instant::now();
        let mut sign_due = Instant::now();
        // The last leader's: during an election there is none.
        let mut vote = None;
        signs.mark_changed();
        if snapshot
            && !self.applied.position().is_zero()
            && let Some(held) = self.snapshot_for_newcomer().await
            && let Ok(after) = self.feed_snapshot(child, held).await
        {
            next = after;
            place.set_next(next)?;
        }
        loop {
            vote = self.leaders_vote().or(vote);
            let lacks = async {
                self.applied.wait_applied(next).await;
                sleep_until(batch_due).await;
            };
            let sign = async {
                sleep_until(sign_due).await;
                // The feed lives as long as this member.
                let _ = signs.changed().await;
            };
            tokio::select! {
                biased;
                () = place.displaced() => return Err(Gone),
                frame = rx.recv() => {
                    let Taken { next } = wire::decode(&frame?)?;
                    place.set_next(next)?;
                    unanswered = unanswered.saturating_sub(1);
                }
                () = lacks, if unanswered < MAX_UNANSWERED => {
                    if next < self.log.first_index() {
                        let held = self.applied.snapshot_cache.offer().ok_or(Gone)?;
                        next = self.feed_snapshot(child, held).await?;
                        place.set_next(next)?;
                        continue;
                    }
                    let applied = self.applied.last_index().map_or(0, |index| index + 1);
                    let read = self.log.read(next..applied, BATCH_BYTES).await;
                    let entries = read.map_err(|_| Gone)?;
                    if entries.first().is_none_or(|entry| entry.index() != next) {
                        // It was discarded meanwhile.
                        batch_due = Instant::now() + BATCH_INTERVAL;
                        continue;
                    }
                    batch_due = Instant::now() + BATCH_INTERVAL;
                    let last = entries.last().map_or(0, |last| term_of(&last.log_id));
                    // The leader of a later term is about to be known here as well.
                    if let Some(vote) = vote.filter(|vote| vote.leader_id.term >= last) {
                        next += entries.len() as u64;
                        unanswered += 1;
                        self.send_fed(&mut tx, vote, entries).await?;
                        sign_due = Instant::now() + self.timing.beat / 2;
                    }
                }
                () = sign => {
                    if let Some(vote) = vote {
                        self.send_fed(&mut tx, vote, Vec::new()).await?;
                    }
                    sign_due = Instant::now() + self.timing.beat / 2;
                }
            }
        }
    }

    async fn send_fed(
        &self,
        tx: &mut FrameSender,
        vote: VoteOf<Types>,
        entries: Vec<EntryOf<Types>>,
    ) -> Result<(), Gone> {
        let path = self.feed.path(self.member).ok_or(Gone)?;
        let (age, heard) = self.last_sign();
        let fed = Fed {
            vote,
            age_ms: age.map(|age| u32::try_from(age.as_millis()).unwrap_or(u32::MAX)),
            commit: heard.max(self.applied.last_index()),
            path,
            entries,
        };
        tx.send(&wire::encode(&fed)?).await
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
            let lives = self.quorum_lives(&view);
            return (lives.then_some(Duration::ZERO), None);
        }
        let contact = self.contact.lock();
        (contact.at.map(|at| at.elapsed()), contact.commit)
    }

    /// Brings an observer a snapshot; returns the index of the entry after it.
    async fn feed_snapshot(&self, child: MemberId, held: Arc<CachedSnapshot>) -> Result<u64, Gone> {
        let vote = self.leaders_vote().ok_or(Gone)?;
        // The leader of a later term is about to be known here as well.
        if vote.leader_id.term < held.id.term {
            return Err(Gone);
        }
        let stream = self.peers.open(child, Channel::Snapshot).await?;
        let in_use = SnapshotLease::new(held);
        let held = &in_use.0;
        let offered = offer_snapshot(held, vote, held.meta.clone(), stream).await;
        offered.map_err(|_| Gone)?;
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
        let (mut vote, mut next) = (None, from);
        loop {
            let frame = rx.recv().await?;
            let size = frame.len();
            let fed: Fed = wire::decode(&frame)?;
            self.note_sign(source, &fed)?;
            following.set_path(&fed.path);
            let answered = !fed.entries.is_empty();
            if answered || vote != Some(fed.vote) {
                vote = Some(fed.vote);
                next = self.take_committed(fed.vote, fed.entries).await?;
            }
            if answered {
                self.feed.arrived();
                tx.send(&wire::encode(&Taken { next })?).await?;
                pace.spend(size);
                sleep_until(pace.next()).await;
            }
        }
    }

    /// Takes in what a source says of the leader, and of itself.
    fn note_sign(&self, source: MemberId, fed: &Fed) -> Result<(), Gone> {
        let is_circle = fed.path.contains(&self.member);
        if !fed.vote.committed
            || is_circle
            || fed.path.last() != Some(&source)
            || fed.path.len() > MAX_DEPTH + 1
        {
            return Err(Gone);
        }
        let Some(age) = fed.age_ms else {
            return Ok(());
        };
        let age = Duration::from_millis(u64::from(age));
        if let Some(at) = Instant::now().checked_sub(age) {
            self.on_contact_at(fed.vote.leader_id.term, fed.commit, at);
        }
        Ok(())
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
}
