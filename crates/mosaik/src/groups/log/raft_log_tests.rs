use std::{ops::Range, sync::Arc};

use futures::TryStreamExt as _;
use openraft::{
    EntryPayload, RaftLogReader as _,
    alias::{EntryOf, LogIdOf, VoteOf},
    impls::leader_id_std::LeaderId,
    storage::{RaftLogStorage as _, RaftLogStorageExt as _},
    vote::{RaftLeaderId as _, RaftVote as _},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    groups::{
        InMemoryLogStore,
        machine::{
            commands,
            log_storage::{StorageAdapter, tests::Plain},
        },
        model::lineage::MemberId,
    },
    primitives::PeerId,
};

/// Model of a log.
#[derive(Default)]
struct Model {
    border: Option<Border>,
    entries: Vec<(EntryOf<Types>, Cursor)>,
    vote: Option<VoteOf<Types>>,
    member: MemberId,
    term: u64,
}

impl Model {
    fn first(&self) -> u64 {
        self.border.map_or(0, |border| border.id.index() + 1)
    }

    fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    fn place(&self, index: u64) -> usize {
        usize::try_from(index - self.first()).unwrap()
    }

    fn position(&self) -> Cursor {
        let last = self.entries.last().map(|(_, position)| *position);
        last.or(self.border.map(|border| border.position))
            .unwrap_or_default()
    }

    fn leader(&self, term: u64) -> LeaderId<u64, MemberId> {
        LeaderId {
            term,
            voted_for: self.member,
        }
    }

    fn id(&self, term: u64, index: u64) -> LogIdOf<Types> {
        LogIdOf::<Types>::new(self.leader(term).to_committed(), index)
    }

    fn append(&mut self, rng: &mut StdRng) -> Vec<EntryOf<Types>> {
        let count = rng.random_range(1..8);
        let mut added = Vec::new();
        for _ in 0..count {
            self.term += u64::from(rng.random_bool(0.1));
            let log_id = self.id(self.term, self.next());
            let mut position = self.position();
            let payload = if rng.random_bool(0.2) {
                EntryPayload::Blank
            } else {
                let values: Vec<u64> = (0..rng.random_range(1..60)).map(|_| rng.random()).collect();
                let count = u32::try_from(values.len()).unwrap();
                position = Cursor::new(Term(self.term), position.index() + count);
                EntryPayload::Normal(Batch {
                    origin: self.member,
                    first: rng.random(),
                    count,
                    row: commands::encode(&values).unwrap(),
                })
            };
            let entry = EntryOf::<Types> { log_id, payload };
            self.entries.push((entry.clone(), position));
            added.push(entry);
        }
        added
    }

    fn range(&self, range: Range<u64>) -> Vec<EntryOf<Types>> {
        let range = self.place(range.start)..self.place(range.end);
        self.entries[range]
            .iter()
            .map(|(entry, _)| entry.clone())
            .collect()
    }

    async fn check(&self, log: &mut RaftLog, rng: &mut StdRng) {
        let state = log.get_log_state().await.unwrap();
        let border = self.border.map(|border| border.id);
        let last = self.entries.last().map(|(entry, _)| entry.log_id);
        assert_eq!(state.last_purged_log_id, border);
        assert_eq!(state.last_log_id, last.or(border));
        assert_eq!(log.position(), self.position());
        assert_eq!(log.0.status.log_position(), self.position());
        assert_eq!(log.read_vote().await.unwrap(), self.vote);
        let all = self.first()..self.next();
        assert_eq!(
            log.try_get_log_entries(..).await.unwrap(),
            self.range(all.clone())
        );
        let sought = rng.random_range(0..=self.position().index().0 + 10);
        let mut found = self.entries.iter().rev();
        let found = found.find(|(_, position)| position.index() <= sought);
        let found = found.map(|(entry, _)| entry.log_id.index());
        assert_eq!(log.index_of(Index(sought)).await.unwrap(), found);
        let start = rng.random_range(all.start..=all.end);
        let end = rng.random_range(start..=all.end);
        assert_eq!(
            log.try_get_log_entries(start..end).await.unwrap(),
            self.range(start..end)
        );
        let stream = log.entries_stream(start..end).await;
        let applied: Vec<_> = stream.try_collect().await.unwrap();
        assert_eq!(applied, self.range(start..end));
        let some = log.read(start..end, 2000).await.unwrap();
        assert_eq!(some.is_empty(), start == end, "progress");
        assert_eq!(some, self.range(start..start + some.len() as u64));
    }
}

/// Does random things to a log and to its model, and compares them all the time. `reopen` yields
/// the log as it is after a restart, if it survives one.
async fn suite<F>(seed: u64, steps: usize, mut log: RaftLog, mut reopen: impl FnMut(RaftLog) -> F)
where
    F: Future<Output = RaftLog>,
{
    let rng = &mut StdRng::seed_from_u64(seed);
    let peer: PeerId = iroh::SecretKey::from_bytes(&rng.random()).public();
    let mut model = Model {
        member: MemberId::fresh(peer),
        term: 1,
        ..Model::default()
    };
    for _ in 0..steps {
        match rng.random_range(0..20) {
            0..10 => {
                let entries = model.append(rng);
                log.blocking_append(entries).await.unwrap();
            }
            10..13 if !model.entries.is_empty() => {
                let keep = rng.random_range(model.first()..model.next());
                let last = match keep.checked_sub(1) {
                    Some(last) if last >= model.first() => {
                        Some(model.entries[model.place(last)].0.log_id)
                    }
                    Some(_) => model.border.map(|border| border.id),
                    None => None,
                };
                model.entries.truncate(model.place(keep));
                model.term += 1;
                log.truncate_after(last).await.unwrap();
            }
            13..15 if !model.entries.is_empty() => {
                let index = rng.random_range(model.first()..model.next());
                let gone = model.entries.drain(..=model.place(index)).next_back();
                let (entry, position) = gone.unwrap();
                model.border = Some(Border {
                    id: entry.log_id,
                    position,
                });
                log.purge(entry.log_id).await.unwrap();
                // Once more changes nothing.
                log.purge(entry.log_id).await.unwrap();
            }
            15 => {
                let vote = VoteOf::<Types>::from_leader_id(model.leader(model.term), rng.random());
                model.vote = Some(vote);
                log.save_vote(&vote).await.unwrap();
            }
            16 if rng.random_bool(0.3) => {
                let index = model.next() + rng.random_range(0..5);
                let id = model.id(model.term, index);
                let position = Cursor::new(Term(model.term), model.position().index() + 100_u64);
                model.entries.clear();
                model.border = Some(Border { id, position });
                log.snapshot_installed(id, position).await.unwrap();
            }
            17..19 => log = reopen(log).await,
            _ => {}
        }
        model.check(&mut log, rng).await;
    }
}

fn status() -> Arc<Status> {
    Arc::new(Status::new(iroh::SecretKey::generate().public()))
}

fn user_storage() -> Arc<dyn CommandStore> {
    Arc::new(StorageAdapter::new(InMemoryLogStore::<u64>::default()))
}

/// Strong reads wait for the last membership of the log to be in force.
#[tokio::test]
async fn a_snapshot_discards_the_membership_of_the_log_that_it_replaces() {
    let model = Model::default();
    let mut log = RaftLog::open(None, None, status()).await.unwrap();
    let voter = std::collections::BTreeSet::from([model.member]);
    let membership = openraft::Membership::new(vec![voter.clone()], voter).unwrap();
    let entry = EntryOf::<Types> {
        log_id: model.id(1, 0),
        payload: EntryPayload::Membership(membership),
    };
    log.blocking_append([entry]).await.unwrap();
    assert_eq!(log.last_membership(), Some(0));
    // A log that reaches as far as the snapshot is kept.
    let position = Cursor::zero();
    let reached = model.id(1, 0);
    log.snapshot_installed(reached, position).await.unwrap();
    assert_eq!(log.last_membership(), Some(0));
    log.snapshot_installed(model.id(2, 9), position)
        .await
        .unwrap();
    assert_eq!(log.last_membership(), None);
}

#[tokio::test]
async fn a_log_in_memory() {
    for seed in 0..10 {
        let log = RaftLog::open(None, None, status()).await.unwrap();
        suite(seed, 150, log, async |log| log).await;
    }
}

#[tokio::test]
async fn a_log_with_a_users_storage() {
    for seed in 0..10 {
        let plain = Arc::new(StorageAdapter::new(Plain::default()));
        for storage in [user_storage(), plain] {
            let log = RaftLog::open(None, Some(storage), status()).await.unwrap();
            suite(seed, 150, log, async |log| log).await;
        }
    }
}

/// Readers that apply entries must be told of a gap: they would pass over what others apply.
#[tokio::test]
async fn entries_that_are_to_be_applied_and_are_not_there_are_an_error() {
    let model = Model::default();
    let mut log = RaftLog::open(None, None, status()).await.unwrap();
    let blank = |index| EntryOf::<Types>::new(model.id(1, index), EntryPayload::Blank);
    log.blocking_append((0..10).map(blank)).await.unwrap();
    log.purge(model.id(1, 3)).await.unwrap();
    let mut indices = async |range: Range<u64>| {
        let entries = log.entries_stream(range).await;
        let entries: std::io::Result<Vec<_>> = entries.try_collect().await;
        entries.map(|entries| entries.iter().map(RaftEntry::index).collect::<Vec<_>>())
    };
    assert_eq!(indices(4..7).await.unwrap(), [4, 5, 6]);
    assert!(indices(5..5).await.unwrap().is_empty());
    assert!(indices(2..7).await.is_err());
    assert!(indices(8..12).await.is_err());
    assert!(indices(10..12).await.is_err());
}

/// Regression: all that was to be applied was read at once, however much that was.
#[tokio::test]
async fn entries_that_are_to_be_applied_are_read_in_steps() {
    let mut log = RaftLog::open(None, None, status()).await.unwrap();
    let model = Model::default();
    let large = |index| EntryOf::<Types> {
        log_id: model.id(1, index),
        payload: EntryPayload::Normal(Batch {
            origin: model.member,
            first: index + 1,
            count: 1,
            row: Bytes::from(vec![0; READ_BYTES]),
        }),
    };
    log.blocking_append((0..4).map(large)).await.unwrap();
    let mut reader = log.clone();
    let mut applied = std::pin::pin!(reader.entries_stream(0..4).await);
    let first = applied.try_next().await.unwrap().unwrap();
    assert_eq!(first, large(0));
    // What was not read yet is gone.
    log.truncate_after(Some(first.log_id)).await.unwrap();
    assert!(applied.try_next().await.is_err());
}

#[cfg(feature = "storage")]
mod durable {
    use openraft::alias::SnapshotMetaOf;

    use super::*;
    use crate::{
        groups::{machine::snapshot::Encoded, store::NodeStore},
        primitives::encoding,
    };

    async fn open(dir: &std::path::Path, commands: Option<Arc<dyn CommandStore>>) -> RaftLog {
        let store = NodeStore::open(dir).unwrap();
        let group = store.group(crate::Digest::zero());
        RaftLog::open(Some(group), commands, status())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_log_on_disk() {
        for seed in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path();
            suite(seed, 120, open(path, None).await, async |log| {
                drop(log);
                open(path, None).await
            })
            .await;
        }
    }

    #[tokio::test]
    async fn a_log_on_disk_with_a_users_storage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let commands = Some(user_storage());
        suite(3, 120, open(path, commands.clone()).await, async |log| {
            drop(log);
            // Whatever it holds is replaced by what the disk holds.
            open(path, commands.clone()).await
        })
        .await;
    }

    /// Regression: a successor took all of a log from the disk into memory.
    #[tokio::test]
    async fn what_only_the_disk_holds_stays_there_when_a_log_is_inherited() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None).await;
        let rng = &mut StdRng::seed_from_u64(1);
        let mut model = Model {
            term: 1,
            ..Model::default()
        };
        let held_from = |log: &RaftLog| log.0.tail.lock().held_from();
        while held_from(&log) < 20 {
            log.blocking_append(model.append(rng)).await.unwrap();
        }
        let before = held_from(&log);
        let heir = log.inherit(model.next() - 1).await.unwrap();
        assert_eq!(held_from(&heir), before);
        let all = heir.read(0..model.next(), usize::MAX).await.unwrap();
        assert_eq!(all, model.range(0..model.next()));
        // Cut off where nothing is in memory.
        let heir = heir.inherit(before - 5).await.unwrap();
        assert_eq!(held_from(&heir), before - 5);
        let all = heir.read(0..model.next(), usize::MAX).await.unwrap();
        assert_eq!(all, model.range(0..before - 4));
    }

    /// Puts a snapshot of bytes together.
    #[derive(Default)]
    struct Parts(Vec<(u64, Vec<u8>)>);

    impl Assembly for Parts {
        fn append(&mut self, piece: &[u8], items: u64) -> Result<(), encoding::DecodeError> {
            self.0.push((items, piece.to_vec()));
            Ok(())
        }

        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
            self
        }
    }

    fn meta(index: u64) -> SnapshotMetaOf<Types> {
        SnapshotMetaOf::<Types> {
            last_log_id: Some(Model::default().id(1, index)),
            ..SnapshotMetaOf::<Types>::default()
        }
    }

    #[tokio::test]
    async fn a_snapshot_on_disk_is_never_replaced_by_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), None).await;
        // One that was fetched is written; one of this member's own, at an earlier place, waits.
        let fetched = log.begin_snapshot(500).await.unwrap().unwrap();
        let mut own = std::pin::pin!(log.begin_snapshot(50));
        assert!(futures::poll!(&mut own).is_pending());
        let head = Bytes::from_static(b"head");
        fetched.finish(&meta(500), &head).await.unwrap();
        assert!(own.await.unwrap().is_none(), "it is written over");
        assert!(log.begin_snapshot(500).await.unwrap().is_none());
        let later = log.begin_snapshot(501).await.unwrap().unwrap();
        drop(later);
        let stored = log.stored_snapshot().await.unwrap().unwrap();
        assert_eq!(stored.meta, meta(500));
    }

    #[tokio::test]
    async fn a_large_piece_of_a_snapshot_takes_several_rows() {
        let dir = tempfile::tempdir().unwrap();
        let piece = |items: u64, len: usize| Encoded {
            items,
            bytes: Bytes::from(
                (0..len)
                    .map(|n| u8::try_from(n % 251).unwrap())
                    .collect::<Vec<_>>(),
            ),
        };
        let pieces = [piece(3, 10), piece(1, 10_000), piece(2, 256), piece(1, 257)];
        {
            let log = open(dir.path(), None).await;
            let mut writer = log.begin_snapshot(9).await.unwrap().unwrap();
            writer.add(&pieces).await.unwrap();
            writer.finish(&meta(9), &Bytes::new()).await.unwrap();
        }
        let log = open(dir.path(), None).await;
        let stored = log.stored_snapshot().await.unwrap().unwrap();
        let loaded = log.load_snapshot(&stored, Box::new(Parts::default()));
        let loaded = loaded.await.unwrap().0.into_any().downcast::<Parts>();
        let expected = pieces.map(|piece| (piece.items, piece.bytes.to_vec()));
        assert_eq!(loaded.unwrap().0, expected);
    }

    #[tokio::test]
    async fn who_has_lost_what_it_acknowledged_says_so_after_every_start() {
        let dir = tempfile::tempdir().unwrap();
        let model = Model::default();
        {
            let mut log = open(dir.path(), None).await;
            let rng = &mut StdRng::seed_from_u64(1);
            let entries = Model {
                term: 1,
                ..Model::default()
            }
            .append(rng);
            let last = entries.last().unwrap().log_id;
            log.blocking_append(entries).await.unwrap();
            assert!(!log.is_set_back(&last).await.unwrap(), "it has all of it");
            let later = model.id(1, last.index() + 1);
            assert!(log.is_set_back(&later).await.unwrap());
        }
        let store = NodeStore::open(dir.path()).unwrap();
        let set_back = store.group(crate::Digest::zero()).load().unwrap().set_back;
        assert!(set_back.is_some());
    }

    #[tokio::test]
    async fn what_is_known_to_be_committed_survives_with_the_entries() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), None).await;
        let mut model = Model {
            term: 1,
            ..Model::default()
        };
        let rng = &mut StdRng::seed_from_u64(1);
        let entries = model.append(rng);
        let committed = entries.last().map(|entry| entry.log_id);
        log.blocking_append(entries).await.unwrap();
        log.save_committed(committed).await.unwrap();
        drop(log);
        let mut log = open(dir.path(), None).await;
        assert_eq!(log.read_committed().await.unwrap(), committed);
        log.truncate_after(None).await.unwrap();
        drop(log);
        let mut log = open(dir.path(), None).await;
        assert_eq!(
            log.read_committed().await.unwrap(),
            None,
            "its entry is gone"
        );
    }
}

/// Regression: what was only queued counted as stored after a crash, and was acknowledged.
#[cfg(feature = "storage")]
#[tokio::test]
async fn a_log_has_settled_when_the_disk_holds_it() {
    use crate::groups::{NodeStore, StoreError};
    use futures::FutureExt as _;
    use openraft::storage::IOFlushed;

    let dir = tempfile::tempdir().unwrap();
    let node = NodeStore::open(dir.path()).unwrap();
    let store = node.group(crate::Digest::from("group"));
    let mut log = RaftLog::open(Some(store), None, status()).await.unwrap();
    // The writer waits in the callback of another group's write.
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let other = node.group(crate::Digest::from("other"));
    let row = (0, Bytes::from_static(b"row"));
    let done = move |_: Result<(), StoreError>| {
        let _ = wait.recv();
    };
    other.append([row], Box::new(done)).await.unwrap();
    let model = Model::default();
    let entry = EntryOf::<Types>::new(model.id(1, 0), EntryPayload::Blank);
    let appending = log.append([entry], IOFlushed::<Types>::noop());
    appending.await.unwrap();
    let mut settling = Box::pin(log.settle());
    assert!(settling.as_mut().now_or_never().is_none(), "it waits");
    release.send(()).unwrap();
    settling.await.unwrap();
    assert_eq!(log.read(0..1, usize::MAX).await.unwrap().len(), 1);
}
