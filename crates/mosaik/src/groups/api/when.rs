//! Waiting for what happens in a group.

use core::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    groups::{
        Cursor, Index, IndexRange, Membership,
        model::status::{PositionWatch, Status},
    },
    primitives::{Opaque, PeerId},
};

/// Waits for conditions of a group; from [`Group::when`](crate::Group::when).
///
/// Every method subscribes when it is called: a change between the call and the first poll of its
/// future is not lost, except for a leader that has come and gone by then: of leaders only the latest
/// is seen. Futures own what they need, and stay pending for ever when the group ends:
/// where that may happen, wait for `offline` beside them, which resolves then.
#[derive(Clone)]
pub struct When {
    status: Arc<Status>,
}

impl When {
    pub(crate) fn new(status: Arc<Status>) -> Self {
        Self { status }
    }

    /// Resolves with the leader: at once if one is known.
    pub fn leader_elected(&self) -> impl Future<Output = PeerId> + Send + Sync + 'static + use<> {
        Opaque::new(first_some(self.status.watch_leader(), Some))
    }

    /// Resolves when a leader other than the one known at the call is known. Passing through "no
    /// leader" and back to the same one doesn't count; with none known at the call, the first does.
    pub fn leader_changed(&self) -> impl Future<Output = PeerId> + Send + Sync + 'static + use<> {
        let leaders = self.status.watch_leader();
        let known = *leaders.borrow();
        Opaque::new(first_some(leaders, move |leader| {
            (Some(leader) != known).then_some(leader)
        }))
    }

    /// Resolves when this peer leads.
    pub fn leader_is(
        &self,
        peer: PeerId,
    ) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        Opaque::new(first_some(self.status.watch_leader(), move |leader| {
            (leader == peer).then_some(())
        }))
    }

    /// Resolves when the local node leads.
    pub fn is_leader(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.leader_is(self.status.local())
    }

    /// Resolves when the local node does not lead, also when nobody does.
    pub fn is_follower(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let local = self.status.local();
        let leaders = self.status.watch_leader();
        Opaque::new(async move {
            matching(leaders, move |leader| *leader != Some(local)).await;
        })
    }

    /// Resolves when this member is online: it leads with confirmed authority and has applied
    /// everything committed before its term, or it follows a live leader and has caught up: it has
    /// applied all that it knows to be committed. A commit of the leader comes to be known with its
    /// next message, after a heartbeat interval at the latest. One that then needs longer than two
    /// election timeouts to apply what is committed is offline until it has caught up again.
    pub fn online(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.enters(true)
    }

    /// Resolves when this member is not online.
    pub fn offline(&self) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        self.enters(false)
    }

    fn enters(&self, state: bool) -> impl Future<Output = ()> + Send + Sync + 'static + use<> {
        let online = self.status.watch_online();
        let start = *online.borrow();
        Opaque::new(async move {
            // Any change after the call passes through the other state.
            matching(online, move |now| {
                start.on == state || now.count != start.count
            })
            .await;
        })
    }

    /// Resolves with the membership when it has changed since the call.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(group: mosaik::Group<mosaik::groups::NoOp>) {
    /// // Waits for three voters. Asking before looking, no change is missed.
    /// let mut changed = group.when().membership_changed();
    /// while group.membership().voters.len() < 3 {
    ///     changed.await;
    ///     changed = group.when().membership_changed();
    /// }
    /// # }
    /// ```
    pub fn membership_changed(
        &self,
    ) -> impl Future<Output = Membership> + Send + Sync + 'static + use<> {
        let mut membership = self.status.watch_membership();
        Opaque::new(async move {
            if membership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            membership.borrow().clone()
        })
    }

    /// Resolves with a number of commands when this member gives up that many after the call: its
    /// history has lost against a rival one. Acknowledged commands may be among them.
    pub fn discarded(&self) -> impl Future<Output = u64> + Send + Sync + 'static + use<> {
        let discarded = self.status.watch_discarded();
        let before = *discarded.borrow();
        Opaque::new(async move { matching(discarded, move |count| *count > before).await - before })
    }

    /// Watches the position of the last command in the local log.
    pub fn log(&self) -> CursorWatcher<Cursor> {
        CursorWatcher(self.status.watch_log())
    }

    /// Watches the position of the last command applied locally.
    pub fn committed(&self) -> CursorWatcher<Index> {
        CursorWatcher(self.status.watch_committed())
    }
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When")
            .field("leader", &self.status.leader())
            .field("online", &self.status.is_online())
            .field("committed", &self.status.committed())
            .finish_non_exhaustive()
    }
}

/// Watches a position; from [`When::committed`] and [`When::log`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(group: mosaik::Group<mosaik::groups::NoOp>) {
/// let committed = group.when().committed().reaches(100).await;
/// assert!(committed >= 100);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CursorWatcher<T>(PositionWatch<T>);

impl<T: PartialOrd<Index> + Ord + Copy + Send + Sync + 'static> CursorWatcher<T> {
    /// Resolves with the position once it has changed since the watcher was made.
    pub fn changed(&self) -> impl Future<Output = T> + Send + Sync + 'static {
        let mut position = self.0.current.clone();
        async move {
            if position.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            *position.borrow()
        }
    }

    /// Resolves when the position is above the one at the call.
    pub fn advanced(&self) -> impl Future<Output = T> + Send + Sync + 'static {
        let start = *self.0.current.borrow();
        matching(self.0.current.clone(), move |position| *position > start)
    }

    /// Resolves when the position is below the one at the call: this member has given up its
    /// history for a rival one.
    pub fn reverted(&self) -> impl Future<Output = T> + Send + Sync + 'static {
        let start = *self.0.current.borrow();
        let mut reverted = self.0.reverted.clone();
        reverted.mark_unchanged();
        async move {
            loop {
                if reverted.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let position = *reverted.borrow_and_update();
                if position < start {
                    return position;
                }
            }
        }
    }

    /// Resolves when the position is at least the target: an [`Index`], an integer, or an
    /// [`IndexRange`], whose end counts. Yields the position seen, which may lie beyond.
    pub fn reaches<V, X: Target<V>>(
        &self,
        target: X,
    ) -> impl Future<Output = T> + Send + Sync + 'static + use<T, V, X> {
        let target = target.index();
        matching(self.0.current.clone(), move |position| *position >= target)
    }
}

/// Tells the implementations of [`Target`] apart; always inferred.
#[doc(hidden)]
#[derive(Debug)]
pub enum Kind<const N: u8> {}

/// A position to be reached.
#[doc(hidden)]
pub trait Target<V> {
    fn index(self) -> Index;
}

impl<T: Into<Index>> Target<Kind<0>> for T {
    fn index(self) -> Index {
        self.into()
    }
}

impl Target<Kind<1>> for IndexRange {
    fn index(self) -> Index {
        *self.end()
    }
}

/// The first value that satisfies the condition; pending for ever when the group ends before.
async fn matching<T: Copy + Send + Sync + 'static>(
    mut values: watch::Receiver<T>,
    condition: impl Fn(&T) -> bool + Send + Sync + 'static,
) -> T {
    loop {
        let value = *values.borrow_and_update();
        if condition(&value) {
            return value;
        }
        if values.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn first_some<R: Send + Sync + 'static>(
    mut leaders: watch::Receiver<Option<PeerId>>,
    select: impl Fn(PeerId) -> Option<R> + Send + Sync + 'static,
) -> R {
    loop {
        let leader = *leaders.borrow_and_update();
        if let Some(found) = leader.and_then(&select) {
            return found;
        }
        if leaders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Term;
    use futures::FutureExt;

    fn peer() -> PeerId {
        iroh::SecretKey::from_bytes(&rand::random()).public()
    }

    #[tokio::test]
    async fn leaders() {
        let (local, other) = (peer(), peer());
        let status = Arc::new(Status::new(local));
        let when = When::new(status.clone());
        let (elected, changed) = (when.leader_elected(), when.leader_changed());
        when.is_follower().await;
        status.set_leader(Some(other));
        status.set_leader(None);
        status.set_leader(Some(local));
        assert_eq!(elected.await, local);
        assert_eq!(changed.await, local);
        when.is_leader().await;
        let next = when.leader_changed();
        status.set_leader(None);
        status.set_leader(Some(local));
        let mut next = std::pin::pin!(next);
        assert!(next.as_mut().now_or_never().is_none());
        status.set_leader(Some(other));
        assert_eq!(next.await, other);
    }

    #[tokio::test]
    async fn positions() {
        let status = Arc::new(Status::new(peer()));
        let when = When::new(status.clone());
        let committed = when.committed();
        let (advanced, reaches) = (committed.advanced(), committed.reaches(5));
        let range = committed.reaches(Index(3)..=Index(6));
        status.set_committed(Index(7));
        assert_eq!(committed.changed().await, 7);
        assert_eq!(advanced.await, 7);
        assert_eq!(reaches.await, 7);
        assert_eq!(range.await, 7);
        let reverted = committed.reverted();
        status.set_committed(Index(2));
        assert_eq!(reverted.await, 2);

        let log = when.log();
        let reaches = log.reaches(Index(1));
        status.set_log_position(Cursor::new(Term(1), Index(1)));
        assert_eq!(reaches.await, Index(1));
    }
}
