//! One subscription, from its admission to its end.

use core::{future::poll_fn, pin::pin};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use iroh::endpoint::ApplicationClose;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    LagPolicy, ProducerCore,
    admission::{Admitted, admit},
    backlog::Chunk,
    cuts,
    engine::{Order, Subscription},
    lag::DEAD_AFTER,
};
use crate::{
    net::{
        Link, LinkReceiver, LinkSender,
        close::{GracefulShutdown, ProtocolViolation, UnknownPeer},
    },
    primitives::{Bytes, ShortFmtExt},
    streams_layer::{
        channel::{Channel, Parties},
        close::{NoCapacity, NotAllowed, TooSlow},
        hub::DRAIN_TIMEOUT,
        status::State,
        wire::{self, Accepted, Subscribe},
    },
    tickets::Validity,
};

/// Timeout for writing the answer to a consumer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Reasons for which a subscription ended.
enum End {
    /// The consumer, or the connection, is gone.
    Gone,
    /// This side ends it.
    Close(ApplicationClose),
}

/// Serves a consumer that asks for this stream.
pub(in crate::streams_layer) async fn serve(
    core: Arc<ProducerCore>,
    link: Link,
    request: Subscribe,
) {
    let _serving = core.hub.serving();
    let peer = link.peer();
    if let (Some(own), Some(theirs)) = (&core.config().schema, &request.schema)
        && own != theirs
    {
        let reason = wire::schema_mismatch(own, theirs);
        if core.warnings.is_due() {
            let text = String::from_utf8_lossy(&reason.reason);
            tracing::warn!(peer = %peer.short(), stream = %core.stream().short(), reason = ?text,
                "consumer has another schema");
        }
        return refuse(&core, link, reason).await;
    }
    let Some(place) = core.take_place() else {
        return refuse(&core, link, NoCapacity.into()).await;
    };
    // Before `require` runs, so that it never sees an unmeasured peer.
    if let Some(rtt) = link.rtt() {
        core.hub.discovery.record_rtt(peer, rtt);
    }
    let admitted = match admit(&core, &peer) {
        Ok(admitted) => admitted,
        Err(reason) => return refuse(&core, link, reason).await,
    };
    let subscription = match core.subscribe(peer, place) {
        Ok(subscription) => subscription,
        Err(reason) => return refuse(&core, link, reason).await,
    };
    // What changed since it was judged was told to nobody.
    subscription.control.look_again();
    core.metrics.accepted.increment(1);
    tracing::debug!(peer = %peer.short(), stream = %core.stream().short(), "subscribed");
    let parties = Parties {
        stream_id: *core.stream(),
        criteria: request.criteria,
        producer_id: core.hub.local_id(),
        consumer_id: peer,
        peer: admitted.info.shared_entry(),
    };
    let channel = core.presence.open(parties, State::Connected);
    core.entered(subscription.cursor, channel.info());
    let credit = Credit::new(request.credit);
    run(subscription, channel, link, admitted, credit).await;
}

async fn refuse(core: &ProducerCore, link: Link, reason: ApplicationClose) {
    core.metrics.rejected.increment(1);
    if NotAllowed == reason {
        core.metrics.not_allowed.fetch_add(1, Ordering::Relaxed);
        core.metrics.last_not_allowed.note();
    }
    tracing::debug!(peer = %link.peer().short(), stream = %core.stream().short(),
        code = %reason.error_code, "subscription refused");
    link.close_now(reason).await;
}

/// Sends datums until the subscription ends, and closes the link.
async fn run(
    subscription: Subscription,
    channel: Channel,
    link: Link,
    admitted: Admitted,
    credit: Credit,
) {
    let peer = link.peer();
    let (mut sender, mut receiver) = link.split();
    let mut writer = Writer {
        subscription: &subscription,
        channel: &channel,
        credit: &credit,
        sender: &mut sender,
        position: subscription.position,
        mid_frame: false,
    };
    let end = tokio::select! {
        biased;
        end = supervise(&subscription, &mut receiver, &credit, admitted.validity) => end,
        end = writer.run() => end,
    };
    let mid_frame = writer.mid_frame;
    if let End::Close(reason) = &end {
        cuts::note(&subscription.core, &peer, reason);
    }
    // The place and the books are free before the consumer hears of the end.
    drop((subscription, channel));
    if let End::Close(reason) = end {
        receiver.stop(&reason);
        if mid_frame {
            // In the middle of a datum nothing can be said in band.
            sender.reset(reason);
        } else if GracefulShutdown == reason {
            // The node, and with it the connection, may end right after this.
            sender.close_delivered(&reason, DRAIN_TIMEOUT).await;
        } else {
            sender.close_now(&reason).await;
        }
    }
}

/// Waits for a reason to end the subscription: orders, expired tickets, or a message of the
/// consumer.
async fn supervise(
    subscription: &Subscription,
    receiver: &mut LinkReceiver,
    credit: &Credit,
    mut validity: Validity,
) -> End {
    let peer = receiver.peer();
    loop {
        tokio::select! {
            biased;
            order = subscription.control.order() => if let Order::Cut(reason) = order {
                return End::Close(reason);
            },
            () = validity.due() => {}
            given = receiver.recv::<wire::Credit>() => match given {
                Ok(wire::Credit { bytes }) => {
                    credit.give(bytes);
                    continue;
                }
                Err(error) if error.is_violation() => {
                    return End::Close(ProtocolViolation.into());
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.short(), %error, "consumer has left");
                    return End::Gone;
                }
            }
        }
        match admit(&subscription.core, &peer) {
            Ok(admitted) => validity = admitted.validity,
            // Its entry is gone, which may be an error of others: the connection tells. Tickets
            // can't be validated without it.
            Err(reason) if UnknownPeer == reason && !validity.has_expired() => {
                validity.postpone();
            }
            Err(reason) => return End::Close(reason),
        }
    }
}

/// Number of bytes that the consumer is ready to receive; overdrawn when negative.
#[derive(Debug)]
struct Credit {
    bytes: AtomicI64,
    given: Notify,
    /// Time of the consumer's last grant of credit.
    heard: Mutex<Instant>,
}

impl Credit {
    fn new(bytes: u64) -> Self {
        let credit = Self {
            bytes: AtomicI64::new(0),
            given: Notify::new(),
            heard: Mutex::new(Instant::now()),
        };
        credit.give(bytes);
        credit
    }

    fn give(&self, bytes: u64) {
        // Far beyond any window, and far from where sums overflow.
        const MAX: i64 = i64::MAX / 4;
        let bytes = i64::try_from(bytes).unwrap_or(MAX);
        let more = |current: i64| Some(current.saturating_add(bytes).min(MAX));
        // Never fails, as the closure always answers.
        let _ = self
            .bytes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        *self.heard.lock() = Instant::now();
        self.given.notify_one();
    }

    fn spend(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / 4);
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Waits until there is some.
    async fn some(&self) -> usize {
        loop {
            let bytes = self.bytes.load(Ordering::SeqCst);
            if bytes > 0 {
                return usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            self.given.notified().await;
        }
    }
}

/// Writes the log to one consumer.
struct Writer<'a> {
    subscription: &'a Subscription,
    channel: &'a Channel,
    credit: &'a Credit,
    sender: &'a mut LinkSender,
    /// The position of the datum that comes next.
    position: u64,
    /// True if a frame is written in part.
    mid_frame: bool,
}

impl Writer<'_> {
    async fn run(&mut self) -> End {
        let answer = Accepted {
            run: self.subscription.core.run,
            position: self.position,
        };
        let answered = timeout(ANSWER_TIMEOUT, self.sender.send(&answer)).await;
        if !matches!(answered, Ok(Ok(()))) {
            return End::Gone;
        }
        let (log, cursor) = (&self.subscription.core.log, self.subscription.cursor);
        let mut chunks = Vec::new();
        let mut frames = Vec::new();
        while poll_fn(|cx| log.poll_take(cursor, cx, &mut chunks)).await {
            let mut rest = &chunks[..];
            while !rest.is_empty() {
                let credit = patiently(self.subscription, self.credit, self.credit.some());
                let portion = match credit.await {
                    Ok(credit) => portion(rest, credit),
                    Err(end) => return end,
                };
                let (now, later) = rest.split_at(portion);
                if let Err(end) = self.write(now, &mut frames).await {
                    return end;
                }
                rest = later;
            }
            chunks.clear();
        }
        End::Close(wire::finished(self.position))
    }

    /// Writes chunks that credit was given for.
    async fn write(&mut self, chunks: &[Chunk], frames: &mut Vec<Bytes>) -> Result<(), End> {
        self.count(chunks);
        let (core, cursor) = (&self.subscription.core, self.subscription.cursor);
        frames.extend(chunks.iter().map(|chunk| chunk.bytes.clone()));
        let mut rest = &mut frames[..];
        let mut written = chunks.iter();
        self.mid_frame = true;
        while !rest.is_empty() {
            let before = rest.len();
            let sender = &mut *self.sender;
            let writing = sender.write_some(&mut rest);
            match patiently(self.subscription, self.credit, writing).await? {
                Ok(_) => {
                    let done = written.by_ref().take(before - rest.len());
                    let (datums, bytes) = done.fold((0, 0), |(datums, bytes), chunk| {
                        (datums + chunk.datums, bytes + chunk.log_bytes())
                    });
                    core.log.written(cursor, datums, bytes);
                }
                Err(error) => {
                    tracing::debug!(stream = %core.stream().short(), %error, "consumer is gone");
                    return Err(End::Gone);
                }
            }
        }
        self.mid_frame = false;
        frames.clear();
        Ok(())
    }

    /// Counts before the first byte can reach the consumer.
    fn count(&mut self, chunks: &[Chunk]) {
        self.credit
            .spend(chunks.iter().map(|chunk| chunk.bytes.len()).sum());
        let datums = chunks.iter().map(|chunk| chunk.datums).sum();
        let bytes = chunks.iter().map(Chunk::payload_bytes).sum();
        self.channel.stats().add(datums, bytes);
        let withheld = chunks.iter().map(|chunk| chunk.withheld).sum();
        self.channel.stats().add_lost(withheld);
        self.position += datums as u64 + withheld;
        let metrics = &self.subscription.core.metrics;
        metrics.items_sent.increment(datums as u64);
        metrics.bytes_sent.increment(bytes as u64);
        metrics.traffic.add(datums, bytes);
    }
}

/// Number of chunks that a credit covers; the last one may overdraw it.
fn portion(chunks: &[Chunk], credit: usize) -> usize {
    let mut bytes = 0;
    let covered = chunks.iter().take_while(|chunk| {
        let covered = bytes < credit;
        bytes += chunk.bytes.len();
        covered
    });
    covered.count()
}

/// Waits for the consumer to take something, until it has taken nothing for [`DEAD_AFTER`] and
/// counts as dead.
async fn patiently<T>(
    subscription: &Subscription,
    credit: &Credit,
    progress: impl Future<Output = T>,
) -> Result<T, End> {
    let (core, cursor) = (&subscription.core, subscription.cursor);
    let mut progress = pin!(progress);
    let mut since = Instant::now();
    loop {
        let mut waiting = pin!(timeout_at(since + DEAD_AFTER, progress.as_mut()));
        let result = poll_fn(|cx| {
            let poll = waiting.as_mut().poll(cx);
            if poll.is_pending() {
                // There is no telling how long this takes: the room that there is must be used.
                core.log.wake_senders();
            }
            poll
        });
        if let Ok(progress) = result.await {
            return Ok(progress);
        }
        let heard = *credit.heard.lock();
        if heard > since {
            since = heard;
            continue;
        }
        match core.config().lag_policy {
            LagPolicy::Disconnect => return Err(End::Close(TooSlow.into())),
            LagPolicy::Drop => core.log.withhold(cursor),
            // That one is gone is for the connection to tell.
            LagPolicy::Wait => {}
        }
        since = Instant::now();
    }
}
