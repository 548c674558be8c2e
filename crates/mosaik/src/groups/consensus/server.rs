//! Server of the other members' requests, and the way to the leader.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use openraft::{
    alias::LogIdOf,
    raft::{AppendEntriesRequest, StreamAppendResult},
};

use tokio::time::Instant;

use super::{
    core::NodeCore,
    leader::Proposed,
    pending_commands::{CommandRoute, Parcel},
    wire::{self, Accepted, AppendEntries, AppendReply, Forward, Request, Response},
};
use crate::{
    groups::{
        Index,
        log::types::Types,
        machine::commands,
        model::{
            lineage::MemberId,
            member_stream::{Channel, FrameSender, Gone, MemberStream},
        },
    },
    primitives::Bytes,
};

/// Append requests of one stream that the consensus library has not answered yet.
const MAX_OPEN_APPENDS: usize = 64;
/// Retry interval for reaching the leader.
const FORWARD_RETRY: Duration = Duration::from_millis(20);
/// A stream to the leader that can't be opened within this time is tried anew.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval in which an observer that sends commands asks for the bond with the leader again: it is
/// given up some time after that.
const REACH_INTERVAL: Duration = Duration::from_secs(15);

/// An append request on its way to the disk; `None` when consensus has stopped.
type Appending = BoxFuture<'static, Option<StreamAppendResult<Types>>>;

impl NodeCore {
    /// Answers a question of another member.
    pub(crate) async fn answer(&self, from: MemberId, request: &Bytes) -> Result<Bytes, Gone> {
        let response = match wire::decode(request)? {
            Request::Heartbeat { append, .. } if !self.is_anothers(&append.vote) => None,
            Request::Vote(request) if !self.is_anothers(&request.vote) => None,
            Request::Heartbeat { append, backed } => self.on_heartbeat(append.into(), backed).await,
            Request::Vote(request) => {
                let voting = self.raft.vote(self.admitted(request.into()));
                let vote = self.while_running(voting).await;
                vote.map(|vote| Response::Vote(vote.into()))
            }
            Request::PreVote { last } => Some(Response::PreVote {
                granted: self.would_vote(from, last.as_ref()),
            }),
            Request::Transfer(request) => {
                let handling = self.raft.handle_transfer_leader(request.into());
                let handled = self.while_running(handling).await;
                handled.map(|handled| Response::Transfer(handled.into()))
            }
            Request::Confirm { term } => self
                .stands_by(from, term)
                .then_some(Response::Confirmed(self.member)),
            Request::ReadIndex { term } => self.answer_read_index(from, term).await.ok(),
            Request::SetBack { matched } => self.is_set_back(from, matched).await,
        };
        wire::encode(&response.unwrap_or(Response::Refused))
    }

    /// Answers a question of a member that has not proven the write key: reads, and nothing that
    /// bears on votes, leaders or the log.
    pub(crate) async fn answer_guest(
        &self,
        from: MemberId,
        request: &Bytes,
    ) -> Result<Bytes, Gone> {
        match wire::decode(request)? {
            Request::ReadIndex { .. } => self.answer(from, request).await,
            _ => wire::encode(&Response::Refused),
        }
    }

    async fn on_heartbeat(
        &self,
        request: AppendEntriesRequest<Types>,
        backed: bool,
    ) -> Option<Response> {
        if backed {
            self.note(&request);
        }
        let (prev, last) = (
            request.prev_log_id,
            request.entries.last().map(|e| e.log_id),
        );
        let leader = request.vote.leader_id;
        let appending = self.raft.append_entries(request);
        let last = last.or(prev);
        tokio::select! {
            biased;
            response = self.while_running(appending) => {
                let result = response?.into_stream_result(prev, last);
                Some(Response::Heartbeat(result.into()))
            }
            // The library answers when everything accepted is on disk. That this member lives and
            // follows does not depend on how fast its disk is.
            () = tokio::time::sleep(self.timing.beat / 4),
                if self.stands_by(leader.voted_for, leader.term) && prev <= self.log.last_id() =>
            {
                Some(Response::Heartbeat(AppendReply::Stored(prev)))
            }
        }
    }

    /// Believes a leader only what can be seen here as well.
    async fn is_set_back(&self, from: MemberId, matched: LogIdOf<Types>) -> Option<Response> {
        let leader = self.current_leader();
        let is_set_back = leader == Some(from) && self.log.is_set_back(&matched).await.ok()?;
        is_set_back.then_some(Response::SetBack)
    }

    fn note(&self, request: &AppendEntriesRequest<Types>) {
        let commit = request.leader_commit.as_ref().map(openraft::LogId::index);
        self.on_contact(request.vote.leader_id.term, commit);
    }

    /// Takes log entries from a leader, until it ends the stream.
    pub(crate) async fn serve_append(self: &Arc<Self>, stream: MemberStream) {
        let MemberStream { mut tx, mut rx } = stream;
        let mut results = FuturesOrdered::new();
        let mut ended = false;
        while !ended || !results.is_empty() {
            let result = tokio::select! {
                biased;
                Some(result) = results.next(), if !results.is_empty() => result,
                frame = rx.recv(), if !ended && results.len() < MAX_OPEN_APPENDS => {
                    match frame.and_then(|frame| self.append(&frame)) {
                        Ok(result) => results.push_back(result),
                        Err(Gone) => ended = true,
                    }
                    continue;
                }
            };
            let Some(result) = result else { return };
            match acknowledge(&mut tx, result, &mut results).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(Gone) => return,
            }
        }
        // The last acknowledgement may say that the logs differ: it must arrive.
        tx.finish();
    }

    /// Hands a request to the consensus library; the outcome is known once the entries are stored.
    fn append(self: &Arc<Self>, frame: &Bytes) -> Result<Appending, Gone> {
        let append: AppendEntries = wire::decode(frame)?;
        if !self.is_anothers(&append.vote) {
            return Err(Gone);
        }
        let request = AppendEntriesRequest::<Types>::from(append);
        self.note(&request);
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let core = self.clone();
        let mut appending = Box::pin(async move {
            let appending = core.raft.append_entries(request);
            let response = core.while_running(appending).await?;
            Some(response.into_stream_result(prev, last))
        });
        // In the order of arrival, also into the library's queue.
        match tokio::task::unconstrained(&mut appending).now_or_never() {
            Some(result) => Ok(futures::future::ready(result).boxed()),
            None => Ok(appending),
        }
    }

    /// Takes commands from a member, for as long as this member leads.
    pub(crate) async fn serve_forward(
        &self,
        origin: MemberId,
        stream: MemberStream,
    ) -> Result<(), Gone> {
        let MemberStream { mut tx, mut rx } = stream;
        let mut tenures = self.leader.tenures();
        let patience = tokio::time::timeout(self.timing.election, tenures.wait_for(|t| *t != 0));
        let Ok(Ok(tenure)) = patience.await.map(|tenure| tenure.map(|tenure| *tenure)) else {
            return Err(Gone);
        };
        loop {
            let frame = tokio::select! {
                biased;
                _ = tenures.wait_for(|current| *current != tenure) => return Err(Gone),
                frame = rx.recv() => frame?,
            };
            let mut next = Some(frame);
            while let Some(frame) = next.take() {
                let accepted = self.accept(origin, &frame)?;
                tx.queue(&wire::encode(&accepted)?)?;
                next = rx.recv().now_or_never().transpose()?;
            }
            tx.flush().await?;
        }
    }

    fn accept(&self, origin: MemberId, frame: &Bytes) -> Result<Accepted, Gone> {
        let forward: Forward = wire::decode(frame)?;
        let Forward {
            first,
            count,
            row,
            again,
        } = forward;
        let in_bounds = first > 0 && count > 0 && first.checked_add(u64::from(count)).is_some();
        if !in_bounds || !commands::has_exactly(&row, count) {
            return Err(Gone);
        }
        let parcel = Parcel {
            first,
            count,
            row,
            again,
        };
        let proposed = self.leader.propose(origin, parcel).map_err(|_| Gone)?;
        let new = match proposed {
            Proposed::New(first, index) => Some((first, index.0)),
            Proposed::Known | Proposed::Forgotten => None,
        };
        Ok(Accepted {
            first,
            count,
            new,
            forgotten: proposed == Proposed::Forgotten,
        })
    }

    /// Sends this member's commands to the current leader, for as long as the member exists.
    pub(super) async fn forward_commands(&self) {
        loop {
            while !self.pending_commands.is_empty()
                && self.pending_commands.route() != CommandRoute::Local
            {
                if let Some(leader) = self.remote_leader() {
                    if !self.peers.takes_commands(&leader) {
                        self.pending_commands.withdraw();
                        break;
                    }
                    let route = self.pending_commands.new_session();
                    // However it ends: what was not applied is sent again.
                    let _ = self.forward_to(leader, route).await;
                    self.pending_commands.leave_route(route);
                }
                tokio::time::sleep(FORWARD_RETRY).await;
            }
            self.pending_commands.wait_unsent().await;
        }
    }

    pub(super) fn remote_leader(&self) -> Option<MemberId> {
        let view = self.current_leader()?;
        (view != self.member).then_some(view)
    }

    /// Has an observer, which has bonds with a few only, make one with the leader, or keep it.
    fn reach(&self, leader: MemberId) {
        if self.feed.observes() {
            self.peers.reach(leader);
        }
    }

    /// One forwarding session; ends when the leader does or another one is known.
    async fn forward_to(&self, leader: MemberId, route: CommandRoute) -> Result<(), Gone> {
        let mut view = self.subscribe();
        self.reach(leader);
        let mut reached = Instant::now();
        let channel = Channel::Forward(self.pending_commands.origin());
        let opening = tokio::time::timeout(OPEN_TIMEOUT, self.peers.open(leader, channel));
        let MemberStream { mut tx, mut rx } = tokio::select! {
            _ = view.wait_for(|view| view.leader != Some(leader)) => return Ok(()),
            opened = opening => opened.map_err(|_| Gone)??,
        };
        if !self.pending_commands.begin_session(route) {
            // This member leads by now.
            return Ok(());
        }
        loop {
            let mut queued = false;
            while let Some(parcel) = self.pending_commands.take(route) {
                let forward = Forward {
                    first: parcel.first,
                    count: parcel.count,
                    row: parcel.row,
                    again: parcel.again,
                };
                tx.queue(&wire::encode(&forward)?)?;
                queued = true;
            }
            if queued && reached.elapsed() >= REACH_INTERVAL {
                self.reach(leader);
                reached = Instant::now();
            }
            if queued {
                // A leader that takes nothing any more must not keep the next one waiting.
                tokio::select! {
                    biased;
                    flushed = tx.flush() => flushed?,
                    _ = view.wait_for(|view| view.leader != Some(leader)) => return Ok(()),
                }
            }
            tokio::select! {
                _ = view.wait_for(|view| view.leader != Some(leader)) => return Ok(()),
                frame = rx.recv() => {
                    let Accepted { first, count, new, forgotten } = wire::decode(&frame?)?;
                    if forgotten {
                        self.pending_commands.refused_as_forgotten(first, count);
                    } else {
                        let new = new.map(|(first, index)| (first, Index(index)));
                        self.pending_commands.accepted(first, count, new);
                    }
                }
                () = self.pending_commands.wait_unsent() => {
                    if self.pending_commands.route() != route {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Sends one acknowledgement, and with it those that are ready as well; returns whether more can
/// follow.
async fn acknowledge(
    tx: &mut FrameSender,
    first: StreamAppendResult<Types>,
    results: &mut FuturesOrdered<Appending>,
) -> Result<bool, Gone> {
    let mut result = first;
    let accepts_more = loop {
        let is_stored = result.is_ok();
        tx.queue(&wire::encode(&AppendReply::from(result))?)?;
        if !is_stored {
            break false;
        }
        match results.next().now_or_never() {
            Some(Some(Some(next))) => result = next,
            Some(Some(None)) => return Err(Gone),
            Some(None) | None => break true,
        }
    };
    tx.flush().await?;
    Ok(accepts_more)
}
