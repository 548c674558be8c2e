//! The leader's end of one pipelined stream of log entries.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt};
use openraft::{
    EntryPayload,
    alias::{EntryOf, LogIdOf},
    raft::{AppendEntriesRequest, StreamAppendResult},
};
use tokio::time::{Instant, Sleep, sleep_until};

use super::commit_notices::CommitNotices;
use crate::groups::{
    consensus::wire::{self, AppendEntries, AppendReply},
    log::types::Types,
    model::{
        lineage::MemberId,
        member_stream::{Gone, MemberStream},
    },
};

/// Append requests that are put together into one write.
const REQUESTS_PER_WRITE: usize = 32;
/// Entries that follow a commit within this time are worth waiting for the next time.
const CLOSE: Duration = Duration::from_micros(500);
/// Longest time that a commit notice waits for entries to go out with; timers are not finer.
const HOLD: Duration = Duration::from_millis(1);
/// Upper bound on the commits that entries must have followed closely, one after the other, before
/// a notice waits again.
const MAX_REQUIRED: u32 = 1024;

/// One stream of appends to one member.
pub(super) struct AppendStream<S> {
    target: MemberId,
    commit_notices: Arc<CommitNotices>,
    input: S,
    input_ended: bool,
    /// Requests that were sent and not acknowledged yet.
    unacknowledged: VecDeque<Sent>,
    stream: MemberStream,
    notices: Notices,
}

/// Ends of an append request: its answer names one of the two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) prev: Option<LogIdOf<Types>>,
    pub(super) last: Option<LogIdOf<Types>>,
}

impl Sent {
    pub(super) fn of(request: &AppendEntriesRequest<Types>) -> Self {
        let last = request.entries.last().map(|entry| entry.log_id);
        Self {
            prev: request.prev_log_id,
            last: last.or(request.prev_log_id),
        }
    }
}

/// Schedule of commit notices, if nothing else is to be sent.
///
/// Such a notice costs as much as an entry. While commands come one right after the other, it can
/// go out with the next entry just as well. It never waits when the receiver has commands of its
/// own among the entries: somebody there waits for them.
struct Notices {
    held: Option<AppendEntriesRequest<Types>>,
    due: Pin<Box<Sleep>>,
    /// Time of the last commit with which nothing else was sent.
    known: Option<Instant>,
    /// Judgement whether it is worth waiting.
    holding: Holding,
    /// The last entry that holds commands of the receiver.
    awaited: Option<u64>,
}

impl<S> AppendStream<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    pub(super) fn new(
        target: MemberId,
        commit_notices: Arc<CommitNotices>,
        input: S,
        stream: MemberStream,
    ) -> Self {
        Self {
            notices: Notices {
                held: None,
                due: Box::pin(sleep_until(Instant::now())),
                known: None,
                holding: Holding::default(),
                awaited: None,
            },
            target,
            commit_notices,
            input,
            input_ended: false,
            unacknowledged: VecDeque::new(),
            stream,
        }
    }

    /// Sends what there is to send until the next acknowledgement arrives, and names the request that
    /// it answers; `None` when all is sent and acknowledged.
    pub(super) async fn next_result(
        &mut self,
    ) -> Result<Option<(Sent, StreamAppendResult<Types>)>, Gone> {
        while !self.input_ended || !self.unacknowledged.is_empty() {
            let holding = self.notices.held.is_some();
            tokio::select! {
                biased;
                frame = self.stream.rx.recv() => {
                    let reply: AppendReply = wire::decode(&frame?)?;
                    // An answer to nothing comes from no honest member.
                    let sent = self.unacknowledged.pop_front().ok_or(Gone)?;
                    return Ok(Some((sent, reply.into())));
                }
                request = self.input.next(), if !self.input_ended => match request {
                    Some(request) if self.notices.may_wait(&request) => {
                        self.notices.hold(request);
                    }
                    Some(request) => self.send(request).await?,
                    None => {
                        self.input_ended = true;
                        self.send_held().await?;
                    }
                },
                () = &mut self.notices.due, if holding => {
                    self.notices.holding.missed();
                    self.send_held().await?;
                }
                () = self.commit_notices.hurried(), if holding => self.send_held().await?,
            }
        }
        Ok(None)
    }

    /// Sends what was held back, if anything was.
    async fn send_held(&mut self) -> Result<(), Gone> {
        match self.notices.held.take() {
            Some(held) => self.send(held).await,
            None => Ok(()),
        }
    }

    /// Sends a request, and with it those that are ready as well.
    pub(super) async fn send(&mut self, first: AppendEntriesRequest<Types>) -> Result<(), Gone> {
        let mut next = first;
        for remaining in (0..REQUESTS_PER_WRITE).rev() {
            let committed = next.leader_commit.as_ref().map(openraft::LogId::index);
            self.commit_notices.note(committed);
            self.notices.sending(&next, &self.target);
            self.unacknowledged.push_back(Sent::of(&next));
            let append = wire::encode(&AppendEntries::from(next))?;
            self.stream.tx.queue(&append)?;
            if remaining == 0 {
                break;
            }
            match self.input.next().now_or_never() {
                Some(Some(ready)) => next = ready,
                Some(None) => {
                    self.input_ended = true;
                    break;
                }
                None => break,
            }
        }
        self.stream.tx.flush().await
    }
}

impl Notices {
    /// Returns whether a request is a mere notice, and may wait for entries.
    fn may_wait(&mut self, request: &AppendEntriesRequest<Types>) -> bool {
        if !request.entries.is_empty() {
            return false;
        }
        self.known = Some(Instant::now());
        self.holding.is_worthwhile() && self.awaited.is_none()
    }

    fn hold(&mut self, notice: AppendEntriesRequest<Types>) {
        if self.held.is_none() {
            self.due.as_mut().reset(Instant::now() + HOLD);
        }
        self.held = Some(notice);
    }

    /// A request goes out: whatever was held back goes with it, because it knows as much.
    fn sending(&mut self, request: &AppendEntriesRequest<Types>, target: &MemberId) {
        let waited = self.held.take().is_some();
        let of_target = |entry: &&EntryOf<Types>| matches!(&entry.payload, EntryPayload::Normal(batch) if batch.origin.is_beside(target));
        if let Some(entry) = request.entries.iter().rev().find(of_target) {
            self.awaited = Some(entry.log_id.index());
        }
        let committed = request.leader_commit.as_ref().map(openraft::LogId::index);
        if self.awaited <= committed {
            self.awaited = None;
        }
        if !request.entries.is_empty()
            && let Some(known) = self.known.take()
        {
            self.holding.followed(known.elapsed() < CLOSE, waited);
        }
    }
}

/// Judgement whether a notice is worth holding back: entries followed the last ones closely.
///
/// A writer that waits until another node has seen its last command would wait for [`HOLD`] each
/// time. So each wait in vain makes the next one rarer, and each that paid off more frequent.
#[derive(Debug)]
struct Holding {
    /// Commits in a row that entries followed closely.
    streak: u32,
    /// The streak from which on a notice waits.
    required: u32,
}

impl Default for Holding {
    fn default() -> Self {
        Self {
            streak: 0,
            required: 1,
        }
    }
}

impl Holding {
    const fn is_worthwhile(&self) -> bool {
        self.streak >= self.required
    }

    /// Entries have followed on a commit; `waited` if its notice was held back until then.
    fn followed(&mut self, closely: bool, waited: bool) {
        if waited {
            self.required = (self.required / 2).max(1);
        }
        self.streak = if closely {
            self.streak.saturating_add(1)
        } else {
            0
        };
    }

    /// A notice was held back, and nothing has followed.
    fn missed(&mut self) {
        self.streak = 0;
        self.required = self.required.saturating_mul(4).min(MAX_REQUIRED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_wait_in_vain_ever_more_rarely() {
        let mut holding = Holding::default();
        let mut misses = 0;
        for _ in 0..10_000 {
            if holding.is_worthwhile() {
                // The writer sends nothing before it has seen this one.
                holding.missed();
                misses += 1;
            }
            holding.followed(true, false);
        }
        assert!(misses < 20, "{misses}");
        // Another load: one command right after the other.
        let mut held = 0;
        for _ in 0..10_000 {
            let waits = holding.is_worthwhile();
            held += u32::from(waits);
            holding.followed(true, waits);
        }
        assert!(held > 8_000, "{held}");
    }
}
