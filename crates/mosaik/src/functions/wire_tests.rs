use super::*;
use crate::primitives::vectors;

#[test]
fn recorded_encodings() {
    let header = Header {
        kind: Kind::Stream,
        function: Digest::from_bytes([7; 32]),
        budget_us: 300,
        request_bytes: 65_536,
        trace: Some(TraceParent::sample()),
        schema: Some("v1".into()),
    };
    vectors::check(|v| {
        v.pin("Kind::Call", &Kind::Call, "00");
        v.pin("Kind::Stream", &Kind::Stream, "01");
        v.pin("Kind::Probe", &Kind::Probe, "02");
        v.pin(
            "Header",
            &header,
            "01 07*32 ac02808004 01*17 02*8 0301027631",
        );
        let plain = Header {
            trace: None,
            schema: None,
            ..header
        };
        v.pin("Header (plain)", &plain, "01 07*32 ac02808004 0000");
    });
}
