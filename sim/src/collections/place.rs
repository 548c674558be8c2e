//! A node with a map, which may be away.

use std::time::Duration;

use mosaik::{
    Network,
    collections::{CollectionConfig, OrderedMap, OrderedMapReader, OrderedMapWriter, Version},
    discovery,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;

use super::watcher::{KEYS, Record, Watcher, content, look};
use crate::Fleet;

/// A node and its map.
pub(super) struct Place {
    number: usize,
    random: SmallRng,
    config: CollectionConfig,
    storage: Option<TempDir>,
    node: Option<Network>,
    map: Option<Held>,
    watchers: Vec<Watcher>,
    /// Records of the watchers whose watch has ended.
    ended: Vec<Record>,
}

/// The handle of a place: a writer with a reader beside it, or a reader alone.
struct Held {
    writer: Option<OrderedMapWriter<u8, u32>>,
    reader: OrderedMapReader<u8, u32>,
}

impl Place {
    pub(super) fn new(
        number: usize,
        seed: u64,
        writers: usize,
        durable: bool,
    ) -> anyhow::Result<Self> {
        let mut random = SmallRng::seed_from_u64(seed ^ (number as u64 + 1) << 32);
        // Two of them keep all changes: together they tell what really happened.
        let small = if number < 2 { 2 } else { 0 };
        let buffer = [2 * 1024, 16 * 1024, 8 * 1024 * 1024][random.random_range(small..3)];
        let config = CollectionConfig::default()
            .with_min_writers(writers)
            .with_watch_buffer(buffer);
        let config = if durable { config.durable() } else { config };
        Ok(Self {
            number,
            random,
            config,
            storage: durable.then(tempfile::tempdir).transpose()?,
            node: None,
            map: None,
            watchers: Vec::new(),
            ended: Vec::new(),
        })
    }

    /// Starts the node and opens the map.
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

    /// Opens the map.
    pub(super) fn open(&mut self, writes: bool) {
        let Some(node) = &self.node else { return };
        let writer =
            writes.then(|| OrderedMap::writer_with_config(node, "watched", self.config.clone()));
        let reader = OrderedMapReader::reader_with_config(node, "watched", self.config.clone());
        self.watchers.push(Watcher::eager(self.number, &reader));
        self.map = Some(Held { writer, reader });
        for _ in 0..3 {
            self.watch_more();
        }
    }

    /// One more watcher, if the map is open.
    pub(super) fn watch_more(&mut self) {
        if let Some(map) = &self.map {
            let last = map.reader.version().0.0;
            let watcher = Watcher::draw(self.number, &map.reader, last, &mut self.random);
            self.watchers.push(watcher);
        }
    }

    /// Closes the map; what its watchers were told is kept.
    pub(super) fn close(&mut self) {
        self.map = None;
        let watchers = self.watchers.drain(..);
        self.ended.extend(watchers.map(|watcher| watcher.record()));
    }

    /// Ends the node: in order, or at once.
    pub(super) async fn stop(&mut self, fleet: &Fleet, crash: bool) {
        if crash {
            fleet.hub().crash(fleet.id(self.number));
        }
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
        self.close();
    }

    /// Mutates the map in some way, if it can be done here: the version, and the key and the value
    /// that it wrote.
    pub(super) fn mutate(
        &self,
        random: &mut SmallRng,
    ) -> Option<impl Future<Output = Option<(Version, u8, Option<u32>)>> + use<>> {
        let writer = self.map.as_ref()?.writer.as_ref()?;
        let key = random.random_range(0..KEYS);
        let value = random.random();
        let ttl = Duration::from_millis(random.random_range(0..400));
        let (writing, wrote): (futures::future::BoxFuture<'static, _>, _) = match random
            .random_range(0..10)
        {
            0 => (boxed(writer.remove(&key)), None),
            1 => {
                let entries = (0..random.random_range(1..20)).map(|n| ((key + n) % KEYS, value));
                (boxed(writer.extend(entries)), Some(value))
            }
            2 | 3 => (boxed(writer.insert_with_ttl(key, value, ttl)), Some(value)),
            4 => {
                let batch = writer
                    .batch()
                    .insert((key + 1) % KEYS, value)
                    .remove((key + 2) % KEYS)
                    .insert(key, value)
                    .commit();
                let batch = async move { batch.await.map(|outcome| outcome.version) };
                (boxed(batch), Some(value))
            }
            _ => (boxed(writer.insert(key, value)), Some(value)),
        };
        Some(async move { Some((writing.await?, key, wrote)) })
    }

    /// Waits until everything up to a version is applied here and told to every watcher.
    pub(super) async fn settled(&self, version: Version) {
        let Some(map) = &self.map else { return };
        map.reader.when().reaches(version).await;
        while self
            .watchers
            .iter()
            .any(|watcher| watcher.progress() < version.0.0)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn online(&self) {
        if let Some(map) = &self.map {
            map.reader.when().online().await;
        }
    }

    /// Number of voting writers, as far as is known here.
    pub(super) fn voters(&self) -> usize {
        let status = self.map.as_ref().map(|map| map.reader.status());
        status.map_or(0, |status| status.membership.voters.len())
    }

    /// State seen here: the version and the content.
    pub(super) fn look(&self) -> Option<(u64, super::watcher::Content)> {
        let map = self.map.as_ref()?;
        let seen = look(&map.reader);
        // Both handles of a place read one copy.
        let beside = map
            .writer
            .as_ref()
            .map(|writer| content(&writer.snapshot()));
        (beside.is_none_or(|content| content == seen.1)).then_some(seen)
    }

    /// All that watchers here were told.
    pub(super) fn records(&self) -> Vec<Record> {
        let running = self.watchers.iter().map(Watcher::record);
        self.ended.iter().cloned().chain(running).collect()
    }
}

fn boxed<E>(
    writing: impl Future<Output = Result<Version, E>> + Send + 'static,
) -> futures::future::BoxFuture<'static, Option<Version>>
where
    E: 'static,
{
    Box::pin(async move { writing.await.ok() })
}
