//! Server of history for members that catch up.

use std::{io, sync::Arc, time::Duration};

use openraft::{
    EntryPayload, alias::EntryOf, async_runtime::watch::WatchReceiver, entry::RaftEntry,
};

use tokio::time::{Instant, sleep, timeout};

use super::{
    core::NodeCore,
    replication::network::offer_in_turn,
    wire::{self, Layout},
};
use crate::{
    groups::{
        catch_up::{
            snapshot_cache::{CachedSnapshot, SnapshotLease},
            wire::{Answer, Ask, PIECE_BYTES, Piece, Whole, frames, in_bounds},
        },
        log::{format::encode_entries, memory_tail::weight, types::Types},
        model::{
            lineage::MemberId,
            member_stream::{Gone, MemberStream},
        },
    },
    primitives::Bytes,
};

/// Pieces of the log that the leader names at a time.
const LAYOUT_PIECES: usize = 128;
/// Approximate limit on their bytes.
const LAYOUT_BYTES: usize = 4 * 1024 * 1024;
/// Pieces of the log that are given at a time take about this much, or are a single one.
const MAX_RUN_BYTES: usize = 48 * 1024 * 1024;
/// Time limit for a peer to take an answer, and the rate in bytes a second that it must take the rest
/// at: whoever takes longer has given up by itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const LEAST_RATE: usize = 64 * 1024;
/// Duty cycle on the leader: after working for `t`, it sleeps `REST × t`.
const REST: u32 = 2;

impl NodeCore {
    /// Answers a member that catches up, until it ends the stream.
    pub(crate) async fn serve_fetch(
        &self,
        from: MemberId,
        stream: MemberStream,
    ) -> Result<(), Gone> {
        let peer = from.peer().ok_or(Gone)?;
        let _stream = self.supply_limits.streams.try_take(peer, 1).ok_or(Gone)?;
        let answers = if self.peers.may_vote(&from) {
            &self.supply_limits.answers
        } else {
            &self.supply_limits.guest_answers
        };
        let MemberStream { mut tx, mut rx } = stream;
        let mut _held = None;
        loop {
            match wire::decode(&rx.recv().await?)? {
                Ask::Hold(id) => {
                    _held = self.applied.snapshot_cache.find(id).map(SnapshotLease::new);
                }
                Ask::Layout { from } => {
                    let turn = self.supplies.acquire().await.map_err(|_| Gone)?;
                    let layout = self.layout(from).await.map_err(|_| Gone)?;
                    drop(turn);
                    tx.send(&wire::encode(&layout)?).await?;
                }
                Ask::Pieces { of, from, ends } => {
                    if !in_bounds(from, &ends) {
                        return Err(Gone);
                    }
                    // Given back when all is sent: what is prepared is held for as long.
                    let _answer = answers.take(peer, 1).await;
                    let turn = self.supplies.acquire().await.map_err(|_| Gone)?;
                    let pieces = match of {
                        Whole::Log => self.log_pieces(from, &ends).await.map_err(|_| Gone)?,
                        Whole::Snapshot(id) => match self.applied.snapshot_cache.find(id) {
                            Some(held) => {
                                let count = ends.len();
                                let read = held.read(from, ends).await;
                                let read = read.inspect_err(|error| {
                                    tracing::debug!(%error, "a snapshot can't be read");
                                });
                                // Nobody asks for many large ones at a time.
                                read.ok()
                                    .filter(|pieces| pieces.len() == count)
                                    .map(|pieces| {
                                        pieces.into_iter().map(|piece| piece.bytes).collect()
                                    })
                            }
                            None => None,
                        },
                    };
                    // Whoever takes its time to read must not keep others waiting.
                    drop(turn);
                    let Some(pieces) = pieces else {
                        tx.send(&wire::encode(&Answer::Missing)?).await?;
                        continue;
                    };
                    tx.queue(&wire::encode(&Answer::Coming)?)?;
                    let bytes: usize = pieces.iter().map(Bytes::len).sum();
                    let limit = ANSWER_TIMEOUT + Duration::from_secs((bytes / LEAST_RATE) as u64);
                    let sending = async {
                        for frame in pieces.into_iter().flat_map(frames) {
                            tx.send(&frame).await?;
                        }
                        Ok::<_, Gone>(())
                    };
                    timeout(limit, sending).await.map_err(|_| Gone)??;
                }
            }
        }
    }

    /// Offers a newcomer the snapshot that it has asked for, as a leader does unasked where the log
    /// no longer reaches back far enough.
    pub(crate) async fn serve_offer(
        &self,
        from: MemberId,
        mut stream: MemberStream,
    ) -> Result<(), Gone> {
        let peer = from.peer().ok_or(Gone)?;
        let _stream = self.supply_limits.streams.try_take(peer, 1).ok_or(Gone)?;
        stream.rx.recv().await?;
        let (vote, leading) = {
            let server = self.server.borrow_watched();
            (server.vote, server.current_leader == Some(self.member))
        };
        // Just elected, it may be that the majority's votes are still being counted.
        if !leading || !vote.committed {
            return Err(Gone);
        }
        let held = self.snapshot_for_newcomer().await.ok_or(Gone)?;
        let held = SnapshotLease::new(held);
        let meta = held.0.meta.clone();
        let offered = offer_in_turn(&held.0, vote, meta, Some(&self.supplies), stream).await;
        offered.map(drop).map_err(|_| Gone)
    }

    /// A snapshot that little has come after; taken now if there is none. One for many newcomers.
    pub(super) async fn snapshot_for_newcomer(&self) -> Option<Arc<CachedSnapshot>> {
        let is_recent = |held: &Arc<CachedSnapshot>| {
            let behind = self.applied.position().index() - held.position;
            behind.0 <= self.applied.terms().batch_size
        };
        if let Some(held) = self.applied.snapshot_cache.offer().filter(is_recent) {
            return Some(held);
        }
        let turn = self.applied.turn.lock().await;
        if !turn.is_over {
            self.applied.take_snapshot();
        }
        drop(turn);
        self.applied.snapshot_cache.offer()
    }

    /// Layout of the log from an index on, vouched for by this leader.
    async fn layout(&self, from: u64) -> io::Result<Layout> {
        let (vote, leading) = {
            let server = self.server.borrow_watched();
            (
                server.vote,
                server.vote.committed && server.current_leader == Some(self.member),
            )
        };
        let Some(committed) = self.applied.last_index().filter(|_| leading) else {
            return Err(io::Error::other("this member does not lead"));
        };
        if from < self.log.first_index() {
            return Ok(Layout {
                vote,
                committed,
                pieces: None,
            });
        }
        let batch_size = self.applied.terms().batch_size;
        let (mut pieces, mut next, mut bytes) = (Vec::new(), from, 0);
        while next <= committed && pieces.len() < LAYOUT_PIECES && bytes < LAYOUT_BYTES {
            let entries = self.log.read(next..committed + 1, PIECE_BYTES).await?;
            if entries.first().is_none_or(|entry| entry.index() != next) {
                break;
            }
            next += entries.len() as u64;
            bytes += entries.iter().map(weight).sum::<usize>();
            let begin = Instant::now();
            let cut = tokio::task::spawn_blocking(move || cut(&entries, batch_size));
            pieces.extend(cut.await.map_err(io::Error::other)??);
            sleep(begin.elapsed() * REST).await;
        }
        pieces.truncate(LAYOUT_PIECES);
        Ok(Layout {
            vote,
            committed,
            pieces: Some(pieces),
        })
    }

    /// Encoded parts of the log with these ends; `None` when some of it is not here, or not known to
    /// be committed.
    async fn log_pieces(&self, from: u64, ends: &[u64]) -> io::Result<Option<Vec<Bytes>>> {
        let applied = self.applied.last_index().map_or(0, |index| index + 1);
        let mut parts = Vec::with_capacity(ends.len());
        let (mut next, mut room) = (from, MAX_RUN_BYTES);
        for end in ends {
            if *end > applied {
                return Ok(None);
            }
            // A piece is no larger than one that was cut by this limit.
            let entries = self.log.read(next..*end, room.min(PIECE_BYTES)).await?;
            let complete = entries.len() as u64 == end - next;
            if !complete || entries.first().is_none_or(|entry| entry.index() != next) {
                return Ok(None);
            }
            room = room.saturating_sub(entries.iter().map(weight).sum()).max(1);
            parts.push(entries);
            next = *end;
        }
        let encoding = tokio::task::spawn_blocking(move || {
            let encoded = parts.iter().map(|part| encode_entries(part));
            encoded.collect::<Result<Vec<_>, _>>()
        });
        let encoded = encoding.await.map_err(io::Error::other)?;
        encoded.map(Some).map_err(io::Error::other)
    }
}

/// Cuts entries into pieces of about this many commands.
fn cut(entries: &[EntryOf<Types>], batch_size: u64) -> io::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut begin, mut commands, mut bytes) = (0, 0, 0);
    for (place, entry) in entries.iter().enumerate() {
        if let EntryPayload::Normal(batch) = &entry.payload {
            commands += u64::from(batch.count);
        }
        bytes += weight(entry);
        if commands >= batch_size || bytes >= PIECE_BYTES || place + 1 == entries.len() {
            let encoded = encode_entries(&entries[begin..=place]).map_err(io::Error::other)?;
            let units = (place + 1 - begin) as u64;
            let piece = Piece::of(units, &encoded);
            pieces.push(piece.ok_or_else(|| io::Error::other("a log entry is too large"))?);
            (begin, commands, bytes) = (place + 1, 0, 0);
        }
    }
    Ok(pieces)
}
