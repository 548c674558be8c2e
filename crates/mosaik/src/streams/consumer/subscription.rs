//! One subscription: connecting, reading, and connecting again.

use core::future::poll_fn;
use std::{sync::Arc, time::Duration};

use iroh::endpoint::ApplicationClose;
use tokio::time::{sleep, timeout};

use super::{
    ConsumerCore,
    allowance::Allowance,
    queue::{DrainError, Reader},
    state::{End, Outcome},
};
use crate::{
    net::{
        Link,
        close::{Cancelled, DifferentNetwork, GracefulShutdown, ProtocolViolation, UnknownPeer},
        link::{OpenError, RecvError, SendError, Violation},
    },
    primitives::{PeerId, ShortFmtExt, backoff::Backoff},
    streams_layer::{
        channel::{Channel, Parties},
        guard,
        status::State,
        wire::{
            Accepted, Credit, MAX_CONTROL_FRAME_BYTES, NoCapacity, NotAllowed, STREAMS_ALPN,
            StreamNotFound, Subscribe,
        },
    },
    tickets::PeerInfo,
};

/// How long a producer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long our own entry may take to be delivered before an attempt is made all the same.
const DELIVER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for a place: one may become free at any time.
const MAX_CAPACITY_WAIT: Duration = Duration::from_secs(1);

/// How much a producer may have sent that was not taken in, at least and at most. The most is
/// several times the transport's window, so that waiting for credit never leaves that empty.
const MIN_CREDIT_BYTES: usize = 64 * 1024;
const MAX_CREDIT_BYTES: usize = 8 * 1024 * 1024;
/// Credit is given in portions of this fraction.
const PORTIONS: usize = 4;

/// What follows from the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Let the producer know us, and try at once.
    Sync,
    /// Try again when the policy says so, or this long after at most.
    Retry {
        within: Option<Duration>,
    },
    Finish(End),
}

const RETRY: Next = Next::Retry { within: None };

/// Keeps one subscription until it ends for good.
pub(super) async fn run(core: Arc<ConsumerCore>, info: PeerInfo, deliver: bool) -> Outcome {
    let peer = *info.id();
    if deliver {
        // At worst the producer judges what it knows.
        let delivery = core.hub.discovery.deliver_own_entry(peer);
        let _ = timeout(DELIVER_TIMEOUT, delivery).await;
    }
    let parties = Parties {
        stream_id: core.config.stream_id,
        criteria: core.config.criteria.clone(),
        producer_id: peer,
        consumer_id: core.hub.local_id(),
        peer: info.shared_entry(),
    };
    let channel = core.presence.open(parties, State::Connecting);
    let policy = guard::run(|| (core.config.backoff)());
    let mut subscription = Subscription {
        reader: core.intake.clone().reader(),
        credit: core
            .config
            .receive_buffer_bytes
            .clamp(MIN_CREDIT_BYTES, MAX_CREDIT_BYTES),
        core: &core,
        peer,
        channel,
        policy,
        established: false,
        synced: false,
    };
    let end = subscription.keep().await;
    Outcome {
        established: subscription.established,
        end,
    }
}

struct Subscription<'a> {
    core: &'a ConsumerCore,
    peer: PeerId,
    channel: Channel,
    reader: Box<dyn Reader>,
    /// `None` when the user's code that makes it failed.
    policy: Option<Box<dyn Backoff + Send + Sync>>,
    /// How much the producer may have sent that was not taken in, in bytes of frames.
    credit: usize,
    /// Whether the producer ever accepted this subscription.
    established: bool,
    /// Whether catalogs were synced since the last wait.
    synced: bool,
}

impl Subscription<'_> {
    async fn keep(&mut self) -> End {
        loop {
            let next = self.attempt().await;
            tracing::debug!(peer = %self.peer.short(),
                stream = %self.core.config.stream_id.short(), ?next, "subscription broke off");
            let within = match next {
                Next::Finish(end) => return end,
                Next::Sync if !self.synced => {
                    self.channel.set_state(State::Connecting);
                    self.synced = true;
                    if self.core.hub.discovery.sync_with(self.peer).await.is_ok() {
                        continue;
                    }
                    None
                }
                Next::Sync => None,
                Next::Retry { within } => within,
            };
            self.channel.set_state(State::Connecting);
            let policy = &mut self.policy;
            let wait = guard::run(|| policy.as_mut()?.next_backoff()).flatten();
            let Some(wait) = wait else { return End::Over };
            sleep(within.map_or(wait, |within| wait.min(within))).await;
            self.synced = false;
        }
    }

    /// Subscribes, and reads until that ends.
    async fn attempt(&mut self) -> Next {
        match self.subscribe().await {
            Ok(link) => self.read(link).await,
            Err(next) => next,
        }
    }

    async fn subscribe(&mut self) -> Result<Link, Next> {
        let config = &self.core.config;
        let opened = self.core.hub.links().open(STREAMS_ALPN, self.peer).await;
        let mut link = opened.map_err(|error| after_open(&error))?;
        link.receiver.set_max_frame_bytes(MAX_CONTROL_FRAME_BYTES);
        let request = Subscribe {
            stream_id: config.stream_id,
            criteria: config.criteria.clone(),
            credit: self.credit as u64,
        };
        let sent = timeout(ANSWER_TIMEOUT, link.send(&request)).await;
        sent.unwrap_or(Err(SendError::TimedOut))
            .map_err(|error| after_send(&error))?;
        let answer = link.recv_within::<Accepted>(ANSWER_TIMEOUT).await;
        answer.map_err(|error| after_recv(&error))?;
        link.receiver
            .set_max_frame_bytes(self.core.hub.config.max_datum_bytes);
        if let Some(rtt) = link.rtt() {
            self.core.hub.discovery.record_rtt(self.peer, rtt);
        }
        self.established = true;
        self.synced = false;
        let policy = &mut self.policy;
        guard::run(|| policy.as_mut().map(Backoff::reset));
        self.channel.set_state(State::Connected);
        Ok(link)
    }

    async fn read(&mut self, mut link: Link) -> Next {
        let (stats, traffic) = (self.channel.stats(), &self.core.metrics.traffic);
        let count = |datums, bytes| {
            stats.add(datums, bytes);
            traffic.add(datums, bytes);
        };
        let mut allowance = Allowance::new(self.credit);
        let mut taken_in = 0;
        loop {
            let drained = self
                .reader
                .drain(&mut link.receiver, &mut allowance, &count);
            let violation = match drained {
                Ok(bytes) => {
                    taken_in += bytes;
                    None
                }
                Err(DrainError::Link(error)) => return after_recv(&error),
                Err(DrainError::Undecodable) => Some(Violation::Undecodable),
                Err(DrainError::Overdrawn) => Some(Violation::Overdrawn),
            };
            if let Some(violation) = violation {
                tracing::warn!(peer = %self.peer.short(),
                    stream = %self.core.config.stream_id.short(), reason = violation.label(),
                    "producer breaks the protocol, subscription ended");
                link.receiver.note(violation);
                link.close(ProtocolViolation);
                return Next::Finish(End::Violation);
            }
            let owing = taken_in >= self.credit / PORTIONS;
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.reader.poll_room(cx)), if owing => {
                    allowance.give(taken_in);
                    // Fails when the producer is about to end, or gone; what it sent before, and
                    // its reason, are still to be read.
                    let _ = link.sender.send(&Credit { bytes: taken_in as u64 }).await;
                    taken_in = 0;
                }
                // Read on while the queue is full: what may still come is bounded by the credit,
                // and if the producer goes, that is noticed.
                filled = link.receiver.fill() => if let Err(error) = filled {
                    return after_recv(&error);
                },
            }
        }
    }
}

fn after_open(error: &OpenError) -> Next {
    if error.is_cancelled() {
        return Next::Finish(End::Over);
    }
    error.close_reason().map_or(RETRY, after_close)
}

fn after_send(error: &SendError) -> Next {
    if error.is_cancelled() {
        return Next::Finish(End::Over);
    }
    match error {
        SendError::Closed(reason) => after_close(reason),
        error => error.close_reason().map_or(RETRY, after_close),
    }
}

fn after_recv(error: &RecvError) -> Next {
    if error.is_cancelled() {
        return Next::Finish(End::Over);
    }
    if error.is_violation() {
        return Next::Finish(End::Violation);
    }
    error.close_reason().map_or(RETRY, after_close)
}

fn after_close(reason: &ApplicationClose) -> Next {
    if UnknownPeer == *reason {
        Next::Sync
    } else if NoCapacity == *reason {
        Next::Retry {
            within: Some(MAX_CAPACITY_WAIT),
        }
    } else if NotAllowed == *reason {
        Next::Finish(End::NotAllowed)
    } else if StreamNotFound == *reason
        || DifferentNetwork == *reason
        || GracefulShutdown == *reason
        || Cancelled == *reason
    {
        Next::Finish(End::Over)
    } else {
        RETRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::close::UnexpectedClose, streams_layer::wire::TooSlow};

    #[test]
    fn codes_decide_what_follows() {
        let over = Next::Finish(End::Over);
        let capped = Next::Retry {
            within: Some(MAX_CAPACITY_WAIT),
        };
        for (reason, next) in [
            (ApplicationClose::from(UnknownPeer), Next::Sync),
            (NoCapacity.into(), capped),
            (TooSlow.into(), RETRY),
            (UnexpectedClose.into(), RETRY),
            (ProtocolViolation.into(), RETRY),
            (NotAllowed.into(), Next::Finish(End::NotAllowed)),
            (StreamNotFound.into(), over),
            (DifferentNetwork.into(), over),
            (GracefulShutdown.into(), over),
            (Cancelled.into(), over),
        ] {
            assert_eq!(after_close(&reason), next, "{reason}");
        }
    }
}
