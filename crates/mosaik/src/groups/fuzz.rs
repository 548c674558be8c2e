//! Entry points for fuzzing: bonds, consensus messages and commands.

use super::{
    Cursor,
    bond::wire::{Control, Introduction, Opening, Welcome},
    catch_up::wire::{Answer, Ask, Piece, Plan, SnapshotId, Whole},
    consensus::fuzz::{
        Accepted, AppendEntries, Fed, Follow, Forward, Layout, Manifest, Overrun, Request,
        Response, SnapshotHeader, SnapshotReply, Taken, append, layout, sign, snapshot_header,
        snapshot_reply,
    },
    machine::commands::{Row, has_exactly, skip},
    model::{
        lineage::{Ancestry, Branch, LogPoint, MemberId},
        member_info::{Feeds, LineageStanding, MemberInfo, Willingness},
    },
};
use crate::{
    primitives::{
        Bytes, Digest,
        fuzz::{Target, encoded},
    },
    tickets::fuzz::entry,
};

pub(crate) const TARGETS: &[Target] = &[
    Target::decoding::<Opening>("bond_opening", || {
        let bond = Opening::Bond {
            group: Digest::from("group"),
            nonce: [1; 16],
            proof: [2; 32],
        };
        vec![encoded(&bond), encoded(&Opening::KeepAlive)]
    }),
    Target::decoding::<Welcome>("bond_welcome", || {
        let introduction = introduction();
        vec![encoded(&Welcome {
            nonce: [1; 16],
            proof: [2; 32],
            introduction,
        })]
    }),
    Target::decoding::<Introduction>("bond_introduction", || vec![encoded(&introduction())]),
    Target::decoding::<Control>("bond_control", controls),
    Target::decoding::<Request>("raft_request", || {
        let heartbeat = Request::Heartbeat {
            append: append(),
            backed: true,
        };
        vec![
            encoded(&heartbeat),
            encoded(&Request::ReadIndex { term: Some(1) }),
        ]
    }),
    Target::decoding::<Response>("raft_response", || {
        vec![
            encoded(&Response::ReadIndex { next: 1 }),
            encoded(&Response::Refused),
        ]
    }),
    Target::decoding::<AppendEntries>("raft_append", || vec![encoded(&append())]),
    Target::decoding::<SnapshotHeader>("raft_snapshot_header", || {
        vec![encoded(&snapshot_header())]
    }),
    Target::decoding::<SnapshotReply>("raft_snapshot_reply", || vec![encoded(&snapshot_reply())]),
    Target::decoding::<Layout>("raft_layout", || vec![encoded(&layout())]),
    Target::decoding::<Overrun>("raft_overrun", || {
        vec![encoded(&Overrun {
            log_bytes: 2,
            limit_bytes: 1,
        })]
    }),
    Target::decoding::<Follow>("raft_follow", || {
        vec![encoded(&Follow {
            from: 300,
            snapshot: true,
        })]
    }),
    Target::decoding::<Fed>("raft_fed", || {
        let part = Fed::Part {
            bytes: Bytes::from_static(b"part"),
            is_last: true,
        };
        vec![encoded(&Fed::Sign(sign())), encoded(&part)]
    }),
    Target::decoding::<Taken>("raft_taken", || vec![encoded(&Taken { next: 300 })]),
    Target::new("raft_manifest", manifest, || {
        let piece = Piece::of(3, b"piece").expect("a small piece");
        vec![encoded(&Manifest(vec![piece, piece]))]
    }),
    Target::decoding::<Answer>("catch_up_answer", || vec![encoded(&Answer::Coming)]),
    Target::decoding::<Ask>("catch_up_ask", || {
        let id = SnapshotId { term: 1, index: 2 };
        vec![
            encoded(&Ask::Hold(id)),
            encoded(&Ask::Layout { from: 3 }),
            encoded(&Ask::Pieces {
                of: Whole::Snapshot(id),
                from: 4,
                ends: vec![5, 7],
            }),
        ]
    }),
    Target::decoding::<Forward>("raft_forward", || {
        vec![encoded(&Forward {
            first: 1,
            count: 2,
            row: Bytes::from_static(b"row"),
            again: true,
        })]
    }),
    Target::decoding::<Accepted>("raft_accepted", || {
        vec![encoded(&Accepted {
            first: 1,
            count: 2,
            new: Some((1, 3)),
            forgotten: false,
        })]
    }),
    Target::new("commands", commands, || {
        vec![b"\x01\0\0\0a\x02\0\0\0bc".to_vec()]
    }),
];

fn lineage_standing() -> LineageStanding {
    LineageStanding {
        id: Digest::from("lineage"),
        ancestry: Ancestry::default().extended(Branch {
            lineage: Digest::from("parent"),
            last: None,
            position: Cursor::zero(),
        }),
        committed: 1,
        last: Some(LogPoint { term: 1, index: 2 }),
        alive: true,
        leading: false,
    }
}

fn standing() -> MemberInfo {
    MemberInfo {
        member: MemberId::default(),
        willingness: Willingness::Reluctant,
        catching_up: true,
        lineage: Some(lineage_standing()),
        feeds: Some(Feeds {
            depth: 1,
            takes_guests: false,
        }),
    }
}

fn introduction() -> Introduction {
    Introduction {
        entry: entry(),
        session: 1,
        standing: standing(),
        write_proof: Some([3; 32]),
    }
}

fn controls() -> Vec<Vec<u8>> {
    let (lineage, from) = (Digest::from("lineage"), MemberId::default());
    [
        Control::MemberInfo {
            number: 1,
            standing: standing(),
        },
        Control::Entry(Box::new(entry())),
        Control::Roster(vec![*entry().id()]),
        Control::Ask {
            id: 1,
            lineage,
            from,
            to: from,
            request: Bytes::from_static(b"request"),
        },
        Control::Answer {
            id: 1,
            response: Some(Bytes::from_static(b"response")),
        },
        Control::Leaving(from),
        Control::Rival(lineage_standing()),
        Control::Dissolved {
            lineage,
            term: 1,
            winner: lineage_standing(),
        },
    ]
    .map(|message| encoded(&message))
    .to_vec()
}

fn manifest(data: &[u8]) -> bool {
    let Ok(Manifest(pieces)) = crate::primitives::encoding::deserialize(data) else {
        return false;
    };
    if let Some(plan) = Plan::new(Whole::Log, 1, pieces) {
        for (piece, end) in plan.ends.iter().enumerate() {
            assert!(plan.begin(piece) < *end);
        }
    }
    true
}

fn commands(data: &[u8]) -> bool {
    let read: Result<Vec<_>, _> = Row::new(data).collect();
    let row = Bytes::copy_from_slice(data);
    let Ok(commands) = read else {
        assert!(skip(&row, usize::MAX).is_err());
        return false;
    };
    let count = u32::try_from(commands.len()).expect("a command takes four bytes");
    assert!(has_exactly(data, count) && !has_exactly(data, count + 1));
    assert!(skip(&row, commands.len()).is_ok_and(|rest| rest.is_empty()));
    true
}
