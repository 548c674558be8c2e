//! The handle with which a function is called.

use core::{fmt, marker::PhantomData};
use std::time::Duration;

use tracing::{Instrument, Span};

use super::{
    CallError, Config, Replies,
    attempt::{Answer, Request},
    decoding::decode,
    dispatch::Dispatcher,
};
use crate::{
    functions_layer::{
        status::{CandidateInfo, When},
        wire::Kind,
    },
    net::link::{begin_frame, finish_frame},
    primitives::{BytesMut, Datum, FunctionId},
};

/// Calls a function, wherever it is served.
///
/// Made by [`Functions::caller`](crate::functions::Functions::caller) and its like. It follows the
/// catalog: handlers that appear, disappear or change are taken into account at once. Any number
/// of calls may run at the same time, up to 960 of one node to one handler, streams of replies
/// included; with more the handler counts as one without a free place.
///
/// # On drop
///
/// The watch ends. Streams of replies go on.
pub struct Caller<Req: Datum, Res: Datum, E: Datum = ()> {
    dispatcher: Dispatcher,
    when: When,
    types: PhantomData<fn(Req) -> Result<Res, E>>,
}

impl<Req: Datum, Res: Datum, E: Datum> Caller<Req, Res, E> {
    pub(super) const fn new(dispatcher: Dispatcher, when: When) -> Self {
        Self {
            dispatcher,
            when,
            types: PhantomData,
        }
    }

    /// Id of the function: the given or derived one, with the signatures of all ticket validators
    /// folded in.
    pub fn function_id(&self) -> &FunctionId {
        &self.dispatcher.config.function_id
    }

    /// Waits for handlers, and tells whether there are any.
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// Calls the function, with the caller's default budget.
    ///
    /// The nearest eligible handler is asked; calls are spread over near-equal ones by load. When
    /// there is none, the call waits for one. When one refuses or can't be reached, the next is
    /// asked, and all of them again after a pause, until the budget is used up.
    ///
    /// **A call runs at most once**, unless it is declared idempotent
    /// ([`with_idempotent`](super::Builder::with_idempotent)): once the request may have reached a
    /// function, a lost connection is [`CallError::Transport`], and the program decides whether to
    /// call again. An idempotent call is then made again by itself, and can run more than once.
    ///
    /// # Errors
    ///
    /// See [`CallError`], also for which of them the function may have run: after the end of the
    /// budget, or of the network, that can be any but `Encode`. An application error is final: no
    /// other handler is asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the call: the handler drops the running function at its next
    /// await. The function may have run.
    pub async fn call(&self, req: Req) -> Result<Res, CallError<E>> {
        let timeout = self.dispatcher.config.call_timeout;
        self.call_with_timeout(req, timeout).await
    }

    /// Calls the function with a budget for everything: waiting for a handler, connecting,
    /// running, the reply, and all further attempts. The handler stops at it, too.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn call_with_timeout(
        &self,
        req: Req,
        timeout: Duration,
    ) -> Result<Res, CallError<E>> {
        let span = self.dispatcher.span();
        let request = self.encode(Kind::Call, &req, timeout, &span)?;
        drop(req);
        match self.dispatcher.dispatch(request).instrument(span).await {
            Ok(Answer::Reply(frame)) => decode(&frame),
            Ok(Answer::Replies(_)) => Err(CallError::Decode("a stream of replies".into())),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Calls a function that answers with a stream of replies
    /// ([`serve_stream`](crate::functions::handler::Builder::serve_stream)).
    ///
    /// Resolves when a handler has admitted the call, within the caller's default budget; until
    /// then everything said at [`call`](Self::call) holds. The stream itself may take as long as
    /// it likes, and stays with its handler: it is never begun again elsewhere. Items not taken
    /// hold up the handler's function, once the buffers between them (1.5 MiB) are full; nobody else
    /// is held up. A handler that can deliver nothing for its
    /// [stall limit](crate::functions::handler::Builder::with_stall_limit), 10 minutes by default, ends the
    /// stream. Dropping the stream ends the function.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), except for application errors, which are items of the stream.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use mosaik::{functions::Caller, futures::TryStreamExt};
    ///
    /// async fn sum(caller: &Caller<u64, u64>) -> Result<u64, mosaik::functions::CallError<()>> {
    ///     let numbers = caller.call_stream(100).await?;
    ///     numbers.try_fold(0, |sum, n| async move { Ok(sum + n) }).await
    /// }
    /// ```
    pub async fn call_stream(&self, req: Req) -> Result<Replies<Res, E>, CallError<E>> {
        let timeout = self.dispatcher.config.call_timeout;
        let span = self.dispatcher.span();
        let request = self.encode(Kind::Stream, &req, timeout, &span)?;
        drop(req);
        match self.dispatcher.dispatch(request).instrument(span).await {
            Ok(Answer::Replies(replying)) => {
                let denied = self.dispatcher.until_denied(replying.link.peer());
                // Not that of this caller: the stream goes on without it.
                let scope = self.dispatcher.core.scope.clone();
                Ok(Replies::new(replying, scope, denied))
            }
            Ok(Answer::Reply(_)) => Err(CallError::Decode("not a stream of replies".into())),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The handlers that may be called now, the nearest first.
    pub fn candidates(&self) -> impl Iterator<Item = CandidateInfo> + use<Req, Res, E> {
        let snapshot = self.dispatcher.candidates.snapshot();
        (0..snapshot.candidates.len()).map(move |index| snapshot.candidates[index].info.clone())
    }

    /// Configuration of this caller.
    pub fn config(&self) -> &Config {
        &self.dispatcher.config
    }

    fn encode(
        &self,
        kind: Kind,
        req: &Req,
        timeout: Duration,
        span: &Span,
    ) -> Result<Request, CallError<E>> {
        let mut buffer = BytesMut::new();
        let start = begin_frame(&mut buffer);
        let empty = buffer.len();
        req.encode_into(&mut buffer)
            .map_err(|error| CallError::Encode(Box::new(error)))?;
        let payload_bytes = buffer.len() - empty;
        finish_frame(
            &mut buffer,
            start,
            self.dispatcher.core.config.max_message_bytes,
        )
        .map_err(|len| self.dispatcher.too_large(len))
        .map_err(|error| CallError::Encode(Box::new(error)))?;
        let frame = buffer.freeze();
        Ok(self
            .dispatcher
            .request(kind, frame, payload_bytes, timeout, span))
    }
}

impl<Req: Datum, Res: Datum, E: Datum> Drop for Caller<Req, Res, E> {
    fn drop(&mut self) {
        self.dispatcher.scope.cancel();
    }
}

impl<Req: Datum, Res: Datum, E: Datum> fmt::Debug for Caller<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("config", self.config())
            .field("when", &self.when)
            .finish_non_exhaustive()
    }
}
