//! A stream of replies as its caller sees it.

use core::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FusedStream},
};

use super::{
    CallError,
    attempt::{Replying, lost},
    decoding::decode,
    search::Failure,
};
use crate::{
    functions_layer::{
        close::NotAllowed,
        wire::{FRAMES_PER_RECEIPT, TAG_BYTES, is_verdict},
    },
    net::{
        Link,
        close::Success,
        link::{FRAME_HEADER_BYTES, RecvError},
    },
    primitives::{Bytes, Datum, Scope},
};

/// The replies of a function that streams them, in order.
///
/// [`CallError::Application`] and [`CallError::Decode`] are items among others; any other error
/// is the last one: [`CallError::Rejected`] with the code 11 403 when a ticket of the caller or of
/// the handler expires or is removed meanwhile. The stream ends when the function's does, and stays
/// ended. It outlives the caller that it came from.
///
/// # On drop
///
/// The handler drops the running function.
#[must_use = "streams do nothing unless polled"]
pub struct Replies<Res: Datum, E: Datum = ()> {
    /// `None` after the end.
    frames: Option<BoxStream<'static, Result<Bytes, Failure>>>,
    types: PhantomData<fn() -> Result<Res, E>>,
}

impl<Res: Datum, E: Datum> Replies<Res, E> {
    pub(super) fn new(
        replying: Replying,
        scope: Scope,
        denied: Option<BoxFuture<'static, ()>>,
    ) -> Self {
        Self {
            frames: Some(frames(replying, scope, denied)),
            types: PhantomData,
        }
    }
}

/// The frames of a stream of replies.
fn frames(
    replying: Replying,
    scope: Scope,
    denied: Option<BoxFuture<'static, ()>>,
) -> BoxStream<'static, Result<Bytes, Failure>> {
    let intake = Intake {
        scope,
        denied: denied.unwrap_or_else(|| Box::pin(core::future::pending())),
        source: Source {
            replying,
            // The frame that said that the function has started.
            taken_bytes: (FRAME_HEADER_BYTES + TAG_BYTES) as u64,
            frames: 0,
        },
    };
    let frames = futures::stream::unfold(Some(intake), |intake| async move {
        let mut intake = intake?;
        match intake.next().await {
            Ok(frame) => Some((Ok(frame), Some(intake))),
            Err(Some(failure)) => Some((Err(failure), None)),
            Err(None) => None,
        }
    });
    Box::pin(frames)
}

/// The receiving end of a stream of replies.
struct Intake {
    scope: Scope,
    /// Resolves when the handler no longer holds its tickets.
    denied: BoxFuture<'static, ()>,
    source: Source,
}

/// Source of the replies.
struct Source {
    replying: Replying,
    taken_bytes: u64,
    /// Frames taken in since the last receipt.
    frames: usize,
}

impl Intake {
    /// The next frame; `None` at the regular end.
    async fn next(&mut self) -> Result<Bytes, Option<Failure>> {
        // Also when a reply is ready, or one that always is would go on for ever.
        if (&mut self.denied).now_or_never().is_some() {
            return Err(Some(Failure::Rejected(NotAllowed.into())));
        }
        let Self {
            scope,
            denied,
            source,
        } = self;
        let receiver = &mut source.replying.link.receiver;
        let received = if let Some(received) = receiver.recv_bytes().now_or_never() {
            received
        } else {
            tokio::select! {
                biased;
                () = scope.cancelled() => return Err(Some(Failure::Unavailable)),
                () = denied => return Err(Some(Failure::Rejected(NotAllowed.into()))),
                received = source.wait() => received,
            }
        };
        let error = match received {
            Ok(frame) => {
                source.taken_bytes += (FRAME_HEADER_BYTES + frame.len()) as u64;
                source.frames += 1;
                return Ok(frame);
            }
            Err(RecvError::Closed(close)) if Success == close => {
                source.replying.link.receiver.notice_end();
                return Err(None);
            }
            Err(_) if scope.is_cancelled() => return Err(Some(Failure::Unavailable)),
            Err(error) => error,
        };
        Err(Some(match error {
            RecvError::Closed(close) if is_verdict(&close) => Failure::Rejected(close),
            error @ RecvError::FrameTooLarge { .. } => Failure::TooLarge(error),
            error => Failure::Transport(Box::new(lost(error))),
        }))
    }
}

impl Source {
    /// Waits for a frame; the handler may be waiting for a receipt of those before.
    ///
    /// # Cancel safety
    ///
    /// A receipt may be lost in part: the stream must then be dropped too.
    async fn wait(&mut self) -> Result<Bytes, RecvError> {
        let Link { sender, receiver } = &mut self.replying.link;
        if self.frames >= FRAMES_PER_RECEIPT {
            self.frames = 0;
            // When it can't be sent, there is nothing to receive either.
            if sender.queue(&self.taken_bytes).is_ok() {
                let _ = sender.flush().await;
            }
        }
        receiver.recv_bytes().await
    }
}

impl<Res: Datum, E: Datum> Stream for Replies<Res, E> {
    type Item = Result<Res, CallError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(frames) = &mut self.frames else {
            return Poll::Ready(None);
        };
        frames.poll_next_unpin(cx).map(|frame| {
            let Some(frame) = frame else {
                self.frames = None;
                return None;
            };
            Some(match frame {
                Ok(frame) => decode(&frame),
                Err(failure) => Err(failure.into()),
            })
        })
    }
}

impl<Res: Datum, E: Datum> FusedStream for Replies<Res, E> {
    fn is_terminated(&self) -> bool {
        self.frames.is_none()
    }
}

impl<Res: Datum, E: Datum> fmt::Debug for Replies<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}
