//! Carries the consensus library's messages to other members.
//!
//! | what | how |
//! |---|---|
//! | log entries | one stream per follower and leadership, pipelined: requests and acknowledgements flow independently |
//! | heartbeats, votes, hand-over | question and answer on the bond's control stream |
//! | snapshots | what there is to fetch, on a stream of its own |
//! | what a member fetches | a stream per source |
//!
//! The library takes an answer for granted. So each is checked against what was sent, and one by which
//! this member would have to step down counts only from whom votes: see [`Client::check`].

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use openraft::{
    OptionalSend,
    alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, VoteOf},
    base::{BoxFuture as RaftFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
        StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::{
    acks::Acks,
    append_stream::{AppendStream, Sent},
    commit_notices::CommitNotices,
    peers::Peers,
    progress::{Progress, is_set_back},
};
use crate::groups::{
    catch_up::{
        snapshot_cache::{CachedSnapshot, SnapshotLease},
        snapshot_data::SnapshotData,
        wire::{Manifest, SnapshotHeader},
    },
    consensus::wire::{self, Request, Response, SnapshotReply},
    log::types::Types,
    model::{
        lineage::MemberId,
        member_stream::{Channel, Gone, MemberStream},
    },
};

const FIRST_RETRY: Duration = Duration::from_millis(10);
const LAST_RETRY: Duration = Duration::from_millis(320);

pub(super) type Rpc<T> = Result<T, RPCError<Types>>;

/// Makes clients for the consensus library.
#[derive(Clone)]
pub(crate) struct ClientFactory {
    local: MemberId,
    peers: Arc<dyn Peers>,
    commit_notices: Arc<CommitNotices>,
    acks: Arc<Acks>,
    progress: Progress,
}

/// Sends to one member.
#[derive(Clone)]
pub(crate) struct Client {
    local: MemberId,
    peers: Arc<dyn Peers>,
    commit_notices: Arc<CommitNotices>,
    acks: Arc<Acks>,
    progress: Progress,
    target: MemberId,
    heartbeats: bool,
}

impl ClientFactory {
    pub(crate) fn new(
        local: MemberId,
        peers: Arc<dyn Peers>,
        commit_notices: Arc<CommitNotices>,
        acks: Arc<Acks>,
    ) -> Self {
        Self {
            local,
            peers,
            commit_notices,
            acks,
            progress: Progress::default(),
        }
    }

    /// Progress of the others, as this leader knows it.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn client(&self, target: MemberId, heartbeats: bool) -> Client {
        Client {
            local: self.local,
            peers: self.peers.clone(),
            commit_notices: self.commit_notices.clone(),
            acks: self.acks.clone(),
            progress: self.progress.clone(),
            target,
            heartbeats,
        }
    }
}

impl RaftNetworkFactory<Types> for ClientFactory {
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

    /// Returns whether this member steps down for a vote that the other one tells of. A member that
    /// may not vote may not depose a leader either, whoever made it say so; and of a vote for this
    /// member it hears from nobody first.
    fn may_tell_of(&self, vote: &VoteOf<Types>) -> bool {
        let is_anothers = vote.leader_id.voted_for != self.local;
        is_anothers && self.peers.may_vote(&self.target) && wire::is_in_bounds(vote)
    }

    /// Keeps answers from the consensus library that no honest member gives to this request.
    fn check(
        &self,
        sent: &Sent,
        result: StreamAppendResult<Types>,
    ) -> Result<StreamAppendResult<Types>, Gone> {
        let is_sound = match &result {
            Ok(acknowledged) => *acknowledged == sent.last,
            Err(StreamAppendError::Conflict(conflict)) => Some(*conflict) == sent.prev,
            Err(StreamAppendError::HigherVote(vote)) => self.may_tell_of(vote),
        };
        if is_sound {
            return Ok(result);
        }
        tracing::debug!(member = %self.target, ?result, "an answer counts for nothing");
        Err(Gone)
    }

    async fn heartbeat(
        &self,
        append: AppendEntriesRequest<Types>,
    ) -> Rpc<StreamAppendResult<Types>> {
        let committed = append.leader_commit.as_ref();
        self.commit_notices
            .note(committed.map(openraft::LogId::index));
        // What the member has acknowledged.
        let matched = append.prev_log_id;
        let sent = Sent::of(&append);
        let asked = Instant::now();
        let backed = self.acks.is_backed();
        let append = append.into();
        match self.ask(&Request::Heartbeat { append, backed }).await? {
            Response::Heartbeat(reply) => {
                let result = self.check(&sent, reply.into()).map_err(gone)?;
                if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
                    self.acks.note(self.target, asked);
                }
                Ok(self.examine(result, matched).await.map_err(gone)?)
            }
            _ => refused(),
        }
    }

    /// Keeps it from the consensus library that a member has lost what it has acknowledged: nobody
    /// must rely on that member any more. Tells the member.
    async fn examine(
        &self,
        result: StreamAppendResult<Types>,
        matched: Option<LogIdOf<Types>>,
    ) -> Result<StreamAppendResult<Types>, Gone> {
        if let (Err(StreamAppendError::Conflict(conflict)), Some(matched)) = (&result, matched)
            && is_set_back(Some(&matched), conflict)
        {
            let confirmed = self.ask(&Request::SetBack { matched }).await;
            if matches!(confirmed, Ok(Response::SetBack)) {
                tracing::warn!(
                    member = %self.target, acknowledged = matched.index(),
                    "a member has lost what it had acknowledged: it is to stay out of the group"
                );
            }
            return Err(Gone);
        }
        Ok(result)
    }

    async fn send_snapshot(
        &self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotData>,
    ) -> Result<SnapshotResponse<Types>, Gone> {
        let SnapshotData::CachedSnapshot(held) = snapshot.snapshot else {
            return Err(Gone);
        };
        // Whoever fails again and again must not keep the snapshot, and the log behind it, alive.
        sleep_until(self.progress.rest(self.target)).await;
        let stream = self.peers.open(self.target, Channel::Snapshot).await?;
        let mut held = SnapshotLease::new(held);
        let sent = offer_snapshot(&held.0, vote, snapshot.meta, stream).await;
        let is_sound =
            |reply: &SnapshotResponse<Types>| reply.vote == vote || self.may_tell_of(&reply.vote);
        let sent = sent.and_then(|reply| is_sound(&reply).then_some(reply).ok_or(NotTaken::Gone));
        let noted = sent.as_ref().map(|_| ()).map_err(|not_taken| *not_taken);
        note_sent(&self.progress, self.target, &mut held, noted);
        sent.map_err(|_| Gone)
    }
}

/// Notes how sending a snapshot has ended. Nothing is kept for a member that fails again and again.
pub(crate) fn note_sent(
    progress: &Progress,
    member: MemberId,
    held: &mut SnapshotLease,
    sent: Result<(), NotTaken>,
) {
    let is_failing = match sent {
        Err(NotTaken::Overrun) => progress.note_overrun(member),
        _ => progress.note_snapshot(member, sent.is_ok()),
    };
    if is_failing {
        held.let_go();
        tracing::warn!(
            %member, index = held.0.id.index,
            "a member takes no snapshot: it gets the next one after a while"
        );
    }
}

/// Reasons why a snapshot was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    Gone,
    /// The log behind it was discarded meanwhile.
    Overrun,
}

impl From<Gone> for NotTaken {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// Offers a snapshot, and waits until it is taken, or in vain.
pub(crate) async fn offer_snapshot(
    held: &Arc<CachedSnapshot>,
    vote: VoteOf<Types>,
    meta: SnapshotMetaOf<Types>,
    stream: MemberStream,
) -> Result<SnapshotResponse<Types>, NotTaken> {
    offer_in_turn(held, vote, meta, None, stream).await
}

/// Likewise; where there are many receivers, each waits for its turn.
///
/// The receiver hears of the snapshot at once. To name its pieces means to encode all of it, which may
/// take long, and ends when the receiver has gone.
pub(crate) async fn offer_in_turn(
    held: &Arc<CachedSnapshot>,
    vote: VoteOf<Types>,
    meta: SnapshotMetaOf<Types>,
    turns: Option<&Semaphore>,
    stream: MemberStream,
) -> Result<SnapshotResponse<Types>, NotTaken> {
    let MemberStream { mut tx, mut rx } = stream;
    let header = SnapshotHeader {
        vote,
        meta: meta.into(),
        head: held.head.clone(),
    };
    tx.send(&wire::encode(&header)?).await?;
    let encoding = async {
        let _turn = match turns {
            Some(turns) => Some(turns.acquire().await.map_err(|_| Gone)?),
            None => None,
        };
        held.pieces().await.map_err(|error| {
            tracing::error!(%error, "the snapshot can't be sent: no member can join with it");
            Gone
        })
    };
    let pieces = tokio::select! {
        biased;
        // There is nothing to reply to yet.
        _ = rx.recv() => return Err(NotTaken::Gone),
        pieces = encoding => pieces?,
    };
    let manifest = wire::encode(&Manifest(pieces.to_vec()))?;
    tx.send(&manifest).await?;
    tokio::select! {
        reply = rx.recv() => {
            let reply: SnapshotReply = wire::decode(&reply?)?;
            Ok(reply.into())
        }
        overrun = held.given_up() => {
            // A receiver that this does not reach finds its transfer ended.
            if tx.send(&wire::encode(&overrun)?).await.is_ok() {
                tx.finish();
            }
            Err(NotTaken::Overrun)
        }
    }
}

/// Returns whether a vote is a candidate's own, or an earlier one of its own.
fn is_known(told: &VoteOf<Types>, sent: &VoteOf<Types>) -> bool {
    let rank = |vote: &VoteOf<Types>| (vote.leader_id.term, vote.committed);
    told.leader_id.voted_for == sent.leader_id.voted_for && rank(told) <= rank(sent)
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
            let (client, vote) = (self.clone(), first.vote);
            let mut session =
                AppendStream::new(self.target, self.commit_notices.clone(), input, stream);
            session.send(first).await.map_err(gone)?;
            let results = stream::unfold(Some((session, client)), move |session| async move {
                let (mut session, client) = session?;
                let result = match session.next_result().await {
                    Ok(Some((sent, result))) => {
                        let matched = client.progress.matched(client.target, &vote);
                        match client.check(&sent, result) {
                            Ok(result) => client.examine(result, matched).await.map(Some),
                            Err(Gone) => Err(Gone),
                        }
                    }
                    Ok(None) => Ok(None),
                    Err(Gone) => Err(Gone),
                };
                match result {
                    Ok(Some(result)) => {
                        let going_on = result.is_ok();
                        Some((Ok(result), going_on.then_some((session, client))))
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
        if !self.peers.may_vote(&self.target) {
            return refused();
        }
        let sent = request.vote;
        match self.ask(&Request::Vote(request.into())).await? {
            Response::Vote(reply)
                if is_known(&reply.vote, &sent) || self.may_tell_of(&reply.vote) =>
            {
                Ok(reply.into())
            }
            _ => refused(),
        }
    }

    async fn pre_vote(&mut self, _: VoteRequest<Types>, _: RPCOption) -> Rpc<VoteResponse<Types>> {
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
        match self.ask(&Request::Transfer(request.into())).await? {
            Response::Transfer(reply) => Ok(reply.into()),
            _ => refused(),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits =
            core::iter::successors(Some(FIRST_RETRY), |last| Some((*last * 2).min(LAST_RETRY)));
        Some(Backoff::new(waits))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use openraft::{impls::leader_id_std::LeaderId, vote::RaftLeaderId as _};

    use super::*;
    use crate::{groups::ConsensusConfig, primitives::Bytes};

    /// Peers that nothing reaches, and that may vote or not.
    struct Silent {
        vote: bool,
    }

    impl Peers for Silent {
        fn ask(&self, _: MemberId, _: Bytes) -> RaftFuture<'static, Result<Bytes, Gone>> {
            std::future::ready(Err(Gone)).boxed()
        }

        fn members(&self) -> Vec<MemberId> {
            Vec::new()
        }

        fn reach(&self, _: MemberId) {}

        fn may_vote(&self, _: &MemberId) -> bool {
            self.vote
        }

        fn open(&self, _: MemberId, _: Channel) -> RaftFuture<'static, Result<MemberStream, Gone>> {
            std::future::ready(Err(Gone)).boxed()
        }
    }

    #[test]
    fn an_answer_that_no_honest_member_gives_counts_for_nothing() {
        let leader = |term| LeaderId {
            term,
            voted_for: MemberId::default(),
        };
        let id = |index| Some(LogIdOf::<Types>::new(leader(3).to_committed(), index));
        let higher = |term| {
            Err(StreamAppendError::HigherVote(VoteOf::<Types> {
                leader_id: leader(term),
                committed: true,
            }))
        };
        let conflict = |index| Err(StreamAppendError::Conflict(id(index).unwrap()));
        let sent = Sent {
            prev: id(4),
            last: id(9),
        };
        let first = Sent {
            prev: None,
            last: None,
        };
        for vote in [true, false] {
            let timing = ConsensusConfig::default().timing();
            let local = MemberId::fresh(iroh::SecretKey::from_bytes(&[7; 32]).public());
            let factory = ClientFactory::new(
                local,
                Arc::new(Silent { vote }),
                Arc::default(),
                Arc::new(Acks::new(timing)),
            );
            let client = factory.client(MemberId::default(), false);
            let counts = |sent: &Sent, result| client.check(sent, result).is_ok();
            assert!(counts(&sent, Ok(id(9))) && counts(&first, Ok(None)));
            for acknowledged in [None, id(4), id(8), id(10)] {
                assert!(!counts(&sent, Ok(acknowledged)), "{acknowledged:?}");
            }
            assert!(counts(&sent, conflict(4)));
            assert!(!counts(&sent, conflict(3)) && !counts(&first, conflict(4)));
            assert_eq!(counts(&sent, higher(1_000)), vote);
            assert!(!counts(&sent, higher(u64::MAX)), "terms are added up");
            let mut own = higher(1_000);
            if let Err(StreamAppendError::HigherVote(told)) = &mut own {
                told.leader_id.voted_for = local;
            }
            assert!(!counts(&sent, own), "nobody makes a leader of this member");
        }
    }
}
