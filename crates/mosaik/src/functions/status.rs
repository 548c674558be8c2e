//! Online status of a function, and waiters for it.

use core::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use rpds::RedBlackTreeMapSync;

pub use super::candidates::CandidateInfo;
use super::candidates::Candidates;
use crate::{
    primitives::{Condition, IntoIterOrSingle, PeerId, Tag, WakerSlot},
    tickets::PeerEntry,
};

/// A persistent map of candidates by their ids.
pub type CandidatesMap = RedBlackTreeMapSync<PeerId, CandidateInfo>;

/// Tells when a caller is online, and how many handlers it may call. Cheap to clone; outlives its
/// caller, as offline.
#[derive(Clone)]
pub struct When {
    candidates: Candidates,
    online: HandlerConditions,
}

impl When {
    pub(super) fn new(
        candidates: Candidates,
        online_when: impl FnOnce(HandlerConditions) -> HandlerConditions,
    ) -> Self {
        let online = online_when(HandlerConditions::new(candidates.clone()));
        Self { candidates, online }
    }

    /// Resolves when the caller is online: at once if it is. Never resolves after the caller or
    /// the network has ended.
    pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        self.until(true)
    }

    /// Resolves when the caller is offline: at once if it is, and when the caller or the network
    /// has ended.
    pub fn offline(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        self.until(false)
    }

    /// Returns whether the condition given with `online_when` is met: by default, whether there is
    /// an eligible handler. Says nothing about connections.
    pub fn is_online(&self) -> bool {
        !self.candidates.look(|snapshot| snapshot.is_closed) && self.online.is_condition_met()
    }

    /// At least one eligible handler.
    pub fn available(&self) -> HandlerConditions {
        HandlerConditions::new(self.candidates.clone())
    }

    /// No eligible handler.
    pub fn unavailable(&self) -> HandlerConditions {
        self.available().unmet()
    }

    fn until(&self, online: bool) -> UntilOnline {
        UntilOnline {
            slot: self.candidates.signal().slot(),
            when: self.clone(),
            online,
        }
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When")
            .field("is_online", &self.is_online())
            .finish_non_exhaustive()
    }
}

struct UntilOnline {
    slot: WakerSlot,
    when: When,
    online: bool,
}

impl Future for UntilOnline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.slot.register(cx.waker());
        if self.when.is_online() == self.online {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A condition on the eligible handlers of a function: how many, with which tags, and more.
///
/// It can be looked at, compared with a `bool`, and awaited any number of times. As a future it is
/// triggered by the edge: it resolves when met, then stays pending until it was seen unmet and is
/// met again. A clone starts with no history. It speaks about eligibility, not about connections.
///
/// # Examples
///
/// ```no_run
/// use mosaik::functions::Caller;
///
/// async fn two_validators(caller: &Caller<u64, u64>) {
///     caller.when().available().minimum_of(2).with_tags("validator").await;
/// }
/// ```
#[derive(Clone)]
#[must_use = "a condition does nothing until it is awaited or looked at"]
pub struct HandlerConditions(Condition<Candidates>);

impl HandlerConditions {
    pub(super) fn new(candidates: Candidates) -> Self {
        Self(Condition::new(candidates))
    }

    /// Sets how many handlers there must be. Default 1.
    pub const fn minimum_of(mut self, min: usize) -> Self {
        self.0.set_minimum(min);
        self
    }

    /// Counts only handlers with all these tags.
    pub fn with_tags<V>(self, tags: impl IntoIterOrSingle<Tag, V>) -> Self {
        Self(self.0.with_tags(tags))
    }

    /// Counts only handlers that the predicate accepts; with several, all must.
    pub fn with_predicate<F>(self, predicate: F) -> Self
    where
        F: Fn(&PeerEntry) -> bool + Send + Sync + 'static,
    {
        Self(self.0.with_predicate(predicate))
    }

    /// Turns the condition into its opposite; twice is the same as once.
    pub const fn unmet(mut self) -> Self {
        self.0.set_unmet();
        self
    }

    /// Returns whether the condition is met now.
    pub fn is_condition_met(&self) -> bool {
        self.0.is_met()
    }
}

impl Future for HandlerConditions {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_edge(cx)
    }
}

impl PartialEq<bool> for HandlerConditions {
    fn eq(&self, met: &bool) -> bool {
        self.is_condition_met() == *met
    }
}

impl PartialEq<HandlerConditions> for bool {
    fn eq(&self, condition: &HandlerConditions) -> bool {
        condition == self
    }
}

impl fmt::Debug for HandlerConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
