//! Carries the consensus library's messages to other members.
//!
//! | what | how |
//! |---|---|
//! | log entries | one stream per follower and leadership, pipelined: requests and acknowledgements flow independently |
//! | heartbeats, votes, hand-over | question and answer on the bond's control stream |
//! | snapshots | what there is to fetch, on a stream of its own |
//! | what a member fetches | a stream per source |

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use openraft::{
    OptionalSend,
    alias::{SnapshotOf, VoteOf},
    base::{BoxFuture as RaftFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};

use tokio::time::Instant;

use super::{
    acks::Acks,
    peers::Peers,
    session::Session,
    shelf::InUse,
    snapshot::SnapshotData,
    told::Told,
    types::Types,
    wire::{self, Manifest, Request, Response, SnapshotHeader, SnapshotReply},
};
use crate::groups::{
    duplex::{Channel, Gone},
    lineage::MemberId,
};

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_millis(320);

pub(super) type Rpc<T> = Result<T, RPCError<Types>>;

/// Makes clients for the consensus library.
#[derive(Clone)]
pub(crate) struct Network {
    peers: Arc<dyn Peers>,
    told: Arc<Told>,
    acks: Arc<Acks>,
}

/// Sends to one member.
pub(crate) struct Client {
    peers: Arc<dyn Peers>,
    told: Arc<Told>,
    acks: Arc<Acks>,
    target: MemberId,
    heartbeats: bool,
}

impl Network {
    pub(super) fn new(peers: Arc<dyn Peers>, told: Arc<Told>, acks: Arc<Acks>) -> Self {
        Self { peers, told, acks }
    }

    fn client(&self, target: MemberId, heartbeats: bool) -> Client {
        Client {
            peers: self.peers.clone(),
            told: self.told.clone(),
            acks: self.acks.clone(),
            target,
            heartbeats,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: MemberId, (): &()) -> Client {
        self.client(target, false)
    }

    async fn new_heartbeat_client(&mut self, target: MemberId, (): &()) -> Client {
        self.client(target, true)
    }
}

fn gone(error: Gone) -> Unreachable<Types> {
    Unreachable::new(&error)
}

fn refused<T>() -> Rpc<T> {
    Err(gone(Gone).into())
}

impl Client {
    async fn ask(&self, request: &Request) -> Rpc<Response> {
        let request = wire::encode(request).map_err(gone)?;
        let response = self.peers.ask(self.target, request).await.map_err(gone)?;
        Ok(wire::decode(&response).map_err(gone)?)
    }

    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<Types>,
    ) -> Rpc<StreamAppendResult<Types>> {
        let committed = request.leader_commit.as_ref();
        self.told.note(committed.map(openraft::LogId::index));
        let asked = Instant::now();
        match self.ask(&Request::Heartbeat(request)).await? {
            Response::Heartbeat(result) => {
                if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
                    self.acks.note(self.target, asked);
                }
                Ok(result)
            }
            _ => refused(),
        }
    }

    async fn send_snapshot(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
    ) -> Result<SnapshotResponse<Types>, Gone> {
        let SnapshotData::Held(held) = snapshot.snapshot else {
            return Err(Gone);
        };
        let held = InUse::new(held);
        let mut stream = self.peers.open(self.target, Channel::Snapshot).await?;
        let header = SnapshotHeader {
            vote,
            meta: snapshot.meta.into(),
            head: held.0.head.clone(),
        };
        stream.tx.send(&wire::encode(&header)?).await?;
        let pieces = held.0.pieces().await.map_err(|error| {
            tracing::warn!(%error, "the snapshot can't be sent");
            Gone
        })?;
        let manifest = wire::encode(&Manifest(pieces.to_vec()))?;
        stream.tx.send(&manifest).await?;
        let reply: SnapshotReply = wire::decode(&stream.rx.recv().await?)?;
        Ok(reply.0)
    }
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Types>> {
        // Everything goes through `stream_append`.
        refused()
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _: RPCOption,
    ) -> RaftFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<Types>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.heartbeats {
                let results = input.then(|request| self.heartbeat(request));
                return Ok(Box::pin(results) as BoxStream<'s, _>);
            }
            // The wait after a failure lies in the input: it must be taken from before anything
            // can fail again, or an unreachable member would be tried without end.
            let Some(first) = input.next().await else {
                return Ok(Box::pin(stream::empty()) as BoxStream<'s, _>);
            };
            let stream = self.peers.open(self.target, Channel::Append).await;
            let stream = stream.map_err(gone)?;
            let mut session = Session::new(self.target, self.told.clone(), input, stream);
            session.send(first).await.map_err(gone)?;
            let results = stream::unfold(Some(session), |session| async move {
                let mut session = session?;
                match session.next_result().await {
                    Ok(Some(result)) => {
                        let going_on = result.is_ok();
                        Some((Ok(result), going_on.then_some(session)))
                    }
                    Ok(None) => None,
                    Err(error) => Some((Err(gone(error).into()), None)),
                }
            });
            Ok(Box::pin(results) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Rpc<VoteResponse<Types>> {
        match self.ask(&Request::Vote(request)).await? {
            Response::Vote(response) => Ok(response),
            _ => refused(),
        }
    }

    async fn pre_vote(
        &mut self,
        _: VoteRequest<Types>,
        _: RPCOption,
    ) -> Rpc<VoteResponse<Types>> {
        // See `elections`.
        refused()
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot) => Ok(sent.map_err(gone)?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Types>> {
        match self.ask(&Request::Transfer(request)).await? {
            Response::Transfer(response) => Ok(response),
            _ => refused(),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits =
            core::iter::successors(Some(FIRST_RETRY), |last| Some((*last * 2).min(LAST_RETRY)));
        Some(Backoff::new(waits))
    }
}
