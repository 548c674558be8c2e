//! The state machine behind every collection.

use core::ops::Range;
use std::sync::{Arc, OnceLock};

use metrics::Counter;

use crate::{
    collections_layer::{
        SyncConfig, Version,
        engine::{
            changes::Changes,
            command::{Command, Request},
            kind::{Applied, Kind, Place},
            replica::{Live, Replica},
            wire::{Reader, Writer},
        },
    },
    groups::{
        ApplyContext, Index, LeadershipPreference, Snapshot, SnapshotStateMachine, SnapshotSync,
        StateMachine,
    },
    primitives::{Bytes, UniqueId},
};

/// Commands that are applied under one lock of the content at most.
const COMMANDS_PER_LOCK: usize = 256;

/// Applies a group's commands to this node's replica.
pub(crate) struct Machine<K: Kind> {
    replica: Arc<Replica<K>>,
    settings: Settings,
}

/// Settings with which a collection's group is joined.
pub(crate) struct Settings {
    pub(crate) signature: UniqueId,
    pub(crate) sync: SyncConfig,
    pub(crate) preference: LeadershipPreference,
}

impl<K: Kind> Machine<K> {
    pub(crate) fn new(replica: Arc<Replica<K>>, settings: Settings) -> Self {
        Self { replica, settings }
    }

    pub(crate) fn replica(&self) -> &Arc<Replica<K>> {
        &self.replica
    }
}

impl<K: Kind> StateMachine for Machine<K> {
    type Command = Command<K>;
    type Query = ();
    type QueryResult = ();
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        self.settings.signature
    }

    fn apply(&mut self, command: Command<K>, ctx: &dyn ApplyContext) {
        self.apply_batch([command], ctx);
    }

    fn apply_batch(
        &mut self,
        commands: impl IntoIterator<Item = Command<K>>,
        ctx: &dyn ApplyContext,
    ) {
        let mut commands = commands.into_iter();
        let mut index = ctx.committed().index();
        loop {
            // Decoded before the content is locked: readers wait only while it changes.
            let decoded = commands.by_ref().take(COMMANDS_PER_LOCK);
            let ops: Vec<_> = decoded.map(|c| (c.request, c.into_op())).collect();
            if ops.is_empty() {
                return;
            }
            let last = Index(index.0 + ops.len() as u64);
            self.apply_ops(index, ops);
            index = last;
        }
    }

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> Self::StateSync {
        self.settings.sync.group_sync()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.settings.preference
    }
}

impl<K: Kind> Machine<K> {
    /// Applies operations that follow on an index. What did not decode has a place, and the group
    /// has passed over it.
    fn apply_ops(&self, mut index: Index, ops: Vec<(Option<Request>, Option<K::Op>)>) {
        let limits = self.replica.limits();
        let room = self.replica.watch_buffer();
        let mut verdicts = Vec::new();
        self.replica.change(|live| {
            K::prefetch(&live.state, ops.iter().filter_map(|(_, op)| op.as_ref()));
            let mut records = Vec::new();
            for (request, op) in ops {
                index = Index(index.0 + 1);
                let Some(op) = op else { continue };
                let mut place = Place {
                    version: Version(index),
                    limits,
                    changes: Changes::new(room, K::key_hash),
                };
                let applied = K::apply(&mut live.state, op, &mut place);
                if matches!(applied, Applied::Full) {
                    place.changes.clear();
                }
                records.extend(place.changes.record(place.version));
                if request.is_some() {
                    verdicts.push((request, applied));
                }
            }
            live.version = Version(index);
            records
        });
        for (request, applied) in verdicts {
            self.replica.resolve(request, applied);
        }
    }
}

impl<K: Kind> SnapshotStateMachine for Machine<K> {
    type Snapshot = Frozen<K>;

    fn create_snapshot(&self) -> Frozen<K> {
        Frozen {
            live: self.replica.snapshot(),
            items: OnceLock::new(),
            broken: false,
            served: self.replica.transfers(),
        }
    }

    fn install_snapshot(&mut self, snapshot: Frozen<K>) {
        self.replica.replace(snapshot.live);
    }
}

/// A collection's content at one version, as it is transferred: its version, then its items.
pub(crate) struct Frozen<K: Kind> {
    live: Live<K>,
    /// Made when the content is first asked for, off the path of applying.
    items: OnceLock<Arc<Vec<Bytes>>>,
    /// True if an item did not decode.
    broken: bool,
    /// Counts the contents that were asked for.
    served: Option<Counter>,
}

impl<K: Kind> Frozen<K> {
    fn items(&self) -> &Arc<Vec<Bytes>> {
        self.items.get_or_init(|| {
            if let Some(served) = &self.served {
                served.increment(1);
            }
            if self.live.version == Version::default() {
                return Arc::default();
            }
            let mut header = Writer::new(HEADER);
            header.u64(self.live.version.0.0);
            K::header(&self.live.state, &mut header);
            let mut items = vec![header.finish()];
            match K::items(&self.live.state) {
                Ok(encoded) => items.extend(encoded),
                Err(error) => tracing::error!(
                    kind = K::NAME, %error,
                    "an element that was decoded has no encoding: newcomers can't be given the \
                     content of this collection; correct its `encode`"
                ),
            }
            Arc::new(items)
        })
    }

    fn restore(&mut self, item: &[u8]) -> Option<()> {
        let mut reader = Reader::new(item);
        match reader.u8()? {
            HEADER => {
                self.live.version = Version(Index(reader.u64()?));
                K::restore_header(&mut self.live.state, &mut reader)?;
            }
            ITEM => K::restore(&mut self.live.state, &mut reader)?,
            _ => return None,
        }
        reader.is_empty().then_some(())
    }
}

/// Number of the item that holds the version.
const HEADER: u8 = 0;
/// Number of an item of the content.
pub(crate) const ITEM: u8 = 1;

impl<K: Kind> Default for Frozen<K> {
    fn default() -> Self {
        Self {
            live: Live::default(),
            items: OnceLock::new(),
            broken: false,
            served: None,
        }
    }
}

impl<K: Kind> Clone for Frozen<K> {
    fn clone(&self) -> Self {
        Self {
            live: self.live.clone(),
            items: self.items.clone(),
            broken: self.broken,
            served: self.served.clone(),
        }
    }
}

impl<K: Kind> Snapshot for Frozen<K> {
    type Item = Bytes;

    fn len(&self) -> u64 {
        if self.live.version == Version::default() {
            return 0;
        }
        1 + K::len(&self.live.state) as u64
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Bytes>> {
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        let items = self.items().clone();
        items.get(range.clone())?;
        // One after the other: whoever encodes takes a few of them at a time, and begins anew behind.
        Some(range.filter_map(move |place| items.get(place).cloned()))
    }

    fn is_readable(&self) -> bool {
        !self.broken
    }

    fn append(&mut self, items: impl IntoIterator<Item = Bytes>) {
        for item in items {
            if self.restore(&item).is_none() {
                self.broken = true;
            }
        }
        self.items = OnceLock::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::encoding::EncodeError;

    #[test]
    fn numbers_of_items_are_as_they_were_recorded() {
        assert_eq!((HEADER, ITEM), (0, 1));
    }

    /// A kind with numbers as its items.
    struct Plain;

    impl Kind for Plain {
        const NAME: &'static str = "plain";
        const SIZE: &'static str = "plain";

        type Op = ();
        type State = Vec<u64>;
        type Outcome = ();
        type Change = ();

        fn len(state: &Vec<u64>) -> usize {
            state.len()
        }

        fn parse(_: &mut Reader<'_>) -> Option<()> {
            Some(())
        }

        fn apply(_: &mut Vec<u64>, (): (), _: &mut Place<()>) -> Applied<Self> {
            Applied::Done(())
        }

        fn undo(_: &mut Vec<u64>, (): &()) {}

        fn items(state: &Vec<u64>) -> Result<Vec<Bytes>, EncodeError> {
            let item = |value: &u64| {
                let mut item = Writer::new(ITEM);
                item.u64(*value);
                item.finish()
            };
            Ok(state.iter().map(item).collect())
        }

        fn restore(state: &mut Vec<u64>, item: &mut Reader<'_>) -> Option<()> {
            state.push(item.u64()?);
            Some(())
        }
    }

    /// A snapshot is encoded in runs, each of which asks for all the rest.
    #[test]
    fn items_of_a_snapshot_are_taken_one_by_one() {
        let frozen = Frozen::<Plain> {
            live: Live {
                state: (0..100).collect(),
                version: Version(Index(1)),
                clock_millis: 0,
            },
            ..Frozen::default()
        };
        let mut rest = frozen.iter_range(10..101).unwrap();
        let first: Vec<_> = rest.by_ref().take(3).collect();
        assert_eq!(first, frozen.items()[10..13]);
        let is_taken = |item: &Bytes| !item.is_unique();
        assert_eq!(
            frozen.items().iter().filter(|item| is_taken(item)).count(),
            3
        );
        assert_eq!(rest.count(), 88);
        assert!(frozen.iter_range(10..102).is_none());
    }

    #[test]
    fn content_that_does_not_decode_is_not_readable() {
        let mut item = Writer::new(ITEM);
        item.u64(7);
        let mut frozen = Frozen::<Plain>::default();
        frozen.append([item.finish()]);
        assert!(frozen.is_readable());
        // The item of another version of the program.
        let mut longer = Writer::new(ITEM);
        longer.u64(7);
        longer.u8(0);
        frozen.append([longer.finish()]);
        assert!(!frozen.is_readable());
    }
}
