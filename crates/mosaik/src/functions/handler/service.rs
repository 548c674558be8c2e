//! A user's function with its types erased: bytes in, frames out. Its panics stay here.

use core::{marker::PhantomData, panic::AssertUnwindSafe};
use std::{panic::catch_unwind, sync::Arc};

use bytes::BufMut;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};

use crate::{
    functions_layer::{
        CallContext,
        wire::{Kind, TAG_BYTES, Tag},
    },
    net::link::{begin_frame, finish_frame},
    primitives::{BytesMut, Datum},
};

/// Serves the calls of one function.
pub(super) trait Service: Send + Sync + 'static {
    /// Kind of the calls that it answers.
    fn kind(&self) -> Kind;

    /// Prepares one call; `None` if the request can't be decoded.
    fn start(&self, request: &[u8], context: CallContext) -> Option<Work>;
}

/// A call that is ready to run.
pub(super) enum Work {
    /// Yields the frame of its reply.
    Reply(BoxFuture<'static, Result<BytesMut, Failure>>),
    /// Yields the frames of its replies, one by one.
    Replies(BoxStream<'static, Result<BytesMut, Failure>>),
}

/// A call that ended without a reply: the function panicked, or the reply has no encoding or is
/// too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure;

/// A function with one reply.
pub(super) struct Unary<F, Req> {
    function: Arc<F>,
    max_bytes: usize,
    request: PhantomData<fn(Req)>,
}

/// A function with a stream of replies.
pub(super) struct Streaming<F, Req> {
    function: Arc<F>,
    max_bytes: usize,
    request: PhantomData<fn(Req)>,
}

impl<F, Req> Unary<F, Req> {
    pub(super) fn new(function: F, max_bytes: usize) -> Self {
        Self {
            function: Arc::new(function),
            max_bytes,
            request: PhantomData,
        }
    }
}

impl<F, Req> Streaming<F, Req> {
    pub(super) fn new(function: F, max_bytes: usize) -> Self {
        Self {
            function: Arc::new(function),
            max_bytes,
            request: PhantomData,
        }
    }
}

impl<F, Fut, Req, Res, E> Service for Unary<F, Req>
where
    F: Fn(Req, CallContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Res, E>> + Send + 'static,
    Req: Datum,
    Res: Datum,
    E: Datum,
{
    fn kind(&self) -> Kind {
        Kind::Call
    }

    fn start(&self, request: &[u8], context: CallContext) -> Option<Work> {
        let request = decode::<Req>(request)?;
        let (function, max_bytes) = (self.function.clone(), self.max_bytes);
        let call = async move {
            let outcome = function(request, context).await;
            frame(&outcome, max_bytes)
        };
        let guarded = AssertUnwindSafe(call).catch_unwind();
        Some(Work::Reply(Box::pin(
            guarded.map(|outcome| outcome.unwrap_or(Err(Failure))),
        )))
    }
}

impl<F, S, Req, Res, E> Service for Streaming<F, Req>
where
    F: Fn(Req, CallContext) -> S + Send + Sync + 'static,
    S: Stream<Item = Result<Res, E>> + Send + 'static,
    Req: Datum,
    Res: Datum,
    E: Datum,
{
    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn start(&self, request: &[u8], context: CallContext) -> Option<Work> {
        let request = decode::<Req>(request)?;
        let (function, max_bytes) = (self.function.clone(), self.max_bytes);
        // The function itself runs with the first poll, under the same guard as its stream.
        let replies = futures::stream::once(async move { function(request, context) })
            .flatten()
            .map(move |outcome| frame(&outcome, max_bytes));
        let guarded = AssertUnwindSafe(replies).catch_unwind();
        Some(Work::Replies(Box::pin(
            guarded.map(|item| item.unwrap_or(Err(Failure))),
        )))
    }
}

fn decode<T: Datum>(bytes: &[u8]) -> Option<T> {
    catch_unwind(|| T::decode(bytes).ok()).ok().flatten()
}

/// The frame that carries a reply.
fn frame<Res: Datum, E: Datum>(
    outcome: &Result<Res, E>,
    max_bytes: usize,
) -> Result<BytesMut, Failure> {
    let mut buffer = BytesMut::new();
    let start = begin_frame(&mut buffer);
    let is_encoded = match outcome {
        Ok(value) => {
            buffer.put_u8(Tag::Value as u8);
            value.encode_into(&mut buffer).is_ok()
        }
        Err(error) => {
            buffer.put_u8(Tag::Error as u8);
            error.encode_into(&mut buffer).is_ok()
        }
    };
    let is_framed = is_encoded && finish_frame(&mut buffer, start, max_bytes + TAG_BYTES).is_ok();
    if is_framed { Ok(buffer) } else { Err(Failure) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, tickets::PeerEntry};

    fn context() -> CallContext {
        let peer = iroh::SecretKey::generate().public();
        CallContext::new(PeerEntry::new(Digest::zero(), peer))
    }

    fn reply(work: Option<Work>) -> Result<BytesMut, Failure> {
        match work {
            Some(Work::Reply(reply)) => reply.now_or_never().expect("ready at once"),
            _ => panic!("not a reply"),
        }
    }

    fn service<Res: Datum, E: Datum>(
        answer: impl Fn(u8) -> Result<Res, E> + Send + Sync + 'static,
    ) -> impl Service {
        Unary::new(
            move |n: u8, _: CallContext| std::future::ready(answer(n)),
            3,
        )
    }

    #[test]
    fn replies_are_tagged_frames() {
        let double = service(|n| if n < 100 { Ok(n * 2) } else { Err(n) });
        assert_eq!(
            reply(double.start(&[7], context())).unwrap()[..],
            [2, 0, 0, 0, 0, 14]
        );
        assert_eq!(
            reply(double.start(&[100], context())).unwrap()[..],
            [2, 0, 0, 0, 1, 100]
        );
        assert!(double.start(&[], context()).is_none());
        assert!(
            double.start(&[1, 2], context()).is_none(),
            "leftovers are refused"
        );
    }

    #[test]
    fn panics_and_oversized_replies_are_failures() {
        let panicking = service::<u8, ()>(|_| panic!("on purpose"));
        assert_eq!(reply(panicking.start(&[7], context())), Err(Failure));
        let large = service::<_, ()>(|n| Ok(vec![n; 3]));
        assert_eq!(reply(large.start(&[7], context())), Err(Failure));
        let fitting = service::<_, ()>(|n| Ok(vec![n; 2]));
        assert!(reply(fitting.start(&[7], context())).is_ok());
    }

    #[test]
    fn a_stream_ends_with_its_panic() {
        let counting = Streaming::new(
            |n: u8, _: CallContext| {
                futures::stream::iter(0..).map(move |i| {
                    assert!(i < n, "on purpose");
                    Ok::<u8, ()>(i)
                })
            },
            8,
        );
        let Some(Work::Replies(replies)) = counting.start(&[2], context()) else {
            panic!("not a stream")
        };
        let items: Vec<_> = replies.collect::<Vec<_>>().now_or_never().unwrap();
        assert_eq!(items.len(), 3);
        assert!(items[0].is_ok() && items[1].is_ok());
        assert_eq!(items[2], Err(Failure));
    }
}
