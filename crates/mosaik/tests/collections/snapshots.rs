//! Members that get a snapshot, also from others that are no good.

use std::sync::atomic::{AtomicBool, Ordering};

use mosaik::{
    Bytes,
    collections::{Error, Event, Map, MapReader, MapWriter},
    primitives::{Datum, encoding},
};

use super::{fleet, until};
use crate::support::within;

/// A number whose encoding may be heavy, or that of something else while `LIES` is set: each test
/// has its own.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Load<const TEST: usize> {
    number: u32,
    padding: u32,
}

/// While set, what is encoded does not decode.
static LIES: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

impl<const TEST: usize> Load<TEST> {
    const fn light(number: u32) -> Self {
        Self { number, padding: 0 }
    }
}

impl<const TEST: usize> Datum for Load<TEST> {
    type EncodeError = encoding::EncodeError;
    type DecodeError = encoding::DecodeError;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        if LIES[TEST].load(Ordering::Relaxed) {
            return Ok(Bytes::from_static(b"?"));
        }
        let mut bytes = self.number.to_le_bytes().to_vec();
        bytes.resize(4 + self.padding as usize, 0);
        Ok(bytes.into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        let bad = || encoding::DecodeError::DeserializeBadEncoding;
        let (number, padding) = bytes.split_first_chunk().ok_or_else(bad)?;
        Ok(Self {
            number: u32::from_le_bytes(*number),
            padding: padding.len() as u32,
        })
    }
}

/// Writes more than a log keeps, so that a newcomer needs a snapshot, and then something small.
async fn weigh<const TEST: usize>(map: &MapWriter<u32, Load<TEST>>) {
    for number in 0..70 {
        let padding = 1024 * 1024 - 8;
        let heavy = map.insert(0, Load { number, padding });
        within(10, heavy).await.unwrap();
    }
    map.remove(&0).await.unwrap();
    let entries = (1..=100).map(|n| (n, Load::light(n)));
    map.extend(entries).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_sleeps_through_a_snapshot_is_told_that_it_has_missed_something() {
    let nodes = fleet(2).await;
    let map = MapWriter::<u32, Load<0>>::writer(&nodes[0], "map");
    within(10, map.when().online()).await;
    weigh(&map).await;
    let reader = MapReader::<u32, Load<0>>::reader(&nodes[1], "map");
    let mut asleep = reader.watch();
    let mut key_asleep = reader.watch_key(7);
    let mut resumed = reader.watch_from(map.version());
    within(30, reader.when().online()).await;
    until(30, reader.when(), || reader.len() == 100).await;
    assert!(reader.iter().all(|(key, load)| load == Load::light(key)));
    let version = map.insert(7, Load::light(8)).await.unwrap();
    within(10, reader.when().reaches(version)).await;
    for (watch, len) in [(&mut asleep, 100), (&mut key_asleep, 1)] {
        match within(10, watch.recv()).await {
            Some(Event::Lagged { lost, now }) => {
                assert_eq!(lost.start.0.0, 1);
                assert_eq!((now.len(), now.get(&7)), (len, Some(&Load::light(8))));
            }
            other => panic!("{other:?}"),
        }
    }
    // What one that begins after the snapshot waits for was not missed.
    match within(10, resumed.recv()).await {
        Some(Event::Changed { version: told, .. }) => assert_eq!(told, version),
        Some(Event::Lagged { now, .. }) => assert_eq!(now.get(&7), Some(&Load::light(8))),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_does_not_decode_ends_the_collection_where_it_comes_to_only() {
    let nodes = fleet(2).await;
    let map = MapWriter::<u32, Load<1>>::writer(&nodes[0], "map");
    within(10, map.when().online()).await;
    weigh(&map).await;
    LIES[1].store(true, Ordering::Relaxed);
    let victim = Map::<u32, Load<1>>::writer(&nodes[1], "map");
    let mut watch = victim.watch();
    // Its watches end, it holds nothing by halves, and says that it is of no use any more.
    within(60, async { while watch.recv().await.is_some() {} }).await;
    within(10, victim.when().offline()).await;
    assert!(victim.is_empty());
    LIES[1].store(false, Ordering::Relaxed);
    let refused = within(10, victim.insert(1, Load::light(1))).await;
    assert!(matches!(refused, Err(Error::NetworkDown)), "{refused:?}");
    map.insert(101, Load::light(101)).await.unwrap();
    assert_eq!(map.len(), 101);
    drop(victim);
    // From a later snapshot, of which nothing is kept as it was encoded then.
    weigh(&map).await;
    let reader = MapReader::<u32, Load<1>>::reader(&nodes[1], "map");
    until(60, reader.when(), || reader.len() == 101).await;
}
