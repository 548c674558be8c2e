//! The rules of keyed collections, apart from groups.

use core::time::Duration;

use super::{
    super::{map::MapKind, sides::Cause},
    change::MapChange,
    entry::{Container, Entry},
    op,
    state::State,
};
use crate::{
    collections_layer::{
        Version,
        engine::{Alarm, Changes, Kind, Limits, Place, Reader, Replica, Tick, Writer},
    },
    groups::Index,
    primitives::Bytes,
};

type Ints = MapKind<u32, u32>;
type Content = State<super::super::super::state::Trie<Entry<u32, u32>>, u32, u32>;

fn version(number: u64) -> Version {
    Version(Index(number))
}

/// Applies an operation as the group does, decoded from its bytes; returns its changes.
fn apply(state: &mut Content, number: u64, op: &Bytes) -> Vec<MapChange<u32, u32>> {
    let op = Ints::parse(&mut Reader::new(op)).expect("an operation");
    let mut place = Place {
        version: version(number),
        limits: Limits::NONE,
        changes: Changes::new(usize::MAX, Ints::key_hash),
    };
    Ints::apply(state, op, &mut place);
    place.changes.list()
}

fn tick(base: u64, millis: u64, seen: u64) -> Bytes {
    op::tick(Tick {
        base,
        millis,
        seen: version(seen),
    })
}

#[test]
fn an_entry_expires_by_readings_that_go_on_from_each_other() {
    let mut state = Content::default();
    let insert = op::insert_with_ttl(&1u32, &1u32, 100).unwrap();
    apply(&mut state, 1, &insert);
    assert_eq!(Ints::clock(&state).next, Some(Alarm::Begin));
    // Read before the insertion was applied: its time begins later.
    apply(&mut state, 2, &tick(0, 50, 0));
    assert_eq!(Ints::clock(&state).next, Some(Alarm::Begin));
    apply(&mut state, 3, &tick(50, 60, 1));
    assert_eq!(Ints::clock(&state).next, Some(Alarm::Expire(161)));
    // Late ones, of a member or a history whose clock went another way, have no effect.
    assert!(apply(&mut state, 4, &tick(0, u64::MAX, 9)).is_empty());
    assert!(apply(&mut state, 5, &tick(50, 7_200_000, 9)).is_empty());
    assert_eq!(state.ttl(&1, 60), Some(Duration::from_millis(100)));
    assert!(apply(&mut state, 6, &tick(60, 160, 5)).is_empty());
    let changes = apply(&mut state, 7, &tick(160, 161, 6));
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].cause(), changes[0].key()), (Cause::Expired, &1));
    assert_eq!(Ints::clock(&state).next, None);
}

#[test]
fn content_that_was_transferred_is_the_content_that_was_replayed() {
    let mut state = Content::default();
    let ops = [
        op::insert(&1u32, &1u32).unwrap(),
        op::insert_with_ttl(&2u32, &2u32, 100).unwrap(),
        op::insert_with_ttl(&3u32, &3u32, 50).unwrap(),
        tick(0, 1000, 3),
        op::insert_with_ttl(&4u32, &4u32, 10).unwrap(),
        op::persist(&3u32).unwrap(),
    ];
    for (number, op) in (1..).zip(&ops) {
        apply(&mut state, number, op);
    }
    let mut header = Writer::empty();
    Ints::header(&state, &mut header);
    let mut restored = Content::default();
    Ints::restore_header(&mut restored, &mut Reader::new(header.as_bytes())).unwrap();
    for item in Ints::items(&state).unwrap() {
        let mut item = Reader::new(&item);
        item.u8();
        Ints::restore(&mut restored, &mut item).unwrap();
        assert!(item.is_empty());
    }
    assert_eq!(Ints::clock(&restored), Ints::clock(&state));
    assert_eq!(restored.bytes, state.bytes);
    for key in 1..5 {
        assert_eq!(restored.ttl(&key, 1000), state.ttl(&key, 1000));
        let (one, other) = (
            restored.entries.find(&key).unwrap(),
            state.entries.find(&key).unwrap(),
        );
        assert_eq!(one.version, other.version);
        assert_eq!(one.print, other.print);
    }
    // And goes on alike.
    let last = tick(1000, 1200, 6);
    assert_eq!(apply(&mut restored, 7, &last).len(), 1);
    assert_eq!(apply(&mut state, 7, &last).len(), 1);
}

#[test]
fn operations_that_nobody_writes_do_not_decode() {
    let refused = |bytes: &[u8]| Ints::parse(&mut Reader::new(bytes)).is_none();
    assert!(refused(&[]));
    assert!(refused(&[99]));
    // An element of more bytes than anybody writes, which could not be transferred.
    let mut large = vec![0; 2 * 1024 * 1024];
    large[1..5].copy_from_slice(&(1024 * 1024 + 1u32).to_le_bytes());
    assert!(refused(&large));
    // A batch of more conditions than there are bytes.
    let mut batch = vec![9];
    batch.extend_from_slice(&u64::MAX.to_le_bytes());
    assert!(refused(&batch));
}

#[test]
fn a_change_is_taken_back() {
    let mut state = Content::default();
    apply(
        &mut state,
        1,
        &op::extend([(&1u32, &1u32), (&2, &2)]).unwrap(),
    );
    let former = state.clone();
    let mut changes = apply(&mut state, 2, &op::insert(&1u32, &7u32).unwrap());
    changes.extend(apply(&mut state, 3, &op::remove(&2u32).unwrap()));
    changes.extend(apply(&mut state, 4, &op::insert(&3u32, &3u32).unwrap()));
    for change in changes.iter().rev() {
        Ints::undo(&mut state, change);
    }
    let values = |state: &Content| {
        let entries = state.entries.entries();
        let mut values: Vec<_> = entries.map(|e| (e.key, e.value, e.version)).collect();
        values.sort_unstable();
        values
    };
    assert_eq!(values(&state), values(&former));
    assert_eq!(state.bytes, former.bytes);
}

#[test]
fn the_time_that_is_left_is_read_beside_the_clock_of_its_version() {
    const TTL: u64 = 100;
    const READINGS: u64 = 20_000;
    let replica = Replica::<Ints>::new(Limits::NONE, 0);
    let apply = |number: u64, op: &Bytes| {
        let op = Ints::parse(&mut Reader::new(op)).expect("an operation");
        replica.change(|live| {
            let mut place = Place {
                version: version(number),
                limits: Limits::NONE,
                changes: Changes::new(0, Ints::key_hash),
            };
            Ints::apply(&mut live.state, op, &mut place);
            live.version = place.version;
            Vec::new()
        });
    };
    let insert = op::insert_with_ttl(&1u32, &1u32, TTL).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for n in 0..READINGS {
                apply(2 * n + 1, &insert);
                // The clock is far ahead of that of the version before.
                apply(2 * n + 2, &tick(n * 1000, (n + 1) * 1000, 2 * n + 1));
            }
        });
        let mut seen = Version::default();
        while seen < version(2 * READINGS) {
            let left = replica.read_at(|state, now| state.ttl(&1, now));
            assert!(left.is_none_or(|left| left <= Duration::from_millis(TTL)));
            seen = replica.version();
        }
    });
}
