use super::*;
use crate::{
    groups::consensus::fuzz::snapshot_header,
    primitives::{encoding, vectors},
};

const ID: SnapshotId = SnapshotId {
    term: 3,
    index: 300,
};

fn piece() -> Piece {
    Piece::of(300, b"piece").unwrap()
}

#[test]
fn recorded_encodings() {
    vectors::check(|v| {
        v.pin(
            "Piece",
            &piece(),
            "ac0205394cfefbec18b6774d5650fdd741678b8246f82592479f236a3b5e25e7e5a6c7",
        );
        v.pin("SnapshotId", &ID, "03ac02");
        v.pin("Whole::Log", &Whole::Log, "00");
        v.pin("Whole::Snapshot", &Whole::Snapshot(ID), "0103ac02");
        v.pin("Ask::Hold", &Ask::Hold(ID), "0003ac02");
        v.pin("Ask::Layout", &Ask::Layout { from: 300 }, "01ac02");
        let pieces = Ask::Pieces {
            of: Whole::Log,
            from: 4,
            ends: vec![5, 300],
        };
        v.pin("Ask::Pieces", &pieces, "0200040205ac02");
        v.pin("Answer::Coming", &Answer::Coming, "00");
        v.pin("Answer::Missing", &Answer::Missing, "01");
        v.pin(
            "SnapshotHeader",
            &snapshot_header(),
            "03 01*33 b524010103ac020000000468656164",
        );
        v.pin(
            "Manifest",
            &Manifest(vec![piece(), piece()]),
            "02ac0205394cfefbec18b6774d5650fdd741678b8246f82592479f236a3b5e25 \
             e7e5a6c7ac0205394cfefbec18b6774d5650fdd741678b8246f82592479f236a \
             3b5e25e7e5a6c7",
        );
        let overrun = Overrun {
            log_bytes: 300,
            limit_bytes: 200,
        };
        v.pin("Overrun", &overrun, "ac02c801");
        let plan = Plan::new(Whole::Log, 1, vec![piece()]).unwrap();
        v.bytes(
            "digest of a plan",
            &plan.digest(),
            "5246f4eb1e06c8597892d75dc2d6875b11f0f80bf3da99aa378dc64ff519aef0",
        );
    });
}

#[test]
fn a_header_with_a_false_membership_is_refused() {
    let mut encoded = encoding::try_serialize(&snapshot_header())
        .unwrap()
        .to_vec();
    assert!(encoding::deserialize::<SnapshotHeader>(&encoded).is_ok());
    // The membership has one set of voters, without any.
    let end = encoded.len() - b"\0\0\x04head".len();
    encoded.splice(end..end + 2, [1, 0, 0]);
    assert!(encoding::deserialize::<SnapshotHeader>(&encoded).is_err());
}
