//! A machine with snapshots, whose members can be told to misbehave.

use std::{
    collections::BTreeMap,
    num::NonZero,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mosaik::{
    UniqueId,
    groups::{
        ApplyContext, LeadershipPreference, Snapshot, SnapshotStateMachine, SnapshotSync,
        StateMachine,
    },
    id,
};
use tokio::sync::watch;

/// Behaviour of one member towards peers that ask it for a snapshot; no part of the group's
/// identity.
pub(crate) struct Manner {
    /// Commands that were applied one by one.
    pub(crate) applied: AtomicU64,
    /// Runs of items that were encoded.
    encoded: watch::Sender<u64>,
    /// Runs that may be encoded; a request for more waits.
    allowed: watch::Sender<u64>,
    pub(crate) lies: AtomicBool,
    /// Bytes that it fetches a second, if it is an observer.
    observes: Option<NonZero<u64>>,
}

impl Manner {
    pub(crate) fn honest() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    /// An observer that fetches this many bytes a second.
    pub(crate) fn observing(rate: u64) -> Arc<Self> {
        Arc::new(Self::new(NonZero::new(rate)))
    }

    fn new(observes: Option<NonZero<u64>>) -> Self {
        Self {
            applied: AtomicU64::new(0),
            encoded: watch::Sender::new(0),
            allowed: watch::Sender::new(u64::MAX),
            lies: AtomicBool::new(false),
            observes,
        }
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    pub(crate) fn encoded(&self) -> u64 {
        *self.encoded.borrow()
    }

    /// Waits until this many runs were asked for.
    pub(crate) async fn asked_for(&self, runs: u64) {
        let mut encoded = self.encoded.subscribe();
        encoded.wait_for(|encoded| *encoded >= runs).await.unwrap();
    }

    /// Lets this many more runs be encoded; the next one waits.
    pub(crate) fn allow(&self, runs: u64) {
        self.allowed
            .send_replace(self.encoded().saturating_add(runs));
    }

    /// Counts a run, and blocks until it is allowed, or the test has long failed.
    fn enter(&self) {
        self.encoded.send_modify(|encoded| *encoded += 1);
        for _ in 0..60_000 {
            if self.encoded() <= *self.allowed.borrow() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Keeps a text per key.
pub(crate) struct Table {
    rows: Arc<BTreeMap<u64, String>>,
    manner: Arc<Manner>,
}

impl Table {
    pub(crate) fn new(manner: &Arc<Manner>) -> Self {
        Self {
            rows: Arc::default(),
            manner: manner.clone(),
        }
    }
}

impl StateMachine for Table {
    type Command = (u64, String);
    type Query = ();
    type QueryResult = BTreeMap<u64, String>;
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        id!("table")
    }

    fn apply(&mut self, (key, text): (u64, String), _: &dyn ApplyContext) {
        self.manner.applied.fetch_add(1, Ordering::Relaxed);
        Arc::make_mut(&mut self.rows).insert(key, text);
    }

    fn query(&self, (): ()) -> BTreeMap<u64, String> {
        (*self.rows).clone()
    }

    fn state_sync(&self) -> Self::StateSync {
        let sync = SnapshotSync::default()
            .with_interval(100.try_into().unwrap())
            .with_batch_size(5.try_into().unwrap())
            .with_kept_commands(4);
        match self.manner.observes {
            Some(rate) => sync.with_fetch_rate(rate),
            None => sync,
        }
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        match self.manner.observes {
            Some(_) => LeadershipPreference::Observer,
            None => LeadershipPreference::Normal,
        }
    }
}

impl SnapshotStateMachine for Table {
    type Snapshot = Frozen;

    fn create_snapshot(&self) -> Frozen {
        Frozen {
            rows: self.rows.clone(),
            manner: Some(self.manner.clone()),
        }
    }

    fn install_snapshot(&mut self, snapshot: Frozen) {
        self.rows = snapshot.rows;
    }
}

#[derive(Clone, Default)]
pub(crate) struct Frozen {
    rows: Arc<BTreeMap<u64, String>>,
    manner: Option<Arc<Manner>>,
}

impl Snapshot for Frozen {
    type Item = (u64, String);

    fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Self::Item>> {
        if range.end > self.len() {
            return None;
        }
        let lies = self.manner.as_ref().is_some_and(|manner| {
            manner.enter();
            manner.lies.load(Ordering::Relaxed)
        });
        let skipped = usize::try_from(range.start).ok()?;
        let taken = usize::try_from(range.end - range.start).ok()?;
        let rows = self.rows.iter().skip(skipped).take(taken);
        Some(rows.map(move |(key, text)| {
            let text = if lies {
                "a lie".to_owned()
            } else {
                text.clone()
            };
            (*key, text)
        }))
    }

    fn append(&mut self, items: impl IntoIterator<Item = Self::Item>) {
        Arc::make_mut(&mut self.rows).extend(items);
    }
}
