//! Conditions over the subscriptions of a stream.

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use super::Channels;
use crate::{
    primitives::{Condition, IntoIterOrSingle, Tag},
    tickets::PeerEntry,
};

/// A condition such as "at least two subscriptions to peers with this tag".
///
/// It is met when the number of subscriptions that are connected and whose peer satisfies all tags
/// and predicates is at least the minimum, or, after [`unmet`](Self::unmet), when it is not. The
/// entry looked at is the one in [`ChannelInfo::peer`](super::ChannelInfo::peer). A predicate that
/// panics counts as `false`.
///
/// It can be compared with a `bool`, and awaited any number of times, also through `&mut`. As a
/// future it is triggered by the edge: it resolves when met, then stays pending until it was seen
/// unmet and is met again. A clone has the same condition and no history.
///
/// # Examples
///
/// ```no_run
/// # async fn example(producer: mosaik::streams::Producer<String>) {
/// let mut replicated = producer.when().subscribed().minimum_of(2).with_tags("replica");
/// (&mut replicated).await;
/// assert!(replicated == true);
/// # }
/// ```
#[derive(Clone)]
#[must_use = "conditions do nothing unless awaited or compared"]
pub struct ChannelConditions(Condition<Channels>);

impl ChannelConditions {
    pub(in crate::streams_layer) fn new(channels: Channels) -> Self {
        Self(Condition::new(channels))
    }

    /// Sets how many subscriptions are needed. Default 1.
    pub const fn minimum_of(mut self, min: usize) -> Self {
        self.0.set_minimum(min);
        self
    }

    /// Counts only subscriptions whose peer has all these tags; adds to those given before.
    pub fn with_tags<V>(self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        Self(self.0.with_tags(tags))
    }

    /// Counts only subscriptions whose peer satisfies this; adds to what was given before.
    pub fn with_predicate<F>(self, predicate: F) -> Self
    where
        F: Fn(&PeerEntry) -> bool + Send + Sync + 'static,
    {
        Self(self.0.with_predicate(predicate))
    }

    /// Makes this the opposite condition; twice is the same as once.
    pub const fn unmet(mut self) -> Self {
        self.0.set_unmet();
        self
    }

    /// Returns whether the condition is met now.
    pub fn is_condition_met(&self) -> bool {
        self.0.is_met()
    }
}

impl Future for ChannelConditions {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.poll_edge(cx)
    }
}

impl PartialEq<bool> for ChannelConditions {
    fn eq(&self, other: &bool) -> bool {
        self.is_condition_met() == *other
    }
}

impl PartialEq<ChannelConditions> for bool {
    fn eq(&self, other: &ChannelConditions) -> bool {
        other == self
    }
}

impl fmt::Debug for ChannelConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
