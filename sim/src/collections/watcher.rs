//! A watcher that notes all that it is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mosaik::collections::{
    Cause, Event, MapChange, OrderedMap, OrderedMapReader, OrderedMapSnapshot, Version, Watch,
};
use parking_lot::Mutex;
use rand::{Rng, rngs::SmallRng};
use tokio::time::sleep;

use crate::task::Task;

pub(super) type Content = BTreeMap<u8, u32>;
type Told = Watch<OrderedMapSnapshot<u8, u32>, MapChange<u8, u32>>;

/// Record of a watcher: what it was told, in order.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) place: usize,
    pub(super) part: Part,
    /// The version that it was resumed from.
    pub(super) resumed: Option<u64>,
    pub(super) begin: Content,
    pub(super) begin_version: u64,
    pub(super) notes: Vec<Note>,
}

/// Part of the map that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Key(u8),
    Range(u8, u8),
}

impl Part {
    pub(super) fn has(self, key: u8) -> bool {
        match self {
            Self::All => true,
            Self::Key(only) => key == only,
            Self::Range(start, end) => (start..end).contains(&key),
        }
    }
}

/// One thing that a watcher was told, or saw.
#[derive(Debug, Clone)]
pub(super) enum Note {
    Changed(u64, Vec<Delta>),
    /// Something was missed; the content at this version.
    Anew(u64, Content),
    /// The history was given up.
    Reset,
    /// Everything up to here was told.
    Progress(u64),
}

/// A change of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) key: u8,
    pub(super) old: Option<u32>,
    pub(super) new: Option<u32>,
    pub(super) created: bool,
    pub(super) expired: bool,
}

impl From<&MapChange<u8, u32>> for Delta {
    fn from(change: &MapChange<u8, u32>) -> Self {
        Self {
            key: *change.key(),
            old: change.old().copied(),
            new: change.new().copied(),
            created: change.is_created(),
            expired: change.cause() == Cause::Expired,
        }
    }
}

pub(super) fn content(snapshot: &OrderedMapSnapshot<u8, u32>) -> Content {
    snapshot.iter().map(|(key, value)| (*key, *value)).collect()
}

/// A watcher at work; it ends with its watch.
pub(super) struct Watcher {
    record: Arc<Mutex<Record>>,
    _task: Task,
}

impl Watcher {
    /// Watches some part of a map, as is drawn.
    pub(super) fn draw(
        place: usize,
        map: &OrderedMapReader<u8, u32>,
        last: u64,
        random: &mut SmallRng,
    ) -> Self {
        let key = random.random_range(0..KEYS);
        let (watch, part, resumed) = match random.random_range(0..6) {
            0 => (map.watch_key(key), Part::Key(key), None),
            1 => {
                let end = random.random_range(key..=KEYS);
                (map.watch_range(key..end), Part::Range(key, end), None)
            }
            2 | 3 => {
                let from = random.random_range(0..last + 8);
                let watch = map.watch_from(Version(mosaik::groups::Index(from)));
                (watch, Part::All, Some(from))
            }
            _ => (map.watch(), Part::All, None),
        };
        let pause = random
            .random_bool(0.5)
            .then(|| Duration::from_millis(random.random_range(1..80)));
        Self::start(place, watch, part, resumed, pause)
    }

    /// Watches everything, as fast as it is told.
    pub(super) fn eager(place: usize, map: &OrderedMapReader<u8, u32>) -> Self {
        Self::start(place, map.watch(), Part::All, None, None)
    }

    fn start(
        place: usize,
        watch: Told,
        part: Part,
        resumed: Option<u64>,
        pause: Option<Duration>,
    ) -> Self {
        let record = Arc::new(Mutex::new(Record {
            place,
            part,
            resumed,
            begin: content(watch.snapshot()),
            begin_version: watch.snapshot().version().0.0,
            notes: Vec::new(),
        }));
        Self {
            _task: Task::spawn(follow(watch, record.clone(), pause)),
            record,
        }
    }

    pub(super) fn record(&self) -> Record {
        self.record.lock().clone()
    }

    /// Version up to which everything was told.
    pub(super) fn progress(&self) -> u64 {
        let record = self.record.lock();
        let progress = record.notes.iter().rev().find_map(|note| match note {
            Note::Progress(version) => Some(*version),
            _ => None,
        });
        progress.unwrap_or(record.begin_version)
    }
}

/// Keys that are used.
pub(super) const KEYS: u8 = 24;

/// Interval at which a watcher without news checks its progress.
const LOOK: Duration = Duration::from_millis(50);

/// Notes of a slow watcher after which it hurries, to be done at the end.
const SLOW: usize = 200;

async fn follow(mut watch: Told, record: Arc<Mutex<Record>>, pause: Option<Duration>) {
    loop {
        let event = tokio::select! {
            biased;
            event = watch.recv() => event,
            () = sleep(LOOK) => {
                record.lock().notes.push(Note::Progress(watch.version().0.0));
                continue;
            }
        };
        let note = match event {
            None => return,
            Some(Event::Changed { version, changes }) => {
                Note::Changed(version.0.0, changes.iter().map(Delta::from).collect())
            }
            Some(Event::Lagged { now, .. } | Event::Compacted { now, .. }) => {
                Note::Anew(now.version().0.0, content(&now))
            }
            Some(_) => Note::Reset,
        };
        let noted = {
            let mut record = record.lock();
            record.notes.push(note);
            record.notes.len()
        };
        if let Some(pause) = pause
            && noted < SLOW
        {
            sleep(pause).await;
        }
    }
}

/// The content of a map, at one version.
pub(super) fn look<const W: bool>(map: &OrderedMap<u8, u32, W>) -> (u64, Content) {
    let snapshot = map.snapshot();
    (snapshot.version().0.0, content(&snapshot))
}
