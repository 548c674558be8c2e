//! State shared by all handles of a producer.

use core::{any::Any, fmt, time::Duration};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use iroh::endpoint::ApplicationClose;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{ProducerConfig, backlog::CursorId, log::Log, warden};
use crate::{
    net::close::GracefulShutdown,
    primitives::{PeerId, Scope, ShortFmtExt, Signal, StreamId},
    streams_layer::{
        books::Producers,
        channel::Presence,
        close::NoCapacity,
        hub::{DRAIN_TIMEOUT, DatumType, Hub},
        metrics::{Cut, ProducerMetrics},
        report::{CutReport, MAX_REPORTED_CUTS},
        status::ChannelInfo,
        warnings::Warnings,
    },
};

/// Limit on the subscriptions of a peer, so that it can't make fan-out slow for all.
const MAX_PER_PEER: usize = 256;

/// A stream's producer, without the type of its datums.
pub(in crate::streams_layer) struct ProducerCore {
    pub(super) hub: Arc<Hub>,
    books: Arc<Producers<Handles, ProducerCore>>,
    pub(super) log: Log,
    pub(super) room: Signal,
    pub(super) presence: Arc<Presence>,
    pub(super) metrics: ProducerMetrics,
    pub(super) warnings: Warnings,
    pub(super) scope: Scope,
    config: ProducerConfig,
    datum_type: DatumType,
    label: Option<String>,
    /// The latest consumers that were cut off.
    cuts: Mutex<VecDeque<(PeerId, Cut, Instant)>>,
    /// An `UnboundedSender` of the datum type.
    undelivered: Option<Box<dyn Any + Send + Sync>>,
    places: AtomicUsize,
    subscribers: Mutex<HashMap<CursorId, Subscriber>>,
    /// Tells this producer from the next one of the stream.
    pub(super) run: u64,
    started: AtomicBool,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Subscriber {
    peer: PeerId,
    control: Arc<Control>,
    /// Status of the subscription, once it is listed.
    info: Option<ChannelInfo>,
}

impl ProducerCore {
    pub(super) fn new(
        hub: Arc<Hub>,
        books: Arc<Producers<Handles, ProducerCore>>,
        config: ProducerConfig,
        datum_type: DatumType,
        label: Option<String>,
        undelivered: Option<Box<dyn Any + Send + Sync>>,
    ) -> Arc<Self> {
        let metrics = ProducerMetrics::register(&config.network_id, &config.stream_id);
        let room = Signal::default();
        Arc::new(Self {
            log: Log::new(config.buffer_size, config.buffer_bytes, room.clone()),
            presence: Presence::new(&config.online_when, room.clone(), metrics.consumers.clone()),
            scope: hub.scope.child(),
            room,
            metrics,
            warnings: Warnings::default(),
            hub,
            books,
            config,
            datum_type,
            label,
            cuts: Mutex::default(),
            undelivered,
            places: AtomicUsize::new(0),
            subscribers: Mutex::default(),
            run: rand::random(),
            started: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// Starts the tasks of a producer that is on the books.
    pub(super) fn start(self: &Arc<Self>) {
        self.started.store(true, Ordering::SeqCst);
        self.hub.metrics.producers_active.increment(1);
        self.scope.spawn(warden::watch_catalog(self.clone()));
        self.scope.spawn(warden::watch_lag(self.clone()));
    }

    pub(super) const fn config(&self) -> &ProducerConfig {
        &self.config
    }

    pub(in crate::streams_layer) const fn stream(&self) -> &StreamId {
        &self.config.stream_id
    }

    pub(in crate::streams_layer) const fn datum_type(&self) -> &DatumType {
        &self.datum_type
    }

    pub(super) fn undelivered(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.undelivered.as_deref()
    }

    // ---- for reports

    pub(in crate::streams_layer) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    pub(in crate::streams_layer) const fn metrics(&self) -> &ProducerMetrics {
        &self.metrics
    }

    pub(in crate::streams_layer) fn is_online(&self) -> bool {
        self.presence.when().is_online()
    }

    /// Datums that may wait for one consumer.
    pub(in crate::streams_layer) const fn buffer(&self) -> u64 {
        self.config.buffer_size as u64
    }

    /// Returns whether a sender waits for room.
    pub(in crate::streams_layer) fn is_waited_for(&self) -> bool {
        self.log.is_waited_for()
    }

    /// The subscriptions, with the datums that each has not taken, and the time for which it has held
    /// up others lately.
    pub(in crate::streams_layer) fn lags(&self) -> Vec<(ChannelInfo, u64, Duration)> {
        let listed: Vec<_> = {
            let subscribers = self.subscribers.lock();
            subscribers
                .iter()
                .filter_map(|(cursor, subscriber)| Some((*cursor, subscriber.info.clone()?)))
                .collect()
        };
        let lags = self.log.lags();
        let with_lag = |(cursor, info)| {
            let (lag, held) = lags.get(&cursor).copied().unwrap_or_default();
            (info, lag, held)
        };
        listed.into_iter().map(with_lag).collect()
    }

    pub(in crate::streams_layer) fn latest_cuts(&self) -> Vec<CutReport> {
        let cuts = self.cuts.lock();
        cuts.iter()
            .rev()
            .map(|(peer, cut, at)| CutReport {
                peer: *peer,
                reason: cut.label().to_owned(),
                ago_ms: u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
            })
            .collect()
    }

    pub(super) fn remember_cut(&self, peer: PeerId, cut: Cut) {
        let mut cuts = self.cuts.lock();
        if cuts.len() == MAX_REPORTED_CUTS {
            cuts.pop_front();
        }
        cuts.push_back((peer, cut, Instant::now()));
    }

    /// A subscription is listed.
    pub(super) fn entered(&self, cursor: CursorId, info: &ChannelInfo) {
        if let Some(subscriber) = self.subscribers.lock().get_mut(&cursor) {
            subscriber.info = Some(info.clone());
        }
    }

    // ---- subscriptions

    /// Takes one of the places for consumers, if one is free.
    pub(super) fn take_place(self: &Arc<Self>) -> Option<Place> {
        let free = |taken: usize| (taken < self.config.max_consumers).then_some(taken + 1);
        let taken = self
            .places
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, free);
        taken.ok().map(|_| Place(self.clone()))
    }

    /// Adds a subscription, which gets every datum from now on.
    ///
    /// # Errors
    ///
    /// When the stream has ended, or the peer has subscriptions enough.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        peer: PeerId,
        place: Place,
    ) -> Result<Subscription, ApplicationClose> {
        let control = Arc::<Control>::default();
        let mut subscribers = self.subscribers.lock();
        if self.ended.load(Ordering::SeqCst) {
            return Err(GracefulShutdown.into());
        }
        let own = subscribers.values().filter(|s| s.peer == peer).count();
        if own >= MAX_PER_PEER {
            return Err(NoCapacity.into());
        }
        let (cursor, position) = self.log.attach();
        subscribers.insert(
            cursor,
            Subscriber {
                peer,
                control: control.clone(),
                info: None,
            },
        );
        Ok(Subscription {
            core: self.clone(),
            cursor,
            position,
            control,
            _place: place,
        })
    }

    /// Has the subscriptions of a peer judged again, or of all peers.
    pub(super) fn reconsider(&self, peer: Option<&PeerId>) {
        let subscribers = self.subscribers.lock();
        let concerned = subscribers
            .values()
            .filter(|s| peer.is_none_or(|peer| s.peer == *peer));
        for subscriber in concerned {
            subscriber.control.look_again();
        }
    }

    /// Ends one subscription.
    pub(super) fn cut(&self, cursor: CursorId, reason: impl Into<ApplicationClose>) {
        if let Some(subscriber) = self.subscribers.lock().get(&cursor) {
            subscriber.control.cut(reason.into());
        }
    }

    fn cut_all(&self, reason: impl Into<ApplicationClose>) {
        let reason = reason.into();
        for subscriber in self.subscribers.lock().values() {
            subscriber.control.cut(reason.clone());
        }
    }

    // ---- the end

    /// Ends the stream as the node shuts down: what was accepted is sent, then subscriptions end.
    pub(in crate::streams_layer) fn close(self: &Arc<Self>) {
        if self.end() {
            let core = self.clone();
            self.hub.scope.spawn(async move { core.drain().await });
        }
    }

    /// Ends the stream as its last handle is gone: what was accepted is sent, then subscriptions
    /// end, then the stream is no longer advertised.
    fn retire(self: &Arc<Self>) {
        self.books.leave(self.config.stream_id);
        if !self.end() {
            return;
        }
        let core = self.clone();
        self.hub.scope.spawn(async move {
            core.drain().await;
            core.books.retract(core.config.stream_id);
        });
    }

    /// Waits until what was accepted is sent, for a bounded time, and ends all subscriptions.
    async fn drain(&self) {
        let drained = self.presence.channels().emptied();
        if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            self.cut_all(GracefulShutdown);
        }
        self.scope.cancel();
    }

    /// Accepts nothing more; `false` if that was so already.
    fn end(&self) -> bool {
        {
            // So that no subscription is added meanwhile.
            let _subscribers = self.subscribers.lock();
            if self.ended.swap(true, Ordering::SeqCst) {
                return false;
            }
        }
        self.presence.end();
        self.log.end();
        if self.started.load(Ordering::SeqCst) {
            self.hub.metrics.producers_active.decrement(1);
        }
        true
    }
}

impl fmt::Debug for ProducerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerCore")
            .field("stream", &self.config.stream_id.short())
            .field("subscribers", &self.subscribers.lock().len())
            .finish_non_exhaustive()
    }
}

/// Keeps a stream alive: its handles share this.
#[derive(Debug)]
pub(in crate::streams_layer) struct Handles(Arc<ProducerCore>);

impl Handles {
    pub(in crate::streams_layer) fn new(core: Arc<ProducerCore>) -> Arc<Self> {
        Arc::new(Self(core))
    }

    pub(in crate::streams_layer) const fn core(&self) -> &Arc<ProducerCore> {
        &self.0
    }
}

impl AsRef<Arc<ProducerCore>> for Handles {
    fn as_ref(&self) -> &Arc<ProducerCore> {
        &self.0
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.0.retire();
    }
}

/// One of the places for consumers.
#[derive(Debug)]
pub(super) struct Place(Arc<ProducerCore>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A subscription in the books of its producer.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) core: Arc<ProducerCore>,
    pub(super) cursor: CursorId,
    /// Position in the log at which it begins.
    pub(super) position: u64,
    pub(super) control: Arc<Control>,
    _place: Place,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.core.subscribers.lock().remove(&self.cursor);
        self.core.log.detach(self.cursor);
    }
}

/// Tells the task of a subscription what to do.
#[derive(Debug, Default)]
pub(super) struct Control {
    reason: Mutex<Option<ApplicationClose>>,
    look_again: AtomicBool,
    told: Notify,
}

/// Commands to the task of a subscription.
#[derive(Debug)]
pub(super) enum Order {
    /// End the subscription.
    Cut(ApplicationClose),
    /// Judge the consumer again.
    LookAgain,
}

impl Control {
    fn cut(&self, reason: ApplicationClose) {
        self.reason.lock().get_or_insert(reason);
        self.told.notify_one();
    }

    pub(super) fn look_again(&self) {
        self.look_again.store(true, Ordering::SeqCst);
        self.told.notify_one();
    }

    /// The next order.
    ///
    /// # Cancel safety
    ///
    /// No order is lost.
    pub(super) async fn order(&self) -> Order {
        loop {
            if let Some(reason) = self.reason.lock().clone() {
                return Order::Cut(reason);
            }
            if self.look_again.swap(false, Ordering::SeqCst) {
                return Order::LookAgain;
            }
            self.told.notified().await;
        }
    }
}
