use super::*;
use crate::{
    collections_layer::{
        Version,
        engine::{Changes, Limits},
    },
    groups::Index,
    primitives::vectors,
};

type Numbers = QueueKind<u32, u32, u32, { u64::MAX }>;

#[test]
fn recorded_operations_and_content() {
    let ops = [
        (
            "insert",
            op::insert(&1u32, &2u32, &300u32).unwrap(),
            "000100000001010000000202000000ac02",
        ),
        (
            "extend",
            op::extend(&[(1u32, 2u32, 300u32), (4, 5, 6)]).unwrap(),
            "010100000001010000000202000000ac02010000000401000000050100000006",
        ),
        (
            "update priority",
            op::update_priority(&2u32, &300u32).unwrap(),
            "02010000000202000000ac02",
        ),
        (
            "update value",
            op::update_value(&2u32, &300u32).unwrap(),
            "03010000000202000000ac02",
        ),
        (
            "compare and exchange",
            op::compare_exchange(&2u32, &3u32, Some(&300u32)).unwrap(),
            "04010000000201000000030102000000ac02",
        ),
        ("remove", op::remove(&2u32).unwrap(), "05 01000000 02"),
        (
            "remove keys",
            op::remove_keys(&[2u32, 300]).unwrap(),
            "06 01000000 02 02000000 ac02",
        ),
        (
            "remove range",
            op::remove_range(Bound::Included(&1u32), Bound::Excluded(&300)).unwrap(),
            "07 01 01000000 01 02 02000000 ac02",
        ),
        (
            "remove all by range",
            op::remove_range::<u32>(Bound::Unbounded, Bound::Unbounded).unwrap(),
            "070000",
        ),
        ("clear", op::clear(), "08"),
        ("pop min", op::pop_min(), "09"),
        ("pop max", op::pop_max(), "0a"),
    ];
    let mut state = State::default();
    vectors::check(|v| {
        for (name, op, recorded) in &ops {
            v.bytes(name, op, recorded);
            let mut reader = Reader::new(op);
            assert!(Numbers::parse(&mut reader).is_some() && reader.is_empty());
        }
        let op = Numbers::parse(&mut Reader::new(&ops[1].1)).unwrap();
        let mut place = Place {
            version: Version(Index(7)),
            limits: Limits::NONE,
            changes: Changes::new(usize::MAX, Numbers::key_hash),
        };
        Numbers::apply(&mut state, op, &mut place);
        let items = Numbers::items(&state).unwrap();
        v.bytes(
            "items of a queue",
            &items.concat(),
            "010100000001010000000202000000ac02ac02 00*13 0201 00*7 01 00*7 02 \
             00*7 0101000000040100000005010000000606 00*14 0101 00*7 01 00*7 01 \
             00*7",
        );
        let mut restored = State::default();
        for item in &items {
            assert!(Numbers::restore(&mut restored, &mut Reader::new(&item[1..])).is_some());
        }
        let entries: Vec<_> = restored.entries().map(|entry| entry.parts()).collect();
        assert_eq!(entries, [(1, 2, 300), (4, 5, 6)]);
    });
}
