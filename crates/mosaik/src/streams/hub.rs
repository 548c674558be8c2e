//! What all streams of a node share.

use core::{any::TypeId, fmt};
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    Config,
    consumer::ConsumerCore,
    metrics::NodeMetrics,
    producer::{Handles, ProducerCore},
};
use crate::{
    discovery::Discovery,
    net::Links,
    primitives::{NetworkId, PeerId, Scope, ShortFmtExt, StreamId},
};

/// How long a shutdown waits until the peers were told.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);

/// What all streams of a node share: the catalog, the links, and the books of what is open here.
pub(super) struct Hub {
    pub(super) config: Config,
    pub(super) discovery: Discovery,
    pub(super) scope: Scope,
    pub(super) metrics: NodeMetrics,
    books: Mutex<Books>,
    /// Links that still have to be closed in an orderly way.
    serving: watch::Sender<usize>,
}

#[derive(Default)]
struct Books {
    producers: HashMap<StreamId, Weak<Handles>>,
    consumers: Vec<Weak<ConsumerCore>>,
    closed: bool,
}

impl Hub {
    pub(super) fn new(config: Config, discovery: Discovery, scope: Scope) -> Arc<Self> {
        Arc::new(Self {
            metrics: NodeMetrics::register(discovery.network_id()),
            config,
            discovery,
            scope,
            books: Mutex::default(),
            serving: watch::channel(0).0,
        })
    }

    pub(super) fn network_id(&self) -> &NetworkId {
        self.discovery.network_id()
    }

    pub(super) fn links(&self) -> &Links {
        self.discovery.links()
    }

    pub(super) fn local_id(&self) -> PeerId {
        self.links().id()
    }

    // ---- producers

    /// Enters a producer, unless the stream has one already, which is returned then.
    pub(super) fn enter_producer(
        &self,
        producer: Arc<ProducerCore>,
    ) -> Result<Arc<Handles>, Arc<Handles>> {
        let id = *producer.stream();
        let mut books = self.books.lock();
        if let Some(existing) = books.producers.get(&id).and_then(Weak::upgrade) {
            return Err(existing);
        }
        let handles = Handles::new(producer);
        if books.closed {
            handles.core().close();
        } else {
            books.producers.insert(id, Arc::downgrade(&handles));
            // With the books locked, so that entry and books change in the same order.
            self.discovery.add_stream(id);
        }
        Ok(handles)
    }

    /// The producer of a stream.
    pub(super) fn producer(&self, id: &StreamId) -> Option<Arc<ProducerCore>> {
        let handles = self
            .books
            .lock()
            .producers
            .get(id)
            .and_then(Weak::upgrade)?;
        Some(handles.core().clone())
    }

    /// Takes a producer whose last handle is gone off the books: nobody can subscribe any more,
    /// and the stream can be built anew.
    pub(super) fn leave_producer(&self, id: StreamId) {
        let mut books = self.books.lock();
        if books
            .producers
            .get(&id)
            .is_some_and(|handles| handles.strong_count() == 0)
        {
            books.producers.remove(&id);
        }
    }

    /// Stops to advertise a stream, unless it is produced again by now.
    pub(super) fn retract(&self, id: StreamId) {
        let books = self.books.lock();
        if !books.producers.contains_key(&id) {
            self.discovery.remove_stream(id);
        }
    }

    // ---- consumers

    /// Enters a consumer; `false` when the node has shut down.
    pub(super) fn enter_consumer(&self, consumer: &Arc<ConsumerCore>) -> bool {
        let mut books = self.books.lock();
        books.consumers.retain(|other| other.strong_count() > 0);
        books.consumers.push(Arc::downgrade(consumer));
        !books.closed
    }

    // ---- the end

    /// Counts a link that must be closed in an orderly way.
    pub(super) fn serving(self: &Arc<Self>) -> Serving {
        self.serving.send_modify(|links| *links += 1);
        Serving(self.clone())
    }

    /// Ends all producers and consumers.
    pub(super) fn close(&self) {
        let (producers, consumers) = {
            let mut books = self.books.lock();
            books.closed = true;
            (
                core::mem::take(&mut books.producers),
                core::mem::take(&mut books.consumers),
            )
        };
        for handles in producers
            .into_values()
            .filter_map(|handles| handles.upgrade())
        {
            handles.core().close();
        }
        for consumer in consumers
            .into_iter()
            .filter_map(|consumer| consumer.upgrade())
        {
            consumer.close();
        }
    }

    /// Waits until all links were closed, for a bounded time.
    pub(super) async fn closed(&self) {
        let mut serving = self.serving.subscribe();
        let done = serving.wait_for(|links| *links == 0);
        // What was not told in time is told by the connection's close.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, done).await.map(drop);
        self.scope.cancel();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let books = self.books.lock();
        f.debug_struct("Hub")
            .field("network", &self.network_id().short())
            .field("producers", &books.producers.len())
            .field("consumers", &books.consumers.len())
            .finish()
    }
}

/// One link that must be closed in an orderly way.
#[derive(Debug)]
pub(super) struct Serving(Arc<Hub>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.serving.send_modify(|links| *links -= 1);
    }
}

/// A datum type, for the check that a stream has only one.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatumType {
    id: TypeId,
    name: &'static str,
}

impl DatumType {
    pub(super) fn of<D: 'static>() -> Self {
        Self {
            id: TypeId::of::<D>(),
            name: core::any::type_name::<D>(),
        }
    }

    /// # Panics
    ///
    /// When the types differ.
    #[track_caller]
    pub(super) fn must_be<D: 'static>(&self, stream: &StreamId) {
        assert!(
            self.id == TypeId::of::<D>(),
            "stream {} is produced on this node with datums of type {}, and can't have datums of \
             type {} as well",
            stream.short(),
            self.name,
            core::any::type_name::<D>(),
        );
    }
}
