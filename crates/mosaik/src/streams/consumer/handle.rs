//! The handle that datums are received through.

use core::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::{collections::VecDeque, sync::Arc};

use futures::Stream;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, mpsc::error::TryRecvError},
    task::coop::poll_proceed,
};

use super::{
    ConsumerConfig, ConsumerCore, Event,
    engine::Named,
    manager,
    queue::{Queue, Received},
};
use crate::{
    primitives::{Datum, ShortFmtExt, StreamId},
    streams_layer::{
        books::Consumers,
        hub::Hub,
        status::{ChannelInfo, Stats, When},
    },
};

/// Receives the datums of all producers of a stream that qualify: a [`Stream`].
///
/// Datums of one producer arrive in its order; those of several interleave. Each consumer gets
/// everything, also two of one stream on one node: they are two subscriptions.
///
/// It goes on when all producers are gone, and ends only after the network was shut down and
/// everything received was taken.
///
/// # On drop
///
/// All its subscriptions end at once; what was received and not taken is lost.
///
/// # Examples
///
/// ```no_run
/// # async fn example(network: mosaik::Network) {
/// let mut consumer = network.streams().consume::<String>();
/// while let Some(text) = consumer.recv().await {
///     println!("{text}");
/// }
/// # }
/// ```
pub struct Consumer<D: Datum> {
    core: Arc<ConsumerCore>,
    when: When,
    stats: Stats,
    queue: Arc<Queue<D>>,
    /// Never locked: it makes the consumer `Sync` for every datum.
    fetched: Mutex<Fetched<D>>,
}

/// Datums that are the application's, but for being asked for.
struct Fetched<D> {
    items: VecDeque<Received<D>>,
    /// Cost of the datums taken since the last release.
    unreleased: usize,
}

impl<D: Datum> Consumer<D> {
    pub(super) fn start(
        hub: Arc<Hub>,
        books: &Consumers<ConsumerCore>,
        config: ConsumerConfig,
        label: Option<String>,
        requires_nothing: bool,
    ) -> Self {
        let queue = Queue::new(config.receive_buffer_bytes);
        let named = Named {
            label,
            datum: core::any::type_name::<D>(),
        };
        let core = ConsumerCore::new(hub, config, named, requires_nothing, queue.clone());
        manager::start(&core, books);
        Self {
            when: core.presence.when(),
            stats: core.stats.clone(),
            queue,
            fetched: Mutex::new(Fetched {
                items: VecDeque::new(),
                unreleased: 0,
            }),
            core,
        }
    }

    /// The stream.
    pub fn stream_id(&self) -> &StreamId {
        &self.config().stream_id
    }

    /// Waits for changes: online, offline, subscribed.
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// Returns whether the `online_when` condition is met: by default always.
    pub fn is_online(&self) -> bool {
        self.when.is_online()
    }

    /// Configuration of this consumer.
    pub fn config(&self) -> &ConsumerConfig {
        &self.core.config
    }

    /// Counts of the datums that the application has taken out, and of those it will never get.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Events from now on: gaps in what arrives, and datums that could not be decoded. At most 64
    /// are kept for a receiver that does not take them; then it loses the oldest and is told so with
    /// `RecvError::Lagged`. The totals are in [`stats`](Self::stats). After the consumer is dropped
    /// `recv()` yields `Closed`.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.core.events.subscribe()
    }

    /// All current subscriptions, as they are now, also those that are being made.
    pub fn producers(&self) -> impl Iterator<Item = ChannelInfo> + use<D> {
        self.core.presence.channels().iter()
    }

    /// Waits for the next datum; `None` after the network was shut down and everything received
    /// was taken.
    ///
    /// # Cancel safety
    ///
    /// No datum is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<D> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next datum, without waiting.
    ///
    /// # Errors
    ///
    /// `Empty` when there is none, `Disconnected` when there will never be one.
    pub fn try_recv(&mut self) -> Result<D, TryRecvError> {
        loop {
            if let Some(datum) = self.take() {
                return Ok(datum);
            }
            match self
                .queue
                .poll_fetch(None, &mut self.fetched.get_mut().items)
            {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Err(TryRecvError::Disconnected),
                Poll::Pending => return Err(TryRecvError::Empty),
            }
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<D>> {
        // A loop that never has to wait must let other tasks run.
        let coop = ready!(poll_proceed(cx));
        loop {
            if let Some(datum) = self.take() {
                coop.made_progress();
                return Poll::Ready(Some(datum));
            }
            if !ready!(
                self.queue
                    .poll_fetch(Some(cx), &mut self.fetched.get_mut().items)
            ) {
                return Poll::Ready(None);
            }
        }
    }

    /// The next datum that was fetched.
    fn take(&mut self) -> Option<D> {
        let fetched = self.fetched.get_mut();
        let (bytes, datum) = fetched.items.pop_front()?;
        fetched.unreleased += Queue::<D>::cost(bytes);
        if fetched.items.is_empty() || fetched.unreleased >= self.queue.portion() {
            self.queue.release(core::mem::take(&mut fetched.unreleased));
        }
        self.stats.add(1, bytes as usize);
        self.core.metrics.items_received.increment(1);
        self.core.metrics.bytes_received.increment(u64::from(bytes));
        Some(datum)
    }
}

impl<D: Datum> Stream for Consumer<D> {
    type Item = D;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<D>> {
        self.get_mut().poll_recv(cx)
    }
}

impl<D: Datum> Unpin for Consumer<D> {}

impl<D: Datum> Drop for Consumer<D> {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl<D: Datum> fmt::Debug for Consumer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Consumer<{}>({}, {} producers)",
            self.stream_id().short(),
            core::any::type_name::<D>(),
            self.core.presence.channels().snapshot().len(),
        )
    }
}
