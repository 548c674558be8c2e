use super::*;
use crate::{
    groups::{
        consensus::fuzz,
        log::format::{RawLogId, RawVote},
    },
    primitives::vectors,
};

const MEMBER: MemberId = MemberId::sample(1);

fn id() -> LogIdOf<Types> {
    RawLogId {
        term: 3,
        index: 300,
    }
    .into()
}

fn vote() -> VoteOf<Types> {
    let raw = RawVote {
        term: 3,
        voted_for: MEMBER,
        committed: true,
    };
    raw.into()
}

fn request_vote() -> RequestVote {
    RequestVote {
        vote: vote(),
        last: Some(id()),
        transfer: true,
    }
}

fn transfer() -> TransferLeader {
    TransferLeader {
        from: vote(),
        to: MEMBER,
        last: Some(id()),
    }
}

fn vote_reply() -> VoteReply {
    VoteReply {
        vote: vote(),
        granted: true,
        last: None,
    }
}

#[test]
fn recorded_requests() {
    vectors::check(|v| {
        let heartbeat = AppendEntries {
            entries: Vec::new(),
            ..fuzz::append()
        };
        let request = Request::Heartbeat {
            append: heartbeat,
            backed: true,
        };
        v.pin(
            "Request::Heartbeat",
            &request,
            "0003 01*33 b524010102ab020001020901",
        );
        v.pin(
            "Request::Vote",
            &Request::Vote(request_vote()),
            "0103 01*33 b524010103ac0201",
        );
        let request = Request::PreVote { last: Some(id()) };
        v.pin("Request::PreVote", &request, "020103ac02");
        v.pin(
            "Request::Transfer",
            &Request::Transfer(transfer()),
            "0303 01*33 b524 01*33 b5240103ac02",
        );
        v.pin(
            "Request::Confirm",
            &Request::Confirm { term: 300 },
            "04ac02",
        );
        let request = Request::ReadIndex { term: Some(300) };
        v.pin("Request::ReadIndex", &request, "0501ac02");
        v.pin(
            "Request::SetBack",
            &Request::SetBack { matched: id() },
            "0603ac02",
        );
        v.pin(
            "AppendEntries",
            &fuzz::append(),
            "03 01*33 b524010102ab020303ac020003ad02 01*33 \
             b524ac020203726f7703ae0202 01*34 b52402 01*32 b524 02*32 \
             b624010209",
        );
        v.pin("RequestVote", &request_vote(), "03 01*33 b524010103ac0201");
        v.pin(
            "TransferLeader",
            &transfer(),
            "03 01*33 b524 01*33 b5240103ac02",
        );
    });
}

#[test]
fn recorded_responses() {
    let (expected, actual) = (vote(), vote());
    let changed = || TransferRefusal::VoteChanged { expected, actual };
    let not_flushed = TransferRefusal::LogNotFlushed {
        expected: Some(id()),
        actual: None,
    };
    vectors::check(|v| {
        let stored = || AppendReply::Stored(Some(id()));
        v.pin(
            "Response::Heartbeat",
            &Response::Heartbeat(stored()),
            "00000103ac02",
        );
        v.pin(
            "Response::Vote",
            &Response::Vote(vote_reply()),
            "0103 01*33 b524010100",
        );
        let response = Response::PreVote { granted: true };
        v.pin("Response::PreVote", &response, "0201");
        let response = Response::Transfer(TransferReply::Accepted);
        v.pin("Response::Transfer", &response, "0300");
        v.pin(
            "Response::Confirmed",
            &Response::Confirmed(MEMBER),
            "04 01*32 b524",
        );
        let response = Response::ReadIndex { next: 300 };
        v.pin("Response::ReadIndex", &response, "05ac02");
        v.pin("Response::SetBack", &Response::SetBack, "06");
        v.pin("Response::Refused", &Response::Refused, "07");
        v.pin("AppendReply::Stored", &stored(), "000103ac02");
        let refusal = AppendReply::Refused(AppendRefusal::Conflict(id()));
        v.pin("AppendReply::Refused", &refusal, "010003ac02");
        v.pin(
            "AppendRefusal::Conflict",
            &AppendRefusal::Conflict(id()),
            "0003ac02",
        );
        v.pin(
            "AppendRefusal::HigherVote",
            &AppendRefusal::HigherVote(vote()),
            "0103 01*33 b52401",
        );
        v.pin("VoteReply", &vote_reply(), "03 01*33 b524010100");
        v.pin("TransferReply::Accepted", &TransferReply::Accepted, "00");
        v.pin(
            "TransferReply::Refused",
            &TransferReply::Refused(changed()),
            "010003 01*33 b5240103 01*33 b52401",
        );
        v.pin(
            "TransferRefusal::VoteChanged",
            &changed(),
            "0003 01*33 b5240103 01*33 b52401",
        );
        v.pin(
            "TransferRefusal::LogNotFlushed",
            &not_flushed,
            "010103ac0200",
        );
    });
}

#[test]
fn recorded_streams() {
    let forward = Forward {
        first: 300,
        count: 2,
        row: Bytes::from_static(b"row"),
        again: true,
    };
    let accepted = Accepted {
        first: 300,
        count: 2,
        new: Some((301, 9)),
        forgotten: false,
    };
    let follow = Follow {
        from: 300,
        snapshot: true,
    };
    vectors::check(|v| {
        v.pin(
            "SnapshotReply",
            &SnapshotReply { vote: vote() },
            "03 01*33 b52401",
        );
        v.pin(
            "Layout",
            &fuzz::layout(),
            "03 01*33 \
             b52401ae0201010305394cfefbec18b6774d5650fdd741678b8246f82592479f \
             236a3b5e25e7e5a6c7",
        );
        let none = Layout {
            pieces: None,
            ..fuzz::layout()
        };
        v.pin("Layout (of what is gone)", &none, "03 01*33 b52401ae0200");
        v.pin("Forward", &forward, "ac0202 03726f77 01");
        v.pin("Accepted", &accepted, "ac0202 01ad0209 00");
        v.pin("Follow", &follow, "ac0201");
        v.pin(
            "Sign",
            &fuzz::sign(),
            "03 01*33 b5240101ac0201ae0202 01*32 b524 02*32 b624",
        );
        v.pin(
            "Fed::Sign",
            &Fed::Sign(fuzz::sign()),
            "0003 01*33 b5240101ac0201ae0202 01*32 b524 02*32 b624",
        );
        let part = Fed::Part {
            bytes: Bytes::from_static(b"part"),
            is_last: true,
        };
        v.pin("Fed::Part", &part, "0104 70617274 01");
        v.pin("Taken", &Taken { next: 300 }, "ac02");
    });
}

#[test]
fn conversions_lose_nothing() {
    let append = encode(&fuzz::append()).unwrap();
    let request = AppendEntriesRequest::<Types>::from(fuzz::append());
    assert_eq!(encode(&AppendEntries::from(request)).unwrap(), append);
    let request = VoteRequest::<Types>::from(request_vote());
    let again = encode(&RequestVote::from(request)).unwrap();
    assert_eq!(again, encode(&request_vote()).unwrap());
    let response = VoteResponse::<Types>::from(vote_reply());
    let again = encode(&VoteReply::from(response)).unwrap();
    assert_eq!(again, encode(&vote_reply()).unwrap());
    let request = TransferLeaderRequest::<Types>::from(transfer());
    let again = encode(&TransferLeader::from(request)).unwrap();
    assert_eq!(again, encode(&transfer()).unwrap());
    let results: [StreamAppendResult<Types>; 4] = [
        Ok(None),
        Ok(Some(id())),
        Err(StreamAppendError::Conflict(id())),
        Err(StreamAppendError::HigherVote(vote())),
    ];
    for result in results {
        let again = StreamAppendResult::<Types>::from(AppendReply::from(result.clone()));
        assert_eq!(again, result);
    }
    let (expected, actual) = (vote(), vote());
    let responses: [TransferLeaderResponse<Types>; 3] = [
        Ok(()),
        Err(TransferLeaderError::VoteChanged { expected, actual }),
        Err(TransferLeaderError::LogNotFlushed {
            expected: Some(id()),
            actual: None,
        }),
    ];
    for response in responses {
        let again = TransferLeaderResponse::<Types>::from(TransferReply::from(response.clone()));
        assert_eq!(again, response);
    }
    let reply = SnapshotResponse::<Types>::new(vote());
    assert_eq!(
        SnapshotResponse::from(SnapshotReply::from(reply.clone())),
        reply
    );
}
