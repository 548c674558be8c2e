//! The groups that a node has joined, and those that it is leaving.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{Host, Instance};
use crate::{
    groups::model::event::Event,
    primitives::{Digest, GroupId, PeerId, Scope},
};

/// Timeout for the groups of a node to leave in order, beside the round trips: a little more than the
/// timeouts of all steps of a member that is needed for a majority.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_millis(8500);

/// The groups that a node has joined.
pub(crate) struct Registry {
    pub(crate) host: Host,
    pub(crate) joined: Mutex<HashMap<GroupId, Joined>>,
    /// Those that are being left: they take part until they are out of the membership.
    departing: Arc<Mutex<Vec<Arc<Instance>>>>,
    pub(crate) scope: Scope,
}

/// A group that a node has joined.
pub(crate) struct Joined {
    pub(crate) instance: Arc<Instance>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) shared: Weak<Handles>,
}

/// Keeps a node in a group: all its handles share this.
pub(crate) struct Handles {
    pub(crate) instance: Arc<Instance>,
    pub(crate) registry: Weak<Registry>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.leave(&self.instance);
        }
    }
}

impl Registry {
    pub(crate) fn new(host: Host, scope: Scope) -> Self {
        Self {
            host,
            joined: Mutex::default(),
            departing: Arc::default(),
            scope,
        }
    }

    /// Number of groups that the node has joined.
    pub(crate) fn len(&self) -> usize {
        self.joined.lock().len()
    }

    /// The groups that the node has joined, in the order of their ids.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        let joined = self.joined.lock();
        let mut all: Vec<_> = joined.values().map(|j| j.instance.clone()).collect();
        all.sort_by_key(|instance| instance.id());
        all
    }

    /// The last handle to this instance is gone.
    pub(crate) fn leave(&self, instance: &Arc<Instance>) {
        let mut joined = self.joined.lock();
        let is_current = joined
            .get(&instance.id())
            .is_some_and(|joined| joined.instance.session == instance.session);
        if is_current && let Some(joined) = joined.remove(&instance.id()) {
            self.begin_leaving(&joined, Event::Leave);
        }
    }

    /// Deletes the history that an ended member of a group could not go on from; the answer says
    /// whether there was one.
    pub(crate) fn abandon_kept(&self, instance: Arc<Instance>) -> oneshot::Receiver<bool> {
        let (reply, abandoned) = oneshot::channel();
        self.scope.spawn(async move {
            // Nobody waits any more: fine.
            let _ = reply.send(instance.abandon_kept().await);
        });
        abandoned
    }

    pub(crate) fn begin_leaving(&self, joined: &Joined, how: Event) {
        self.departing.lock().push(joined.instance.clone());
        let departing = self.departing.clone();
        let end = joined.instance.scope().clone();
        self.scope.spawn(async move {
            end.cancelled().await;
            // Not dropped under the lock: the user's machine is dropped with them.
            let gone: Vec<_> = {
                let mut departing = departing.lock();
                departing
                    .extract_if(.., |instance| instance.scope().is_cancelled())
                    .collect()
            };
            drop(gone);
        });
        joined.begin_leaving(how);
    }

    /// The instance that has this bond with a peer.
    pub(crate) fn bonded(
        &self,
        group: &GroupId,
        peer: &PeerId,
        bond: &Digest,
    ) -> Option<Arc<Instance>> {
        let has_bond = |instance: &Arc<Instance>| {
            let found = instance.bonds().get(peer);
            instance.id() == *group && found.is_some_and(|found| found.id == *bond)
        };
        let joined = self
            .joined
            .lock()
            .get(group)
            .map(|joined| joined.instance.clone());
        joined.filter(has_bond).or_else(|| {
            let departing = self.departing.lock();
            departing
                .iter()
                .find(|instance| has_bond(instance))
                .cloned()
        })
    }

    /// A group that is joined, not being left, and not waiting for an earlier joining to end.
    pub(crate) fn find(&self, group: &GroupId) -> Option<Arc<Instance>> {
        let instance = self.joined.lock().get(group)?.instance.clone();
        let ready = !instance.is_leaving() && self.former(group).is_empty();
        ready.then_some(instance)
    }

    /// Earlier joinings of a group that are still being left.
    pub(crate) fn former(&self, group: &GroupId) -> Vec<Scope> {
        let departing = self.departing.lock();
        let scopes = departing
            .iter()
            .filter(|instance| instance.id() == *group)
            .map(|instance| instance.scope().clone());
        scopes.filter(|scope| !scope.is_cancelled()).collect()
    }

    /// Leaves all groups in order; durable members only stop, and stay members. They have ended for
    /// their handles when this returns; the future waits, for a bounded time, until the other
    /// members know.
    pub(crate) fn shutdown(self: &Arc<Self>) -> BoxFuture<'static, ()> {
        let joined: Vec<_> = {
            let mut joined = self.joined.lock();
            joined.drain().map(|(_, joined)| joined).collect()
        };
        for joined in &joined {
            let stays = joined.instance.is_durable();
            let how = if stays { Event::Stop } else { Event::Leave };
            self.begin_leaving(joined, how);
        }
        let departing = self.departing.lock().clone();
        // Kept until the end: without it no stream is answered, and those who stay could not
        // replicate the removal of this member to it, where its vote is needed for that.
        let registry = self.clone();
        let trips = departing.iter().map(|instance| instance.parting_trips());
        // A member is removed first, and feeds its observers then.
        let limit = LEAVE_TIMEOUT + trips.max().unwrap_or_default() * 2;
        Box::pin(async move {
            let left = futures::future::join_all(
                departing
                    .iter()
                    .map(|instance| instance.scope().cancelled()),
            );
            if tokio::time::timeout(limit, left).await.is_err() {
                tracing::debug!("not every group was left in order");
            }
            registry.scope.cancel();
        })
    }
}

impl Joined {
    fn begin_leaving(&self, how: Event) {
        let instance = &self.instance;
        if !instance.begin_leaving() {
            return;
        }
        if matches!(how, Event::Leave) {
            instance.retire();
        }
        instance.unlist();
        instance.terminate();
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(how) {
            let events = self.events.clone();
            instance.scope().spawn(async move {
                // The worker has ended already.
                let _ = events.send(event).await;
            });
        }
    }
}
