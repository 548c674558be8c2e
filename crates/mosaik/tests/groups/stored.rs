//! A store directory that an earlier version has written is gone on from.
//!
//! It was recorded by `record_a_store`, below, and is never made anew: a change that can't read it
//! needs a new version of the layout, and a directory of its own here.

use std::{path::Path, sync::Arc};

use mosaik::{Digest, Group, GroupKey, Network, NetworkId, Strong, discovery, id};

use super::tables::{Manner, Table};
use crate::support::{builder, within};

#[path = "../fixtures/directory.rs"]
mod directory;

const RECORDED: &str = "store-1.txt";
/// Its commands: more than a snapshot's interval, so that there is one on the disk.
const COMMANDS: u64 = 115;

fn network() -> NetworkId {
    id!("mosaik recorded store")
}

async fn start(directory: &Path) -> Network {
    let node = builder(network(), discovery::Config::builder());
    node.with_storage(directory).build().await.unwrap()
}

async fn join(node: &Network, manner: &Arc<Manner>) -> Group<Table> {
    let group = node
        .groups()
        .with_key(GroupKey::new(Digest::from_bytes([7; 32])))
        .with_state_machine(Table::new(manner))
        .durable()
        .unwrap()
        .join();
    within(20, group.when().online()).await;
    group
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_store_is_gone_on_from() {
    let directory = tempfile::tempdir().unwrap();
    directory::unpack(RECORDED, directory.path());
    let node = start(directory.path()).await;
    let secret = std::fs::read_to_string(directory.path().join("secret.key")).unwrap();
    let public = secret.lines().nth(1).unwrap();
    assert_eq!(
        node.local().id().to_string(),
        public,
        "the identity is kept"
    );
    let manner = Manner::honest();
    let group = join(&node, &manner).await;
    let rows = within(5, group.query((), Strong)).await.unwrap();
    let expected = (1..=COMMANDS).map(|n| (n, format!("row {n}")));
    assert!(rows.iter().map(|(n, row)| (*n, row.clone())).eq(expected));
    assert!(manner.applied() < COMMANDS, "the snapshot was taken");
    let next = group.execute((COMMANDS + 1, "more".into()));
    assert_eq!(within(5, next).await.unwrap(), COMMANDS + 1);
    within(20, node.shutdown()).await;
}

/// Records a store, as this version writes it. Run by hand:
/// `RECORD=tests/fixtures/store-N.txt … record_a_store --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a fixture"]
async fn record_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let manner = Manner::honest();
    let node = start(directory.path()).await;
    let group = join(&node, &manner).await;
    // Few entries, so that the record is small; the last ones are behind the snapshot.
    let row = |n: u64| (n, format!("row {n}"));
    for range in [1..=60, 61..=110] {
        within(5, group.execute_many(range.map(row))).await.unwrap();
    }
    for n in 111..=COMMANDS {
        within(5, group.execute(row(n))).await.unwrap();
    }
    // Nothing outside tells that the snapshot is on the disk, and the log discarded behind it; if it
    // is not, the test above says so.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    println!("group {}", group.id());
    within(20, node.shutdown()).await;
    drop(group);
    let path = std::env::var("RECORD").unwrap();
    std::fs::write(path, directory::pack(directory.path())).unwrap();
}
