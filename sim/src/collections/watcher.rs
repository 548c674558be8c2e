//! A watcher that notes all that it is told.

use std::{sync::Arc, time::Duration};

use mosaik::{
    collections::{Event, Version, Watch},
    groups::Index,
};
use parking_lot::Mutex;
use rand::{Rng, rngs::SmallRng};
use tokio::time::{Instant, sleep};

use super::{
    content::{Content, Delta, KEYS, Part},
    kinds::Kind,
};
use crate::task::Task;

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
    /// Versions at which entries expired, with the time at which it was told of each.
    pub(super) expired: Vec<(u64, Instant)>,
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

/// A watcher at work; it ends with its watch.
pub(super) struct Watcher {
    record: Arc<Mutex<Record>>,
    eager: bool,
    task: Task,
}

impl Watcher {
    /// Watches some part of a collection, as is drawn.
    pub(super) fn draw<K: Kind>(
        place: usize,
        reader: &K::Reader,
        last: u64,
        random: &mut SmallRng,
    ) -> Self {
        let key = random.random_range(0..KEYS);
        let pause = random
            .random_bool(0.5)
            .then(|| Duration::from_millis(random.random_range(1..80)));
        let part = match random.random_range(0..6) {
            0 => Part::Key(key),
            1 => Part::Range(key, random.random_range(key..=KEYS)),
            2 | 3 => {
                let from = random.random_range(0..last + 8);
                let watch = K::watch_from(reader, Version(Index(from)));
                return Self::start::<K>(place, watch, Part::All, Some(from), pause);
            }
            _ => Part::All,
        };
        match K::watch_part(reader, part) {
            Some(watch) => Self::start::<K>(place, watch, part, None, pause),
            None => Self::start::<K>(place, K::watch(reader), Part::All, None, pause),
        }
    }

    /// Watches everything, as fast as it is told.
    pub(super) fn eager<K: Kind>(place: usize, reader: &K::Reader) -> Self {
        let watcher = Self::start::<K>(place, K::watch(reader), Part::All, None, None);
        Self {
            eager: true,
            ..watcher
        }
    }

    fn start<K: Kind>(
        place: usize,
        watch: Watch<K::Snapshot, K::Change>,
        part: Part,
        resumed: Option<u64>,
        pause: Option<Duration>,
    ) -> Self {
        let record = Arc::new(Mutex::new(Record {
            place,
            part,
            resumed,
            begin: K::content(watch.snapshot()),
            begin_version: K::version(watch.snapshot()).0.0,
            notes: Vec::new(),
            expired: Vec::new(),
        }));
        Self {
            task: Task::spawn(follow::<K>(watch, record.clone(), pause)),
            eager: false,
            record,
        }
    }

    /// The record so far; that of an eager one once its watch has ended, which must be soon.
    pub(super) async fn ended(self) -> Record {
        if self.eager {
            self.task.ended().await;
        }
        self.record.lock().clone()
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

/// Interval at which a watcher without news checks its progress.
const LOOK: Duration = Duration::from_millis(50);

/// Notes of a slow watcher after which it hurries, to be done at the end.
const SLOW: usize = 200;

async fn follow<K: Kind>(
    mut watch: Watch<K::Snapshot, K::Change>,
    record: Arc<Mutex<Record>>,
    pause: Option<Duration>,
) {
    loop {
        let event = tokio::select! {
            biased;
            event = watch.recv() => event,
            () = sleep(LOOK) => {
                record.lock().notes.push(Note::Progress(watch.version().0.0));
                continue;
            }
        };
        let now = Instant::now();
        let mut expired = None;
        let note = match event {
            None => return,
            Some(Event::Changed { version, changes }) => {
                let deltas: Vec<_> = changes.iter().map(K::delta).collect();
                if deltas.iter().any(|delta| delta.expired().is_some()) {
                    expired = Some((version.0.0, now));
                }
                Note::Changed(version.0.0, deltas)
            }
            Some(Event::Lagged { now, .. } | Event::Compacted { now, .. }) => {
                Note::Anew(K::version(&now).0.0, K::content(&now))
            }
            Some(_) => Note::Reset,
        };
        let noted = {
            let mut record = record.lock();
            record.notes.push(note);
            record.expired.extend(expired);
            record.notes.len()
        };
        if let Some(pause) = pause
            && noted < SLOW
        {
            sleep(pause).await;
        }
    }
}
