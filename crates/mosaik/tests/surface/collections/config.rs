//! Constructors, and identity.

use std::{ops::Deref, sync::Arc, time::Duration};

use mosaik::{
    Network,
    collections::{
        self, Cell, CollectionConfig, Map, MapReader, Once, OnceReader, OrderedMap, PriorityQueue,
        PriorityQueueReader, Set, SetReader, SyncConfig, SyncStrategy, Vec, VecReader,
    },
    groups::GroupId,
    primitives::Digest,
    tickets::{Hs256, Jwt},
    unique_id,
};

use crate::support::{node, random_network};

/// A program's own way to hold a network.
struct App {
    network: Network,
}

impl Deref for App {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

#[tokio::test]
async fn whatever_derefs_to_a_network_opens_collections() {
    let network = node(random_network()).await;
    let _ = Map::<u8, u8>::writer(&network, "x");
    let boxed = Box::new(network);
    let _ = Map::<u8, u8>::new(&boxed, "x");
    let app = App { network: *boxed };
    let _ = Set::<u8>::new_with_config(&app, "x", SyncConfig::default());
    let shared = Arc::new(app.network);
    let _ = Vec::<u8>::writer(&shared, "x");
    let _ = VecReader::<u8>::reader(&shared, "x");
    let _ = Cell::<u8>::writer_with_config(&shared, "x", CollectionConfig::default());
    let _ = Once::<u8>::reader_with_config(&shared, "x", SyncConfig::default());
    let _ = OrderedMap::<u8, u8>::try_writer_with_config(&shared, "x", SyncConfig::default());
    let _ = PriorityQueue::<u8, u8, u8>::try_reader_with_config(
        &shared,
        "x",
        CollectionConfig::default(),
    );
    let guard = std::sync::Mutex::new(shared);
    let _ = Map::<u8, u8>::reader(&guard.lock().unwrap(), "x");
}

#[tokio::test]
async fn every_constructor_gives_its_role() {
    let node = node(random_network()).await;
    let tuned = || SyncConfig::default();
    let _: Map<u8, u8> = Map::new(&node, "a");
    let _: Map<u8, u8> = Map::new_with_config(&node, "a", tuned());
    let _: Map<u8, u8> = Map::writer(&node, "a");
    let _: Map<u8, u8> = Map::writer_with_config(&node, "a", tuned());
    let _: MapReader<u8, u8> = Map::<u8, u8>::reader(&node, "a");
    let _: MapReader<u8, u8> = Map::<u8, u8>::reader_with_config(&node, "a", tuned());
    let _: MapReader<u8, u8> = MapReader::<u8, u8>::reader(&node, "a");
    let _: VecReader<u8> = Vec::<u8>::reader(&node, "a");
    let _: VecReader<u8> = VecReader::<u8>::reader(&node, "a");
    let _: SetReader<u8> = Set::<u8>::reader(&node, "a");
    let _: collections::CellReader<u8> = Cell::<u8>::reader(&node, "a");
    let _: OnceReader<u8> = Once::<u8>::reader(&node, "a");
    let _: PriorityQueueReader<u8, u8, u8> = PriorityQueue::<u8, u8, u8>::reader(&node, "a");
    let _: PriorityQueueReader<u8, u8, u8, 3> =
        collections::BoundedPriorityQueue::<u8, u8, u8, 3>::reader(&node, "a");
    let bounded = PriorityQueue::<u8, u8, u8, 3>::writer(&node, "a");
    let unbounded = collections::UnboundedPriorityQueue::<u8, u8, u8>::writer(&node, "a");
    assert_eq!((bounded.capacity(), unbounded.capacity()), (3, u64::MAX));
    assert_ne!(bounded.group_id(), unbounded.group_id());
}

#[tokio::test]
async fn a_store_id_has_many_forms() {
    let node = node(random_network()).await;
    let id = |map: MapReader<u8, u8>| *map.group_id();
    let text = id(Map::<u8, u8>::reader(&node, "prices"));
    let hash = blake3::hash(b"prices");
    let hex = hash.to_hex().to_string();
    assert_eq!(text, id(Map::<u8, u8>::reader(&node, unique_id!("prices"))));
    assert_eq!(text, id(Map::<u8, u8>::reader(&node, &b"prices"[..])));
    assert_eq!(text, id(Map::<u8, u8>::reader(&node, hash)));
    assert_eq!(text, id(Map::<u8, u8>::reader(&node, hex.as_str())));
    assert_eq!(
        text,
        id(Map::<u8, u8>::reader(&node, Digest::from("prices")))
    );
}

#[tokio::test]
async fn identity_has_the_listed_ingredients() {
    let node = node(random_network()).await;
    let map = |config: CollectionConfig| {
        *Map::<u8, u16>::reader_with_config(&node, "x", config).group_id()
    };
    let plain = map(CollectionConfig::default());
    let same = [
        *Map::<u8, u16>::writer(&node, "x").group_id(),
        map(SyncConfig::default().into()),
        map(SyncConfig::default()
            .with_fetch_batch_size(2000)
            .with_snapshot_ttl(Duration::from_secs(10))
            .with_snapshot_request_timeout(Duration::from_secs(15))
            .with_fetch_timeout(Duration::from_secs(5))
            .into()),
        map(SyncConfig::default()
            .with_fetch_timeout(Duration::from_micros(5_000_999))
            .into()),
        map(SyncConfig::default()
            .with_strategy(SyncStrategy::Snapshot)
            .into()),
        map(CollectionConfig::default().with_min_writers(3)),
        map(CollectionConfig::default().with_watch_buffer(1)),
        map(CollectionConfig::default().with_write_key("secret")),
    ];
    for id in same {
        assert_eq!(id, plain);
    }
    let jwt = |byte| Jwt::with_key(Hs256::new([byte; 32]));
    let others = [
        *Map::<u8, u16>::reader(&node, "y").group_id(),
        *Map::<u16, u8>::reader(&node, "x").group_id(),
        *OrderedMap::<u8, u16>::reader(&node, "x").group_id(),
        *Set::<u8>::reader(&node, "x").group_id(),
        *Vec::<u8>::reader(&node, "x").group_id(),
        *Cell::<u8>::reader(&node, "x").group_id(),
        *Once::<u8>::reader(&node, "x").group_id(),
        map(SyncConfig::default().with_fetch_batch_size(1).into()),
        map(SyncConfig::default()
            .with_snapshot_ttl(Duration::ZERO)
            .into()),
        map(SyncConfig::default()
            .with_snapshot_request_timeout(Duration::ZERO)
            .into()),
        map(SyncConfig::default()
            .with_fetch_timeout(Duration::ZERO)
            .into()),
        map(CollectionConfig::default().require_ticket(jwt(1))),
        map(CollectionConfig::default()
            .require_ticket(jwt(1))
            .require_ticket(jwt(2))),
        map(CollectionConfig::default()
            .require_ticket(jwt(2))
            .require_ticket(jwt(1))),
        map(CollectionConfig::default().with_max_entries(9)),
        map(CollectionConfig::default().with_max_bytes(9)),
        map(CollectionConfig::default().with_type_tag("numbers")),
    ];
    let mut all: std::vec::Vec<GroupId> = others.into();
    all.push(plain);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[tokio::test]
async fn a_type_tag_may_be_made_at_run_time() {
    let node = node(random_network()).await;
    let version = 2;
    let made = CollectionConfig::default().with_type_tag(format!("numbers/{version}"));
    let literal = CollectionConfig::default().with_type_tag("numbers/2");
    let made = Map::<u8, u8>::reader_with_config(&node, "x", made);
    let literal = Map::<u8, u8>::reader_with_config(&node, "x", literal);
    assert_eq!(made.group_id(), literal.group_id());
}
