//! What a member answers to the others, and how it reaches the leader.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};

use super::{
    network::Channel,
    node::NodeCore,
    types::Types,
    wire::{self, Accepted, Forward, Request, Response},
};
use crate::{
    groups::{
        Index, commands,
        duplex::{Duplex, FrameSender, Gone},
        member::MemberId,
        submissions::{Parcel, Route},
    },
    primitives::Bytes,
};

/// Between two attempts to reach the leader.
const FORWARD_RETRY: Duration = Duration::from_millis(20);

impl NodeCore {
    /// Answers a question of another member.
    pub(crate) async fn answer(&self, request: &Bytes) -> Result<Bytes, Gone> {
        let response = match wire::decode(request)? {
            Request::Heartbeat(request) => self.on_heartbeat(request).await,
            Request::Vote(request) => self.raft.vote(request).await.map(Response::Vote).ok(),
            Request::PreVote(request) => self.raft.pre_vote(request).await.map(Response::Vote).ok(),
            Request::Transfer(request) => {
                let handled = self.raft.handle_transfer_leader(request).await;
                handled.map(Response::Transfer).ok()
            }
            Request::ReadIndex => self.own_read_index().await.map(Response::ReadIndex).ok(),
        };
        wire::encode(&response.unwrap_or(Response::Refused))
    }

    async fn on_heartbeat(&self, request: AppendEntriesRequest<Types>) -> Option<Response> {
        self.note(&request);
        let (prev, last) = (
            request.prev_log_id,
            request.entries.last().map(|e| e.log_id),
        );
        let response = self.raft.append_entries(request).await.ok()?;
        let last = last.or(prev);
        Some(Response::Heartbeat(response.into_stream_result(prev, last)))
    }

    fn note(&self, request: &AppendEntriesRequest<Types>) {
        let commit = request.leader_commit.as_ref().map(openraft::LogId::index);
        self.on_contact(request.vote.leader_id.term, commit);
    }

    /// Takes log entries from a leader, until it ends the stream.
    pub(crate) async fn serve_append(self: &Arc<Self>, stream: Duplex) {
        let Duplex { mut tx, rx } = stream;
        let node = self.clone();
        let requests = stream::unfold((rx, node), |(mut rx, node)| async move {
            let frame = rx.recv().await.ok()?;
            let request: AppendEntriesRequest<Types> = wire::decode(&frame).ok()?;
            node.note(&request);
            Some((request, (rx, node)))
        });
        let mut results = std::pin::pin!(self.raft.stream_append(Box::pin(requests)).fuse());
        while let Some(result) = results.next().await {
            let Ok(result) = result else { return };
            if acknowledge(&mut tx, &result, &mut results).await.is_err() {
                return;
            }
        }
        // The last acknowledgement may say that the logs differ: it must arrive.
        tx.finish();
    }

    /// Takes commands from a member, for as long as this member leads.
    pub(crate) async fn serve_forward(&self, origin: MemberId, stream: Duplex) -> Result<(), Gone> {
        let Duplex { mut tx, mut rx } = stream;
        let mut tenures = self.tenures.subscribe();
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
        let Forward { first, count, row } = wire::decode(frame)?;
        let in_bounds = first > 0 && count > 0 && first.checked_add(u64::from(count)).is_some();
        if !in_bounds || !commands::has_exactly(&row, count) {
            return Err(Gone);
        }
        let parcel = Parcel { first, count, row };
        let index = self.propose(origin, parcel).map_err(|_| Gone)?;
        Ok(Accepted {
            first,
            count,
            index: index.map(|index| index.0),
        })
    }

    /// Sends this member's commands to whoever leads, for as long as the member exists.
    pub(super) async fn forward_commands(&self) {
        let mut session = 0;
        loop {
            self.submissions.wait_unsent().await;
            while !self.submissions.is_empty() && self.submissions.route() != Route::Local {
                session += 1;
                if let Some(leader) = self.remote_leader() {
                    // However it ends: what was not applied is sent again.
                    let _ = self.forward_to(leader, session).await;
                    if self.submissions.route() == Route::Remote(session) {
                        self.submissions.set_route(Route::Hold);
                    }
                }
                tokio::time::sleep(FORWARD_RETRY).await;
            }
        }
    }

    fn remote_leader(&self) -> Option<MemberId> {
        let view = self.current_leader()?;
        (view != self.member).then_some(view)
    }

    /// One forwarding session; ends when the leader does or another one is known.
    async fn forward_to(&self, leader: MemberId, session: u64) -> Result<(), Gone> {
        let route = Route::Remote(session);
        let mut view = self.subscribe();
        let Duplex { mut tx, mut rx } = self.peers.open(leader, Channel::Forward).await?;
        self.submissions.set_route(route);
        loop {
            let mut queued = false;
            while let Some(Parcel { first, count, row }) = self.submissions.take(route) {
                tx.queue(&wire::encode(&Forward { first, count, row })?)?;
                queued = true;
            }
            if queued {
                tx.flush().await?;
            }
            tokio::select! {
                _ = view.wait_for(|view| view.leader != Some(leader)) => return Ok(()),
                frame = rx.recv() => {
                    let accepted: Accepted = wire::decode(&frame?)?;
                    let index = accepted.index.map(Index);
                    self.submissions.accepted(accepted.first, accepted.count, index);
                }
                () = self.submissions.wait_unsent() => {
                    if self.submissions.route() != route {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Asks whoever leads up to where must be applied for a linearizable read.
    pub(super) async fn read_index(&self) -> Result<u64, Gone> {
        let Some(leader) = self.remote_leader() else {
            return self.own_read_index().await;
        };
        let request = wire::encode(&Request::ReadIndex)?;
        match wire::decode(&self.peers.ask(leader, request).await?)? {
            Response::ReadIndex(index) => Ok(index),
            _ => Err(Gone),
        }
    }
}

/// Sends one acknowledgement, and with it those that are ready as well.
async fn acknowledge<S>(
    tx: &mut FrameSender,
    first: &StreamAppendResult<Types>,
    results: &mut S,
) -> Result<(), Gone>
where
    S: futures::Stream<Item = Result<StreamAppendResult<Types>, openraft::errors::Fatal<Types>>>
        + Unpin,
{
    tx.queue(&wire::encode(first)?)?;
    while let Some(Some(Ok(next))) = results.next().now_or_never() {
        tx.queue(&wire::encode(&next)?)?;
    }
    tx.flush().await
}
