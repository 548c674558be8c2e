use super::*;
use crate::primitives::vectors;

#[test]
fn recorded_encodings() {
    let mut sessions = Sessions::default();
    let (one, other) = (MemberId::sample(1), MemberId::sample(2));
    sessions.note(one, (300, 2), Index(7), 9);
    sessions.note(one, (400, 1), Index(20), 22);
    sessions.note(other, (1, 1), Index(9), 11);
    vectors::check(|v| {
        let run = Run {
            first: 300,
            count: 2,
            index: 7,
        };
        v.pin("Run", &run, "ac020207");
        v.pin("Session", &sessions.0[&one], "9003160002ac02020790030114");
        v.pin(
            "Sessions",
            &sessions,
            "02 01*32 b5249003160002ac02020790030114 02*32 b624010b0001010109",
        );
    });
}
