//! Conditions over a changing set of peers: "at least two, with this tag".

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use std::{collections::BTreeSet, sync::Arc};

use crate::primitives::{IntoIterOrSingle, Signal, Tag, WakerSlot};

/// Something that carries tags.
pub(crate) trait Tagged {
    /// The tags.
    fn tags(&self) -> &BTreeSet<Tag>;
}

/// A changing set of things that a condition counts.
pub(crate) trait ConditionSource: Clone + Send + Sync + Unpin + 'static {
    /// Member of the set.
    type Entry: Tagged;

    /// Fires after every change that can alter a count.
    fn signal(&self) -> &Signal;

    /// Number of members of the set that are accepted.
    fn count(&self, accept: &dyn Fn(&Self::Entry) -> bool) -> usize;
}

type Predicate<E> = Arc<dyn Fn(&E) -> bool + Send + Sync>;

/// A condition that can be read, and awaited any number of times.
///
/// As a future it is triggered by the edge: it resolves when met, then stays pending until it was
/// seen unmet and is met again. A clone starts with no history.
pub(crate) struct Condition<S: ConditionSource> {
    source: S,
    min: usize,
    inverted: bool,
    tags: Vec<Tag>,
    predicates: Vec<Predicate<S::Entry>>,
    slot: WakerSlot,
    fired: bool,
}

impl<S: ConditionSource> Condition<S> {
    /// At least one member of the set, whatever it is.
    pub(crate) fn new(source: S) -> Self {
        Self {
            slot: source.signal().slot(),
            source,
            min: 1,
            inverted: false,
            tags: Vec::new(),
            predicates: Vec::new(),
            fired: false,
        }
    }

    /// Replaces the minimum.
    pub(crate) const fn set_minimum(&mut self, min: usize) {
        self.min = min;
    }

    pub(crate) fn with_tags<V>(mut self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        self.tags.extend(tags.iterator());
        self
    }

    pub(crate) fn with_predicate(
        mut self,
        predicate: impl Fn(&S::Entry) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.predicates.push(Arc::new(predicate));
        self
    }

    /// Inverts the condition; twice is the same as once.
    pub(crate) const fn set_unmet(&mut self) {
        self.inverted = true;
    }

    pub(crate) fn is_met(&self) -> bool {
        let count = self.source.count(&|entry| {
            self.tags.iter().all(|tag| entry.tags().contains(tag))
                && self.predicates.iter().all(|predicate| predicate(entry))
        });
        (count >= self.min) != self.inverted
    }

    pub(crate) fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.register(cx.waker());
        let met = self.is_met();
        let edge = met && !self.fired;
        self.fired = met;
        if edge { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<S: ConditionSource> Future for Condition<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_edge(cx)
    }
}

impl<S: ConditionSource> Clone for Condition<S> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            min: self.min,
            inverted: self.inverted,
            tags: self.tags.clone(),
            predicates: self.predicates.clone(),
            slot: self.slot.clone(),
            fired: false,
        }
    }
}

impl<S: ConditionSource> fmt::Debug for Condition<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("min", &self.min)
            .field("inverted", &self.inverted)
            .field("tags", &self.tags)
            .field("predicates", &self.predicates.len())
            .field("met", &self.is_met())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Peers(Arc<Mutex<Vec<Entry>>>, Signal);

    struct Entry(BTreeSet<Tag>);

    impl Tagged for Entry {
        fn tags(&self) -> &BTreeSet<Tag> {
            &self.0
        }
    }

    impl Peers {
        fn set(&self, entries: &[&[&str]]) {
            let entries = entries
                .iter()
                .map(|e| Entry(e.iter().map(|t| (*t).into()).collect()));
            *self.0.lock() = entries.collect();
            self.1.notify();
        }
    }

    impl ConditionSource for Peers {
        type Entry = Entry;

        fn signal(&self) -> &Signal {
            &self.1
        }

        fn count(&self, accept: &dyn Fn(&Entry) -> bool) -> usize {
            self.0.lock().iter().filter(|e| accept(e)).count()
        }
    }

    #[tokio::test]
    async fn triggers_on_the_edge_and_rearms() {
        let peers = Peers::default();
        let mut two = Condition::new(peers.clone());
        two.set_minimum(2);
        assert!((&mut two).now_or_never().is_none());
        peers.set(&[&[], &[]]);
        (&mut two).await;
        assert!((&mut two).now_or_never().is_none(), "fires once");
        assert!(
            two.clone().now_or_never().is_some(),
            "a clone has no history"
        );
        peers.set(&[&[]]);
        assert!((&mut two).now_or_never().is_none());
        peers.set(&[&[], &[], &[]]);
        assert!((&mut two).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_change_after_the_poll_wakes() {
        let peers = Peers::default();
        let waiting = tokio::task::spawn({
            let condition = Condition::new(peers.clone()).with_tags(["a", "b"]);
            condition.map(|()| "woken")
        });
        tokio::task::yield_now().await;
        peers.set(&[&["a"], &["b"]]);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "both tags must be on one peer");
        peers.set(&[&["a", "b", "c"]]);
        assert_eq!(waiting.await.unwrap(), "woken");
    }

    #[test]
    fn inversion_is_set_not_toggled() {
        let peers = Peers::default();
        let mut none = Condition::new(peers.clone());
        none.set_unmet();
        none.set_unmet();
        assert!(none.is_met());
        peers.set(&[&[]]);
        assert!(!none.is_met());
    }
}
