//! Serves one incoming call: header, verdict, request, reply.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use iroh::endpoint::ApplicationClose;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument;

use super::{
    admission::{Admitted, admit},
    handlers::Handlers,
    registered::Place,
    reply,
    service::Work,
};
use crate::{
    functions_layer::{
        CallContext,
        tenure::until_denied,
        wire::{Header, Kind, MAX_HEADER_BYTES, MAX_INLINE_REQUEST_BYTES, NoCapacity, Tag},
    },
    net::{
        Acceptor, Link,
        close::{ProtocolViolation, Success},
        link::RecvError,
    },
    primitives::ShortFmtExt,
};

/// How long the header of an accepted stream may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take, besides a second for each [`REQUEST_BYTES_PER_SECOND`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Slower senders of large requests are given up.
const REQUEST_BYTES_PER_SECOND: u64 = 256 * 1024;
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
        Err(Unreadable::TooMany) => return link.close_now(NoCapacity).await,
    };
    if header
        .as_ref()
        .is_some_and(|header| header.kind == Kind::Probe)
    {
        return link.close_now(Success).await;
    }
    let _running = handlers.running.token();
    match (admit(handlers, &link.peer(), header.as_ref()), header) {
        (Ok(admitted), Some(header)) => {
            let span = tracing::info_span!("serve",
                function = %header.function.short(), caller = %link.peer().short());
            if let Some(parent) = header.trace {
                parent.adopt(&span);
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
    link.close_now(refusal).await;
}

async fn run(handlers: &Handlers, mut link: Link, header: &Header, admitted: Admitted) {
    let budget = Duration::from_micros(header.budget_us).min(MAX_BUDGET);
    let deadline = Instant::now() + budget;
    let Admitted { context, place } = admitted;
    let work = match receive_request(handlers, &mut link, header, &place, context, deadline).await {
        Ok(work) => work,
        Err(Broken::Violation) => {
            drop(place);
            return link.close_now(ProtocolViolation).await;
        }
        Err(Broken::Gone) => return,
    };
    // With its end noticed, dropping this half costs no packet.
    link.receiver.notice_end();
    match work {
        Work::Reply(work) => reply::one(link, work, place, deadline).await,
        Work::Replies(work) => {
            let (registered, caller) = (place.registered().clone(), link.peer());
            let tickets = &registered.config.caller_auth;
            let denied = until_denied(&handlers.core.discovery, caller, tickets);
            reply::many(link, work, place, deadline, denied).await;
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
    let _half_open = handlers
        .half_open
        .try_acquire()
        .map_err(|_| Unreadable::TooMany)?;
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

enum Broken {
    /// The request is not what the header says, or can't be decoded.
    Violation,
    /// The request did not arrive, or the handler was dropped.
    Gone,
}

async fn receive_request(
    handlers: &Handlers,
    link: &mut Link,
    header: &Header,
    place: &Place,
    context: CallContext,
    deadline: Instant,
) -> Result<Work, Broken> {
    if header.is_inline() {
        link.receiver.set_max_frame_bytes(MAX_INLINE_REQUEST_BYTES);
        let limit = deadline.min(Instant::now() + REQUEST_TIMEOUT);
        return next_request(link, header, place, context, limit).await;
    }
    let extra = Duration::from_secs(header.request_bytes / REQUEST_BYTES_PER_SECOND);
    let limit = deadline.min(Instant::now() + REQUEST_TIMEOUT + extra);
    let _memory = timeout_at(limit, reserve(handlers, header))
        .await
        .map_err(|_| Broken::Gone)??;
    // The frame limit holds no larger request than the header announced.
    let request_bytes = usize::try_from(header.request_bytes).map_err(|_| Broken::Violation)?;
    link.receiver.set_max_frame_bytes(request_bytes);
    link.sender
        .queue_bytes(&[Tag::Proceed as u8])
        .map_err(|_| Broken::Gone)?;
    let flushed = timeout_at(limit, link.sender.flush()).await;
    flushed
        .map_err(|_| Broken::Gone)?
        .map_err(|_| Broken::Gone)?;
    next_request(link, header, place, context, limit).await
}

/// Memory for a request that is too large to be sent unasked, held until it is decoded.
async fn reserve<'c>(
    handlers: &'c Handlers,
    header: &Header,
) -> Result<SemaphorePermit<'c>, Broken> {
    let kib = u32::try_from(header.request_bytes.div_ceil(1024)).map_err(|_| Broken::Violation)?;
    handlers
        .request_memory
        .acquire_many(kib)
        .await
        .map_err(|_| Broken::Gone)
}

async fn next_request(
    link: &mut Link,
    header: &Header,
    place: &Place,
    context: CallContext,
    limit: Instant,
) -> Result<Work, Broken> {
    let registered = place.registered();
    loop {
        match link.receiver.pop() {
            Ok(Some(request)) if request.len() as u64 == header.request_bytes => {
                return registered
                    .service
                    .start(request, context)
                    .ok_or(Broken::Violation);
            }
            Ok(Some(_)) => return Err(Broken::Violation),
            Ok(None) => {}
            Err(error) => return Err(broken(&error)),
        }
        tokio::select! {
            biased;
            filled = timeout_at(limit, link.receiver.fill()) => match filled {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(broken(&error)),
                Err(_) => return Err(Broken::Gone),
            },
            () = registered.withdrawn() => return Err(Broken::Gone),
        }
    }
}

fn broken(error: &RecvError) -> Broken {
    if error.is_violation() {
        Broken::Violation
    } else {
        Broken::Gone
    }
}
