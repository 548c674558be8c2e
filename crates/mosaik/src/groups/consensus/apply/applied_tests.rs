use super::*;
use crate::primitives::vectors;

#[test]
fn recorded_encodings() {
    let mut sessions = Sessions::default();
    sessions.note(MemberId::sample(1), (300, 2), Index(7), 9);
    let head = SnapshotHead {
        position: Cursor::new(Term(3), Index(300)),
        sessions,
    };
    vectors::check(|v| v.pin("SnapshotHead", &head, "03ac02 01*33 b524ad02090001ac020207"));
}
