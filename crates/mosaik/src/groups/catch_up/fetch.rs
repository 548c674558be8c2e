//! Shares the pieces out among sources, and takes over from those that fail.

use core::ops::Range;
use std::{collections::VecDeque, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    pace::Pace,
    wire::{Answer, Ask, FRAME_BYTES, Fetched, Piece, Plan, RUN_PIECES, Whole},
};
use crate::{
    groups::model::{
        lineage::MemberId,
        member_stream::{Gone, MemberStream},
    },
    primitives::{Bytes, BytesMut, encoding},
};

/// Pieces that are asked for and not yet handed on may take this much, or be a single one.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Pieces that are asked for at a time take about this much.
const RUN_BYTES: usize = 256 * 1024;
/// Requests that one source has at a time, so that it need not wait for the next.
const RUNS_PER_SOURCE: usize = 2;
/// Age of an unanswered request from which a source without work takes it over.
const HEDGE: Duration = Duration::from_millis(500);
/// Time without any arrival after which the leader is asked although there are followers.
const STALL: Duration = Duration::from_secs(2);
/// Interval at which a source without work checks for some.
const LOOK: Duration = Duration::from_millis(50);
/// Failures in a row after which a source is given up.
const MAX_FAILURES: u32 = 3;
const RETRY: Duration = Duration::from_millis(200);
/// Timeout for reaching a source.
const OPEN: Duration = Duration::from_secs(5);

/// Reaches the members that may have something.
pub(crate) trait Sources: Send + Sync {
    /// Opens a stream on which [`Ask`]s are answered.
    fn open(&self, member: MemberId) -> BoxFuture<'static, Result<MemberStream, Gone>>;

    /// Notes that a frame has come.
    fn arrived(&self) {}

    /// Notes that nothing is asked for until then, so as not to exceed the rate.
    fn pauses(&self, _until: Instant) {}
}

/// Errors of fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchFailed {
    #[error("no member is left that has it")]
    NoSource,
    #[error("nobody takes the pieces any more")]
    Abandoned,
}

/// Content to fetch, and the limits of the transfer.
pub(crate) struct Order<'a> {
    pub(crate) plan: &'a Plan,
    /// The pieces before this one are there.
    pub(crate) from_piece: usize,
    /// Bytes to ask for per second, at most.
    pub(crate) rate: u64,
    /// Timeout for a source to send one piece.
    pub(crate) patience: Duration,
}

/// Fetches the pieces of a plan and hands them on in order. The `last_resort` is asked only when
/// the others are gone or do not answer.
///
/// # Cancel safety
///
/// What was handed on is handed on; the rest is dropped.
pub(crate) async fn fetch(
    order: Order<'_>,
    sources: &dyn Sources,
    members: &[MemberId],
    last_resort: Option<MemberId>,
    out: mpsc::Sender<Fetched>,
) -> Result<(), FetchFailed> {
    let fetch = Fetch {
        plan: order.plan,
        sources,
        patience: order.patience,
        board: Mutex::new(Board::new(&order, members.len())),
        changed: Notify::new(),
    };
    let mut deliver = std::pin::pin!(fetch.deliver(out));
    let mut workers: FuturesUnordered<_> = members
        .iter()
        .map(|member| fetch.work(*member).boxed())
        .chain(last_resort.map(|member| fetch.stand_by(member).boxed()))
        .collect();
    loop {
        tokio::select! {
            biased;
            delivered = &mut deliver => return delivered,
            ended = workers.next() => if ended.is_none() {
                let complete = fetch.board.lock().is_complete();
                return if complete { deliver.await } else { Err(FetchFailed::NoSource) };
            }
        }
    }
}

struct Fetch<'a> {
    plan: &'a Plan,
    sources: &'a dyn Sources,
    patience: Duration,
    board: Mutex<Board>,
    changed: Notify,
}

/// Reasons for which a session with a source has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// There is nothing left to do.
    Done,
    /// The source is lost; how many pieces it had sent.
    Lost { sent: usize },
    /// The source does not have what was asked for.
    Lacks,
    /// The source has sent something else.
    Lies,
}

impl Fetch<'_> {
    /// Hands on what is there, in order.
    async fn deliver(&self, out: mpsc::Sender<Fetched>) -> Result<(), FetchFailed> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            loop {
                let next = {
                    let mut board = self.board.lock();
                    if board.is_delivered() {
                        return Ok(());
                    }
                    board.deliver(self.plan)
                };
                let Some(fetched) = next else { break };
                self.changed.notify_waiters();
                out.send(fetched)
                    .await
                    .map_err(|_| FetchFailed::Abandoned)?;
            }
            changed.await;
        }
    }

    /// Fetches from one source until there is nothing left to do, or the source is given up.
    async fn work(&self, member: MemberId) {
        let mut failures = 0;
        loop {
            let mut promised = Promised {
                fetch: self,
                member,
                runs: VecDeque::new(),
            };
            let ended = match self.session(&mut promised).await {
                Ok(ended) => ended,
                Err(sent) => Ended::Lost { sent },
            };
            drop(promised);
            match ended {
                Ended::Done => break,
                Ended::Lacks => {
                    tracing::debug!(%member, "a source lacks what is asked for");
                    break;
                }
                Ended::Lies => {
                    tracing::warn!(
                        %member,
                        "a source sends something else than was asked for: it is not asked again"
                    );
                    break;
                }
                Ended::Lost { sent } => {
                    failures = if sent < RUN_PIECES { failures + 1 } else { 1 };
                    if failures == MAX_FAILURES {
                        tracing::debug!(%member, "a source does not answer");
                        break;
                    }
                    sleep(RETRY).await;
                }
            }
        }
        self.board.lock().active -= 1;
        self.changed.notify_waiters();
    }

    /// Waits until the others don't get ahead, then helps.
    async fn stand_by(&self, member: MemberId) {
        loop {
            {
                let mut board = self.board.lock();
                if board.is_complete() {
                    return;
                }
                if board.active == 0 || board.is_stalled() {
                    board.active += 1;
                    break;
                }
            }
            self.wait().await;
        }
        self.work(member).await;
    }

    async fn wait(&self) {
        // The time matters as well: a source may have become slow, or the next request be due.
        let now = Instant::now();
        let next = self.board.lock().pace.next();
        let until = if next > now {
            self.sources.pauses(next);
            next.min(now + LOOK)
        } else {
            now + LOOK
        };
        let _ = timeout_at(until, self.changed.notified()).await;
    }

    /// One stream with a source. An error says that it was lost, and how many pieces it had sent.
    async fn session(&self, promised: &mut Promised<'_>) -> Result<Ended, usize> {
        let mut sent = 0_usize;
        let opening = timeout(OPEN, self.sources.open(promised.member)).await;
        let mut stream = opening.ok().and_then(Result::ok).ok_or(sent)?;
        stream.rx.set_max_frame_bytes(FRAME_BYTES);
        if let Whole::Snapshot(id) = self.plan.of {
            self.ask(&mut stream, &Ask::Hold(id))
                .await
                .map_err(|_| sent)?;
        }
        loop {
            while promised.runs.len() < RUNS_PER_SOURCE {
                let idle = promised.runs.is_empty();
                let Some(run) = self.board.lock().claim(self.plan, promised.member, idle) else {
                    break;
                };
                let ask = Ask::Pieces {
                    of: self.plan.of,
                    from: self.plan.begin(run.start),
                    ends: self.plan.ends[run.clone()].to_vec(),
                };
                promised.runs.push_back(run);
                self.ask(&mut stream, &ask).await.map_err(|_| sent)?;
            }
            let Some(run) = promised.runs.front().cloned() else {
                if self.board.lock().is_complete() {
                    return Ok(Ended::Done);
                }
                self.wait().await;
                continue;
            };
            let answer = self.receive(&mut stream).await.map_err(|_| sent)?;
            match encoding::deserialize(&answer) {
                Ok(Answer::Coming) => {}
                Ok(Answer::Missing) => return Ok(Ended::Lacks),
                Err(_) => return Ok(Ended::Lies),
            }
            for piece in run {
                let bytes = self.receive_piece(&mut stream, piece, promised.member);
                let bytes = bytes.await.map_err(|_| sent)?;
                if !self.plan.pieces[piece].matches(&bytes) {
                    return Ok(Ended::Lies);
                }
                sent += 1;
                self.board.lock().arrived(piece, bytes);
                self.changed.notify_waiters();
            }
            promised.runs.pop_front();
        }
    }

    async fn ask(&self, stream: &mut MemberStream, ask: &Ask) -> Result<(), Gone> {
        let ask = encoding::try_serialize(ask).map_err(|_| Gone)?;
        let sent = timeout(self.patience, stream.tx.send(&ask)).await;
        sent.unwrap_or(Err(Gone))
    }

    /// Receives a piece frame by frame. Its digest tells later whether it is the right one.
    async fn receive_piece(
        &self,
        stream: &mut MemberStream,
        piece: usize,
        from: MemberId,
    ) -> Result<Bytes, Gone> {
        let len = self.plan.pieces[piece].bytes as usize;
        let first = self.receive(stream).await?;
        if len <= FRAME_BYTES {
            return Ok(first);
        }
        let mut bytes = BytesMut::from(&first[..]);
        // All frames but the last one are full.
        while bytes.len() < len && bytes.len().is_multiple_of(FRAME_BYTES) && !bytes.is_empty() {
            self.board.lock().progress(piece, from);
            bytes.extend_from_slice(&self.receive(stream).await?);
        }
        Ok(bytes.freeze())
    }

    async fn receive(&self, stream: &mut MemberStream) -> Result<Bytes, Gone> {
        let received = timeout(self.patience, stream.rx.recv()).await;
        let frame = received.unwrap_or(Err(Gone))?;
        self.sources.arrived();
        Ok(frame)
    }
}

/// Pieces that a source was asked for; given back when its session ends.
struct Promised<'a> {
    fetch: &'a Fetch<'a>,
    member: MemberId,
    runs: VecDeque<Range<usize>>,
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        let mut board = self.fetch.board.lock();
        for piece in self.runs.drain(..).flatten() {
            board.give_back(self.fetch.plan, piece, self.member);
        }
        drop(board);
        self.fetch.changed.notify_waiters();
    }
}

/// State of every piece.
struct Board {
    slots: Vec<Slot>,
    /// All pieces before this one were handed on.
    delivered: usize,
    /// No piece before this one is open.
    first_open: usize,
    /// Pieces that are open.
    open: usize,
    /// Bytes of the pieces that are asked for and not yet handed on.
    bytes: usize,
    /// Sources that are at work.
    active: usize,
    pace: Pace,
}

enum Slot {
    /// Nobody was asked for it.
    Open,
    Asked {
        since: Instant,
        of: MemberId,
        /// A second source, when the first one is slow.
        also: Option<MemberId>,
    },
    Here(Bytes),
    Delivered,
}

impl Board {
    fn new(order: &Order<'_>, active: usize) -> Self {
        let count = order.plan.pieces.len();
        let from = order.from_piece.min(count);
        let slots = (0..count)
            .map(|piece| {
                if piece < from {
                    Slot::Delivered
                } else {
                    Slot::Open
                }
            })
            .collect();
        Self {
            slots,
            delivered: from,
            first_open: from,
            open: count - from,
            bytes: 0,
            active,
            pace: Pace::new(order.rate),
        }
    }

    fn is_delivered(&self) -> bool {
        self.delivered == self.slots.len()
    }

    /// Returns whether everything is here.
    fn is_complete(&self) -> bool {
        self.open == 0
            && self.slots[self.delivered..]
                .iter()
                .all(|slot| matches!(slot, Slot::Here(_) | Slot::Delivered))
    }

    /// Returns whether a source has owed the next piece for [`STALL`].
    fn is_stalled(&self) -> bool {
        let next = self.slots.get(self.delivered);
        matches!(next, Some(Slot::Asked { since, .. }) if since.elapsed() >= STALL)
    }

    /// Pieces for a source to ask for: open ones, or, if it is idle, those of a slow source. None
    /// while it is too early to ask for more.
    fn claim(&mut self, plan: &Plan, member: MemberId, idle: bool) -> Option<Range<usize>> {
        if Instant::now() < self.pace.next() {
            return None;
        }
        while let Some(slot) = self.slots.get(self.first_open)
            && !matches!(slot, Slot::Open)
        {
            self.first_open += 1;
        }
        // Towards the end, everybody gets a little.
        let share = self.open / (RUNS_PER_SOURCE * self.active.max(1));
        let most = share.clamp(1, RUN_PIECES);
        let first = self.first_open;
        let mut end = first;
        let mut run_bytes = 0;
        while end < self.slots.len() && end - first < most && matches!(self.slots[end], Slot::Open)
        {
            let bytes = plan.pieces[end].bytes as usize;
            let fits = self.bytes + bytes <= WINDOW_BYTES || end == self.delivered;
            if !fits || (run_bytes > 0 && run_bytes + bytes > RUN_BYTES) {
                break;
            }
            run_bytes += bytes;
            self.bytes += bytes;
            self.open -= 1;
            self.slots[end] = Slot::Asked {
                since: Instant::now(),
                of: member,
                also: None,
            };
            end += 1;
        }
        if end > first {
            self.pace.spend(run_bytes);
            return Some(first..end);
        }
        idle.then(|| self.hedge(plan, member)).flatten()
    }

    fn hedge(&mut self, plan: &Plan, member: MemberId) -> Option<Range<usize>> {
        let slow = |slot: &Slot| {
            matches!(slot, Slot::Asked { since, of, also: None }
                if *of != member && since.elapsed() >= HEDGE)
        };
        let first = self.delivered + self.slots[self.delivered..].iter().position(slow)?;
        let mut end = first;
        while end - first < RUN_PIECES && self.slots.get(end).is_some_and(slow) {
            if let Slot::Asked { also, .. } = &mut self.slots[end] {
                *also = Some(member);
            }
            self.pace.spend(plan.pieces[end].bytes as usize);
            end += 1;
        }
        Some(first..end)
    }

    /// A part of a piece has arrived: its source is not slow.
    fn progress(&mut self, piece: usize, from: MemberId) {
        if let Slot::Asked { since, of, .. } = &mut self.slots[piece]
            && *of == from
        {
            *since = Instant::now();
        }
    }

    fn arrived(&mut self, piece: usize, bytes: Bytes) {
        let slot = &mut self.slots[piece];
        match slot {
            Slot::Asked { .. } => *slot = Slot::Here(bytes),
            // Another source was faster.
            Slot::Here(_) | Slot::Delivered | Slot::Open => {}
        }
    }

    /// A source will not send a piece.
    fn give_back(&mut self, plan: &Plan, piece: usize, member: MemberId) {
        let Slot::Asked { of, also, .. } = &mut self.slots[piece] else {
            return;
        };
        match also.take() {
            Some(second) if *of == member => *of = second,
            Some(_) => {}
            None => {
                self.slots[piece] = Slot::Open;
                self.open += 1;
                self.bytes -= plan.pieces[piece].bytes as usize;
                self.first_open = self.first_open.min(piece);
            }
        }
    }

    /// The next piece in order, if it is here.
    fn deliver(&mut self, plan: &Plan) -> Option<Fetched> {
        let slot = self.slots.get_mut(self.delivered)?;
        if !matches!(slot, Slot::Here(_)) {
            return None;
        }
        let Slot::Here(bytes) = core::mem::replace(slot, Slot::Delivered) else {
            return None;
        };
        let piece: Piece = plan.pieces[self.delivered];
        self.bytes -= piece.bytes as usize;
        self.delivered += 1;
        Some(Fetched { piece, bytes })
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
