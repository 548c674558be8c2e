//! Bonds as users see them.

use core::{fmt, marker::PhantomData, time::Duration};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use iroh::endpoint::ApplicationClose;

use crate::{
    groups::{StateMachine, bond::core::BondCore, instance::Instance},
    net::CloseReason,
    primitives::{Digest, Opaque, PeerId, ShortFmtExt},
    tickets::SignedPeerEntry,
};

/// Interval at which a wait for a change of the set checks again, so that a change that another
/// waiter has reported is never slept through.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The direct, authenticated connections that this node has with other members of the group; an
/// observer has them with a few, and so do others with it.
///
/// A live view: all clones show the same set. Only established bonds of this node are listed,
/// observers included, itself never.
pub struct Bonds<M> {
    instance: Arc<Instance>,
    /// The last change that was reported.
    reported: Arc<AtomicU64>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Bonds<M> {
    pub(crate) fn new(instance: Arc<Instance>, reported: Arc<AtomicU64>) -> Self {
        Self {
            instance,
            reported,
            machine: PhantomData,
        }
    }

    /// Number of bonds.
    pub fn len(&self) -> usize {
        self.instance.bonds().len()
    }

    /// Returns whether there are no bonds.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether there is a bond with this peer.
    pub fn contains_peer(&self, peer_id: &PeerId) -> bool {
        self.instance.bonds().contains(peer_id)
    }

    /// The bond with this peer.
    pub fn get(&self, peer_id: &PeerId) -> Option<Bond<M>> {
        let core = self.instance.bonds().get(peer_id)?;
        Some(self.bond(core))
    }

    /// All bonds at the time of the call, ordered by peer id.
    pub fn iter(&self) -> impl Iterator<Item = Bond<M>> {
        let bonds = self.instance.bonds().all();
        let handle = self.clone();
        bonds.into_iter().map(move |core| handle.bond(core))
    }

    /// Resolves when the set has changed since the last time that this reported a change. May
    /// resolve without need; callers look at the set and wait again.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&self) {
        changed(&self.instance, &self.reported).await;
    }

    fn bond(&self, core: Arc<BondCore>) -> Bond<M> {
        Bond {
            id: core.id,
            core,
            instance: self.instance.clone(),
            machine: PhantomData,
        }
    }
}

impl<M> Clone for Bonds<M> {
    fn clone(&self) -> Self {
        Self {
            instance: self.instance.clone(),
            reported: Arc::new(AtomicU64::new(self.reported.load(Ordering::Acquire))),
            machine: PhantomData,
        }
    }
}

impl<M: StateMachine> fmt::Debug for Bonds<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A direct, authenticated connection with another member.
///
/// Dropping it changes nothing: bonds last for as long as both are members and reachable.
pub struct Bond<M> {
    id: Digest,
    core: Arc<BondCore>,
    instance: Arc<Instance>,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine> Bond<M> {
    /// Identifies this bond; equal on both ends.
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// The peer's latest known entry.
    pub fn peer(&self) -> SignedPeerEntry {
        self.core.entry()
    }

    /// The peer's id.
    pub fn peer_id(&self) -> PeerId {
        self.core.peer
    }

    /// Returns whether this bond has ended.
    pub fn is_terminated(&self) -> bool {
        self.core.is_ended()
    }

    /// Resolves with the reason once this bond has ended; at once when it has already.
    pub fn terminated(&self) -> impl Future<Output = ApplicationClose> + Send + Sync + 'static {
        terminated(&self.core)
    }

    /// Closes this bond and waits until it is down. The peer sees the reason's code.
    ///
    /// While the peer is a member of the group, a new bond is made after a while.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens before the first poll; once begun the bond ends, also when the future is
    /// dropped.
    pub async fn close(self, reason: impl CloseReason) {
        closed(&self.instance, &self.core, reason.into()).await;
    }
}

impl<M> Clone for Bond<M> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            core: self.core.clone(),
            instance: self.instance.clone(),
            machine: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Bond<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bond")
            .field("id", &self.core.id)
            .field("peer", &self.core.peer)
            .field("terminated", &self.core.is_ended())
            .finish_non_exhaustive()
    }
}

impl<M> fmt::Display for Bond<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, peer) = (self.core.id.short(), self.core.peer.short());
        write!(f, "Bond(id={id}, peer={peer})")
    }
}

/// As [`Bonds::changed`].
fn changed<'a>(instance: &'a Instance, reported: &'a AtomicU64) -> Opaque<'a, ()> {
    Opaque::new(async move {
        let mut versions = instance.bonds().watch();
        let before = reported.load(Ordering::Acquire);
        let changed = versions.wait_for(|version| *version != before);
        if let Ok(Ok(version)) = tokio::time::timeout(LOOK_AGAIN, changed).await {
            reported.store(*version, Ordering::Release);
        }
    })
}

/// As [`Bond::terminated`].
fn terminated(core: &BondCore) -> Opaque<'static, ApplicationClose> {
    let mut end = core.end();
    Opaque::new(async move {
        loop {
            if let Some(reason) = end.borrow_and_update().clone() {
                return reason;
            }
            if end.changed().await.is_err() {
                return crate::net::close::UnexpectedClose.into();
            }
        }
    })
}

/// As [`Bond::close`].
fn closed<'a>(
    instance: &'a Instance,
    core: &'a Arc<BondCore>,
    reason: ApplicationClose,
) -> Opaque<'a, ()> {
    Opaque::new(async move {
        instance.end_bond(core, &reason);
        core.shut(&reason).await;
    })
}
