use super::*;
use crate::{
    collections_layer::engine::{Changes, Limits},
    groups::Index,
    primitives::vectors,
};

type Numbers = CellKind<u32>;

#[test]
fn recorded_operations_and_content() {
    let ops = [
        ("write", write_op(&300u32).unwrap(), "00 02000000 ac02"),
        ("clear", Writer::new(CLEAR).finish(), "01"),
        (
            "compare and exchange",
            exchange_op(None, Some(&300u32)).unwrap(),
            "02 00 01 02000000 ac02",
        ),
        (
            "compare and clear",
            exchange_op(Some(&300u32), None).unwrap(),
            "02 01 02000000 ac02 00",
        ),
    ];
    let mut state = State::default();
    vectors::check(|v| {
        for (name, op, recorded) in &ops {
            v.bytes(name, op, recorded);
            let mut reader = Reader::new(op);
            assert!(Numbers::parse(&mut reader).is_some() && reader.is_empty());
        }
        let op = Numbers::parse(&mut Reader::new(&ops[0].1)).unwrap();
        let mut place = Place {
            version: Version(Index(1)),
            limits: Limits::NONE,
            changes: Changes::new(usize::MAX, Numbers::key_hash),
        };
        Numbers::apply(&mut state, op, &mut place);
        let items = Numbers::items(&state).unwrap();
        v.bytes(
            "item of a cell",
            &items.concat(),
            "0102000000ac02ac02 00*13 0202 00*7",
        );
        let mut restored = State::default();
        let mut reader = Reader::new(&items[0][1..]);
        assert!(Numbers::restore(&mut restored, &mut reader).is_some() && reader.is_empty());
        assert_eq!(restored.value(), Some(&300));
    });
}
