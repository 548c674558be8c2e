//! Recorded encodings of what members know of each other and of histories.

use super::*;
use crate::{
    groups::{
        ConsensusConfig, GroupConfig, GroupKey, Index, Term,
        model::{
            member_info::{Feeds, LineageStanding, MemberInfo, Willingness},
            member_stream::Channel,
        },
    },
    primitives::vectors,
};

const MEMBER: MemberId = MemberId::sample(1);
const POINT: LogPoint = LogPoint {
    term: 3,
    index: 300,
};

fn branch() -> Branch {
    Branch {
        lineage: Digest::from_bytes([7; 32]),
        last: Some(POINT),
        position: Cursor::new(Term(2), Index(200)),
    }
}

fn standing() -> LineageStanding {
    LineageStanding {
        id: Digest::from_bytes([8; 32]),
        ancestry: Ancestry::default().extended(branch()),
        committed: 300,
        last: Some(POINT),
        alive: true,
        leading: false,
    }
}

#[test]
fn recorded_encodings() {
    vectors::check(|v| {
        v.pin("MemberId", &MEMBER, "01*32 b524");
        v.pin("LogPoint", &POINT, "03ac02");
        v.pin("Branch", &branch(), "07*32 0103ac0202c801");
        v.pin(
            "Ancestry",
            &Ancestry::default().extended(branch()),
            "01 07*32 0103ac0202c801",
        );
        v.pin("Index", &Index(300), "ac02");
        v.pin("Term", &Term(300), "ac02");
        v.pin("Cursor", &Cursor::new(Term(2), Index(300)), "02ac02");
        v.pin("Willingness::Normal", &Willingness::Normal, "00");
        v.pin("Willingness::Reluctant", &Willingness::Reluctant, "01");
        v.pin("Willingness::Never", &Willingness::Never, "02");
        v.pin("Willingness::Observer", &Willingness::Observer, "03");
        v.pin(
            "LineageStanding",
            &standing(),
            "08*32 01 07*32 0103ac0202c801ac020103ac020100",
        );
        let feeds = Feeds {
            depth: 1,
            takes_guests: true,
        };
        v.pin("Feeds", &feeds, "0101");
        let info = MemberInfo {
            member: MEMBER,
            willingness: Willingness::Reluctant,
            catching_up: true,
            lineage: Some(standing()),
            feeds: Some(feeds),
        };
        v.pin(
            "MemberInfo",
            &info,
            "01*32 b524010101 08*32 01 07*32 0103ac0202c801ac020103ac020100010101",
        );
        let info = MemberInfo {
            member: MEMBER,
            ..MemberInfo::default()
        };
        v.pin("MemberInfo (without history)", &info, "01*32 b524 00000000");
        v.pin("Channel::Append", &Channel::Append, "00");
        v.pin("Channel::Snapshot", &Channel::Snapshot, "01");
        v.pin("Channel::Fetch", &Channel::Fetch, "02");
        v.pin(
            "Channel::Forward",
            &Channel::Forward(MEMBER),
            "03 01*32 b524",
        );
        v.pin("Channel::Offer", &Channel::Offer, "04");
        v.pin("Channel::Follow", &Channel::Follow, "05");
        v.pin(
            "GroupKey",
            &GroupKey::new(Digest::from_bytes([9; 32])),
            "09*32",
        );
    });
}

/// Other ids would part members of two versions.
#[test]
fn the_id_of_a_group_is_as_it_was_recorded() {
    let config = GroupConfig::new(
        GroupKey::new(Digest::from_bytes([9; 32])),
        ConsensusConfig::default(),
        Vec::new(),
        "machine".into(),
        "sync".into(),
    );
    vectors::check(|v| {
        v.bytes(
            "group id",
            config.group_id().as_bytes(),
            "e71dfa99a371bf95b9b3dfedc2166fa1710aaf1c23754dde50e9a75d1fa16c4a",
        );
    });
}
