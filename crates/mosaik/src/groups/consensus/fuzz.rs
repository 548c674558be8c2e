//! Interface of the consensus messages to fuzzing.

use openraft::alias::{EntryOf, SnapshotMetaOf, VoteOf};

pub(crate) use super::wire::{
    Accepted, AppendEntries, Fed, Follow, Forward, Layout, Request, Response, Sign, SnapshotReply,
    Taken,
};
pub(crate) use crate::groups::catch_up::wire::{Manifest, Overrun, SnapshotHeader};
use crate::{
    groups::{
        catch_up::wire::Piece,
        log::{
            format::{RawEntry, RawLogId, RawMembership, RawPayload, RawVote},
            types::{Batch, Types},
        },
        model::lineage::MemberId,
    },
    primitives::Bytes,
};

const MEMBER: MemberId = MemberId::sample(1);

fn vote() -> VoteOf<Types> {
    let raw = RawVote {
        term: 3,
        voted_for: MEMBER,
        committed: true,
    };
    raw.into()
}

fn entries() -> Vec<EntryOf<Types>> {
    let batch = Batch {
        origin: MEMBER,
        first: 300,
        count: 2,
        row: Bytes::from_static(b"row"),
    };
    let membership = RawMembership {
        voters: vec![vec![MEMBER]],
        members: vec![MEMBER, MemberId::sample(2)],
    };
    let payloads = [
        RawPayload::Blank,
        RawPayload::Commands(batch),
        RawPayload::Membership(membership),
    ];
    let entry = |(index, payload)| RawEntry {
        id: RawLogId { term: 3, index },
        payload,
    };
    let entries = (300..).zip(payloads).map(entry);
    entries
        .map(|raw| raw.try_into().expect("a sound membership"))
        .collect()
}

/// An append of one entry of each kind.
pub(crate) fn append() -> AppendEntries {
    AppendEntries {
        vote: vote(),
        previous: Some(
            RawLogId {
                term: 2,
                index: 299,
            }
            .into(),
        ),
        entries: entries(),
        commit: Some(RawLogId { term: 2, index: 9 }.into()),
    }
}

pub(crate) fn sign() -> Sign {
    Sign {
        vote: vote(),
        age_ms: Some(300),
        commit: Some(302),
        path: vec![MEMBER, MemberId::sample(2)],
    }
}

pub(crate) fn layout() -> Layout {
    let piece = Piece::of(3, b"piece").expect("a small piece");
    Layout {
        vote: vote(),
        committed: 302,
        pieces: Some(vec![piece]),
    }
}

pub(crate) fn snapshot_reply() -> SnapshotReply {
    SnapshotReply { vote: vote() }
}

pub(crate) fn snapshot_header() -> SnapshotHeader {
    SnapshotHeader {
        vote: vote(),
        meta: SnapshotMetaOf::<Types> {
            last_log_id: Some(
                RawLogId {
                    term: 3,
                    index: 300,
                }
                .into(),
            ),
            ..SnapshotMetaOf::<Types>::default()
        }
        .into(),
        head: Bytes::from_static(b"head"),
    }
}
