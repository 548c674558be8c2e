//! Runs an admitted call and delivers what it yields.

use std::time::Duration;

use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use iroh::endpoint::ApplicationClose;
use tokio::{
    task::consume_budget,
    time::{Instant, sleep_until, timeout},
};

use super::{
    registered::{Place, Registered},
    service::Failure,
};
use crate::{
    functions_layer::wire::{FunctionNotFound, HandlerFailure, Tag},
    net::{Link, LinkSender, close::Success},
    primitives::BytesMut,
};

/// A function that takes longer tells its caller that it runs.
const NOTICE_AFTER: Duration = Duration::from_millis(500);
/// How long the notice may take to be written.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller may take to make room for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// Items of a stream that are ready are written together up to this size.
const BATCH_BYTES: usize = 64 * 1024;

type Framed = Result<BytesMut, Failure>;

/// How a call ended, apart from its reply.
enum Interruption {
    /// The caller left.
    Left,
    /// The handler was dropped.
    Withdrawn,
    /// The call's budget is used up.
    Expired,
}

/// Runs a function with one reply.
pub(super) async fn one(
    mut link: Link,
    mut work: BoxFuture<'static, Framed>,
    place: Place,
    deadline: Instant,
) {
    // Most functions are done at the first poll, and need nobody to watch them.
    let outcome = match futures::poll!(&mut work) {
        core::task::Poll::Ready(framed) => Ok(framed),
        core::task::Poll::Pending => {
            watched(&mut link, &mut work, place.registered(), deadline).await
        }
    };
    // What the future holds is gone before anybody hears of the outcome.
    drop(work);
    match outcome {
        Ok(Ok(frame)) => {
            link.sender.append(frame);
            place.served();
            link.close_within(Success, REPLY_TIMEOUT).await;
        }
        Ok(Err(Failure)) => fail(link, place, HandlerFailure.into()).await,
        Err(interruption) => interrupt(link, place, interruption).await,
    }
}

async fn watched(
    link: &mut Link,
    work: &mut BoxFuture<'static, Framed>,
    registered: &Registered,
    deadline: Instant,
) -> Result<Framed, Interruption> {
    let notice_at = deadline.min(Instant::now() + NOTICE_AFTER);
    tokio::select! {
        biased;
        framed = &mut *work => return Ok(framed),
        () = registered.withdrawn() => return Err(Interruption::Withdrawn),
        () = link.sender.stopped() => return Err(Interruption::Left),
        () = sleep_until(notice_at) => {}
    }
    if notice_at < deadline {
        announce(&mut link.sender).await?;
    }
    tokio::select! {
        biased;
        framed = work => Ok(framed),
        () = registered.withdrawn() => Err(Interruption::Withdrawn),
        () = link.sender.stopped() => Err(Interruption::Left),
        () = sleep_until(deadline) => Err(Interruption::Expired),
    }
}

/// Tells the caller that the function runs.
async fn announce(sender: &mut LinkSender) -> Result<(), Interruption> {
    let queued = sender.queue_bytes(&[Tag::Started as u8]);
    queued.map_err(|_| Interruption::Left)?;
    match timeout(NOTICE_TIMEOUT, sender.flush()).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Interruption::Left),
    }
}

/// Runs a function with a stream of replies.
pub(super) async fn many(
    mut link: Link,
    mut work: BoxStream<'static, Framed>,
    place: Place,
    deadline: Instant,
) {
    let outcome = deliver(&mut link.sender, &mut work, place.registered(), deadline).await;
    drop(work);
    match outcome {
        Ok(()) => {
            place.served();
            link.close_within(Success, REPLY_TIMEOUT).await;
        }
        // An endless stream ends by its caller leaving.
        Err(Ended::Interrupted(Interruption::Left)) => place.served(),
        // A frame may have been written in part: nothing can follow it.
        Err(Ended::Interrupted(Interruption::Withdrawn)) => {
            drop(place);
            link.abort(FunctionNotFound);
        }
        Err(Ended::Interrupted(Interruption::Expired)) => {}
        Err(Ended::Failed) => fail(link, place, HandlerFailure.into()).await,
    }
}

enum Ended {
    Failed,
    Interrupted(Interruption),
}

async fn deliver(
    sender: &mut LinkSender,
    work: &mut BoxStream<'static, Framed>,
    registered: &Registered,
    deadline: Instant,
) -> Result<(), Ended> {
    announce(sender).await.map_err(Ended::Interrupted)?;
    loop {
        let item = match futures::poll!(work.next()) {
            core::task::Poll::Ready(item) => item,
            core::task::Poll::Pending => {
                flush(sender, registered, deadline).await?;
                tokio::select! {
                    biased;
                    item = work.next() => item,
                    () = registered.withdrawn() => return Err(interrupted(Interruption::Withdrawn)),
                    () = sender.stopped() => return Err(interrupted(Interruption::Left)),
                    () = sleep_until(deadline) => return Err(interrupted(Interruption::Expired)),
                }
            }
        };
        match item {
            Some(Ok(frame)) => sender.append(frame),
            Some(Err(Failure)) => return Err(Ended::Failed),
            None => return flush(sender, registered, deadline).await,
        }
        if sender.queued_bytes() >= BATCH_BYTES {
            flush(sender, registered, deadline).await?;
            // A stream that is always ready must not keep others from running.
            consume_budget().await;
        }
    }
}

/// Writes what is queued, as fast as the caller takes it.
async fn flush(
    sender: &mut LinkSender,
    registered: &Registered,
    deadline: Instant,
) -> Result<(), Ended> {
    tokio::select! {
        biased;
        written = sender.flush() => written.map_err(|_| interrupted(Interruption::Left)),
        () = registered.withdrawn() => Err(interrupted(Interruption::Withdrawn)),
        () = sleep_until(deadline) => Err(interrupted(Interruption::Expired)),
    }
}

const fn interrupted(interruption: Interruption) -> Ended {
    Ended::Interrupted(interruption)
}

async fn fail(link: Link, place: Place, reason: ApplicationClose) {
    drop(place);
    link.close_now(reason).await;
}

/// Ends a call that was running.
async fn interrupt(mut link: Link, place: Place, interruption: Interruption) {
    drop(place);
    match interruption {
        // Nobody listens any more.
        Interruption::Left | Interruption::Expired => {}
        Interruption::Withdrawn => {
            // Told before the verdict, so that the caller knows that the function may have had
            // effects.
            let _ = link.sender.queue_bytes(&[Tag::Started as u8]);
            link.close_now(FunctionNotFound).await;
        }
    }
}
