use super::*;
use crate::{
    groups::{Index, Term, log::format::RawPayload, model::lineage::MemberId},
    primitives::vectors,
};

const MEMBER: MemberId = MemberId::sample(1);

fn record() -> Record {
    let entry = RawEntry {
        id: RawLogId {
            term: 3,
            index: 300,
        },
        payload: RawPayload::Commands(Batch {
            origin: MEMBER,
            first: 300,
            count: 2,
            row: Bytes::from_static(b"row"),
        }),
    };
    Record {
        entry: entry.try_into().unwrap(),
        position: Cursor::new(Term(3), Index(200)),
    }
}

#[test]
fn recorded_rows() {
    let record = record();
    let (index, row) = LogDisk::encode(&record.entry, record.position).unwrap();
    assert_eq!(index, 300);
    let border = Border {
        id: record.entry.log_id,
        position: record.position,
    };
    let stored = StoredMeta {
        meta: SnapshotMetaOf::<Types>::default().into(),
        head: Bytes::from_static(b"head"),
    };
    let vote = RawVote {
        term: 3,
        voted_for: MEMBER,
        committed: false,
    };
    vectors::check(|v| {
        v.bytes("RecordRef", &row, "03ac02 01*33 b524ac020203726f7703c801");
        let entry = RawEntry::from(&record.entry);
        let position = record.position;
        v.pin_as(
            "Record",
            &RecordRef { entry, position },
            "03ac02 01*33 b524ac020203726f7703c801",
            |read: Record| {
                assert_eq!(
                    (read.entry, read.position),
                    (record.entry.clone(), position)
                );
            },
        );
        v.pin("Border", &border, "03ac0203c801");
        v.pin("StoredMeta", &stored, "00000000 0468656164");
        v.pin("row of the vote", &Some(vote), "0103 01*33 b52400");
        v.pin("row of no vote", &None::<RawVote>, "00");
        let committed = RawLogId {
            term: 3,
            index: 300,
        };
        v.pin("row of the committed entry", &Some(committed), "0103ac02");
    });
}

/// The row is kept under its index, and says it again.
#[test]
fn a_row_at_another_place_is_refused() {
    let record_row = LogDisk::encode(&record().entry, Cursor::zero()).unwrap().1;
    assert!(super::record(300, &record_row).is_ok());
    assert!(super::record(299, &record_row).is_err());
}
