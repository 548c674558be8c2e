use super::*;
use crate::{
    collections_layer::engine::{Changes, Limits},
    primitives::vectors,
};

type Numbers = VecKind<u32>;

#[test]
fn recorded_operations_and_content() {
    let seen = Seen {
        changed: Version(Index(3)),
        len: 2,
        bytes: 300,
    };
    let ops = [
        (
            "push back",
            op::push_back(&300u32).unwrap(),
            "00 02000000 ac02",
        ),
        (
            "push front",
            op::push_front(&300u32).unwrap(),
            "01 02000000 ac02",
        ),
        (
            "insert",
            op::insert(2, &300u32).unwrap(),
            "0202 00*7 02000000ac02",
        ),
        (
            "extend",
            op::extend(&[1u32, 300]).unwrap(),
            "03 01000000 01 02000000 ac02",
        ),
        ("pop back", op::pop_back(), "04"),
        ("pop front", op::pop_front(), "05"),
        ("remove", op::remove(300), "062c01 00*6"),
        ("swap", op::swap(1, 300), "0701 00*7 2c01 00*6"),
        ("truncate", op::truncate(300), "082c01 00*6"),
        ("clear", op::clear(), "09"),
        (
            "replace",
            op::replace(2, &300u32).unwrap(),
            "0a02 00*7 02000000ac02",
        ),
        ("drain", op::drain(&(1..300)), "0b01 00*7 2c01 00*6"),
        (
            "retain",
            op::retain(seen, &[1, 0]),
            "0c03 00*7 02 00*7 2c01 00*6 01 00*15",
        ),
    ];
    let mut state = State::default();
    vectors::check(|v| {
        for (name, op, recorded) in &ops {
            v.bytes(name, op, recorded);
            let mut reader = Reader::new(op);
            assert!(Numbers::parse(&mut reader).is_some() && reader.is_empty());
        }
        let op = Numbers::parse(&mut Reader::new(&ops[3].1)).unwrap();
        let mut place = Place {
            version: Version(Index(7)),
            limits: Limits::NONE,
            changes: Changes::new(usize::MAX, Numbers::key_hash),
        };
        Numbers::apply(&mut state, op, &mut place);
        let mut header = Writer::empty();
        Numbers::header(&state, &mut header);
        v.bytes(
            "header of a sequence",
            header.as_bytes(),
            "07 000000 00000000",
        );
        let items = Numbers::items(&state).unwrap();
        v.bytes(
            "items of a sequence",
            &items.concat(),
            "01010000000101 00*7 0102000000ac0202 00*7",
        );
        let mut restored = State::default();
        for item in &items {
            assert!(Numbers::restore(&mut restored, &mut Reader::new(&item[1..])).is_some());
        }
        let values: Vec<_> = restored.elements().map(|item| item.value).collect();
        assert_eq!(values, [1, 300]);
    });
}
