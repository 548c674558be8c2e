//! Entry points for fuzzing: announcements, syncs and pings.

use std::collections::HashSet;

use iroh::SecretKey;

use super::{
    sync::reconcile::Reconciler,
    wire::{Announcement, Goodbye, PingReply, PingRequest, Range, Summary, SyncTurn},
};
use crate::{
    primitives::{
        NetworkId, PeerId, encoding,
        fuzz::{Target, encoded},
    },
    tickets::{PeerEntryVersion, SignedPeerEntry, UnverifiedEntry, fuzz::entry},
};

pub(crate) const TARGETS: &[Target] = &[
    Target::decoding::<Announcement<UnverifiedEntry>>("announcement", announcements),
    Target::new("sync_turn", sync_turn, || vec![encoded(&turn())]),
    Target::decoding::<PingRequest<UnverifiedEntry>>("ping_request", ping_requests),
    Target::decoding::<PingReply<UnverifiedEntry>>("ping_reply", ping_replies),
    Target::new("goodbye", goodbye, || vec![encoded(&departure())]),
];

fn peer() -> PeerId {
    *entry().id()
}

fn version() -> PeerEntryVersion {
    PeerEntryVersion::from_millis(1, 2)
}

fn departure() -> Goodbye {
    Goodbye::new(
        NetworkId::from("fuzz"),
        version(),
        3,
        &SecretKey::from_bytes(&[3; 32]),
    )
}

fn announcements() -> Vec<Vec<u8>> {
    let entry = entry();
    let heartbeat = Announcement::Heartbeat {
        stamp_ms: 1,
        peer: peer(),
        version: version(),
        content: *entry.content(),
        signature: *entry.signature(),
    };
    let suspicion = Announcement::Suspicion {
        peer: peer(),
        version: version(),
    };
    [
        Announcement::Entry { stamp_ms: 1, entry },
        heartbeat,
        Announcement::Departure(departure()),
        suspicion,
    ]
    .map(|message: Announcement<SignedPeerEntry>| encoded(&message))
    .to_vec()
}

fn ping_requests() -> Vec<Vec<u8>> {
    [
        PingRequest::Ping,
        PingRequest::Probe {
            fingerprint: u128::MAX,
        },
        PingRequest::ProbeFor { peer: peer() },
        PingRequest::Push { entry: entry() },
        PingRequest::Leave(departure()),
    ]
    .map(|message: PingRequest<SignedPeerEntry>| encoded(&message))
    .to_vec()
}

fn ping_replies() -> Vec<Vec<u8>> {
    [
        PingReply::Entry(entry()),
        PingReply::Alive {
            fingerprint: 7,
            suspected: Some(version()),
        },
        PingReply::Reached(true),
    ]
    .map(|message: PingReply<SignedPeerEntry>| encoded(&message))
    .to_vec()
}

fn turn() -> SyncTurn<SignedPeerEntry> {
    let listed = Summary::List(vec![(peer(), version())]);
    SyncTurn {
        ranges: vec![
            Range {
                from: [0; 32],
                to: Some(*peer().as_bytes()),
                summary: Summary::Fingerprint { count: 3, sum: 5 },
            },
            Range {
                from: *peer().as_bytes(),
                to: None,
                summary: listed,
            },
        ],
        want: vec![peer()],
        entries: vec![entry()],
        departed: vec![(peer(), version())],
    }
}

/// A turn is answered as well: with no more than both catalogs hold, and so that the other side
/// takes it.
fn sync_turn(data: &[u8]) -> bool {
    let Ok(turn) = encoding::deserialize::<SyncTurn<UnverifiedEntry>>(data) else {
        return false;
    };
    let keys = (0..40).map(|n| SecretKey::from_bytes(&[n; 32]).public());
    let known: Vec<_> = keys.map(|peer| (peer, version())).collect();
    let answer = Reconciler::new(known.iter().copied()).answer(&turn.ranges);
    let offered: HashSet<_> = answer.offer.iter().collect();
    assert_eq!(offered.len(), answer.offer.len(), "offered once each");
    assert!(
        answer
            .offer
            .iter()
            .all(|peer| known.iter().any(|(known, _)| known == peer))
    );
    assert!(answer.ranges.len() <= turn.ranges.len() + known.len());
    let reply: SyncTurn<SignedPeerEntry> = SyncTurn {
        ranges: answer.ranges,
        ..SyncTurn::empty()
    };
    encoding::deserialize::<SyncTurn<UnverifiedEntry>>(encoded(&reply))
        .expect("an answer is a turn that can be decoded");
    true
}

fn goodbye(data: &[u8]) -> bool {
    encoding::deserialize::<Goodbye>(data).is_ok_and(|goodbye| goodbye.is_signed())
}
