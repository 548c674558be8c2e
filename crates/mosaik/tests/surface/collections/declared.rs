//! Definitions, traits and the macro.

use mosaik::{
    CollectionReader, CollectionWriter, Network, ReaderOf, WriterOf, collections,
    collections::{
        Cell, CellReader, CellWriter, CollectionConfig, CollectionDef, CollectionFromDef, Map,
        MapReader, MapWriter, Once, OnceReader, OnceWriter, OpenError, PriorityQueue,
        PriorityQueueReader, PriorityQueueWriter, ReaderDef, Set, SetReader, SetWriter, StoreId,
        SyncConfig, VecReader, VecWriter, WriterDef,
    },
    tickets::{Hs256, Jwt},
    unique_id,
};

use crate::{
    support::{node, random_network, within},
    surface::{shared, spawnable},
};

const DEF: CollectionDef<Map<String, u64>> = CollectionDef::new(unique_id!("x"));
const READER: ReaderDef<Map<String, u64>> = DEF.as_reader();
const WRITER: WriterDef<Map<String, u64>> = DEF.with_config(tuned).as_writer();
const BACK: CollectionDef<Map<String, u64>> = CollectionDef::from_reader(&READER);
const ALSO: CollectionDef<Map<String, u64>> = CollectionDef::from_writer(&WRITER);
const ONLY: ReaderDef<Set<u8>> = ReaderDef::new(unique_id!("y")).with_config(tuned);
const OTHER: WriterDef<Set<u8>> = WriterDef::new(unique_id!("y")).with_config(tuned);

fn tuned() -> CollectionConfig {
    SyncConfig::default().with_fetch_batch_size(7).into()
}

/// A collection of the program's own: a map behind another face.
struct Registry;

struct Entries(MapReader<String, u8>);

impl Entries {
    fn when(&self) -> &collections::When {
        self.0.when()
    }
}

impl CollectionFromDef for Registry {
    type Reader = Entries;
    type Writer = MapWriter<String, u8>;

    fn reader_with_config(network: &Network, id: StoreId, config: CollectionConfig) -> Entries {
        Entries(MapReader::<String, u8>::reader_with_config(
            network, id, config,
        ))
    }

    fn writer_with_config(
        network: &Network,
        id: StoreId,
        config: CollectionConfig,
    ) -> Self::Writer {
        Map::writer_with_config(network, id, config)
    }
}

mosaik::collection!(Own = Registry, "own");
mosaik::collection!(
    /// With everything.
    #[derive(Debug, Clone, Copy, Default)]
    pub(crate) Gated = collections::Map<String, u64>,
    "0f0e0d0c0b0a09080706050403020100000102030405060708090A0B0C0D0E0F",
    require_ticket: Jwt::with_key(KEY),
    require_ticket: Jwt::with_key(KEY).allow_issuer("me"),
);
mosaik::collection!(pub reader Feed = collections::Vec<u8>, FEED);
mosaik::collection!(pub writer Sink = collections::Vec<u8>, FEED,);
mosaik::collection!(
    Bounded<T: collections::Value, const CAP: u64 = 3> =
        collections::PriorityQueue<u8, String, T, CAP>, store("bounded")
);

const FEED: StoreId = unique_id!("feed");
const KEY: Hs256 = Hs256::new([3; 32]);

fn store(text: &str) -> StoreId {
    text.into()
}

#[test]
fn every_kind_can_be_defined() {
    fn kind<C: CollectionFromDef<Reader = R, Writer = W>, R, W>() {}
    kind::<Map<u8, u8>, MapReader<u8, u8>, MapWriter<u8, u8>>();
    kind::<MapReader<u8, u8>, MapReader<u8, u8>, MapWriter<u8, u8>>();
    kind::<collections::Vec<u8>, VecReader<u8>, VecWriter<u8>>();
    kind::<VecReader<u8>, VecReader<u8>, VecWriter<u8>>();
    kind::<Set<u8>, SetReader<u8>, SetWriter<u8>>();
    kind::<Cell<u8>, CellReader<u8>, CellWriter<u8>>();
    kind::<Once<u8>, OnceReader<u8>, OnceWriter<u8>>();
    kind::<
        PriorityQueue<u8, u8, u8, 3>,
        PriorityQueueReader<u8, u8, u8, 3>,
        PriorityQueueWriter<u8, u8, u8, 3>,
    >();
    fn plain<T: Clone + Copy + Send + Sync>() {}
    // Whatever is defined, also where it is none of these itself.
    plain::<CollectionDef<Registry>>();
    plain::<ReaderDef<Map<String, u64>>>();
    plain::<WriterDef<Map<String, u64>>>();
    assert_eq!(READER.store_id, DEF.store_id);
    assert_eq!((BACK.store_id, ALSO.store_id), (DEF.store_id, DEF.store_id));
    shared::<WriterOf<Gated>>();
    let _: Option<(ReaderOf<Gated>, ReaderOf<Feed>, WriterOf<Sink>)> = None;
    let _: Option<(mosaik::ReaderOf<Own>, collections::WriterOf<Own>)> = None;
    fn derives<T: std::fmt::Debug + Copy + Default>(_: T) {}
    derives(Gated);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_keep_their_configuration() {
    let node = node(random_network()).await;
    let direct = Map::<String, u64>::reader(&node, "x");
    let reader: MapReader<String, u64> = READER.open(&node);
    let back: MapWriter<String, u64> = BACK.writer(&node);
    for id in [reader.group_id(), back.group_id()] {
        assert_eq!(id, direct.group_id());
    }
    let configured = Map::<String, u64>::reader_with_config(&node, "x", tuned());
    let writer: MapWriter<String, u64> = WRITER.open(&node);
    let also: MapReader<String, u64> = ALSO.reader(&node);
    for id in [writer.group_id(), also.group_id()] {
        assert_eq!(id, configured.group_id());
    }
    assert_eq!(ONLY.open(&node).group_id(), OTHER.open(&node).group_id());
    let tried: Result<MapWriter<String, u64>, OpenError> = DEF.try_writer(&node);
    let tried_reader: Result<MapReader<String, u64>, OpenError> = DEF.try_reader(&node);
    assert_eq!(tried.unwrap().group_id(), direct.group_id());
    assert_eq!(tried_reader.unwrap().group_id(), direct.group_id());
    assert!(ONLY.try_open(&node).is_ok() && OTHER.try_open(&node).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_open_both_sides() {
    let node = node(random_network()).await;
    let own: MapWriter<String, u8> = within(10, spawnable(Own::online_writer(&node))).await;
    own.insert("a".into(), 1).await.unwrap();
    let entries: Entries = within(10, Own::online_reader(&node)).await;
    assert_eq!(entries.0.get("a"), Some(1));
    assert!(Own::try_writer(&node).is_ok() && Own::try_reader(&node).is_ok());

    let config = CollectionConfig::default()
        .require_ticket(Jwt::with_key(KEY))
        .require_ticket(Jwt::with_key(KEY).allow_issuer("me"));
    let id = "0F0E0D0C0B0A09080706050403020100000102030405060708090a0b0c0d0e0f";
    let direct = Map::<String, u64>::reader_with_config(&node, id, config);
    assert_eq!(Gated::reader(&node).group_id(), direct.group_id());
    // The side that is not declared is there for this crate.
    let sink: VecWriter<u8> = Feed::writer(&node);
    let feed: VecReader<u8> = Sink::reader(&node);
    assert_eq!(sink.group_id(), feed.group_id());
    assert!(Feed::try_reader(&node).is_ok() && Feed::try_writer(&node).is_ok());
    let bounded = Bounded::<u8>::writer(&node);
    let named = PriorityQueue::<u8, String, u8, 3>::reader(&node, "bounded");
    assert_eq!(bounded.group_id(), named.group_id());
    mosaik::declare::collection!(Inner = collections::Cell<u8>, "inner");
    let inner: CellWriter<u8> = Inner::writer(&node);
    drop(inner);
}
