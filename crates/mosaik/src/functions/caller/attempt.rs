//! One attempt: one handler, one stream.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{ApplicationClose, ConnectionError, ReadError};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    functions_layer::{
        candidates::Candidate,
        core::Core,
        route::Load,
        wire::{FUNCTIONS_ALPN, HandlerFailure, Header, Kind, TAG_BYTES, Tag, is_verdict},
    },
    net::{
        Link,
        close::{Success, UnexpectedClose},
        link::{LinkError, OpenError, RecvError, SendError, begin_frame, finish_frame},
    },
    primitives::{Bytes, BytesMut, FunctionId, Scope, encoding},
};

/// How long a handler may take to be reached and to admit the call.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a handler may take to be reached when there are others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A header with the length of its frame, and more.
const HEADER_CAPACITY: usize = 64;

/// An encoded call.
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) function: FunctionId,
    /// The encoded request as a complete frame.
    pub(super) frame: Bytes,
    /// Its size without the frame around it.
    pub(super) request_bytes: usize,
    pub(super) deadline: Instant,
}

/// What a handler answered.
pub(super) enum Answer {
    /// A frame with a value or an application error.
    Reply(Bytes),
    /// A stream of them.
    Replies(Replying),
}

/// A handler that is streaming its replies.
pub(super) struct Replying {
    pub(super) link: Link,
    /// Keeps the call counted.
    pub(super) _load: Load,
}

/// How an attempt ended.
pub(super) enum Outcome {
    Answered(Answer),
    /// The handler's verdict.
    Refused {
        close: ApplicationClose,
        has_run: bool,
    },
    /// The handler was not reached, or lost.
    Lost {
        error: LinkError,
        may_have_run: bool,
    },
    /// The peer closed the unused connection in the moment when it was used again.
    Idle,
    /// The call's budget is used up.
    OutOfTime,
    /// This node, or the caller, has ended.
    ShutDown,
}

impl Outcome {
    /// Whether no other handler can make a difference.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Answered(_) | Self::OutOfTime | Self::ShutDown)
    }
}

/// Calls one handler.
///
/// # Cancel safety
///
/// Dropping the future drops the stream, and with it the running function.
pub(super) async fn attempt(
    core: &Core,
    scope: &Scope,
    candidate: &Arc<Candidate>,
    request: &Request,
    has_others: bool,
) -> Outcome {
    let load = candidate.route.begin();
    let started = Instant::now();
    let patience = if has_others {
        CONNECT_TIMEOUT
    } else {
        ADMISSION_TIMEOUT
    };
    let sending = send(core, candidate, request, started, patience);
    let sent = tokio::select! {
        biased;
        sent = sending => sent,
        () = scope.cancelled() => return Outcome::ShutDown,
    };
    let mut link = match sent {
        Ok(link) => link,
        Err(outcome) => return outcome,
    };
    let receiving = receive(&mut link, request, started);
    let received = tokio::select! {
        biased;
        received = receiving => received,
        () = scope.cancelled() => return Outcome::ShutDown,
    };
    match received {
        Ok(Received::Reply(frame)) => {
            link.receiver.notice_end();
            candidate.route.succeeded();
            if candidate.route.takes_sample(started)
                && let Some(rtt) = link.rtt()
            {
                core.discovery.record_rtt(candidate.peer(), rtt);
            }
            Outcome::Answered(Answer::Reply(frame))
        }
        Ok(Received::Started) => {
            candidate.route.succeeded();
            Outcome::Answered(Answer::Replies(Replying { link, _load: load }))
        }
        Err(outcome) => outcome,
    }
}

/// Reaches the handler and hands it the request. Failing here, the function has not run: it needs
/// the whole request.
async fn send(
    core: &Core,
    candidate: &Candidate,
    request: &Request,
    started: Instant,
    patience: Duration,
) -> Result<Link, Outcome> {
    let limit = request.deadline.min(started + patience);
    let opening = core.links.open(FUNCTIONS_ALPN, candidate.peer());
    let mut link = match timeout_at(limit, opening).await {
        Ok(Ok(link)) => link,
        Ok(Err(OpenError::Closed(close))) if is_verdict(&close) => {
            return Err(Outcome::Refused {
                close,
                has_run: false,
            });
        }
        Ok(Err(error)) => return Err(not_run(error.into())),
        Err(_) => return Err(expired(limit, request, OpenError::TimedOut.into())),
    };
    link.receiver
        .set_max_frame_bytes(core.config.max_message_bytes + TAG_BYTES);
    let header = Header {
        kind: request.kind,
        function: request.function,
        budget_us: budget_us(request),
        request_bytes: request.request_bytes as u64,
    };
    let header_frame = frame(&header)?;
    if header.is_inline() {
        let frames = &mut [header_frame, request.frame.clone()];
        let written = timeout_at(limit, link.sender.write_last(frames)).await;
        return unsent(written, limit, request).map(|()| link);
    }
    let written = timeout_at(limit, link.sender.write_framed(&mut [header_frame])).await;
    unsent(written, limit, request)?;
    let limit = request.deadline.min(started + ADMISSION_TIMEOUT);
    match timeout_at(limit, link.receiver.recv_bytes()).await {
        Ok(Ok(frame)) if tag(&frame) == Some(Tag::Proceed) => {}
        Ok(Ok(_)) => return Err(not_run(unexpected())),
        Ok(Err(error)) => return Err(ended(error, Progress::Unsent)),
        Err(_) => return Err(expired(limit, request, RecvError::TimedOut.into())),
    }
    // The handler ends a transfer that takes too long.
    let limit = request.deadline;
    let sent = timeout_at(limit, link.sender.write_last(&mut [request.frame.clone()])).await;
    unsent(sent, limit, request).map(|()| link)
}

enum Received {
    Reply(Bytes),
    Started,
}

/// Waits for the reply. From here on the function may have run.
async fn receive(
    link: &mut Link,
    request: &Request,
    started: Instant,
) -> Result<Received, Outcome> {
    let mut progress = Progress::Sent;
    let mut limit = request.deadline.min(started + ADMISSION_TIMEOUT);
    loop {
        let frame = tokio::select! {
            biased;
            frame = link.receiver.recv_bytes() => frame.map_err(|error| ended(error, progress))?,
            () = sleep_until(limit) => {
                return Err(match limit == request.deadline {
                    true => Outcome::OutOfTime,
                    false => Outcome::Lost {
                        error: RecvError::TimedOut.into(),
                        may_have_run: true,
                    },
                });
            }
        };
        match (tag(&frame), request.kind) {
            (Some(Tag::Value | Tag::Error), Kind::Call) => return Ok(Received::Reply(frame)),
            (Some(Tag::Started), Kind::Stream) => return Ok(Received::Started),
            (Some(Tag::Started), _) => {
                progress = Progress::Running;
                limit = request.deadline;
            }
            _ => {
                return Err(Outcome::Lost {
                    error: unexpected(),
                    may_have_run: true,
                });
            }
        }
    }
}

/// How far a call has got when its stream ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Unsent,
    Sent,
    Running,
}

/// What the end of a stream means.
pub(super) fn ended(error: RecvError, progress: Progress) -> Outcome {
    match error {
        RecvError::Closed(close) if is_verdict(&close) => {
            let has_run = progress == Progress::Running || HandlerFailure == close;
            Outcome::Refused { close, has_run }
        }
        RecvError::Closed(close) if Success == close && progress != Progress::Running => {
            Outcome::Idle
        }
        error => Outcome::Lost {
            error: lost(error),
            may_have_run: progress != Progress::Unsent,
        },
    }
}

/// This node itself closes a connection on which a peer fell silent: the peer is lost.
fn lost(error: RecvError) -> LinkError {
    if error.is_cancelled() {
        let lost = ReadError::ConnectionLost(ConnectionError::TimedOut);
        return LinkError::Recv(RecvError::Io(lost));
    }
    error.into()
}

fn unsent(
    written: Result<Result<(), SendError>, tokio::time::error::Elapsed>,
    limit: Instant,
    request: &Request,
) -> Result<(), Outcome> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(SendError::Closed(close))) if is_verdict(&close) => Err(Outcome::Refused {
            close,
            has_run: false,
        }),
        Ok(Err(SendError::Closed(close))) if Success == close => Err(Outcome::Idle),
        Ok(Err(error)) => Err(not_run(error.into())),
        Err(_) => Err(expired(limit, request, SendError::TimedOut.into())),
    }
}

fn expired(limit: Instant, request: &Request, error: LinkError) -> Outcome {
    if limit == request.deadline {
        Outcome::OutOfTime
    } else {
        not_run(error)
    }
}

const fn not_run(error: LinkError) -> Outcome {
    Outcome::Lost {
        error,
        may_have_run: false,
    }
}

fn unexpected() -> LinkError {
    LinkError::Recv(RecvError::Closed(UnexpectedClose.into()))
}

pub(super) fn tag(frame: &[u8]) -> Option<Tag> {
    Tag::from_byte(*frame.first()?)
}

fn budget_us(request: &Request) -> u64 {
    match request.kind {
        // Once admitted, a stream may take as long as it likes.
        Kind::Stream => u64::MAX,
        Kind::Call | Kind::Probe => {
            let left = request.deadline.saturating_duration_since(Instant::now());
            u64::try_from(left.as_micros()).unwrap_or(u64::MAX)
        }
    }
}

fn frame(header: &Header) -> Result<Bytes, Outcome> {
    let mut buffer = BytesMut::with_capacity(HEADER_CAPACITY);
    let start = begin_frame(&mut buffer);
    let encoded = encoding::serialize_into(header, &mut buffer);
    encoded.map_err(|error| not_run(SendError::Encode(Box::new(error)).into()))?;
    // A header is far below the limit.
    let _ = finish_frame(&mut buffer, start, HEADER_CAPACITY);
    Ok(buffer.freeze())
}

/// Asks a peer for a sign of life, and does not wait for it.
pub(super) async fn probe(core: &Core, candidate: crate::primitives::PeerId) {
    let header = Header {
        kind: Kind::Probe,
        function: FunctionId::zero(),
        budget_us: 0,
        request_bytes: 0,
    };
    let asking = async {
        if let Some(mut link) = core.links.open_existing(FUNCTIONS_ALPN, &candidate).await
            && let Ok(header) = frame(&header)
            && link.sender.write_last(&mut [header]).await.is_ok()
        {
            // Whatever arrives is a sign of life.
            let _ = link.receiver.recv_bytes().await;
        }
    };
    // It has done its work when it is sent.
    let _ = tokio::time::timeout(ADMISSION_TIMEOUT, asking).await;
}
