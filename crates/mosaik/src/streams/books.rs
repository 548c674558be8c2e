//! The books of a node: which producers and consumers are open on it.
//!
//! They know nothing of what they keep, so that producers and consumers can know them.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::{discovery::Discovery, primitives::StreamId, tickets::LimitError};

/// The producers of a node, at most one per stream. `P` is what keeps one alive, and `C` what it is:
/// who only looks at a producer must not keep its stream alive, or it can't be built anew meanwhile.
pub(super) struct Producers<P, C> {
    discovery: Discovery,
    open: Mutex<OpenProducers<P, C>>,
}

struct OpenProducers<P, C> {
    by_stream: HashMap<StreamId, Kept<P, C>>,
    closed: bool,
}

struct Kept<P, C> {
    handles: Weak<P>,
    core: Weak<C>,
}

/// Outcome of entering a producer.
pub(super) enum Entry<P> {
    /// It is on the books, and advertised.
    New(Arc<P>),
    /// The stream has one already.
    Existing(Arc<P>),
    /// The node has shut down.
    Closed(Arc<P>),
    /// The node's entry has no room for the stream.
    Full(Arc<P>, LimitError),
}

impl<P: AsRef<Arc<C>>, C> Producers<P, C> {
    pub(super) fn new(discovery: Discovery) -> Arc<Self> {
        Arc::new(Self {
            discovery,
            open: Mutex::new(OpenProducers {
                by_stream: HashMap::new(),
                closed: false,
            }),
        })
    }

    /// Enters a producer, unless the stream has one already.
    pub(super) fn enter(&self, id: StreamId, make: impl FnOnce() -> Arc<P>) -> Entry<P> {
        let mut open = self.open.lock();
        if let Some(existing) = open
            .by_stream
            .get(&id)
            .and_then(|kept| kept.handles.upgrade())
        {
            return Entry::Existing(existing);
        }
        let made = make();
        if open.closed {
            return Entry::Closed(made);
        }
        // With the books locked, so that entry and books change in the same order, and nobody who
        // has seen the entry is refused.
        match self.discovery.add_stream(id) {
            Ok(()) => {
                let kept = Kept {
                    handles: Arc::downgrade(&made),
                    core: Arc::downgrade((*made).as_ref()),
                };
                open.by_stream.insert(id, kept);
                Entry::New(made)
            }
            Err(error) => Entry::Full(made, error),
        }
    }

    /// The producer of a stream.
    pub(super) fn get(&self, id: &StreamId) -> Option<Arc<C>> {
        self.open.lock().by_stream.get(id).and_then(Kept::look)
    }

    /// Takes a producer whose last handle is gone off the books: nobody can subscribe any more,
    /// and the stream can be built anew.
    pub(super) fn leave(&self, id: StreamId) {
        let mut open = self.open.lock();
        if open
            .by_stream
            .get(&id)
            .is_some_and(|kept| kept.handles.strong_count() == 0)
        {
            open.by_stream.remove(&id);
        }
    }

    /// Stops to advertise a stream, unless it is produced again by now.
    pub(super) fn retract(&self, id: StreamId) {
        let open = self.open.lock();
        if !open.by_stream.contains_key(&id) {
            self.discovery.remove_stream(id);
        }
    }

    /// Takes all off the books; no other is entered any more.
    pub(super) fn close(&self) -> Vec<Arc<P>> {
        let mut open = self.open.lock();
        open.closed = true;
        let all = core::mem::take(&mut open.by_stream);
        drop(open);
        all.into_values()
            .filter_map(|kept| kept.handles.upgrade())
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.open.lock().by_stream.len()
    }

    /// The producers that are open now.
    pub(super) fn all(&self) -> Vec<Arc<C>> {
        let open = self.open.lock();
        open.by_stream.values().filter_map(Kept::look).collect()
    }
}

impl<P, C> Kept<P, C> {
    /// The producer, if it has a handle.
    fn look(&self) -> Option<Arc<C>> {
        (self.handles.strong_count() > 0).then(|| self.core.upgrade())?
    }
}

/// The consumers of a node.
pub(super) struct Consumers<C>(Mutex<OpenConsumers<C>>);

struct OpenConsumers<C> {
    all: Vec<Weak<C>>,
    closed: bool,
}

impl<C> Consumers<C> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(OpenConsumers {
            all: Vec::new(),
            closed: false,
        }))
    }

    /// Enters a consumer; `false` when the node has shut down.
    pub(super) fn enter(&self, consumer: &Arc<C>) -> bool {
        let mut open = self.0.lock();
        if open.closed {
            return false;
        }
        open.all.retain(|other| other.strong_count() > 0);
        open.all.push(Arc::downgrade(consumer));
        true
    }

    /// Takes all off the books; no other is entered any more.
    pub(super) fn close(&self) -> Vec<Arc<C>> {
        let mut open = self.0.lock();
        open.closed = true;
        let all = core::mem::take(&mut open.all);
        drop(open);
        all.into_iter()
            .filter_map(|consumer| consumer.upgrade())
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().all.len()
    }

    /// The consumers that are open now.
    pub(super) fn all(&self) -> Vec<Arc<C>> {
        self.0.lock().all.iter().filter_map(Weak::upgrade).collect()
    }
}
