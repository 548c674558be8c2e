//! Serves one incoming call: header, verdict, request, reply.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use iroh::endpoint::ApplicationClose;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::Instrument;

use super::{
    admission::{Admitted, admit},
    handlers::Handlers,
    places::Transfer,
    registered::{Place, Registered},
    reply,
    service::Work,
};
use crate::{
    functions_layer::{
        CallContext,
        close::{FunctionNotFound, NoCapacity},
        tenure::until_denied,
        wire::{Header, Kind, MAX_HEADER_BYTES, MAX_INLINE_REQUEST_BYTES, Tag},
    },
    net::{
        Acceptor, Link, LinkSender,
        close::{ProtocolViolation, Success},
        link::RecvError,
    },
    primitives::{Quota, Share, ShortFmtExt, TraceParent},
};

/// Timeout for the header of an accepted stream.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for a call to get memory for its request. Less than callers wait for the verdict.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout for a large request that took its time to get a place. Less than callers wait for a sign
/// that the function runs.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit for a request to arrive, or for its next [`REQUEST_STEP_BYTES`]. Its caller's budget
/// bounds the whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Less in [`REQUEST_TIMEOUT`] is no progress: a request that drips would keep its memory for ever.
const REQUEST_STEP_BYTES: usize = 16 * 1024;
/// The longest budget that is told apart from none.
const MAX_BUDGET: Duration = Duration::from_hours(365 * 24);

/// Serves the calls that peers make.
pub(in crate::functions_layer) struct FunctionsAcceptor(Arc<Handlers>);

impl FunctionsAcceptor {
    pub(in crate::functions_layer) const fn new(handlers: Arc<Handlers>) -> Self {
        Self(handlers)
    }
}

impl Acceptor for FunctionsAcceptor {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let handlers = self.0.clone();
        Box::pin(async move { serve(&handlers, link).await })
    }
}

async fn serve(handlers: &Handlers, mut link: Link) {
    let header = match receive_header(handlers, &mut link).await {
        Ok(header) => Some(header),
        Err(Unreadable::Malformed) => None,
        Err(Unreadable::Silent) => return,
        Err(Unreadable::TooMany) => return refuse(handlers, link, NoCapacity.into()).await,
    };
    if header
        .as_ref()
        .is_some_and(|header| header.kind == Kind::Probe)
    {
        drop(link.close_now(Success).await);
        return;
    }
    // Held until the outcome has arrived at the caller. Refusals of a node that ends may get lost
    // with it: else those who go on calling could hold up its end.
    let is_ending = handlers.running.is_closed();
    let _running = (!is_ending).then(|| handlers.running.token());
    match (
        admit(handlers, &link.peer(), || link.rtt(), header.as_ref()),
        header,
    ) {
        (Ok(admitted), Some(header)) => {
            let span = tracing::info_span!("serve",
                function = %header.function.short(), caller = %link.peer().short());
            if let Some(parent) = header.trace {
                TraceParent::set(parent, &span);
            }
            run(handlers, link, &header, admitted)
                .instrument(span)
                .await;
        }
        (Err(refusal), _) => refuse(handlers, link, refusal).await,
        // Nothing is admitted without a header.
        (Ok(_), None) => {}
    }
}

async fn refuse(handlers: &Handlers, mut link: Link, refusal: ApplicationClose) {
    handlers.metrics.rejected.increment(1);
    tracing::debug!(peer = %link.peer().fmt_short(), code = refusal.error_code.into_inner(),
        "call refused");
    link.receiver.notice_end();
    link.close_now(refusal).await.delivered().await;
}

async fn run(handlers: &Handlers, mut link: Link, header: &Header, admitted: Admitted) {
    let budget = Duration::from_micros(header.budget_us).min(MAX_BUDGET);
    let deadline = Instant::now() + budget;
    let Admitted {
        context,
        registered,
    } = admitted;
    let memory = match reserve(handlers, &link, header, &registered).await {
        Ok(memory) => memory,
        Err(Unreserved::Refused(refusal)) => {
            registered.refused(&refusal);
            return refuse(handlers, link, refusal).await;
        }
        Err(Unreserved::Left) => return,
    };
    let received = receive_request(&mut link, header, &registered, context, deadline).await;
    drop(memory);
    let (work, place) = match received {
        Ok(received) => received,
        Err(Broken::Violation) => {
            registered.refused(&ProtocolViolation.into());
            return drop(link.close_now(ProtocolViolation).await);
        }
        // Without a word about a start before it: nothing has run.
        Err(Broken::Withdrawn) => {
            registered.refused(&FunctionNotFound.into());
            return link.close_now(FunctionNotFound).await.delivered().await;
        }
        Err(Broken::Full) => {
            registered.refused(&NoCapacity.into());
            return refuse(handlers, link, NoCapacity.into()).await;
        }
        Err(Broken::Stalled) => return link.note_silence(),
        Err(Broken::Gone) => return,
    };
    // With its end noticed, dropping this half costs no packet.
    link.receiver.notice_end();
    match work {
        Work::Reply(work) => reply::one(link, work, place, deadline, &handlers.replies).await,
        Work::Replies(work) => {
            let caller = link.peer();
            let tickets = &registered.config.caller_auth;
            let denied = until_denied(&handlers.core.discovery, caller, tickets);
            reply::many(link, work, place, deadline, &handlers.replies, denied).await;
        }
    }
}

enum Unreadable {
    /// Nothing arrived, or the caller left.
    Silent,
    /// Too many streams wait for their headers.
    TooMany,
    Malformed,
}

/// Receives the header. It is usually there already; only streams that must wait for it count as
/// half open.
async fn receive_header(handlers: &Handlers, link: &mut Link) -> Result<Header, Unreadable> {
    link.receiver.set_max_frame_bytes(MAX_HEADER_BYTES);
    if let Some(header) = next_header(link).now_or_never() {
        return header;
    }
    let half_open = handlers.half_open.try_take(link.peer(), 1);
    let _half_open = half_open.ok_or(Unreadable::TooMany)?;
    if let Ok(header) = timeout(HEADER_TIMEOUT, next_header(link)).await {
        return header;
    }
    link.note_silence();
    Err(Unreadable::Silent)
}

async fn next_header(link: &mut Link) -> Result<Header, Unreadable> {
    loop {
        match link.receiver.pop() {
            Ok(Some(frame)) => return Header::decode(frame).ok_or(Unreadable::Malformed),
            Ok(None) => {}
            Err(error) => return Err(unreadable(&error)),
        }
        link.receiver
            .fill()
            .await
            .map_err(|error| unreadable(&error))?;
    }
}

fn unreadable(error: &RecvError) -> Unreadable {
    if error.is_violation() {
        Unreadable::Malformed
    } else {
        Unreadable::Silent
    }
}

enum Unreserved {
    Refused(ApplicationClose),
    /// The caller left.
    Left,
}

/// Memory for a request that is too large to be sent unasked, held until it is decoded; nothing
/// for any other.
async fn reserve<'h>(
    handlers: &'h Handlers,
    link: &Link,
    header: &Header,
    registered: &Registered,
) -> Result<Option<Share<&'h Quota>>, Unreserved> {
    if header.is_inline() {
        return Ok(None);
    }
    // Admitted is only what this node can hold.
    let bytes = usize::try_from(header.request_bytes).unwrap_or(usize::MAX);
    tokio::select! {
        biased;
        () = registered.withdrawn() => Err(Unreserved::Refused(FunctionNotFound.into())),
        memory = handlers.requests.take(link.peer(), bytes) => Ok(Some(memory)),
        () = link.sender.stopped() => Err(Unreserved::Left),
        () = sleep(MEMORY_TIMEOUT) => Err(Unreserved::Refused(NoCapacity.into())),
    }
}

enum Broken {
    /// The request is not what the header says, or can't be decoded.
    Violation,
    /// The handler was dropped.
    Withdrawn,
    /// No place is free.
    Full,
    /// The request comes too slowly.
    Stalled,
    /// The caller left, or its budget is used up.
    Gone,
}

/// Receives a request and decodes it once the call has its place: so that no caller holds one by
/// being slow, it has none before, see [`places`](super::places).
async fn receive_request(
    link: &mut Link,
    header: &Header,
    registered: &Arc<Registered>,
    context: CallContext,
    deadline: Instant,
) -> Result<(Work, Place), Broken> {
    let mut transfer = None;
    if !header.is_inline() {
        transfer = Some(registered.places.begin_transfer().ok_or(Broken::Full)?);
    } else if registered.places.is_full() {
        return Err(Broken::Full);
    }
    // The frame limit holds no larger request than the header announced.
    let request_bytes = usize::try_from(header.request_bytes).map_err(|_| Broken::Violation)?;
    link.receiver
        .set_max_frame_bytes(request_bytes.max(MAX_INLINE_REQUEST_BYTES));
    let started = Instant::now();
    if !header.is_inline() {
        link.sender
            .queue_bytes(&[Tag::Proceed as u8])
            .map_err(|_| Broken::Gone)?;
        let limit = deadline.min(started + REQUEST_TIMEOUT);
        let flushed = timeout_at(limit, link.sender.flush()).await;
        flushed
            .map_err(|_| Broken::Gone)?
            .map_err(|_| Broken::Gone)?;
    }
    let (mut due, mut step) = (started + REQUEST_TIMEOUT, REQUEST_STEP_BYTES);
    loop {
        if let Some(transfer) = &mut transfer {
            transfer.received(link.receiver.buffered_bytes());
        }
        match link.receiver.pop() {
            Ok(Some(_)) if registered.is_withdrawn() => return Err(Broken::Withdrawn),
            Ok(Some(request)) if request.len() == request_bytes => {
                let place = match transfer {
                    None => registered.begin().ok_or(Broken::Full)?,
                    Some(transfer) => {
                        take_place(registered, transfer, &link.sender, deadline).await?
                    }
                };
                let work = registered.service.start(request, context);
                return Ok((work.ok_or(Broken::Violation)?, place));
            }
            Ok(Some(_)) => return Err(Broken::Violation),
            Ok(None) => {}
            Err(error) => return Err(broken(&error)),
        }
        if link.receiver.buffered_bytes() >= step {
            due = Instant::now() + REQUEST_TIMEOUT;
            step = link.receiver.buffered_bytes() + REQUEST_STEP_BYTES;
        }
        tokio::select! {
            biased;
            () = watch(&mut transfer) => {}
            filled = timeout_at(deadline.min(due), link.receiver.fill()) => match filled {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(broken(&error)),
                Err(_) if due < deadline => return Err(Broken::Stalled),
                Err(_) => return Err(Broken::Gone),
            },
            () = registered.withdrawn() => return Err(Broken::Withdrawn),
        }
    }
}

async fn watch(transfer: &mut Option<Transfer<'_>>) {
    match transfer {
        Some(transfer) => transfer.watch().await,
        None => std::future::pending().await,
    }
}

/// The place of a call whose large request is there.
async fn take_place(
    registered: &Arc<Registered>,
    transfer: Transfer<'_>,
    sender: &LinkSender,
    deadline: Instant,
) -> Result<Place, Broken> {
    tokio::select! {
        biased;
        () = registered.withdrawn() => Err(Broken::Withdrawn),
        permit = transfer.into_place() => Ok(registered.occupy(permit)),
        () = sender.stopped() => Err(Broken::Gone),
        () = sleep_until(deadline.min(Instant::now() + PLACE_TIMEOUT)) => Err(Broken::Full),
    }
}

fn broken(error: &RecvError) -> Broken {
    if error.is_violation() {
        Broken::Violation
    } else {
        Broken::Gone
    }
}
