//! Definitions and declarations, in the forms that programs write.

use mosaik::{
    CollectionReader, CollectionWriter, ReaderOf, WriterOf,
    collections::{
        self, CollectionConfig, CollectionDef, CollectionFromDef, Key, Map, MapReader,
        PriorityQueueWriter, ReaderDef, StoreId, SyncConfig, Value, WriterDef,
    },
    unique_id,
};

use super::fleet;
use crate::{
    support::{node, random_network, within},
    surface::{shared, spawnable},
};

mosaik::collection!(
    /// Prices.
    #[derive(Debug)]
    pub Prices = collections::Map<String, u64>, "prices"
);
mosaik::collection!(pub reader Orders = collections::PriorityQueue<u64, String, u64, 8>, "orders",);
mosaik::declare::collection!(writer jobs = collections::Vec<String>, JOBS, sync: tuned());
mosaik::collection!(pub(crate) Items<T: Value> = collections::Vec<T>, store_id("items"));
mosaik::collection!(pub(crate) Pairs<K, V> where K: Key, V: Value = Map<K, V>, unique_id!("pairs"));

mosaik::collection!(pub Few = collections::Set<u8>, "few", sync: tuned(), config: few());

const JOBS: StoreId = unique_id!("jobs");
const PRICES: CollectionDef<Map<String, u64>> = CollectionDef::new(unique_id!("prices"));
const READ: ReaderDef<Map<String, u64>> = PRICES.as_reader();
const WRITE: WriterDef<Map<String, u64>> = PRICES.as_writer().with_config(|| tuned().into());

fn tuned() -> SyncConfig {
    SyncConfig::default().with_fetch_batch_size(9)
}

fn few() -> CollectionConfig {
    CollectionConfig::default().with_max_entries(2)
}

fn store_id(text: &str) -> StoreId {
    text.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_definitions_and_constructors_are_one() {
    let nodes = fleet(2).await;
    let writer: WriterOf<Prices> = within(10, spawnable(Prices::online_writer(&nodes[0]))).await;
    writer.insert("ETH".into(), 1).await.unwrap();
    let reader: ReaderOf<Prices> = within(10, Prices::online_reader(&nodes[1])).await;
    assert_eq!(reader.get("ETH"), Some(1));
    let defined: MapReader<String, u64> = READ.open(&nodes[1]);
    let direct = Map::<String, u64>::reader(&nodes[1], "prices");
    let by_trait = <Map<String, u64> as CollectionFromDef>::reader(&nodes[1], "prices".into());
    for id in [defined.group_id(), direct.group_id(), by_trait.group_id()] {
        assert_eq!(id, writer.group_id());
    }
    let other = WRITE.open(&nodes[0]);
    assert_ne!(
        other.group_id(),
        writer.group_id(),
        "its configuration differs"
    );
    let kept = CollectionDef::from_writer(&WRITE)
        .as_reader()
        .open(&nodes[0]);
    assert_eq!(kept.group_id(), other.group_id());
    let _ = (Prices, format!("{Prices:?}"));

    let few_and_tuned = Few::reader(&nodes[0]);
    let config = few().with_sync(tuned());
    let direct = collections::Set::<u8>::reader_with_config(&nodes[0], "few", config);
    assert_eq!(few_and_tuned.group_id(), direct.group_id());
}

#[tokio::test]
async fn every_side_can_be_opened_in_its_own_crate() {
    let node = node(random_network()).await;
    let orders: PriorityQueueWriter<u64, String, u64, 8> = Orders::writer(&node);
    let read = Orders::reader(&node);
    assert_eq!(read.capacity(), orders.capacity());
    let tasks = within(10, jobs::online_writer(&node)).await;
    tasks.push_back("a".into()).await.unwrap();
    assert_eq!(jobs::reader(&node).len(), 1);
    let items = Items::<u8>::writer(&node);
    let direct = collections::Vec::<u8>::reader(&node, "items");
    assert_eq!(items.group_id(), direct.group_id());
    let pairs = Pairs::<u8, u8>::writer(&node);
    drop(pairs);
    mosaik::collection!(Local = collections::Cell<u8>, "local");
    drop(Local::writer(&node));
}

#[test]
fn handles_and_definitions_are_shared() {
    shared::<Map<String, u64>>();
    shared::<collections::VecReader<String>>();
    shared::<collections::MapSnapshot<String, u64>>();
    shared::<collections::When>();
    fn copy<T: Copy>(_: T) {}
    copy(PRICES);
    copy(READ);
    copy(WRITE);
}
