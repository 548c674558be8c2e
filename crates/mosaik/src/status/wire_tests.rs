//! Recorded vectors: bytes as they were sent by the version that introduced them.
//!
//! A vector is never changed. A field that is added comes with a new vector, and the old ones must go
//! on to be read.

use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::{
    primitives::{Digest, PeerId, record},
    status::{
        BondReport, CollectionReport, CutReport, FunctionReport, FunctionSide, GroupReport,
        GroupRole, GroupStorage, LinkPath, LinkReport, MismatchReport, NodeReport, RefusalCount,
        StreamReport, StreamSide, SubscriptionReport, SubscriptionState, TagReport,
    },
};

fn peer(n: u8) -> PeerId {
    iroh::SecretKey::from_bytes(&[n; 32]).public()
}

fn id(n: u8) -> Digest {
    Digest::from_bytes([n; 32])
}

fn vector(name: &str) -> &'static str {
    include_str!("vectors.txt")
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(other, hex)| (other == name).then_some(hex))
        .unwrap_or_default()
}

/// The bytes that an earlier version has sent are read as this record.
#[track_caller]
fn is_read<T: DeserializeOwned + PartialEq + core::fmt::Debug>(name: &str, record: &T) {
    let bytes = hex::decode(vector(name)).unwrap();
    assert_eq!(record::decode::<T>(&bytes).unwrap(), *record, "{name}");
}

/// The record has the recorded bytes, and is read from them.
#[track_caller]
fn is_recorded<T: Serialize + DeserializeOwned + PartialEq + core::fmt::Debug>(
    name: &str,
    record: &T,
) {
    let recorded = vector(name);
    let encoded = hex::encode(record::encode(record).unwrap());
    assert_eq!(encoded, recorded, "{name}: {encoded}");
    let bytes = hex::decode(recorded).unwrap();
    assert_eq!(record::decode::<T>(&bytes).unwrap(), *record, "{name}");
    // A later version's record is longer.
    let later = [&bytes[..], &[7; 9]].concat();
    assert_eq!(record::decode::<T>(&later).unwrap(), *record, "{name}");
    // JSON gives the same back.
    let json = serde_json::to_string(record).unwrap();
    assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *record, "{json}");
}

#[test]
fn questions_and_pages_are_as_recorded() {
    is_recorded(
        "request",
        &Request {
            section: Section::Streams as u8,
            skip: 300,
        },
    );
    is_recorded(
        "page",
        &Page {
            sequence: 1000,
            available: 2,
            left_off: 1,
            items: vec![Bytes::from_static(&[1, 2, 3]), Bytes::new()],
        },
    );
}

#[test]
fn nodes_are_as_recorded() {
    is_recorded(
        "node",
        &NodeReport {
            peer: peer(1),
            build: "0.1.0".into(),
            uptime_ms: 1000,
            clock_ms: 1_700_000_000_000,
            clock_ahead_ms: Some(-14_000),
            asked_us: Some(250),
            tags: vec![TagReport {
                tag: id(3),
                label: Some("matcher".into()),
            }],
            addresses: vec!["127.0.0.1:1".into()],
            relay: Some("https://relay.example/".into()),
            peers: 4,
            neighbours: 5,
            entry_bytes: 600,
            max_entry_bytes: 262_144,
            tickets: 1,
            refused_entries: vec![RefusalCount {
                reason: "future_dated".into(),
                count: 7,
            }],
            max_clock_drift_ms: 10_000,
            identity_conflicts: 1,
            duplicate: Some("127.0.0.1:2".into()),
            has_storage: true,
            storage_failure: Some("no space".into()),
        },
    );
}

#[test]
fn links_are_as_recorded() {
    let record = LinkReport {
        peer: peer(1),
        rtt_us: Some(321),
        path: LinkPath::Relay,
        address: "relay".into(),
        connections: 2,
        bytes_sent: 1000,
        bytes_received: 2000,
        packets_lost: 3,
        observes: true,
    };
    is_recorded("link 2", &record);
    let earlier = LinkReport {
        observes: false,
        ..record
    };
    is_read("link", &earlier);
}

#[test]
fn streams_are_as_recorded() {
    let record = StreamReport {
        stream: id(1),
        label: Some("orders".into()),
        datum: "Order".into(),
        side: StreamSide::Producer,
        online: true,
        datums: 1,
        bytes: 2,
        dropped: 3,
        undecodable: 4,
        accepted: 5,
        refused: 6,
        not_allowed: 7,
        cuts: 8,
        producers_known: 9,
        buffer: 1024,
        waiting: true,
        subscriptions: vec![SubscriptionReport {
            peer: peer(2),
            state: SubscriptionState::Connected,
            datums: 10,
            bytes: 11,
            dropped: 12,
            uptime_ms: Some(13),
            lag: 14,
            held_up_ms: 15,
        }],
        left_off: 16,
        cut: vec![CutReport {
            peer: peer(3),
            reason: "too_slow".into(),
            ago_ms: 17,
        }],
        not_allowed_ago_ms: Some(18),
        undecodable_ago_ms: Some(19),
    };
    is_recorded("stream 2", &record);
    let earlier = StreamReport {
        not_allowed_ago_ms: None,
        undecodable_ago_ms: None,
        ..record
    };
    is_read("stream", &earlier);
}

#[test]
fn functions_are_as_recorded() {
    let record = FunctionReport {
        function: id(1),
        label: Some("price".into()),
        types: "Order -> Quote".into(),
        side: FunctionSide::Handler,
        answered: 1,
        failed: 2,
        refused: 3,
        not_allowed: 4,
        running: 5,
        max_running: Some(6),
        attempts: 7,
        eligible: 8,
        handlers_known: 9,
        refused_ago_ms: Some(10),
        not_allowed_ago_ms: Some(11),
    };
    is_recorded("function 2", &record);
    let earlier = FunctionReport {
        refused_ago_ms: None,
        not_allowed_ago_ms: None,
        ..record
    };
    is_read("function", &earlier);
}

#[test]
fn groups_are_as_recorded() {
    let record = GroupReport {
        group: id(1),
        label: Some("book".into()),
        machine: "OrderBook".into(),
        lineage: Some(id(2)),
        role: GroupRole::Voter,
        online: true,
        halted: true,
        catching_up: true,
        leader: Some(peer(1)),
        term: 3,
        voters: vec![peer(1), peer(2)],
        learners: vec![peer(3)],
        missing: vec![peer(2)],
        committed: 4,
        log: 5,
        discarded: 6,
        storage: GroupStorage::Durable,
        failure: Some("disk".into()),
        min_members: 3,
        max_voters: 5,
        bonds: vec![BondReport {
            peer: peer(4),
            lineage: Some(id(5)),
            rival: true,
            committed: 7,
            catching_up: true,
            observes: true,
        }],
        left_off: 8,
        joined_ms: 9,
        clock_ms: 1_700_000_000_000,
        ancestry: vec![id(6)],
    };
    is_recorded("group 2", &record);
    let earlier = GroupReport {
        joined_ms: 0,
        clock_ms: 0,
        ancestry: Vec::new(),
        ..record
    };
    is_read("group", &earlier);
}

#[test]
fn collections_are_as_recorded() {
    is_recorded(
        "collection",
        &CollectionReport {
            group: id(1),
            label: Some("prices".into()),
            kind: "map".into(),
            types: "String, u64".into(),
            reads_only: true,
            entries: 2,
            version: 3,
            watchers: 4,
            mismatches: vec![MismatchReport {
                peer: peer(1),
                differing: vec!["limits".into()],
            }],
            left_off: 5,
        },
    );
}

#[test]
fn sections_have_their_numbers() {
    for (code, section) in (0..).zip(Section::ALL) {
        assert_eq!(Section::of(code), Some(section));
        assert_eq!(section as u8, code);
    }
    assert_eq!(Section::of(6), None);
}
