//! One subscription, from its admission to its end.

use core::{future::poll_fn, pin::pin};
use std::{sync::Arc, time::Duration};

use chrono::Utc;
use iroh::endpoint::ApplicationClose;
use tokio::time::{sleep, timeout};

use super::{
    LagPolicy, ProducerCore,
    admission::{Admitted, admit},
    engine::{Order, Subscription},
    lag::DEAD_AFTER,
    log::Chunk,
};
use crate::{
    net::{
        Link, LinkReceiver, LinkSender,
        close::{GracefulShutdown, ProtocolViolation, UnknownPeer},
        link::SendError,
    },
    primitives::{Bytes, PeerId, ShortFmtExt},
    streams_layer::{
        Criteria,
        channel::{Channel, Parties},
        status::State,
        wire::{Accepted, NoCapacity, TooSlow},
    },
    tickets::Expiration,
};

/// How long the answer to a consumer may take to be written.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Tickets are looked at again at least this often, in case the wall clock is set.
const MAX_EXPIRY_TIMER: Duration = Duration::from_hours(1);

/// How a subscription ended.
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
    criteria: Criteria,
) {
    let _serving = core.hub.serving();
    let peer = link.peer();
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
    let Some(subscription) = core.subscribe(peer, place) else {
        return refuse(&core, link, GracefulShutdown.into()).await;
    };
    core.metrics.accepted.increment(1);
    tracing::debug!(peer = %peer.short(), stream = %core.stream().short(), "subscribed");
    let parties = Parties {
        stream_id: *core.stream(),
        criteria,
        producer_id: core.hub.local_id(),
        consumer_id: peer,
        peer: admitted.info.shared_entry(),
    };
    let channel = core.presence.open(parties, State::Connected);
    run(subscription, channel, link, admitted).await;
}

async fn refuse(core: &ProducerCore, link: Link, reason: ApplicationClose) {
    core.metrics.rejected.increment(1);
    tracing::debug!(peer = %link.peer().short(), stream = %core.stream().short(),
        code = %reason.error_code, "subscription refused");
    link.close_now(reason).await;
}

/// Sends datums until the subscription ends, and closes the link.
async fn run(subscription: Subscription, channel: Channel, link: Link, admitted: Admitted) {
    let peer = link.peer();
    let (mut sender, mut receiver) = link.split();
    let mut writer = Writer {
        subscription: &subscription,
        channel: &channel,
        sender: &mut sender,
        is_idle: true,
    };
    let end = tokio::select! {
        biased;
        end = supervise(&subscription, &mut receiver, peer, admitted.expires) => end,
        end = writer.run() => end,
    };
    let is_idle = writer.is_idle;
    // The place and the books are free before the consumer hears of the end.
    drop((subscription, channel));
    if let End::Close(reason) = end {
        tracing::debug!(peer = %peer.short(), code = %reason.error_code, "subscription closed");
        receiver.stop(&reason);
        if is_idle {
            sender.close_now(&reason).await;
        } else {
            // In the middle of a datum nothing can be said in band.
            sender.reset(reason);
        }
    }
}

/// Waits for a reason to end the subscription: orders, expired tickets, or the consumer's word.
async fn supervise(
    subscription: &Subscription,
    receiver: &mut LinkReceiver,
    peer: PeerId,
    mut expires: Option<Expiration>,
) -> End {
    loop {
        tokio::select! {
            biased;
            order = subscription.control.order() => if let Order::Cut(reason) = order {
                return End::Close(reason);
            },
            () = expiry(expires) => {}
            filled = receiver.fill() => {
                if filled.is_err() {
                    return End::Gone;
                }
                match receiver.pop() {
                    Ok(None) => continue,
                    Err(error) if !error.is_violation() => return End::Gone,
                    Ok(Some(_)) | Err(_) => return End::Close(ProtocolViolation.into()),
                }
            }
        }
        match admit(&subscription.core, &peer) {
            Ok(admitted) => expires = admitted.expires,
            // Its entry is gone, which may be an error of others: the connection tells. Tickets
            // can't be validated without it.
            Err(reason) if UnknownPeer == reason && !has_expired(expires) => {}
            Err(reason) => return End::Close(reason),
        }
    }
}

/// Resolves when tickets must be validated again.
async fn expiry(expires: Option<Expiration>) {
    match expires.and_then(|expires| expires.remaining_at(Utc::now())) {
        Some(left) => sleep(left.min(MAX_EXPIRY_TIMER)).await,
        None => std::future::pending().await,
    }
}

fn has_expired(expires: Option<Expiration>) -> bool {
    expires.is_some_and(|expires| expires.is_expired())
}

/// Writes the log to one consumer.
struct Writer<'a> {
    subscription: &'a Subscription,
    channel: &'a Channel,
    sender: &'a mut LinkSender,
    /// Whether everything that was taken is written.
    is_idle: bool,
}

impl Writer<'_> {
    async fn run(&mut self) -> End {
        let answered = timeout(ANSWER_TIMEOUT, self.sender.send(&Accepted {})).await;
        if !matches!(answered, Ok(Ok(()))) {
            return End::Gone;
        }
        let (log, cursor) = (&self.subscription.core.log, self.subscription.cursor);
        let mut chunks = Vec::new();
        let mut frames = Vec::new();
        while poll_fn(|cx| log.poll_take(cursor, cx, &mut chunks)).await {
            self.is_idle = false;
            if let Err(end) = self.write(&mut chunks, &mut frames).await {
                return end;
            }
            self.is_idle = true;
        }
        End::Close(GracefulShutdown.into())
    }

    async fn write(&mut self, chunks: &mut Vec<Chunk>, frames: &mut Vec<Bytes>) -> Result<(), End> {
        self.count(chunks);
        let (core, cursor) = (&self.subscription.core, self.subscription.cursor);
        frames.extend(chunks.iter().map(|chunk| chunk.bytes.clone()));
        let mut rest = &mut frames[..];
        let mut written = chunks.drain(..);
        while !rest.is_empty() {
            let before = rest.len();
            match self.write_some(&mut rest).await {
                Some(Ok(())) => {
                    let done = written.by_ref().take(before - rest.len());
                    let datums = done.map(|chunk| chunk.datums).sum();
                    core.log.written(cursor, datums);
                }
                Some(Err(_)) => return Err(End::Gone),
                None if core.config().lag_policy == LagPolicy::Drop => core.log.withhold(cursor),
                None => return Err(End::Close(TooSlow.into())),
            }
        }
        drop(written);
        frames.clear();
        Ok(())
    }

    /// Hands something to the transport; `None` when it takes nothing for too long.
    async fn write_some(&mut self, rest: &mut &mut [Bytes]) -> Option<Result<(), SendError>> {
        let log = &self.subscription.core.log;
        let mut writing = pin!(timeout(DEAD_AFTER, self.sender.write_some(rest)));
        let result = poll_fn(|cx| {
            let poll = writing.as_mut().poll(cx);
            if poll.is_pending() {
                // There is no telling how long this takes: the room that there is must be used.
                log.wake_senders();
            }
            poll
        });
        result.await.ok().map(|written| written.map(drop))
    }

    /// Counts before the first byte can reach the consumer.
    fn count(&self, chunks: &[Chunk]) {
        let datums = chunks.iter().map(|chunk| chunk.datums).sum();
        let bytes = chunks.iter().map(Chunk::payload_bytes).sum();
        self.channel.stats().add(datums, bytes);
        let metrics = &self.subscription.core.metrics;
        metrics.items_sent.increment(datums as u64);
        metrics.bytes_sent.increment(bytes as u64);
        metrics.traffic.add(datums, bytes);
    }
}
