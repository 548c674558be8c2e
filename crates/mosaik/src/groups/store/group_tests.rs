use super::*;
use crate::primitives::vectors;

#[test]
fn recorded_rows() {
    vectors::check(|v| {
        let purged = Purged {
            index: 300,
            state: Bytes::from_static(b"state"),
        };
        v.pin("Purged", &purged, "ac02 057374617465");
        let snapshot = SnapshotRow {
            generation: 300,
            chunks: 2,
            meta: Bytes::from_static(b"meta"),
        };
        v.pin("SnapshotRow", &snapshot, "ac0202 046d657461");
    });
}

/// Keys are numbers: of the group, of the kind of row, and of the row.
#[test]
fn keys_are_as_they_were_recorded() {
    let keys = [
        (MetaKey::Member, 1),
        (MetaKey::Lineage, 2),
        (MetaKey::Vote, 3),
        (MetaKey::Committed, 4),
        (MetaKey::Purged, 5),
        (MetaKey::Snapshot, 6),
        (MetaKey::Ancestry, 8),
        (MetaKey::SetBack, 9),
    ];
    for (key, number) in keys {
        assert_eq!(key as u64, number, "{key:?}");
    }
    assert_eq!((META, LOG, CHUNK, END), (0, 1, 2, 255));
    assert_eq!(chunk_index(3, 300), 0x0003_0000_012c);
}
