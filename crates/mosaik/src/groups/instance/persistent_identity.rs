//! Persistent identity: what a durable member keeps beside its log, namely its id and the history
//! it belongs to.

use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    groups::{
        model::lineage::{Ancestry, Lineage, MemberId},
        store::{GroupStore, MetaKey, NodeStore, Rewrite, StoreError},
    },
    primitives::{Bytes, GroupId, PeerId, ShortFmtExt, encoding},
};

/// A durable member's part of the node's store.
#[derive(Debug)]
pub(crate) struct PersistentIdentity {
    node: NodeStore,
    group: GroupId,
    state: Mutex<State>,
}

/// Identity of a member in its history.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) member: MemberId,
    pub(crate) lineage: Lineage,
    pub(crate) ancestry: Ancestry,
}

#[derive(Debug, Default)]
struct State {
    store: Option<GroupStore>,
    lineage: Option<Lineage>,
    ancestry: Ancestry,
    /// The history that was found when the member started.
    restored: Option<Lineage>,
    /// Nothing may be taken part in before what was kept is known to be in order.
    settled: bool,
    failure: Option<StoreError>,
}

impl PersistentIdentity {
    /// Looks for a member in the store; a fresh one if there is none, or if that fails: then the
    /// member can't take part, see [`PersistentIdentity::failure`].
    pub(crate) fn open(node: NodeStore, group: GroupId, local: PeerId) -> (Self, MemberId) {
        let mut state = State::default();
        let member = state.find(&node, group, local).unwrap_or_else(|error| {
            tracing::error!(group = %group.short(), %error, "the store does not work");
            state.failure = Some(error);
            MemberId::fresh(local)
        });
        let keeper = Self {
            node,
            group,
            state: Mutex::new(state),
        };
        (keeper, member)
    }

    /// Failure of the store, once it no longer works.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        let node = self.node.failure().borrow().clone();
        let state = self.state.lock();
        let of_group = || state.store.as_ref().and_then(GroupStore::failure);
        node.or_else(of_group).or_else(|| state.failure.clone())
    }

    /// This program can't go on from what was kept. What is wrong with the disk itself is known
    /// from elsewhere, and comes first.
    pub(crate) fn fail(&self, detail: &str) {
        let detail = format!("group {}: {detail}", self.group.short());
        let error = StoreError::incompatible(self.node.path(), detail);
        self.state.lock().failure.get_or_insert(error);
    }

    /// The history that was found when the member started.
    pub(crate) fn restored(&self) -> Option<Lineage> {
        self.state.lock().restored
    }

    /// The history that the store holds.
    pub(crate) fn kept(&self) -> Option<Lineage> {
        self.state.lock().lineage
    }

    /// The histories that the one that was found continues.
    pub(crate) fn ancestry(&self) -> Ancestry {
        self.state.lock().ancestry.clone()
    }

    /// The member's part of the store.
    pub(crate) fn store(&self) -> Option<GroupStore> {
        self.state.lock().store.clone()
    }

    /// Keeps the member's id, before it takes part in anything.
    pub(crate) async fn settle(&self, member: MemberId) -> Result<(), StoreError> {
        let store = self.state.lock().store.clone();
        self.save(store.as_ref(), member).await?;
        self.state.lock().settled = true;
        Ok(())
    }

    /// Keeps the history that the member is about to take part in. Returns `false` if it must not:
    /// what is kept is never mixed with another history, whoever asks first.
    pub(crate) async fn begin(&self, lineage: Lineage) -> Result<bool, StoreError> {
        let store = {
            let state = self.state.lock();
            if !state.settled || state.lineage.is_some() {
                return Ok(state.settled && state.lineage == Some(lineage));
            }
            state.store.clone()
        };
        if let Some(store) = store {
            let id = Bytes::copy_from_slice(lineage.as_bytes());
            store.save_meta([(MetaKey::Lineage, id)]).await?;
        }
        self.state.lock().lineage = Some(lineage);
        Ok(true)
    }

    /// Goes over to a history that continues the old one, as another member.
    pub(crate) async fn succeed(
        &self,
        identity: Identity,
        rewrite: Option<Rewrite>,
    ) -> Result<(), StoreError> {
        let store = self.state.lock().store.clone();
        if let (Some(store), Some(mut rewrite)) = (store, rewrite) {
            let lineage = Bytes::copy_from_slice(identity.lineage.as_bytes());
            rewrite.values.extend([
                (MetaKey::Member, self.encode(&identity.member)?),
                (MetaKey::Lineage, lineage),
                (MetaKey::Ancestry, self.encode(&identity.ancestry)?),
            ]);
            store.rewrite(rewrite).await?;
        }
        self.state.lock().lineage = Some(identity.lineage);
        Ok(())
    }

    /// Forgets a history that was given up; from now on this is another member.
    pub(crate) async fn renew(&self, member: MemberId) -> Result<(), StoreError> {
        let old = self.state.lock().store.take();
        if let Some(old) = old {
            old.retire();
            old.remove().await?;
        }
        let store = self.node.group(self.group);
        self.save(Some(&store), member).await?;
        let mut state = self.state.lock();
        state.lineage = None;
        state.restored = None;
        state.failure = None;
        state.store = Some(store);
        Ok(())
    }

    /// Deletes what this member could not go on from. Returns whether there was such a thing.
    pub(crate) async fn abandon(&self) -> bool {
        let is_stuck = matches!(
            self.failure(),
            Some(StoreError::SetBack { .. } | StoreError::Incompatible { .. })
        );
        let store = self.state.lock().store.take_if(|_| is_stuck);
        let Some(store) = store else { return false };
        let removed = store.remove().await;
        if let Err(error) = &removed {
            tracing::error!(group = %self.group.short(), %error, "the member was not deleted");
        }
        removed.is_ok()
    }

    /// Retires the leaving member: a member that joins the group on this node from now on is
    /// another one.
    pub(crate) fn retire(&self) {
        if let Some(store) = &self.state.lock().store {
            store.retire();
        }
    }

    /// The member has left: forgets it.
    pub(crate) async fn forget(&self) {
        let store = self.state.lock().store.take();
        if let Some(store) = store
            && let Err(error) = store.remove().await
        {
            // What remains is found to be of a member that the others have removed.
            tracing::warn!(group = %self.group.short(), %error, "the member was not forgotten");
        }
    }

    async fn save(&self, store: Option<&GroupStore>, member: MemberId) -> Result<(), StoreError> {
        let Some(store) = store else { return Ok(()) };
        let member = self.encode(&member)?;
        store.save_meta([(MetaKey::Member, member)]).await
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Bytes, StoreError> {
        encoding::try_serialize(value)
            .map_err(|error| StoreError::incompatible(self.node.path(), error.to_string()))
    }
}

impl State {
    /// Reads what was kept.
    fn find(
        &mut self,
        node: &NodeStore,
        group: GroupId,
        local: PeerId,
    ) -> Result<MemberId, StoreError> {
        let store = node.group(group);
        // What can't be gone on from can be given up all the same.
        self.store = Some(store.clone());
        let loaded = store.load()?;
        if let Some(detail) = loaded.set_back {
            let detail = String::from_utf8_lossy(&detail);
            return Err(StoreError::set_back(node.path(), detail));
        }
        let unreadable = |what: &str| {
            let detail = format!("group {}: {what} is unreadable", group.short());
            StoreError::incompatible(node.path(), detail)
        };
        let Some(member) = loaded.member else {
            return Ok(MemberId::fresh(local));
        };
        let member: MemberId =
            encoding::deserialize(&member).map_err(|_| unreadable("the member's id"))?;
        if !member.is_of(&local) {
            return Err(unreadable("the member's peer"));
        }
        self.lineage = match loaded.lineage {
            Some(lineage) => {
                let bytes = <[u8; 32]>::try_from(&lineage[..])
                    .map_err(|_| unreadable("the history's id"))?;
                Some(Lineage::from_bytes(bytes))
            }
            None => None,
        };
        self.restored = self.lineage;
        if let Some(ancestry) = loaded.ancestry {
            self.ancestry = encoding::deserialize(&ancestry)
                .map_err(|_| unreadable("the history's ancestors"))?;
        }
        Ok(member)
    }
}

#[cfg(test)]
#[cfg(feature = "storage")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_that_can_not_be_taken_up_again_names_the_program_not_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeStore::open(dir.path()).unwrap();
        let local: PeerId = iroh::SecretKey::generate().public();
        let group = crate::Digest::from("group");
        let (keeper, _) = PersistentIdentity::open(node.clone(), group, local);
        keeper.fail("the state machine panicked");
        let failure = keeper.failure().unwrap();
        assert!(
            matches!(failure, StoreError::Incompatible { .. }),
            "{failure}"
        );
        // What is wrong with the disk comes first.
        let store = keeper.store().unwrap();
        let missing = store.missing(7);
        assert_eq!(keeper.failure().unwrap().to_string(), missing.to_string());
    }

    /// Regression: a message of a rival history that came first began that one over the log of the
    /// history that was kept.
    #[tokio::test]
    async fn a_kept_history_is_gone_on_with_and_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeStore::open(dir.path()).unwrap();
        let local: PeerId = iroh::SecretKey::generate().public();
        let group = crate::Digest::from("group");
        let (own, rival) = (Lineage::random(), Lineage::random());
        let (keeper, member) = PersistentIdentity::open(node.clone(), group, local);
        assert!(!keeper.begin(own).await.unwrap(), "its id is not kept yet");
        keeper.settle(member).await.unwrap();
        assert!(keeper.begin(own).await.unwrap());
        drop(keeper);
        let (keeper, member) = PersistentIdentity::open(node.clone(), group, local);
        for settled in [false, true] {
            assert!(!keeper.begin(rival).await.unwrap());
            assert_eq!(keeper.begin(own).await.unwrap(), settled);
            keeper.settle(member).await.unwrap();
        }
        keeper.renew(MemberId::fresh(local)).await.unwrap();
        assert!(keeper.begin(rival).await.unwrap(), "it was given up");
        drop(keeper);
        let (keeper, _) = PersistentIdentity::open(node, group, local);
        assert_eq!(keeper.restored(), Some(rival));
    }

    #[tokio::test]
    async fn what_can_not_be_read_can_be_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeStore::open(dir.path()).unwrap();
        let local: PeerId = iroh::SecretKey::generate().public();
        let group = crate::Digest::from("group");
        let garbage = Bytes::from_static(b"no member");
        let store = node.group(group);
        store.save_meta([(MetaKey::Member, garbage)]).await.unwrap();
        drop(store);
        let (keeper, _) = PersistentIdentity::open(node.clone(), group, local);
        assert!(matches!(
            keeper.failure(),
            Some(StoreError::Incompatible { .. })
        ));
        assert!(keeper.abandon().await);
        drop(keeper);
        let (keeper, _) = PersistentIdentity::open(node, group, local);
        assert!(keeper.failure().is_none());
    }

    #[tokio::test]
    async fn a_member_that_was_set_back_stays_out_until_it_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeStore::open(dir.path()).unwrap();
        let local: PeerId = iroh::SecretKey::generate().public();
        let group = crate::Digest::from("group");
        let (keeper, member) = PersistentIdentity::open(node.clone(), group, local);
        keeper.settle(member).await.unwrap();
        let store = keeper.store().unwrap();
        store.set_back("it lacks entry 9").await.unwrap();
        assert!(matches!(keeper.failure(), Some(StoreError::SetBack { .. })));
        drop((keeper, store));
        let (keeper, stranger) = PersistentIdentity::open(node.clone(), group, local);
        assert!(matches!(keeper.failure(), Some(StoreError::SetBack { .. })));
        assert_ne!(stranger, member);
        keeper.renew(stranger).await.unwrap();
        assert!(keeper.failure().is_none());
        drop(keeper);
        let (keeper, again) = PersistentIdentity::open(node, group, local);
        assert!(keeper.failure().is_none());
        assert_eq!(again, stranger);
    }
}
