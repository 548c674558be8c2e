use super::*;
use crate::primitives::vectors;

const A: MemberId = MemberId::sample(1);
const B: MemberId = MemberId::sample(2);

fn id(term: u64, index: u64) -> LogIdOf<Types> {
    RawLogId { term, index }.into()
}

fn batch() -> Batch {
    Batch {
        origin: A,
        first: 300,
        count: 2,
        row: Bytes::from_static(b"row"),
    }
}

/// A change of the voters from one to both.
fn membership() -> Membership {
    let (one, both) = (BTreeSet::from([A]), BTreeSet::from([A, B]));
    Membership::new(vec![one, both.clone()], both).unwrap()
}

fn entry(payload: EntryPayload<Batch, MemberId, ()>) -> EntryOf<Types> {
    EntryOf::<Types> {
        log_id: id(3, 300),
        payload,
    }
}

fn entries() -> [EntryOf<Types>; 3] {
    [
        entry(EntryPayload::Blank),
        entry(EntryPayload::Normal(batch())),
        entry(EntryPayload::Membership(membership())),
    ]
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(id(3, 300)),
        last_membership: StoredMembershipOf::<Types>::new(Some(id(2, 9)), membership()),
    }
}

#[test]
fn recorded_encodings() {
    vectors::check(|v| {
        let vote = RawVote {
            term: 3,
            voted_for: A,
            committed: true,
        };
        v.pin("RawVote", &vote, "0301 01*32 b52401");
        v.pin(
            "RawLogId",
            &RawLogId {
                term: 3,
                index: 300,
            },
            "03ac02",
        );
        let raw = entries().map(|entry| encoding::try_serialize(&RawEntry::from(&entry)).unwrap());
        let raw = raw.map(|bytes| encoding::deserialize::<RawEntry>(bytes).unwrap());
        v.pin("RawEntry", &raw[1], "03ac02 01*33 b524ac020203726f77");
        v.pin("RawPayload::Blank", &raw[0].payload, "00");
        v.pin(
            "RawPayload::Commands",
            &raw[1].payload,
            "01*33 b524ac020203726f77",
        );
        v.pin(
            "RawPayload::Membership",
            &raw[2].payload,
            "0202 01*33 b52402 01*32 b524 02*32 b62402 01*32 b524 02*32 b624",
        );
        v.pin("Batch", &batch(), "01*32 b524ac020203726f77");
        v.pin(
            "RawMembership",
            &RawMembership::from(&membership()),
            "02 01*33 b52402 01*32 b524 02*32 b62402 01*32 b524 02*32 b624",
        );
        let stored = RawStoredMembership::from(&meta().last_membership);
        v.pin(
            "RawStoredMembership",
            &stored,
            "01020902 01*33 b52402 01*32 b524 02*32 b62402 01*32 b524 02*32 b624",
        );
        v.pin(
            "SnapshotMeta",
            &meta(),
            "0103ac0201020902 01*33 b52402 01*32 b524 02*32 b62402 01*32 b524 \
             02*32 b624",
        );
        let empty = SnapshotMeta::from(SnapshotMetaOf::<Types>::default());
        v.pin("SnapshotMeta (of nothing)", &empty, "00000000");
        v.bytes(
            "Part",
            &encode_entries(&entries()).unwrap(),
            "0303ac020003ac02 01*33 b524ac020203726f7703ac020202 01*33 b52402 \
             01*32 b524 02*32 b62402 01*32 b524 02*32 b624",
        );
    });
}

#[test]
fn conversions_lose_nothing() {
    for committed in [true, false] {
        let mut vote = VoteOf::<Types>::new(7, B);
        vote.committed = committed;
        assert_eq!(VoteOf::<Types>::from(RawVote::from(vote)), vote);
    }
    let encoded = encode_entries(&entries()).unwrap();
    assert_eq!(decode_entries(&encoded).unwrap(), entries());
    assert!(decode_entries(&encoded[..encoded.len() - 1]).is_err());
    let stored = meta().last_membership;
    let raw = RawStoredMembership::from(&stored);
    assert_eq!(StoredMembershipOf::<Types>::try_from(raw), Ok(stored));
}

#[test]
fn votes_for_nobody_are_refused() {
    let vote = RawVote {
        term: 3,
        voted_for: A,
        committed: true,
    };
    let mut encoded = encoding::try_serialize(&vote).unwrap().to_vec();
    encoded.truncate(1);
    encoded.extend([0, 1]);
    assert!(encoding::deserialize::<RawVote>(&encoded).is_err());
}

#[test]
fn memberships_that_no_member_writes_are_refused() {
    let raw = |voters: &[&[MemberId]], members: &[MemberId]| RawMembership {
        voters: voters.iter().map(|voters| voters.to_vec()).collect(),
        members: members.to_vec(),
    };
    let is_sound = |raw: RawMembership| {
        let entry = RawEntry::<Batch> {
            id: RawLogId { term: 1, index: 1 },
            payload: RawPayload::Membership(raw),
        };
        let encoded = encoding::try_serialize(&[&entry]).unwrap();
        let decoded = decode_entries(&[&[1], &encoded[..]].concat());
        assert_eq!(decoded.is_ok(), EntryOf::<Types>::try_from(entry).is_ok());
        decoded.is_ok()
    };
    assert!(is_sound(raw(&[&[A]], &[A, B])));
    assert!(is_sound(raw(&[&[A], &[A, B]], &[A, B])));
    assert!(!is_sound(raw(&[], &[A])), "nobody could be elected");
    assert!(!is_sound(raw(&[&[]], &[A])), "nor here");
    assert!(!is_sound(raw(&[&[B]], &[A])), "a voter that is no member");
    assert!(!is_sound(raw(&[&[B, A]], &[A, B])), "another order");
    assert!(!is_sound(raw(&[&[A]], &[A, A])), "one twice");
}

/// A sender's claim must not make room for what never comes.
#[test]
fn a_false_count_of_entries_is_an_error() {
    assert!(decode_entries(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
}
