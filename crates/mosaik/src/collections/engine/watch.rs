//! Changes of a collection, as a stream.

use core::{
    fmt,
    future::poll_fn,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};
use std::sync::Arc;

use futures::{Stream, stream::FusedStream};

use super::observer::Outlook;
use crate::collections_layer::Version;

/// Event of a [`Watch`]. `S` is the kind's snapshot, `C` its change.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<S, C> {
    /// Changes of one mutation. One of these for each version that changed anything that is
    /// watched: a batch is never split.
    Changed {
        /// The version that the mutation made.
        version: Version,
        /// In the order in which they took effect.
        changes: Arc<[C]>,
    },
    /// Changes were missed: the watch was not read for so long that they are no longer kept, or
    /// this member caught up by a snapshot, which doesn't tell them.
    Lagged {
        /// The versions that are passed over.
        lost: Range<Version>,
        /// The content after them; the watch goes on from here.
        now: S,
    },
    /// [`watch_from`](crate::collections::Map::watch_from) was given a version whose successors are no longer
    /// kept here: it lies too far back, or lay ahead of this node, as after a restart, and the node
    /// caught up by a snapshot.
    Compacted {
        /// The oldest version that a watch could have been resumed from.
        oldest: Version,
        /// The content now; the watch goes on from here.
        now: S,
    },
    /// This member's history has lost against another one: versions begin anew.
    Reset {
        /// Number of versions that were given up here.
        discarded: u64,
        /// The content now; the watch goes on from here.
        now: S,
    },
}

/// Changes of a collection, from its `watch` methods: a [`Stream`] of [`Event`]s that begins exactly
/// after [`snapshot`](Self::snapshot).
///
/// A watch reads from a ring that all watches of the collection on this node share (8 MiB, see
/// [`CollectionConfig::with_watch_buffer`](crate::collections::CollectionConfig::with_watch_buffer)): it holds
/// nobody up, costs a few hundred bytes, and tells by [`Event::Lagged`] when it was read too slowly.
/// Changes of other keys cost a watch of a single key nothing, and never make it lag.
///
/// Changes of leaders, disconnections and catching up don't end a watch. The stream ends when the
/// last handle of the collection on this node is dropped, or the node leaves its network, after all
/// changes that were applied before.
///
/// # Cancel safety
///
/// Nothing is lost when a future of [`recv`](Self::recv) is dropped.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::{Event, Map};
///
/// # async fn example(network: mosaik::Network) {
/// let config = Map::<String, String>::reader(&network, "config");
/// let mut watch = config.watch();
/// for (key, value) in watch.snapshot().iter() {
///     println!("{key} is {value}");
/// }
/// while let Some(event) = watch.recv().await {
///     match event {
///         Event::Changed { changes, .. } => {
///             for change in changes.iter() {
///                 println!("{}: {:?} -> {:?}", change.key(), change.old(), change.new());
///             }
///         }
///         Event::Lagged { now, .. } | Event::Reset { now, .. } => {
///             println!("anew, from {} entries", now.len());
///         }
///         _ => {}
///     }
/// }
/// # }
/// ```
#[must_use = "a watch tells nothing unless it is read"]
pub struct Watch<S, C> {
    snapshot: S,
    outlook: Box<dyn Outlook<S, C>>,
    ended: bool,
}

impl<S, C> Watch<S, C> {
    pub(super) fn new(snapshot: S, outlook: Box<dyn Outlook<S, C>>) -> Self {
        Self {
            snapshot,
            outlook,
            ended: false,
        }
    }

    /// The content before the first event; of a watch of a key or a range, that part of it.
    ///
    /// The watch keeps it in memory as long as it lives.
    pub const fn snapshot(&self) -> &S {
        &self.snapshot
    }

    /// Everything up to this version was delivered, also where nothing of it was watched.
    pub fn version(&self) -> Version {
        self.outlook.version()
    }

    /// The next event; `None` after the end.
    pub async fn recv(&mut self) -> Option<Event<S, C>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<S, C>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = self.outlook.poll(cx);
        self.ended = matches!(event, Poll::Ready(None));
        event
    }
}

/// Nothing in it is pinned.
impl<S, C> Unpin for Watch<S, C> {}

impl<S, C> Stream for Watch<S, C> {
    type Item = Event<S, C>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event<S, C>>> {
        self.get_mut().poll_event(cx)
    }
}

impl<S, C> FusedStream for Watch<S, C> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Watch<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("snapshot", &self.snapshot)
            .field("version", &self.version())
            .field("ended", &self.ended)
            .finish()
    }
}
