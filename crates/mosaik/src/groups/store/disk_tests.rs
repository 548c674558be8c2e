use super::*;
use crate::primitives::vectors;

#[test]
fn rows_are_sealed_as_it_was_recorded() {
    let mut row = BytesMut::new();
    seal((1, 2, 300), b"value", &mut row);
    vectors::check(|v| v.bytes("sealed row", &row, "3ff1025e6a2790df76616c7565"));
    assert_eq!((STORE, COMMIT), (0xffff_ffff, (0xffff_ffff, 0, 0)));
}
