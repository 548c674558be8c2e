//! One subscription: connecting, reading, and connecting again.

use core::future::poll_fn;
use std::{sync::Arc, time::Duration};

use iroh::endpoint::ApplicationClose;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{
    ConsumerCore, Event, UndecodableReason,
    queue::{DrainError, Notes, Reader},
    seen::{Missed, Seen},
    state::{End, MAX_CAPACITY_WAIT, Outcome},
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
        close::{NoCapacity, NotAllowed, SchemaMismatch, StreamNotFound, TooSlow},
        guard,
        status::State,
        wire::{self, Accepted, Credit, MAX_CONTROL_FRAME_BYTES, STREAMS_ALPN, Subscribe},
    },
    tickets::PeerInfo,
};

/// Timeout for a producer to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout for delivering this node's entry; the attempt is made all the same after it.
const DELIVER_TIMEOUT: Duration = Duration::from_secs(5);
/// While the application takes datums and there is no room yet for more credit, the producer is told
/// that it does, this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// Interval at which is looked whether it does. Short, so that the producer hears of a datum that was
/// taken after a long while before it gives the consumer up.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Timeout for a consumer that was too slow to catch up; it is tried again all the same after it,
/// as its queue may be kept full by others.
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(1);
/// Limit on the plausible number of missed datums, whatever a producer says.
const MAX_LOST: u64 = 1 << 48;
/// A subscription that lasted this long after the consumer was too slow shows that it no longer is.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// Next step after the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Let the producer know us, and try at once.
    Sync,
    /// Try again when the policy says so, or this long after at most.
    Retry {
        within: Option<Duration>,
    },
    /// Try again when the policy says so and the queue has room.
    CatchUp,
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
        seen: core.memory.get(&peer),
        core: &core,
        peer,
        channel,
        policy,
        established: false,
        synced: false,
        was_too_slow: false,
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
    /// Position of this consumer in the producer's stream.
    seen: Option<Seen>,
    /// True if the producer ever accepted this subscription.
    established: bool,
    /// True if catalogs were synced since the last wait.
    synced: bool,
    /// True if the last accepted subscription ended because this consumer was too slow.
    was_too_slow: bool,
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        if let Some(seen) = self.seen {
            self.core.memory.put(self.peer, seen);
        }
    }
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
                Next::Sync | Next::CatchUp => None,
                Next::Retry { within } => within,
            };
            self.channel.set_state(State::Connecting);
            let policy = &mut self.policy;
            let wait = guard::run(|| policy.as_mut()?.next_backoff()).flatten();
            match pause(within, wait) {
                Ok(wait) => sleep(wait).await,
                Err(end) => return end,
            }
            self.synced = false;
        }
    }

    /// Subscribes, and reads until that ends.
    async fn attempt(&mut self) -> Next {
        // One that could not keep up must have caught up before it holds up others again.
        let limit = if self.was_too_slow {
            CATCH_UP_TIMEOUT
        } else {
            Duration::ZERO
        };
        let caught_up = timeout(limit, poll_fn(|cx| self.reader.poll_begin(true, cx))).await;
        let credit = match caught_up {
            Ok(credit) => credit,
            Err(_) => poll_fn(|cx| self.reader.poll_begin(false, cx)).await,
        };
        let link = match self.subscribe(credit).await {
            Ok(link) => link,
            Err(next) => {
                self.reader.end();
                return next;
            }
        };
        let since = Instant::now();
        let next = self.read(link).await;
        self.reader.end();
        self.was_too_slow = next == Next::CatchUp;
        if !self.was_too_slow || since.elapsed() >= SETTLED_AFTER {
            self.reset_policy();
        }
        next
    }

    fn reset_policy(&mut self) {
        let policy = &mut self.policy;
        guard::run(|| policy.as_mut().map(Backoff::reset));
    }

    async fn subscribe(&mut self, credit: usize) -> Result<Link, Next> {
        let config = &self.core.config;
        let opened = self.core.hub.links().open(STREAMS_ALPN, self.peer).await;
        let mut link = opened.map_err(|error| after_open(&error))?;
        link.receiver.set_max_frame_bytes(MAX_CONTROL_FRAME_BYTES);
        let request = Subscribe {
            stream_id: config.stream_id,
            criteria: config.criteria.clone(),
            credit: credit as u64,
            schema: config.schema.clone(),
        };
        let sent = timeout(ANSWER_TIMEOUT, link.send(&request)).await;
        sent.unwrap_or(Err(SendError::TimedOut))
            .map_err(|error| after_send(&error))?;
        let answer = link.recv_within::<Accepted>(ANSWER_TIMEOUT).await;
        let accepted = answer.map_err(|error| {
            self.tell_of_mismatch(&error);
            after_recv(&error)
        })?;
        link.receiver
            .set_max_frame_bytes(self.core.hub.config.max_datum_bytes);
        if let Some(rtt) = link.rtt() {
            self.core.hub.discovery.record_rtt(self.peer, rtt);
        }
        self.established = true;
        self.synced = false;
        if !self.was_too_slow {
            self.reset_policy();
        }
        let (seen, missed) = Seen::resume(self.seen, &accepted);
        self.seen = Some(seen);
        match missed {
            Missed::Nothing => {}
            Missed::Datums(lost) => self.findings().lagged(Some(lost)),
            Missed::Unknown => self.findings().lagged(None),
        }
        self.channel.set_state(State::Connected);
        Ok(link)
    }

    async fn read(&mut self, mut link: Link) -> Next {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signs = SignsOfLife {
            taken: self.core.stats.datums(),
            last: None,
        };
        loop {
            let (reader, mut findings) = self.split();
            match reader.drain(&mut link.receiver, &mut findings) {
                Ok(()) => {}
                Err(DrainError::Link(error)) => return self.ended(&error),
                Err(DrainError::Overdrawn) => {
                    tracing::warn!(peer = %self.peer.short(),
                        stream = %self.core.config.stream_id.short(),
                        "producer sends more than it may, subscription ended");
                    link.receiver.note(Violation::Overdrawn);
                    link.close(ProtocolViolation);
                    return Next::Finish(End::Violation);
                }
            }
            let owes = self.reader.owes_credit();
            let bytes = tokio::select! {
                biased;
                bytes = poll_fn(|cx| self.reader.poll_credit(cx)), if owes => bytes,
                _ = looks.tick(), if owes => {
                    if !signs.is_due(self.core.stats.datums(), Instant::now()) {
                        continue;
                    }
                    0
                }
                // Read on while the queue is full: what may still come is bounded by the credit,
                // and if the producer goes, that is noticed.
                filled = link.receiver.fill() => match filled {
                    Ok(()) => continue,
                    Err(error) => return self.ended(&error),
                },
            };
            // Fails when the producer is about to end, or gone; what it sent before, and its
            // reason, are still to be read.
            let _ = link
                .sender
                .send(&Credit {
                    bytes: bytes as u64,
                })
                .await;
        }
    }

    fn ended(&mut self, error: &RecvError) -> Next {
        if let Some(end) = error.close_reason().and_then(wire::finished_at)
            && let Some(seen) = &mut self.seen
        {
            seen.complete(end);
        }
        after_recv(error)
    }

    /// Says why a producer that uses another schema does not admit us.
    fn tell_of_mismatch(&self, error: &RecvError) {
        let Some(reason) = error.close_reason().filter(|r| SchemaMismatch == **r) else {
            return;
        };
        if self.core.warnings.is_due() {
            let text = String::from_utf8_lossy(&reason.reason);
            tracing::warn!(peer = %self.peer.short(),
                stream = %self.core.config.stream_id.short(), reason = ?text,
                "producer has another schema");
        }
    }

    fn findings(&mut self) -> Findings<'_> {
        self.split().1
    }

    fn split(&mut self) -> (&mut dyn Reader, Findings<'_>) {
        let findings = Findings {
            core: self.core,
            peer: self.peer,
            channel: &self.channel,
            seen: &mut self.seen,
        };
        (&mut *self.reader, findings)
    }
}

/// Tells when the producer has to hear that the application goes on taking.
struct SignsOfLife {
    /// Datums that were taken before the last sign.
    taken: usize,
    last: Option<Instant>,
}

impl SignsOfLife {
    /// Returns whether a sign is due; if so, it counts as given.
    fn is_due(&mut self, taken: usize, now: Instant) -> bool {
        let is_early = self.last.is_some_and(|last| now - last < SIGN_OF_LIFE);
        if taken == self.taken || is_early {
            return false;
        }
        (self.taken, self.last) = (taken, Some(now));
        true
    }
}

/// Sink for the findings on a link: gaps, undecodable datums and positions.
struct Findings<'a> {
    core: &'a ConsumerCore,
    peer: PeerId,
    channel: &'a Channel,
    seen: &'a mut Option<Seen>,
}

impl Findings<'_> {
    fn advance(&mut self, datums: u64) {
        if let Some(seen) = self.seen {
            seen.advance(datums);
        }
    }

    fn lagged(&mut self, lost: Option<u64>) {
        let lost = lost.map(|lost| lost.min(MAX_LOST));
        let datums = lost.unwrap_or_default();
        self.channel.stats().add_lost(datums);
        self.core.stats.add_lost(datums);
        self.core.metrics.items_lost.increment(datums);
        tracing::debug!(peer = %self.peer.short(),
            stream = %self.core.config.stream_id.short(), ?lost, "datums missed");
        // Fails when nobody wants to know.
        let _ = self.core.events.send(Event::Lagged {
            producer: self.peer,
            lost,
        });
    }
}

impl Notes for Findings<'_> {
    fn received(&mut self, datums: usize, bytes: usize) {
        self.advance(datums as u64);
        self.channel.stats().add(datums, bytes);
        self.core.metrics.traffic.add(datums, bytes);
    }

    fn undecodable(&mut self, reason: UndecodableReason) {
        self.advance(1);
        self.channel.stats().add_undecodable();
        self.core.stats.add_undecodable();
        self.core.metrics.items_undecodable.increment(1);
        self.core.metrics.last_undecodable.note();
        if self.core.warnings.is_due() {
            tracing::warn!(peer = %self.peer.short(),
                stream = %self.core.config.stream_id.short(), error = %reason,
                "datum left out, the stream goes on");
        }
        // Fails when nobody wants to know.
        let _ = self.core.events.send(Event::Undecodable {
            producer: self.peer,
            reason,
        });
    }

    fn skipped(&mut self, datums: u64) {
        self.advance(datums);
        self.lagged(Some(datums));
    }
}

/// The pause before the next attempt, by what the policy says, and no longer than `within`; or how
/// the subscription ends if the policy gives up.
fn pause(within: Option<Duration>, wait: Option<Duration>) -> Result<Duration, End> {
    match (wait, within) {
        (Some(wait), within) => Ok(within.map_or(wait, |within| wait.min(within))),
        (None, Some(_)) => Err(End::NoCapacity),
        (None, None) => Err(End::Over),
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
    } else if TooSlow == *reason {
        Next::CatchUp
    } else if NotAllowed == *reason {
        Next::Finish(End::NotAllowed)
    } else if StreamNotFound == *reason
        || SchemaMismatch == *reason
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
    use crate::{
        net::close::UnexpectedClose,
        primitives::backoff::ExponentialBackoff,
        streams_layer::consumer::state::{Book, Effect, Sight},
    };

    /// Regression: up to two seconds passed until a sign was given, and a consumer that took a datum
    /// every nine seconds was given up after ten.
    #[tokio::test(start_paused = true)]
    async fn the_producer_hears_of_a_datum_soon_after_it_was_taken() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let look_ms = u64::try_from(LOOK_EVERY.as_millis()).unwrap();
        for every in [100, 1_900, 9_400] {
            let mut signs = SignsOfLife {
                taken: 0,
                last: None,
            };
            let given: Vec<_> = (0..240)
                .map(|look| 130 + look_ms * look)
                .filter(|at| {
                    let taken = usize::try_from(at / every).unwrap();
                    signs.is_due(taken, start + ms(*at))
                })
                .collect();
            let pauses = given.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(pauses.clone().all(|pause| pause >= 2_000), "{given:?}");
            assert!(pauses.clone().all(|pause| pause < 10_000), "{given:?}");
            assert!(given.len() > 10, "{given:?}");
        }
        let mut idle = SignsOfLife {
            taken: 7,
            last: None,
        };
        assert!(!idle.is_due(7, start), "one that takes nothing gives none");
    }

    /// A producer that has no room for half an hour is asked every second, also when the policy gives
    /// up meanwhile, again and again.
    #[tokio::test(start_paused = true)]
    async fn a_freed_place_is_found_within_a_second_at_any_time() {
        let peer = iroh::SecretKey::generate().public();
        let (mut book, fit) = (Book::default(), Sight::Fit { look_again: None });
        let print = (1, crate::Digest::from_u8(1));
        let started = Instant::now();
        let (mut asked, mut rounds) = (started, 0);
        while started.elapsed() < Duration::from_mins(30) {
            let opened = book.observe(peer, fit, print, Instant::now());
            let [Effect::Open { generation, .. }] = opened[..] else {
                panic!("not opened: {opened:?}")
            };
            rounds += 1;
            let mut policy = ExponentialBackoff::default();
            let end = loop {
                // Timers have milliseconds.
                assert!(asked.elapsed() <= MAX_CAPACITY_WAIT + Duration::from_millis(5));
                asked = Instant::now();
                let Next::Retry { within } = after_close(&NoCapacity.into()) else {
                    panic!("not asked again")
                };
                match pause(within, policy.next_backoff()) {
                    Ok(wait) => sleep(wait).await,
                    Err(end) => break end,
                }
            };
            let outcome = Outcome {
                established: false,
                end,
            };
            book.finished(peer, generation, outcome, Instant::now());
            tokio::time::sleep_until(book.next_deadline().unwrap()).await;
        }
        assert!(rounds > 3, "the policy gives up after five minutes");
    }

    #[test]
    fn codes_decide_what_follows() {
        let over = Next::Finish(End::Over);
        let capped = Next::Retry {
            within: Some(MAX_CAPACITY_WAIT),
        };
        for (reason, next) in [
            (ApplicationClose::from(UnknownPeer), Next::Sync),
            (NoCapacity.into(), capped),
            (TooSlow.into(), Next::CatchUp),
            (SchemaMismatch.into(), over),
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
