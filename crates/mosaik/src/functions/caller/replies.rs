//! A stream of replies as its caller sees it.

use core::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, stream::BoxStream};

use super::{
    CallError,
    attempt::{Outcome, Progress, Replying, ended},
    handle::decode,
    search::Failure,
};
use crate::{
    net::{close::Success, link::RecvError},
    primitives::{Bytes, Datum, Scope},
};

/// The replies of a function that streams them, in order.
///
/// [`CallError::Application`] and [`CallError::Decode`] are items among others; any other error
/// is the last one. The stream ends when the function's does.
///
/// # On drop
///
/// The handler drops the running function.
#[must_use = "streams do nothing unless polled"]
pub struct Replies<Res: Datum, E: Datum = ()> {
    frames: BoxStream<'static, Result<Bytes, Failure>>,
    types: PhantomData<fn() -> Result<Res, E>>,
}

impl<Res: Datum, E: Datum> Replies<Res, E> {
    pub(super) fn new(replying: Replying, scope: Scope) -> Self {
        let frames = futures::stream::unfold(Some(replying), move |replying| {
            let scope = scope.clone();
            async move { next(replying?, &scope).await }
        });
        Self {
            frames: Box::pin(frames),
            types: PhantomData,
        }
    }
}

/// The next frame, and what remains after it.
async fn next(
    mut replying: Replying,
    scope: &Scope,
) -> Option<(Result<Bytes, Failure>, Option<Replying>)> {
    let received = tokio::select! {
        biased;
        received = replying.link.receiver.recv_bytes() => received,
        () = scope.cancelled() => return Some((Err(Failure::Unavailable), None)),
    };
    let error = match received {
        Ok(frame) => return Some((Ok(frame), Some(replying))),
        Err(RecvError::Closed(close)) if Success == close => {
            replying.link.receiver.notice_end();
            return None;
        }
        Err(error) => error,
    };
    match ended(error, Progress::Running) {
        Outcome::Refused { close, .. } => Some((Err(Failure::Rejected(close)), None)),
        Outcome::Lost { error, .. } => Some((Err(Failure::Transport(error)), None)),
        _ => None,
    }
}

impl<Res: Datum, E: Datum> Stream for Replies<Res, E> {
    type Item = Result<Res, CallError<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.frames.poll_next_unpin(cx).map(|frame| {
            Some(match frame? {
                Ok(frame) => decode(&frame),
                Err(failure) => Err(failure.into()),
            })
        })
    }
}

impl<Res: Datum, E: Datum> fmt::Debug for Replies<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}
