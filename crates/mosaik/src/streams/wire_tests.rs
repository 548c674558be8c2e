use super::*;
use crate::primitives::vectors;

#[test]
fn recorded_encodings() {
    let subscribe = |schema| Subscribe {
        stream_id: StreamId::from_bytes([7; 32]),
        criteria: Criteria::default(),
        credit: 300,
        schema,
    };
    vectors::check(|v| {
        v.pin("Criteria", &Criteria::default(), "");
        v.pin("Subscribe", &subscribe(None), "07*32 ac0200");
        v.pin(
            "Subscribe (with schema)",
            &subscribe(Some("v1".into())),
            "07*32 ac0201 027631",
        );
        v.pin("Credit", &Credit { bytes: 300 }, "ac02");
        let accepted = Accepted {
            run: 1,
            position: 300,
        };
        v.pin("Accepted", &accepted, "01ac02");
        v.bytes(
            "record about withheld datums",
            &skipped(300),
            "0c000080de2700002c01 00*6",
        );
        v.bytes("text of a regular end", &finished(300).reason, "333030");
    });
}
