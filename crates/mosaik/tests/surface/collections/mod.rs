//! The pages of collections, as programs write them.

mod beyond;
mod config;
mod declared;
mod kinds;
mod offline;

use std::fmt;

use mosaik::{
    collections::{
        self, BoundedPriorityQueue, Cell, CellReader, CellWriter, CollectionConfig, Error, Key,
        Map, MapReader, MapWriter, Once, OnceReader, OnceWriter, OrderedKey, PriorityQueue,
        PriorityQueueReader, PriorityQueueWriter, Set, SetReader, SetWriter, StoreId, SyncConfig,
        UnboundedPriorityQueue, Value, VecReader, VecWriter, Version, When,
    },
    groups::Index,
    primitives::encoding::EncodeError,
};

use super::shared;

/// A mutation that gives `X` back.
fn mutation<X>(_: impl Future<Output = Result<Version, Error<X>>> + Send + Sync + 'static) {}

/// An element that has no more than it needs: neither `Debug` nor `PartialEq`.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Bare(u8);

#[test]
fn names_and_bounds() {
    fn same<T>(_: Option<T>, _: Option<T>) {}
    same::<Map<u8, u8>>(None, None::<MapWriter<u8, u8>>);
    same::<Map<u8, u8, false>>(None, None::<MapReader<u8, u8>>);
    same::<collections::Vec<u8>>(None, None::<VecWriter<u8>>);
    same::<collections::Vec<u8, false>>(None, None::<VecReader<u8>>);
    same::<Set<u8>>(None, None::<SetWriter<u8>>);
    same::<Set<u8, false>>(None, None::<SetReader<u8>>);
    same::<Cell<u8>>(None, None::<CellWriter<u8>>);
    same::<Cell<u8, false>>(None, None::<CellReader<u8>>);
    same::<Once<u8>>(None, None::<OnceWriter<u8>>);
    same::<Once<u8, false>>(None, None::<OnceReader<u8>>);
    same::<PriorityQueue<u8, u8, u8>>(None, None::<PriorityQueueWriter<u8, u8, u8>>);
    same::<PriorityQueue<u8, u8, u8, 9>>(None, None::<PriorityQueueWriter<u8, u8, u8, 9>>);
    same::<PriorityQueue<u8, u8, u8, 9, false>>(None, None::<PriorityQueueReader<u8, u8, u8, 9>>);
    same::<PriorityQueue<u8, u8, u8, { u64::MAX }, false>>(
        None,
        None::<PriorityQueueReader<u8, u8, u8>>,
    );
    same::<PriorityQueue<u8, u8, u8>>(None, None::<UnboundedPriorityQueue<u8, u8, u8>>);
    same::<PriorityQueueReader<u8, u8, u8>>(
        None,
        None::<UnboundedPriorityQueue<u8, u8, u8, false>>,
    );
    same::<PriorityQueue<u8, u8, u8, 9>>(None, None::<BoundedPriorityQueue<u8, u8, u8, 9>>);
    same::<PriorityQueueReader<u8, u8, u8, 9>>(
        None,
        None::<BoundedPriorityQueue<u8, u8, u8, 9, false>>,
    );
    same::<StoreId>(None, None::<mosaik::UniqueId>);
    same::<StoreId>(None, None::<mosaik::StoreId>);
    same::<CollectionConfig>(None, None::<mosaik::CollectionConfig>);

    shared::<Map<String, Bare>>();
    shared::<MapReader<String, Bare>>();
    shared::<VecReader<Bare>>();
    shared::<SetWriter<String>>();
    shared::<CellReader<Bare>>();
    shared::<OnceWriter<Bare>>();
    shared::<PriorityQueueReader<u8, String, Bare, 3>>();
    shared::<Error<Bare>>();
    shared::<When>();

    fn value<T: Value>() {}
    fn key<T: Key>() {}
    fn ordered<T: OrderedKey>() {}
    value::<Bare>();
    key::<Vec<u8>>();
    ordered::<(u8, String)>();
}

#[test]
fn versions_are_indices() {
    let version = Version(Index(5));
    assert_eq!(format!("{version} {version:?}"), "5 Version(Index(5))");
    let index: &Index = &version;
    assert_eq!(*index, Index(5));
    assert!(Version(Index(4)) < version && version == Version(Index(5)));
    fn copy<T: Copy + Ord>(_: T) {}
    copy(version);
}

#[test]
fn errors_give_their_arguments_back() {
    // Without bounds on the arguments.
    let display: [(Error<Bare>, &str); 3] = [
        (Error::Offline(Bare(1)), "Offline"),
        (
            Error::Encoding(Bare(2), EncodeError::SerdeSerCustom),
            &format!("Encoding: {}", EncodeError::SerdeSerCustom),
        ),
        (Error::NetworkDown, "Network is down"),
    ];
    for (error, text) in display {
        assert_eq!(error.to_string(), text);
        match error {
            Error::Offline(Bare(n)) | Error::Encoding(Bare(n), _) => assert!(n > 0),
            Error::NetworkDown => {}
            other => panic!("{other}"),
        }
    }
    fn debug<T: fmt::Debug>() {}
    debug::<Error<(String, u8)>>();
    let error: &dyn std::error::Error = &Error::Offline("x");
    assert!(error.source().is_none());
    fn into_anyhow() -> anyhow::Result<()> {
        Err::<(), _>(Error::Offline(("k".to_owned(), 1)))?;
        Ok(())
    }
    assert_eq!(into_anyhow().unwrap_err().to_string(), "Offline");
}

#[test]
fn settings() {
    use std::{sync::Arc, time::Duration};

    use mosaik::tickets::{Hs256, Jwt, TicketValidator};

    const SYNC: fn(SyncConfig) -> CollectionConfig = CollectionConfig::from;
    let sync = SyncConfig::default()
        .with_fetch_batch_size(1)
        .with_snapshot_ttl(Duration::from_secs(1))
        .with_snapshot_request_timeout(Duration::from_secs(2))
        .with_fetch_timeout(Duration::from_secs(3));
    let jwt = Jwt::with_key(Hs256::new([1; 32]));
    let config: CollectionConfig = SYNC(sync.clone())
        .with_sync(sync.clone())
        .require_ticket(jwt.clone())
        .require_ticket(Arc::new(jwt.clone()))
        .require_ticket(Box::new(jwt) as Box<dyn TicketValidator>);
    let _ = (config.clone(), format!("{sync:?}"));
    // Setters that the page calls `const` are.
    const fn tuned(sync: SyncConfig) -> SyncConfig {
        sync.with_fetch_batch_size(9)
            .with_snapshot_ttl(Duration::ZERO)
            .with_snapshot_request_timeout(Duration::ZERO)
            .with_fetch_timeout(Duration::ZERO)
    }
    const fn with_sync(config: CollectionConfig, sync: SyncConfig) -> CollectionConfig {
        config.with_sync(sync)
    }
    drop(with_sync(config, tuned(sync)));
}
