//! Runs an admitted call and delivers what it yields.

use core::task::Poll;
use std::{collections::VecDeque, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use iroh::endpoint::ApplicationClose;
use tokio::{
    task::consume_budget,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    registered::{Place, Registered},
    service::Failure,
};
use crate::{
    functions_layer::{
        close::{FunctionNotFound, HandlerFailure, NotAllowed},
        wire::{MAX_RECEIPT_BYTES, MAX_WRITES_AHEAD, Tag},
    },
    net::{
        Link, LinkSender,
        close::{Success, Undelivered},
        link::RecvError,
    },
    primitives::{BytesMut, Quota},
};

/// Run time after which a function tells its caller that it runs.
const NOTICE_AFTER: Duration = Duration::from_millis(500);
/// Timeout for writing the notice.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for a caller to make room for a reply, beside a second for each 256 KiB that it has
/// taken of it.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The same timeout when the caller has left too much untaken already.
const HURRIED_REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a caller has to end a call by itself whose budget is used up.
const LINGER: Duration = Duration::from_secs(1);
/// Items of a stream that are ready are written together up to this size.
const BATCH_BYTES: usize = 64 * 1024;

type Framed = Result<BytesMut, Failure>;

/// Reasons for which a call ended without its reply.
enum Interruption {
    /// The caller left.
    Left,
    /// The handler was dropped.
    Withdrawn,
    /// The call's budget is used up.
    Expired,
}

/// Runs a function with one reply.
///
/// The place is free as soon as the function has finished. When too much waits to be taken by this
/// caller, or by all, it is so only when the reply is delivered.
pub(super) async fn one(
    mut link: Link,
    mut work: BoxFuture<'static, Framed>,
    mut place: Place,
    deadline: Instant,
    undelivered: &Quota,
) {
    // Most functions are done at the first poll, and need nobody to watch them.
    let outcome = match futures::poll!(&mut work) {
        Poll::Ready(framed) => Ok(framed),
        Poll::Pending => watched(&mut link, &mut work, place.registered(), deadline).await,
    };
    // What the future holds is gone before anybody hears of the outcome.
    drop(work);
    match outcome {
        Ok(Ok(frame)) => {
            let (share, is_within) = undelivered.count(link.peer(), frame.len());
            link.sender.append(frame);
            // Counted before the reply can reach the caller.
            place.count_served();
            let closed = if is_within {
                drop(place);
                link.close_within(Success, REPLY_TIMEOUT).await
            } else {
                let closed = link.close_within(Success, HURRIED_REPLY_TIMEOUT).await;
                drop(place);
                closed
            };
            // What the transport holds has limits of its own; the peer may never acknowledge it.
            drop(share);
            closed.delivered().await;
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

/// Runs a function with a stream of replies, until the caller is denied at the latest.
///
/// What waits to be written counts as undelivered. The stream keeps its place in any case.
pub(super) async fn many(
    mut link: Link,
    mut work: BoxStream<'static, Framed>,
    place: Place,
    deadline: Instant,
    undelivered: &Quota,
    denied: impl Future<Output = ()>,
) {
    let mut delivery = Delivery {
        link: &mut link,
        registered: place.registered(),
        deadline,
        undelivered,
        written_bytes: 0,
        ahead: VecDeque::new(),
        mid_frame: false,
        heard: false,
    };
    let outcome = tokio::select! {
        biased;
        () = denied => Err(Ended::Denied),
        outcome = delivery.run(&mut work) => outcome,
    };
    let Delivery {
        mid_frame, heard, ..
    } = delivery;
    drop(work);
    match outcome {
        Ok(()) => {
            let limit = place.registered().config.stall_limit;
            place.served();
            // A reader that pauses before the end is one that pauses.
            link.close_within(Success, limit).await.delivered().await;
        }
        // An endless stream ends by its caller leaving.
        Err(Ended::Interrupted(Interruption::Left)) => place.served(),
        Err(Ended::Interrupted(Interruption::Withdrawn)) => {
            drop(place);
            end(link, FunctionNotFound.into(), mid_frame, heard).await;
        }
        Err(Ended::Interrupted(Interruption::Expired)) => linger(link, place).await,
        Err(Ended::Denied) => {
            drop(place);
            end(link, NotAllowed.into(), mid_frame, heard).await;
        }
        Err(Ended::Stalled) => {
            tracing::debug!(peer = %link.peer().fmt_short(), "a caller takes no replies");
            drop(place);
            link.abort(Undelivered);
        }
        Err(Ended::Failed) => fail(link, place, HandlerFailure.into()).await,
    }
}

/// Ends a stream of replies with a verdict.
async fn end(link: Link, verdict: ApplicationClose, mid_frame: bool, heard: bool) {
    if !mid_frame {
        link.close_now(verdict).await.delivered().await;
    } else if heard {
        // A frame may have been written in part: nothing can follow it.
        link.abort(verdict);
    }
    // Else the verdict may overtake the notice that the function has started, and look like a
    // refusal. The link is dropped, which says nothing of that kind.
}

enum Ended {
    Failed,
    /// The caller takes nothing.
    Stalled,
    Denied,
    Interrupted(Interruption),
}

/// A stream of replies on its way.
struct Delivery<'c> {
    link: &'c mut Link,
    registered: &'c Registered,
    deadline: Instant,
    undelivered: &'c Quota,
    written_bytes: u64,
    /// Ends of the writes that the caller has not taken in yet.
    ahead: VecDeque<u64>,
    /// True if a frame may have been written in part.
    mid_frame: bool,
    /// True if the caller has taken frames in, and knows that the function has started.
    heard: bool,
}

impl Delivery<'_> {
    async fn run(&mut self, work: &mut BoxStream<'static, Framed>) -> Result<(), Ended> {
        self.link.receiver.set_max_frame_bytes(MAX_RECEIPT_BYTES);
        self.link
            .sender
            .queue_bytes(&[Tag::Started as u8])
            .map_err(|_| interrupted(Interruption::Left))?;
        self.flush().await?;
        loop {
            let item = match futures::poll!(work.next()) {
                Poll::Ready(item) => item,
                Poll::Pending => {
                    self.flush().await?;
                    self.wait_for(work).await?
                }
            };
            match item {
                Some(Ok(frame)) => self.link.sender.append(frame),
                Some(Err(Failure)) => return Err(Ended::Failed),
                None => return self.flush().await,
            }
            if self.link.sender.queued_bytes() >= BATCH_BYTES {
                self.flush().await?;
                // A stream that is always ready must not keep others from running.
                consume_budget().await;
            }
        }
    }

    async fn wait_for(
        &mut self,
        work: &mut BoxStream<'static, Framed>,
    ) -> Result<Option<Framed>, Ended> {
        tokio::select! {
            biased;
            item = work.next() => Ok(item),
            () = self.registered.withdrawn() => Err(interrupted(Interruption::Withdrawn)),
            () = self.link.sender.stopped() => Err(interrupted(Interruption::Left)),
            () = sleep_until(self.deadline) => Err(interrupted(Interruption::Expired)),
        }
    }

    /// Writes what is queued, as fast as the caller takes it.
    async fn flush(&mut self) -> Result<(), Ended> {
        let bytes = self.link.sender.queued_bytes();
        if bytes == 0 {
            return Ok(());
        }
        let (_undelivered, _) = self.undelivered.count(self.link.peer(), bytes);
        let stall_limit = self.registered.config.stall_limit;
        while let Some(receipt) = self.link.receiver.recv::<u64>().now_or_never() {
            self.on_receipt(receipt)?;
        }
        while self.ahead.len() >= MAX_WRITES_AHEAD {
            let receipt = tokio::select! {
                biased;
                receipt = self.link.receiver.recv::<u64>() => receipt,
                () = self.registered.withdrawn() => {
                    return Err(interrupted(Interruption::Withdrawn));
                }
                () = sleep_until(self.deadline) => {
                    return Err(interrupted(Interruption::Expired));
                }
                () = sleep(stall_limit) => return Err(Ended::Stalled),
            };
            self.on_receipt(receipt)?;
        }
        self.mid_frame = true;
        let mut frames = &mut [self.link.sender.take_queued()][..];
        while !frames.is_empty() {
            tokio::select! {
                biased;
                written = self.link.sender.write_some(&mut frames) => {
                    written.map_err(|_| interrupted(Interruption::Left))?;
                }
                () = self.registered.withdrawn() => {
                    return Err(interrupted(Interruption::Withdrawn));
                }
                () = sleep_until(self.deadline) => {
                    return Err(interrupted(Interruption::Expired));
                }
                () = sleep(stall_limit) => return Err(Ended::Stalled),
            }
        }
        self.mid_frame = false;
        self.written_bytes += bytes as u64;
        self.ahead.push_back(self.written_bytes);
        Ok(())
    }

    fn on_receipt(&mut self, receipt: Result<u64, RecvError>) -> Result<(), Ended> {
        let taken_bytes = receipt.map_err(|_| interrupted(Interruption::Left))?;
        self.heard = true;
        while self.ahead.front().is_some_and(|end| *end <= taken_bytes) {
            self.ahead.pop_front();
        }
        Ok(())
    }
}

const fn interrupted(interruption: Interruption) -> Ended {
    Ended::Interrupted(interruption)
}

async fn fail(link: Link, place: Place, reason: ApplicationClose) {
    drop(place);
    link.close_now(reason).await.delivered().await;
}

/// Ends a call that was running.
async fn interrupt(mut link: Link, place: Place, interruption: Interruption) {
    match interruption {
        Interruption::Left => {}
        Interruption::Expired => linger(link, place).await,
        Interruption::Withdrawn => {
            drop(place);
            // Told before the verdict, so that the caller knows that the function may have had
            // effects.
            let _ = link.sender.queue_bytes(&[Tag::Started as u8]);
            link.close_now(FunctionNotFound).await.delivered().await;
        }
    }
}

/// Lets the caller find out by itself that its budget is used up: it knows more about its call.
async fn linger(link: Link, place: Place) {
    drop(place);
    // Otherwise dropping the link tells it.
    let _ = timeout(LINGER, link.sender.stopped()).await;
}
