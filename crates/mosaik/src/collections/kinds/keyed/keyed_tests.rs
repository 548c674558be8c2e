//! The rules of keyed collections, apart from groups.

use core::{ops::Bound, time::Duration};

use super::{
    super::{map::MapKind, sides::Cause},
    change::MapChange,
    entry::Container,
    op,
};
use crate::{
    collections_layer::{
        Version,
        engine::{
            Alarm, Changes, Command, Kind, Limits, Place, Print, Reader, Replica, Request, Tick,
            Writer,
        },
    },
    groups::Index,
    primitives::{Bytes, Datum, vectors},
};

type Ints = MapKind<u32, u32>;
type Content = <Ints as Kind>::State;

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

#[test]
fn recorded_operations() {
    let mut batch = op::BatchOp::new();
    batch.expect_absent(&1u32).unwrap();
    batch.expect_present(&2u32).unwrap();
    batch.expect_version(&3u32, version(300)).unwrap();
    batch.expect_value(&4u32, &300u32).unwrap();
    batch.expect_print(&5u32, &Print::of(b"print")).unwrap();
    batch.insert(&6u32, &300u32, op::Ttl::None).unwrap();
    batch.insert(&7u32, &300u32, op::Ttl::New(9)).unwrap();
    batch.insert(&8u32, &300u32, op::Ttl::Former).unwrap();
    batch.expire(&9u32, 300).unwrap();
    batch.remove(&10u32).unwrap();
    let range = (Bound::Included(&1u32), Bound::Excluded(&300));
    let ops = [
        (
            "insert",
            op::insert(&1u32, &300u32).unwrap(),
            "00 01000000 01 02000000 ac02",
        ),
        (
            "extend",
            op::extend([(&1u32, &2u32), (&3, &300)]).unwrap(),
            "0101000000010100000002010000000302000000ac02",
        ),
        ("remove", op::remove(&300u32).unwrap(), "02 02000000 ac02"),
        (
            "remove many",
            op::remove_many(&[1u32, 300]).unwrap(),
            "03 01000000 01 02000000 ac02",
        ),
        ("clear", op::clear(), "04"),
        (
            "compare and exchange",
            op::compare_exchange(&1u32, Some(&2u32), Some(&300)).unwrap(),
            "0501000000010101000000020102000000ac02",
        ),
        (
            "compare and insert",
            op::compare_exchange(&1u32, None, Some(&300u32)).unwrap(),
            "050100000001000102000000ac02",
        ),
        (
            "insert with time to live",
            op::insert_with_ttl(&1u32, &2u32, 300).unwrap(),
            "06010000000101000000022c01 00*6",
        ),
        (
            "expire",
            op::expire(&1u32, 300).unwrap(),
            "0701000000012c01 00*6",
        ),
        ("persist", op::persist(&1u32).unwrap(), "08 01000000 01"),
        (
            "batch",
            batch.encode(),
            "0905 00*7 0100000001000100000002040100000003012c01 00*6 \
             01000000040202000000ac020100000005037072696e74 00*10 \
             0500010000000602000000ac0202010000000702000000ac0209 00*7 \
             03010000000802000000ac020401000000092c01 00*6 01010000000a",
        ),
        ("tick", tick(1, 2, 300), "0a01 00*7 02 00*7 2c01 00*6"),
        (
            "remove range",
            op::remove_range(range.0, range.1).unwrap(),
            "0b0101000000010202000000ac02",
        ),
        (
            "remove all by range",
            op::remove_range::<u32>(Bound::Unbounded, Bound::Unbounded).unwrap(),
            "0b0000",
        ),
    ];
    vectors::check(|v| {
        for (name, op, recorded) in &ops {
            v.bytes(name, op, recorded);
            let mut reader = Reader::new(op);
            assert!(Ints::parse(&mut reader).is_some() && reader.is_empty());
        }
        let op = op::insert(&1u32, &300u32).unwrap();
        let request = Request {
            session: 2,
            number: 300,
        };
        let command = |request| Command::<Ints>::new(request, op.clone()).encode().unwrap();
        v.bytes("command", &command(None), "00 00 01000000 01 02000000 ac02");
        v.bytes(
            "command with a caller",
            &command(Some(request)),
            "0102 00*7 2c01 00*7 010000000102000000ac02",
        );
        let read = Command::<Ints>::decode(&command(Some(request))).unwrap();
        let read = read.request.map(|read| (read.session, read.number));
        assert_eq!(read, Some((2, 300)));
    });
}

#[test]
fn recorded_content() {
    let mut state = Content::default();
    let long = op::insert_with_ttl(&2u32, &300u32, 100).unwrap();
    apply(&mut state, 1, &op::insert(&1u32, &300u32).unwrap());
    apply(&mut state, 2, &long);
    apply(&mut state, 3, &tick(0, 50, 2));
    apply(
        &mut state,
        4,
        &op::insert_with_ttl(&3u32, &4u32, 9).unwrap(),
    );
    vectors::check(|v| {
        let mut header = Writer::empty();
        Ints::header(&state, &mut header);
        v.bytes("header of a map", header.as_bytes(), "32 000000 00000000");
        let items = Ints::items(&state).unwrap();
        v.bytes(
            "an entry",
            &items[0],
            "01010000000102000000ac0201 00*7 ac02 00*13 0203 00*7",
        );
        v.bytes(
            "an entry that expires",
            &items[1],
            "01010000000202000000ac0202 00*7 ac02 00*13 0203 00*7 0197 00*7 02 00*15",
        );
        v.bytes(
            "an entry whose time has not begun",
            &items[2],
            "010100000003010000000404 00*7 04 00*14 0102 00*8 09 00*7 04 00*15",
        );
        v.bytes(
            "print of a short encoding",
            Print::of(b"abc").as_bytes(),
            "616263 00*12 03",
        );
        v.bytes(
            "print of a long encoding",
            Print::of(&[7; 40]).as_bytes(),
            "0291d5e81a685daf9e709d0216e68eff",
        );
        let mut restored = Content::default();
        for item in &items {
            assert!(Ints::restore(&mut restored, &mut Reader::new(&item[1..])).is_some());
        }
        assert_eq!(Ints::items(&restored).unwrap(), items);
    });
}
