//! A node with a collection, which may be away.

use std::time::Duration;

use anyhow::Context;
use mosaik::{
    Network, PeerId,
    collections::{CollectionConfig, Version},
    discovery,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::{
    content::Content,
    kinds::{Kind, Mutation},
    watcher::{Record, Watcher},
};
use crate::{Fleet, bound};

/// Bytes of changes that a place keeps for its watchers: the last is more than a run makes.
const BUFFERS: [usize; 3] = [2 * 1024, 16 * 1024, 512 * 1024 * 1024];
/// Places that keep all changes: together they tell what really happened.
const COMPLETE: usize = 2;
/// Timeout for a watch to end after its collection.
const END: Duration = Duration::from_secs(20);

/// A node and its collection.
pub(super) struct Place<K: Kind> {
    number: usize,
    random: SmallRng,
    config: CollectionConfig,
    complete: bool,
    storage: Option<TempDir>,
    node: Option<Network>,
    held: Option<Held<K>>,
    watchers: Vec<Watcher>,
    /// Records of the watchers whose watch has ended.
    ended: Vec<Record>,
}

/// The handle of a place: a writer with a reader beside it, or a reader alone.
struct Held<K: Kind> {
    writer: Option<K::Writer>,
    reader: K::Reader,
}

impl<K: Kind> Place<K> {
    pub(super) fn new(
        number: usize,
        seed: u64,
        writers: usize,
        durable: bool,
    ) -> anyhow::Result<Self> {
        let mut random = SmallRng::seed_from_u64(seed ^ (number as u64 + 1) << 32);
        let small = if number < COMPLETE { 2 } else { 0 };
        let buffer = random.random_range(small..BUFFERS.len());
        let config = CollectionConfig::default()
            .with_min_writers(writers / 2 + 1)
            .with_watch_buffer(BUFFERS[buffer]);
        let config = if durable { config.durable() } else { config };
        Ok(Self {
            number,
            random,
            config,
            complete: buffer == 2,
            storage: durable.then(tempfile::tempdir).transpose()?,
            node: None,
            held: None,
            watchers: Vec::new(),
            ended: Vec::new(),
        })
    }

    /// Starts the node and opens the collection.
    pub(super) async fn start(
        &mut self,
        fleet: &Fleet,
        places: usize,
        writes: bool,
    ) -> anyhow::Result<()> {
        let others = (0..places).filter(|other| *other != self.number);
        let others: Vec<_> = others.map(|other| fleet.id(other)).collect();
        let discovery = discovery::Config::builder().with_bootstrap(others);
        let mut builder = fleet.builder(self.number, discovery);
        if let Some(storage) = &self.storage {
            builder = builder.with_storage(storage.path());
        }
        self.node = Some(builder.build().await?);
        self.open(writes);
        Ok(())
    }

    /// Opens the collection.
    pub(super) fn open(&mut self, writes: bool) {
        let Some(node) = &self.node else { return };
        let writer = writes.then(|| K::writer(node, self.config.clone()));
        let reader = K::reader(node, self.config.clone());
        let eager = Watcher::eager::<K>(self.number, &reader);
        self.watchers.push(eager);
        self.held = Some(Held { writer, reader });
        for _ in 0..3 {
            self.watch_more();
        }
    }

    /// One more watcher, if the collection is open.
    pub(super) fn watch_more(&mut self) {
        if let Some((last, _)) = self.look()
            && let Some(held) = &self.held
        {
            let watcher = Watcher::draw::<K>(self.number, &held.reader, last, &mut self.random);
            self.watchers.push(watcher);
        }
    }

    /// Closes the collection; what its watchers were told is kept.
    pub(super) async fn close(&mut self) -> anyhow::Result<()> {
        self.held = None;
        for watcher in self.watchers.drain(..) {
            let record = timeout(bound(END), watcher.ended()).await;
            self.ended
                .push(record.context("a watch does not end with its collection")?);
        }
        Ok(())
    }

    /// Ends the node: in order, or at once.
    pub(super) async fn stop(&mut self, fleet: &Fleet, crash: bool) -> anyhow::Result<()> {
        if crash {
            fleet.hub().crash(fleet.id(self.number));
        }
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
        self.close().await
    }

    /// Mutates the collection in some way, if it can be done here.
    pub(super) fn mutate(&self, random: &mut SmallRng, mark: u32) -> Option<Mutation> {
        // Before it is submitted: nothing that it sets may end sooner after this.
        let begun = Instant::now();
        let mut mutation = K::mutate(self.writer()?, random, mark);
        mutation.effect.submitted = begun;
        Some(mutation)
    }

    pub(super) fn heavy(&self, mark: u32) -> Option<Mutation> {
        Some(K::heavy(self.writer()?, mark))
    }

    pub(super) fn lighten(&self) -> Option<Mutation> {
        Some(K::lighten(self.writer()?))
    }

    fn writer(&self) -> Option<&K::Writer> {
        self.held.as_ref()?.writer.as_ref()
    }

    /// Waits until everything up to a version is applied here and told to every watcher, and
    /// nothing is left to expire.
    pub(super) async fn settled(&self, version: Version) {
        let Some(held) = &self.held else { return };
        K::when(&held.reader).reaches(version).await;
        while self
            .watchers
            .iter()
            .any(|watcher| watcher.progress() < version.0.0)
            || K::expires(&held.reader)
        {
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn online(&self) {
        if let Some(held) = &self.held {
            K::when(&held.reader).online().await;
        }
    }

    /// Number of voting writers, as far as is known here.
    pub(super) fn voters(&self) -> usize {
        let status = self.held.as_ref().map(|held| K::status(&held.reader));
        status.map_or(0, |status| status.membership.voters.len())
    }

    /// The leader, as far as is known here.
    pub(super) fn leader(&self) -> Option<PeerId> {
        K::status(&self.held.as_ref()?.reader).leader
    }

    /// The version and the content here, if it is open.
    pub(super) fn look(&self) -> Option<(u64, Content)> {
        self.looks().pop()
    }

    /// The versions and contents that the handles here show, which share one copy.
    pub(super) fn looks(&self) -> Vec<(u64, Content)> {
        let Some(held) = &self.held else {
            return Vec::new();
        };
        let snapshots = K::snapshots(held.writer.as_ref(), &held.reader);
        let looks = snapshots.iter();
        looks
            .map(|snapshot| (K::version(snapshot).0.0, K::content(snapshot)))
            .collect()
    }

    /// All that watchers here were told.
    pub(super) fn records(&self) -> Vec<Record> {
        let running = self.watchers.iter().map(Watcher::record);
        self.ended.iter().cloned().chain(running).collect()
    }

    /// Returns whether nothing is missed here except by a snapshot of another member.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }
}
