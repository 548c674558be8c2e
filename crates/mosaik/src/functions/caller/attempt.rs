//! One attempt: one handler, one stream.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::{ApplicationClose, ConnectionError, ReadError};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    functions_layer::{
        candidates::Candidate,
        close::{HandlerFailure, NoCapacity},
        core::Core,
        route::Load,
        wire::{FUNCTIONS_ALPN, Header, Kind, MAX_HEADER_BYTES, TAG_BYTES, Tag, is_verdict},
    },
    net::{
        Link,
        close::{Success, UnexpectedClose},
        link::{LinkError, OpenError, RecvError, SendError, begin_frame, finish_frame},
    },
    primitives::{Bytes, BytesMut, FunctionId, Scope, TraceParent, encoding},
};

/// Timeout for reaching a handler and for its admission of the call.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout for reaching a handler when there are others.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Room for the frame of a usual header: one without a trace and a schema tag.
const HEADER_CAPACITY: usize = 64;

/// An encoded call.
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) function: FunctionId,
    /// The encoded request as a complete frame.
    pub(super) frame: Bytes,
    /// Its size without the frame around it.
    pub(super) payload_bytes: usize,
    pub(super) deadline: Instant,
    /// The span of the call, if it is exported.
    pub(super) trace: Option<TraceParent>,
    pub(super) schema: Option<String>,
}

/// Answer of a handler.
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

/// Reasons for which an attempt brought no answer.
pub(super) enum Miss {
    /// The handler's verdict.
    Refused {
        close: ApplicationClose,
        has_run: bool,
    },
    /// The handler was not reached, or lost.
    Lost {
        error: Box<LinkError>,
        may_have_run: bool,
    },
    /// The handler doesn't hold its tickets any more, and was not asked.
    Unauthorized,
    /// The peer closed the unused connection in the moment when it was used again.
    Idle,
    /// The reply is larger than this node accepts.
    TooLarge(RecvError),
    /// The call's budget is used up: with an error if the handler was not reached within it.
    OutOfTime(Option<Box<LinkError>>),
    /// This node, or the caller, has ended.
    ShutDown,
}

impl Miss {
    /// Returns whether no other handler can make a difference.
    pub(super) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::TooLarge(_) | Self::OutOfTime(_) | Self::ShutDown
        )
    }

    fn lost(error: impl Into<LinkError>, may_have_run: bool) -> Self {
        Self::Lost {
            error: Box::new(error.into()),
            may_have_run,
        }
    }

    /// The handler was not reached, or lost before it had the whole request.
    fn not_run(error: impl Into<LinkError>) -> Self {
        Self::lost(error, false)
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
) -> Result<Answer, Miss> {
    let load = begin(scope, candidate, request, has_others).await?;
    let started = Instant::now();
    let patience = if has_others {
        CONNECT_TIMEOUT
    } else {
        ADMISSION_TIMEOUT
    };
    // What fails when this node ends fails for that reason.
    let or_shut_down = |miss| {
        if scope.is_cancelled() {
            Miss::ShutDown
        } else {
            miss
        }
    };
    let sending = send(core, candidate, request, started, patience);
    let sent = tokio::select! {
        biased;
        sent = sending => sent.map_err(or_shut_down)?,
        () = scope.cancelled() => return Err(Miss::ShutDown),
    };
    let Sent { mut link, limit } = sent;
    let receiving = receive(&mut link, request, limit);
    let received = tokio::select! {
        biased;
        received = receiving => received.map_err(or_shut_down)?,
        () = scope.cancelled() => return Err(Miss::ShutDown),
    };
    candidate.route.succeeded();
    match received {
        Received::Reply(frame) => {
            link.receiver.notice_end();
            Ok(Answer::Reply(frame))
        }
        Received::Started => Ok(Answer::Replies(Replying { link, _load: load })),
    }
}

/// Counts the call in. With as many open to the handler as may be, another one is better; if there
/// is none, the call waits for one of them to end.
async fn begin(
    scope: &Scope,
    candidate: &Candidate,
    request: &Request,
    has_others: bool,
) -> Result<Load, Miss> {
    if let Some(load) = candidate.route.try_begin() {
        return Ok(load);
    }
    let full = || Miss::Refused {
        close: NoCapacity.into(),
        has_run: false,
    };
    if has_others {
        return Err(full());
    }
    let limit = request.deadline.min(Instant::now() + ADMISSION_TIMEOUT);
    tokio::select! {
        load = candidate.route.begin(limit) => load.ok_or_else(full),
        () = scope.cancelled() => Err(Miss::ShutDown),
    }
}

/// A request that has left.
struct Sent {
    link: Link,
    /// Deadline for the handler's next frame.
    limit: Instant,
}

/// Reaches the handler and hands it the request. Failing here, the function has not run: it needs
/// the whole request.
async fn send(
    core: &Core,
    candidate: &Candidate,
    request: &Request,
    started: Instant,
    patience: Duration,
) -> Result<Sent, Miss> {
    let limit = request.deadline.min(started + patience);
    let opening = core.links.open(FUNCTIONS_ALPN, candidate.peer());
    let mut link = match timeout_at(limit, opening).await {
        Ok(Ok(link)) => link,
        Ok(Err(OpenError::Closed(close))) if is_verdict(&close) => {
            return Err(Miss::Refused {
                close,
                has_run: false,
            });
        }
        Ok(Err(error)) => return Err(Miss::not_run(error)),
        Err(_) => return Err(expired(limit, request, OpenError::TimedOut.into())),
    };
    link.receiver
        .set_max_frame_bytes(core.config.max_message_bytes + TAG_BYTES);
    let header = Header {
        kind: request.kind,
        function: request.function,
        budget_us: budget_us(request),
        request_bytes: request.payload_bytes as u64,
        trace: request.trace,
        schema: request.schema.clone(),
    };
    let header_frame = frame(&header)?;
    if header.is_inline() {
        let frames = &mut [header_frame, request.frame.clone()];
        let written = timeout_at(limit, write(&mut link, frames, request.kind)).await;
        unsent(written, limit, request, &link)?;
        let limit = request.deadline.min(Instant::now() + ADMISSION_TIMEOUT);
        return Ok(Sent { link, limit });
    }
    let written = timeout_at(limit, link.sender.write_framed(&mut [header_frame])).await;
    unsent(written, limit, request, &link)?;
    let limit = request.deadline.min(Instant::now() + ADMISSION_TIMEOUT);
    match timeout_at(limit, link.receiver.recv_bytes()).await {
        Ok(Ok(frame)) if tag(&frame) == Some(Tag::Proceed) => {}
        Ok(Ok(_)) => return Err(Miss::not_run(unexpected())),
        Ok(Err(error)) => return Err(ended(error, Progress::Unsent, &link)),
        Err(_) => return Err(expired(limit, request, RecvError::TimedOut.into())),
    }
    // It is admitted: from here on it takes what it takes. The handler ends a transfer that stalls.
    let limit = request.deadline;
    let frames = &mut [request.frame.clone()];
    let sent = timeout_at(limit, write(&mut link, frames, request.kind)).await;
    unsent(sent, limit, request, &link)?;
    Ok(Sent { link, limit })
}

/// Writes a request. After it only the caller of a stream has something to say.
async fn write(link: &mut Link, frames: &mut [Bytes], kind: Kind) -> Result<(), SendError> {
    match kind {
        Kind::Stream => link.sender.write_framed(frames).await,
        Kind::Call | Kind::Probe => link.sender.write_last(frames).await,
    }
}

enum Received {
    Reply(Bytes),
    Started,
}

/// Waits for the reply. From here on the function may have run. `limit` is when the handler has to
/// have answered if it has the whole request by now; if it has not, it has as long once it has.
///
/// The handler has answered with the first bytes that arrive: how long the rest takes is a matter
/// of the reply's size and of the call's budget.
async fn receive(link: &mut Link, request: &Request, mut limit: Instant) -> Result<Received, Miss> {
    let mut progress = Progress::Sent;
    let (mut awaits_delivery, mut is_delivered) = (false, false);
    loop {
        let frame = tokio::select! {
            biased;
            frame = link.receiver.recv_bytes() => frame,
            () = link.sender.delivered(), if awaits_delivery => {
                (awaits_delivery, is_delivered) = (false, true);
                limit = request.deadline.min(Instant::now() + ADMISSION_TIMEOUT);
                continue;
            }
            () = sleep_until(limit) => {
                if limit == request.deadline {
                    return Err(Miss::OutOfTime(None));
                }
                if link.receiver.buffered_bytes() == 0 {
                    if is_delivered {
                        return Err(Miss::lost(RecvError::TimedOut, true));
                    }
                    // It may be on its way still: other requests share a narrow line with it.
                    awaits_delivery = true;
                    limit = request.deadline;
                    continue;
                }
                progress = Progress::Running;
                limit = request.deadline;
                continue;
            }
        };
        let frame = frame.map_err(|error| ended(error, progress, link))?;
        match (tag(&frame), request.kind) {
            (Some(Tag::Value | Tag::Error), Kind::Call) => return Ok(Received::Reply(frame)),
            (Some(Tag::Started), Kind::Stream) => return Ok(Received::Started),
            (Some(Tag::Started), _) => {
                progress = Progress::Running;
                limit = request.deadline;
            }
            _ => return Err(Miss::lost(unexpected(), true)),
        }
    }
}

/// Progress of a call at the end of its stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Unsent,
    Sent,
    Running,
}

/// Classifies the end of a stream.
///
/// Safe to be asked again is only what a peer never saw: it closed the whole connection, which it
/// does when nothing is under way on it. A stream that ends by itself was served.
fn ended(error: RecvError, progress: Progress, link: &Link) -> Miss {
    match error {
        RecvError::Closed(close) if is_verdict(&close) => {
            let has_run = progress == Progress::Running || HandlerFailure == close;
            Miss::Refused { close, has_run }
        }
        RecvError::Closed(_) if progress != Progress::Running && was_idle(link) => Miss::Idle,
        RecvError::FrameTooLarge { .. } => Miss::TooLarge(error),
        error => Miss::lost(lost(error), progress != Progress::Unsent),
    }
}

/// Returns whether the peer closed the connection as one that was not in use.
fn was_idle(link: &Link) -> bool {
    matches!(link.connection().close_reason(),
        Some(ConnectionError::ApplicationClosed(close)) if close == Success)
}

/// This node itself closes a connection on which a peer fell silent: the peer is lost.
pub(super) fn lost(error: RecvError) -> LinkError {
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
    link: &Link,
) -> Result<(), Miss> {
    match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(SendError::Closed(close))) if is_verdict(&close) => Err(Miss::Refused {
            close,
            has_run: false,
        }),
        Ok(Err(SendError::Closed(_))) if was_idle(link) => Err(Miss::Idle),
        Ok(Err(error)) => Err(Miss::not_run(error)),
        Err(_) => Err(expired(limit, request, SendError::TimedOut.into())),
    }
}

fn expired(limit: Instant, request: &Request, error: LinkError) -> Miss {
    if limit == request.deadline {
        Miss::OutOfTime(Some(Box::new(error)))
    } else {
        Miss::not_run(error)
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

/// A header as a complete frame.
pub(super) fn frame(header: &Header) -> Result<Bytes, Miss> {
    let mut buffer = BytesMut::with_capacity(HEADER_CAPACITY);
    let start = begin_frame(&mut buffer);
    let encoded = encoding::serialize_into(header, &mut buffer);
    encoded.map_err(|error| Miss::not_run(SendError::Encode(Box::new(error))))?;
    let finished = finish_frame(&mut buffer, start, MAX_HEADER_BYTES);
    finished.map_err(|len| {
        let max = MAX_HEADER_BYTES;
        Miss::not_run(SendError::FrameTooLarge { len, max })
    })?;
    Ok(buffer.freeze())
}
