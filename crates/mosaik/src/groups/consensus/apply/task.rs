//! The apply task: takes committed entries and snapshots from the consensus library to the machine.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine},
};

use super::applied::{Applied, SnapshotHead, State};
use crate::{
    groups::{
        catch_up::{snapshot_cache::CachedSnapshot, snapshot_data::SnapshotData},
        log::{
            memory_tail::weight,
            types::{Types, term_of},
        },
    },
    primitives::encoding,
};

/// Number of entries after which waiters are told, while a long backlog is applied.
const PROGRESS_ENTRIES: usize = 256;

/// The consensus library's view of what is applied.
#[derive(Clone)]
pub(crate) struct Applier(pub(crate) Arc<Applied>);

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let state = self.0.state.lock();
        Ok((state.last, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let applied = &*self.0;
        let mut done = Vec::new();
        let mut unpublished = 0;
        let mut turn = applied.turn.lock().await;
        while let Some((entry, responder)) = entries.try_next().await? {
            if turn.is_over || applied.is_ending() {
                // What was applied is told of while the turn is held. The library wants to see
                // that every entry was taken.
                if !turn.is_over {
                    applied.publish(&mut done);
                }
                drop(turn);
                while entries.try_next().await?.is_some() {}
                return Ok(());
            }
            let is_border = match &entry.payload {
                EntryPayload::Blank => {
                    let term = term_of(&entry.log_id);
                    applied.blank_term.store(term, Ordering::Release);
                    note_other(applied, &entry)
                }
                EntryPayload::Normal(batch) => {
                    let result = applied.apply_batch(entry.log_id, batch);
                    let batch = result.inspect_err(|error| {
                        // Nothing that is said from now on comes from here: what another member
                        // carried out all the same would be told as ended.
                        applied.break_off(error);
                    })?;
                    let is_border = batch.is_border;
                    if batch.own {
                        done.push(batch);
                    }
                    is_border
                }
                EntryPayload::Membership(membership) => {
                    let stored =
                        StoredMembershipOf::<Types>::new(Some(entry.log_id), membership.clone());
                    applied.state.lock().membership = stored;
                    note_other(applied, &entry)
                }
            };
            let replayed = applied.check_replay(entry.log_id.index());
            replayed.inspect_err(|error| applied.break_off(error))?;
            applied.state.lock().last = Some(entry.log_id);
            if is_border {
                applied.take_snapshot();
            }
            if let Some(responder) = responder {
                responder.send(());
            }
            unpublished += 1;
            if unpublished == PROGRESS_ENTRIES {
                applied.publish(&mut done);
                unpublished = 0;
                drop(turn);
                tokio::task::yield_now().await;
                turn = applied.turn.lock().await;
            }
        }
        applied.publish(&mut done);
        drop(turn);
        applied.notify();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if force {
            return Some(self.get_snapshot_builder().await);
        }
        self.0.compacted().map(|held| Builder(Ok(held)))
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let frozen = self.0.freeze().and_then(|frozen| {
            frozen.ok_or_else(|| io::Error::other("the machine makes no snapshots"))
        });
        if let Ok(held) = &frozen {
            self.0.snapshot_cache.put(held.clone());
        }
        Builder(frozen)
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        data: SnapshotData,
    ) -> io::Result<()> {
        let applied = &*self.0;
        let turn = applied.turn.lock().await;
        if turn.is_over {
            return Ok(());
        }
        let (head, assembly, stored_bytes) = match data {
            SnapshotData::Fetched(fetched) => {
                let mut bytes = 0;
                if let Some(stored) = fetched.stored {
                    bytes = stored.bytes();
                    stored.finish(meta, &fetched.head).await?;
                }
                (fetched.head, fetched.assembly, bytes)
            }
            SnapshotData::Stored(stored) => {
                let assembly = applied.replica.assembly();
                let assembly =
                    assembly.ok_or_else(|| io::Error::other("the machine takes no snapshots"))?;
                let (assembly, bytes) = applied.log.load_snapshot(&stored, assembly).await?;
                (stored.head, assembly, bytes)
            }
            SnapshotData::CachedSnapshot(_) => {
                return Err(io::Error::other("a snapshot of this member's own state"));
            }
        };
        let head_bytes = head;
        let head: SnapshotHead = encoding::deserialize(&head_bytes).map_err(io::Error::other)?;
        let installed = applied.replica.install(assembly, head.position);
        installed
            .map_err(io::Error::other)
            .inspect_err(|error| applied.break_off(error))?;
        let origin = applied.pending_commands.origin();
        let is_certain = head.sessions.is_certain_of(&origin);
        let own = head.sessions.of(&origin).cloned();
        {
            let mut state = applied.state.lock();
            let mut volume = std::mem::take(&mut state.volume);
            volume.at_snapshot();
            *state = State {
                last: meta.last_log_id,
                position: head.position,
                membership: meta.last_membership.clone(),
                sessions: head.sessions,
                volume,
            };
        }
        if let Some(last) = meta.last_log_id {
            applied.log.snapshot_installed(last, head.position).await?;
        }
        *applied.stored.lock() = None;
        let capture = applied.replica.capture();
        let held = capture.and_then(|capture| {
            let position = head.position.index();
            let batch_size = applied.terms.batch_size;
            CachedSnapshot::new(meta.clone(), position, head_bytes, capture, batch_size)
        });
        if let Some(held) = held {
            applied.set_compacted(held.clone(), stored_bytes);
            applied.snapshot_cache.put(held);
        }
        applied.publish(&mut Vec::new());
        match own {
            Some(own) => applied.pending_commands.restored(&own),
            None if is_certain => {}
            None => applied.pending_commands.forgotten(),
        }
        drop(turn);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<Types, SnapshotData>>> {
        let stored = self.0.stored.lock().clone();
        let snapshot = match stored {
            Some(stored) => Some((stored.meta.clone(), SnapshotData::Stored(stored))),
            None => self
                .0
                .snapshot_cache
                .offer()
                .map(|held| (held.meta.clone(), SnapshotData::CachedSnapshot(held))),
        };
        Ok(snapshot.map(|(meta, snapshot)| SnapshotOf::<Types, SnapshotData> { meta, snapshot }))
    }
}

/// Notes an entry without commands; returns whether a snapshot is to be taken behind it. There may be
/// many of them where there are few commands.
fn note_other(applied: &Applied, entry: &EntryOf<Types>) -> bool {
    let mut state = applied.state.lock();
    let is_heavy = state.volume.note(entry.index(), weight(entry));
    let is_border = is_heavy && applied.terms.interval.is_some();
    if is_border {
        state.volume.at_snapshot();
    }
    is_border
}

/// Hands a frozen state to the consensus library.
pub(crate) struct Builder(io::Result<Arc<CachedSnapshot>>);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, SnapshotData>> {
        let held = match &self.0 {
            Ok(held) => held.clone(),
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        Ok(SnapshotOf::<Types, SnapshotData> {
            meta: held.meta.clone(),
            snapshot: SnapshotData::CachedSnapshot(held),
        })
    }
}
