//! Catch-up of a member: by a snapshot that its leader offers, unasked or asked, or by the log before
//! it belongs to the membership.

use std::time::Duration;

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use openraft::alias::{SnapshotOf, VoteOf};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    committed::{index_after, is_installable},
    core::NodeCore,
    wire::{self, Layout, SnapshotReply},
};
use crate::{
    groups::{
        catch_up::{
            fetch::{Order, Sources, fetch},
            snapshot_data::{FetchedSnapshot, Partial, SnapshotData},
            wire::{Ask, Fetched, Manifest, Overrun, Plan, SnapshotHeader, SnapshotId, Whole},
        },
        log::{disk_log::append, format::decode_entries, types::Types},
        machine::snapshot::Encoded,
        model::{
            lineage::MemberId,
            member_stream::{Channel, Gone, MemberStream},
        },
    },
    primitives::Bytes,
};

/// Pieces that wait to be taken in, besides those in the window.
const QUEUED_PIECES: usize = 2;
/// Number of entries up to which the rest of the log comes from the leader like anything new.
const ENOUGH: u64 = 256;
/// Number of attempts to find a leader, before a newcomer leaves it to the leader to send
/// everything.
const ATTEMPTS: u32 = 20;
const RETRY: Duration = Duration::from_millis(100);
/// Time for which a part of a snapshot is kept for a transfer that goes on with it.
const FORGET: Duration = Duration::from_secs(60);
/// Timeout for other members to promise that they keep a snapshot.
const HOLD: Duration = Duration::from_secs(2);

/// Sources of one history.
struct Members<'a>(&'a NodeCore);

impl Sources for Members<'_> {
    fn open(&self, member: MemberId) -> BoxFuture<'static, Result<MemberStream, Gone>> {
        self.0.peers.open(member, Channel::Fetch)
    }

    fn arrived(&self) {
        self.0.feed.arrived();
    }

    fn pauses(&self, until: Instant) {
        self.0.feed.pause_until(until);
    }
}

impl NodeCore {
    /// Handles the leader's snapshot offer: fetches the pieces from the members and installs them.
    pub(crate) async fn serve_snapshot(&self, mut stream: MemberStream) -> Result<(), Gone> {
        let header = stream.rx.recv().await?;
        Box::pin(self.take_offer(&header, stream)).await
    }

    /// Asks a leader for a snapshot, and installs it.
    async fn fetch_offer(&self, leader: MemberId) -> Result<(), Gone> {
        let patience = self.applied.terms().fetch_timeout;
        let asking = async {
            let mut stream = self.peers.open(leader, Channel::Offer).await?;
            // What was opened goes out with the first frame.
            stream.tx.send(&Bytes::new()).await?;
            Ok::<_, Gone>((stream.rx.recv().await?, stream))
        };
        let (header, stream) = timeout(patience, asking).await.map_err(|_| Gone)??;
        Box::pin(self.take_offer(&header, stream)).await
    }

    async fn take_offer(&self, header: &Bytes, stream: MemberStream) -> Result<(), Gone> {
        let MemberStream { mut tx, mut rx } = stream;
        let header: SnapshotHeader = wire::decode(header)?;
        let id = header.id().ok_or(Gone)?;
        let last = header.meta.last_log_id.ok_or(Gone)?;
        let is_sound = self.is_anothers(&header.vote);
        if !is_sound || !is_installable(&header.vote, last, self.last_committed()) {
            return Err(Gone);
        }
        let leader = header.vote.leader_id.voted_for;
        // They may go on to later ones while the leader is still counting.
        let holding = self.hold(id, leader);
        let (holding, manifest) = tokio::join!(holding, rx.recv());
        let Manifest(pieces) = wire::decode(&manifest?)?;
        let plan = Plan::new(Whole::Snapshot(id), 0, pieces).ok_or(Gone)?;
        self.feed.described();
        self.feed.arrived();
        self.falls_behind();
        let partial = tokio::select! {
            biased;
            // Before the reply the leader says one thing only; otherwise it is gone.
            frame = rx.recv() => {
                let Overrun { log_bytes, limit_bytes } = wire::decode(&frame?)?;
                tracing::warn!(
                    member = %self.member, index = id.index, log_bytes, limit_bytes,
                    "this member fetches the snapshot more slowly than commands come: its leader \
                     keeps no more of them, and offers a later snapshot after a while. Raise this \
                     member's `with_fetch_rate`, or write less"
                );
                return Err(Gone);
            }
            partial = self.fetch_snapshot(&plan, id, leader) => partial?,
        };
        drop(holding);
        self.feed.fetched();
        let snapshot = SnapshotOf::<Types, SnapshotData> {
            meta: header.meta.into(),
            snapshot: SnapshotData::Fetched(FetchedSnapshot {
                head: header.head,
                assembly: partial.assembly,
                stored: partial.writer,
            }),
        };
        let installed = self.install(header.vote, snapshot).await?;
        tx.send(&wire::encode(&SnapshotReply::from(installed))?)
            .await?;
        tx.finish();
        Ok(())
    }

    /// Asks the other members to keep a snapshot; they do while these streams exist.
    async fn hold(&self, id: SnapshotId, leader: MemberId) -> Vec<MemberStream> {
        let Ok(ask) = wire::encode(&Ask::Hold(id)) else {
            return Vec::new();
        };
        let members = self.peers.members();
        let others = members.into_iter().filter(|member| *member != leader);
        let asking: FuturesUnordered<_> = others
            .map(|member| {
                let stream = self.peers.open(member, Channel::Fetch);
                let ask = &ask;
                async move {
                    let asked = async {
                        let mut stream = stream.await.ok()?;
                        stream.tx.send(ask).await.ok()?;
                        Some(stream)
                    };
                    timeout(HOLD, asked).await.ok().flatten()
                }
            })
            .collect();
        asking.filter_map(std::future::ready).collect().await
    }

    /// Fetches all pieces of a snapshot, or what is left of them.
    async fn fetch_snapshot(
        &self,
        plan: &Plan,
        id: SnapshotId,
        leader: MemberId,
    ) -> Result<Partial, Gone> {
        let digest = plan.digest();
        let earlier = self.partial.lock().take();
        let partial = match earlier.filter(|earlier| earlier.id == id && earlier.digest == digest) {
            Some(earlier) => earlier,
            None => Partial {
                id,
                digest,
                taken: 0,
                assembly: self.applied.assembly().ok_or(Gone)?,
                writer: self.log.begin_snapshot(id.index).await.map_err(|_| Gone)?,
                since: Instant::now(),
            },
        };
        let mut keeping = Keeping {
            core: self,
            partial: Some(partial),
        };
        let from = keeping.partial.as_ref().map_or(0, |partial| partial.taken);
        let (out, mut pieces) = mpsc::channel(QUEUED_PIECES);
        let fetching = self.fetch_pieces(plan, from, leader, out);
        let taking = async {
            while let Some(fetched) = pieces.recv().await {
                keeping.take_in(fetched).await?;
            }
            Ok(())
        };
        tokio::try_join!(fetching, taking)?;
        keeping
            .partial
            .take()
            .filter(|partial| partial.taken == plan.pieces.len())
            .ok_or(Gone)
    }

    /// Lets go of a part of a snapshot that nobody goes on with.
    pub(super) fn expire_partial(&self, now: Instant) {
        let mut partial = self.partial.lock();
        partial.take_if(|partial| now.saturating_duration_since(partial.since) >= FORGET);
    }

    async fn fetch_pieces(
        &self,
        plan: &Plan,
        from_piece: usize,
        leader: MemberId,
        out: mpsc::Sender<Fetched>,
    ) -> Result<(), Gone> {
        let mut members = self.peers.members();
        members.retain(|member| *member != leader);
        let terms = self.applied.terms();
        let order = Order {
            plan,
            from_piece,
            rate: terms.fetch_rate,
            patience: terms.fetch_timeout,
        };
        let sources = Members(self);
        let leader = (leader != self.member).then_some(leader);
        fetch(order, &sources, &members, leader, out)
            .await
            .map_err(|error| {
                tracing::debug!(member = %self.member, %error, "catching up is interrupted");
                Gone
            })
    }

    /// Fetches the committed log, for a member that is not in the membership yet.
    pub(super) async fn fetch_log(&self) {
        let mut failures = 0;
        let mut wants_snapshot = self.applied.terms().snapshot_first;
        while failures < ATTEMPTS {
            // A preference: where nobody can make one, the log does.
            wants_snapshot &= failures < ATTEMPTS / 2;
            let members = self.peers.members();
            let leader = self.current_leader();
            // Before the first contact nobody is known to lead: whoever does answers.
            let candidates = leader.map_or(members, |leader| vec![leader]);
            let mut progress = false;
            for candidate in candidates {
                if wants_snapshot {
                    if self.fetch_offer(candidate).await.is_err() {
                        continue;
                    }
                    (wants_snapshot, progress) = (false, true);
                }
                if self.fetch_log_under(candidate, &mut progress).await.is_ok() {
                    return;
                }
            }
            failures = if progress { 0 } else { failures + 1 };
            tokio::time::sleep(RETRY).await;
        }
        tracing::debug!(member = %self.member, "nobody helps to catch up");
    }

    /// Fetches the committed log, by the layout of one leader.
    async fn fetch_log_under(&self, leader: MemberId, progress: &mut bool) -> Result<(), Gone> {
        let patience = self.applied.terms().fetch_timeout;
        let mut stream = self.peers.open(leader, Channel::Fetch).await?;
        loop {
            let from = index_after(self.last_committed());
            let asking = async {
                stream
                    .tx
                    .send(&wire::encode(&Ask::Layout { from })?)
                    .await?;
                wire::decode::<Layout>(&stream.rx.recv().await?)
            };
            let layout = timeout(patience, asking).await.unwrap_or(Err(Gone))?;
            let is_leaders = layout.vote.leader_id.voted_for == leader && layout.vote.committed;
            if !is_leaders || !self.is_anothers(&layout.vote) {
                return Err(Gone);
            }
            self.on_contact(layout.vote.leader_id.term, Some(layout.committed));
            let pieces = match layout.pieces {
                Some(pieces) if !pieces.is_empty() => pieces,
                // What is there no more comes as a snapshot.
                _ => return Ok(()),
            };
            let plan = Plan::new(Whole::Log, from, pieces).ok_or(Gone)?;
            let (out, mut fetched) = mpsc::channel(QUEUED_PIECES);
            let fetching = self.fetch_pieces(&plan, 0, leader, out);
            let taking = async {
                while let Some(piece) = fetched.recv().await {
                    self.take_entries(layout.vote, piece).await?;
                    *progress = true;
                }
                Ok(())
            };
            tokio::try_join!(fetching, taking)?;
            let next = plan.ends.last().copied().unwrap_or(from);
            if layout.committed < next + ENOUGH {
                return Ok(());
            }
        }
    }

    /// Takes committed entries as if the leader had sent them.
    async fn take_entries(&self, vote: VoteOf<Types>, fetched: Fetched) -> Result<(), Gone> {
        let decoding = tokio::task::spawn_blocking(move || decode_entries(&fetched.bytes));
        let entries = decoding.await.map_err(|_| Gone)?.map_err(|_| Gone)?;
        self.take_committed(vote, entries).await.map(drop)
    }
}

/// Keeps what was fetched for a later attempt, unless all of it is there.
struct Keeping<'a> {
    core: &'a NodeCore,
    partial: Option<Partial>,
}

impl Keeping<'_> {
    /// Adds the next piece. If the future is dropped, what was fetched is lost.
    async fn take_in(&mut self, fetched: Fetched) -> Result<(), Gone> {
        let mut partial = self.partial.take().ok_or(Gone)?;
        let Fetched { piece, bytes } = fetched;
        if let Some(writer) = &mut partial.writer {
            let piece = Encoded {
                items: piece.units,
                bytes: bytes.clone(),
            };
            writer.add(&[piece]).await.map_err(|_| Gone)?;
        }
        let appending = tokio::task::spawn_blocking(move || {
            let appended = append(&mut *partial.assembly, &bytes, piece.units);
            (partial, appended)
        });
        let (mut partial, appended) = appending.await.map_err(|_| Gone)?;
        if !appended {
            tracing::warn!("a snapshot is not readable here: do all members run the same version?");
            return Err(Gone);
        }
        partial.taken += 1;
        self.core.feed.arrived();
        self.partial = Some(partial);
        Ok(())
    }
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        if let Some(mut partial) = self.partial.take() {
            partial.since = Instant::now();
            *self.core.partial.lock() = Some(partial);
        }
    }
}
