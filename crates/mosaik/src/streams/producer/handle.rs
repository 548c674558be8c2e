//! The handle that datums are sent through.

use core::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::sync::Arc;

use futures::Sink;
use tokio::{sync::mpsc::UnboundedSender, task::coop::poll_proceed};

use super::{Error, Handles, ProducerConfig, ProducerCore, encoding::with_frame};
use crate::{
    primitives::{Datum, ShortFmtExt, StreamId, WakerSlot},
    streams_layer::status::{ChannelInfo, Standing, When},
};

/// Sends datums to all consumers of a stream: a [`Sink`].
///
/// Clones, and all handles of one stream on a node, feed the same consumers. Datums of one clone
/// keep their order; those of several interleave.
///
/// `send(datum).await` waits while the producer is offline, and while a consumer has no room. It
/// resolves when the datum is accepted, which is not an acknowledgement: there is none.
/// [`flush`](Self::flush) waits until what was accepted has left, `close` closes this handle only.
///
/// # Cancel safety
///
/// A dropped `send` has accepted nothing, unless it had resolved.
///
/// # On drop
///
/// When the last handle of a stream is gone, or the node shuts down, what was accepted is delivered
/// to consumers that read, for at most 5 s, and subscriptions end with `GracefulShutdown` (204). The
/// local entry no longer lists the stream, which can be built anew while the node lives.
///
/// # Examples
///
/// ```no_run
/// use futures::SinkExt;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let mut producer = network.streams().produce::<u64>();
/// producer.send(1).await?;
/// producer.send_all(&mut futures::stream::iter(2..100).map(Ok)).await?;
/// if let Err(error) = producer.try_send(100) {
///     println!("not sent: {:?}", error.into_inner());
/// }
/// # use futures::StreamExt;
/// # Ok(())
/// # }
/// ```
pub struct Producer<D: Datum> {
    handles: Arc<Handles>,
    when: When,
    undelivered: Option<UnboundedSender<D>>,
    slot: WakerSlot,
    reserved: bool,
    closed: bool,
    datum: PhantomData<fn(D)>,
}

impl<D: Datum> Producer<D> {
    pub(super) fn new(handles: Arc<Handles>) -> Self {
        let core = handles.core();
        let undelivered = core
            .undelivered()
            .and_then(|sink| sink.downcast_ref())
            .cloned();
        Self {
            when: core.presence.when(),
            slot: core.room.slot(),
            undelivered,
            handles,
            reserved: false,
            closed: false,
            datum: PhantomData,
        }
    }

    /// Another handle of a stream.
    ///
    /// # Panics
    ///
    /// When it has another datum type.
    #[track_caller]
    pub(super) fn of_type(handles: Arc<Handles>) -> Self {
        let core = handles.core();
        core.datum_type().must_be::<D>(&core.config().stream_id);
        Self::new(handles)
    }

    /// The stream.
    pub fn stream_id(&self) -> &StreamId {
        &self.config().stream_id
    }

    /// Waits for changes: online, offline, subscribed.
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// Configuration of the stream, as given when it was first built.
    pub fn config(&self) -> &ProducerConfig {
        self.core().config()
    }

    /// Returns whether datums are accepted now: whether the `online_when` condition is met.
    pub fn is_online(&self) -> bool {
        self.when.is_online()
    }

    /// Sends a datum without waiting.
    ///
    /// # Errors
    ///
    /// The datum comes back: [`Offline`](Error::Offline) while the condition to be online is not
    /// met, [`Full`](Error::Full) while a consumer has no room, [`Encoding`](Error::Encoding) when
    /// it can't be encoded, [`Closed`](Error::Closed) after the end.
    pub fn try_send(&self, item: D) -> Result<(), Error<D>> {
        match self.standing() {
            Standing::Ended => return Err(Error::Closed(Some(item))),
            Standing::Offline => return Err(Error::Offline(item)),
            Standing::Online => {}
        }
        let core = self.core();
        if !core.log.try_reserve() {
            core.log.want_room();
            if !core.log.try_reserve() {
                return Err(Error::Full(item));
            }
        }
        self.accept(item)
    }

    /// Waits until everything that was accepted before, from any handle of the stream, has left for
    /// every consumer: it was handed to the transport, which delivers it while the connection
    /// stands. Consumers that are gone, or from which datums are withheld, are not waited for.
    ///
    /// This is what `producer.flush()` calls, also where `SinkExt` is in scope. The `Sink`'s own
    /// `poll_flush` resolves at once, because `SinkExt::send` calls it after each datum.
    ///
    /// # Errors
    ///
    /// None today.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn flush(&mut self) -> Result<(), Error<D>> {
        let log = &self.core().log;
        let (position, slot) = (log.head(), log.flush_slot());
        poll_fn(|cx| log.poll_left(position, &slot, cx)).await;
        Ok(())
    }

    /// All current subscriptions, as they are now.
    pub fn consumers(&self) -> impl Iterator<Item = ChannelInfo> + use<D> {
        self.core().presence.channels().iter()
    }

    fn core(&self) -> &Arc<ProducerCore> {
        self.handles.core()
    }

    fn standing(&self) -> Standing {
        if self.closed {
            Standing::Ended
        } else {
            self.when.standing()
        }
    }

    /// Encodes a datum and puts it into a slot that was reserved for it.
    fn accept(&self, item: D) -> Result<(), Error<D>> {
        let core = self.core();
        let max = core.hub.config.max_datum_bytes;
        let slot = core.log.slot();
        let appended = match with_frame(&item, max, |frame| slot.append(frame)) {
            Ok(appended) if appended.accepted => appended,
            // The stream has ended meanwhile.
            Ok(_) => return Err(Error::Closed(Some(item))),
            Err(error) => return Err(Error::Encoding(item, error)),
        };
        if appended.withheld > 0 {
            core.metrics
                .items_dropped
                .increment(appended.withheld as u64);
        }
        if !appended.selected
            && let Some(sink) = &self.undelivered
            && sink.send(item).is_err()
        {
            tracing::debug!(stream = %self.stream_id().short(),
                "the sink of undelivered datums is closed");
        }
        Ok(())
    }

    /// Reserves a slot for this handle, or registers the waker for when it can.
    fn poll_reserve(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        // A loop that never has to wait must let other tasks run.
        let coop = ready!(poll_proceed(cx));
        let mut registered = false;
        loop {
            let standing = self.standing();
            if standing == Standing::Ended {
                return Poll::Ready(Err(Error::Closed(None)));
            }
            if standing == Standing::Online && self.core().log.try_reserve_patiently() {
                self.reserved = true;
                coop.made_progress();
                return Poll::Ready(Ok(()));
            }
            if registered {
                return Poll::Pending;
            }
            // Fired by room as well as by a change of standing. What happens after this look is
            // noticed, what happened before is seen by the next.
            self.slot.register(cx.waker());
            self.core().log.want_room();
            registered = true;
        }
    }

    fn give_back(&mut self) {
        if core::mem::take(&mut self.reserved) {
            self.core().log.release();
        }
    }
}

impl<D: Datum> Sink<D> for Producer<D> {
    type Error = Error<D>;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        let this = self.get_mut();
        if this.reserved && this.standing() == Standing::Online {
            return Poll::Ready(Ok(()));
        }
        this.give_back();
        this.poll_reserve(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: D) -> Result<(), Error<D>> {
        let this = self.get_mut();
        if !this.reserved {
            return this.try_send(item);
        }
        match this.standing() {
            Standing::Online => {
                this.reserved = false;
                this.accept(item)
            }
            Standing::Offline => {
                this.give_back();
                Err(Error::Offline(item))
            }
            Standing::Ended => {
                this.give_back();
                Err(Error::Closed(Some(item)))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error<D>>> {
        let this = self.get_mut();
        this.give_back();
        this.closed = true;
        Poll::Ready(Ok(()))
    }
}

impl<D: Datum> Unpin for Producer<D> {}

impl<D: Datum> Clone for Producer<D> {
    /// Another handle of the same stream, open also if this one was closed.
    fn clone(&self) -> Self {
        Self {
            handles: self.handles.clone(),
            when: self.when.clone(),
            undelivered: self.undelivered.clone(),
            slot: self.slot.clone(),
            reserved: false,
            closed: false,
            datum: PhantomData,
        }
    }
}

impl<D: Datum> Drop for Producer<D> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<D: Datum> fmt::Debug for Producer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Producer<{}>({})",
            self.stream_id().short(),
            core::any::type_name::<D>()
        )
    }
}
