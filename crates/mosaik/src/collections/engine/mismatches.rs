//! The watch for collections of other nodes with the same store id and other ingredients.

use std::collections::HashSet;

use tokio::sync::broadcast::error::RecvError;

use crate::{
    collections_layer::{Ingredient, Mismatch, StoreId, adverts::Advert},
    discovery::Discovery,
    primitives::{PeerId, ShortFmtExt},
};

/// Peers that are warned of for one collection; anybody can advertise anything under many names.
const MAX_WARNED: usize = 256;

/// This node's advert of a collection, in its entry until this is dropped.
pub(crate) struct Published {
    discovery: Discovery,
    store_id: StoreId,
    advert: Advert,
}

impl Published {
    pub(crate) fn new(discovery: Discovery, store_id: StoreId, advert: Advert) -> Self {
        let published = Self {
            discovery,
            store_id,
            advert,
        };
        published.publish();
        published
    }

    fn publish(&self) {
        let advert = self.advert;
        // Each collection of the node comes here for each change of the entry.
        if advert.is_in(&self.discovery.me()) {
            return;
        }
        if let Err(error) = self.discovery.update_own(|entry| advert.publish(entry)) {
            tracing::debug!(
                store = %self.store_id.short(), %error,
                "no room to advertise a collection's ingredients: peers can't tell what differs"
            );
        }
    }

    /// Warns once of each peer whose collections of this store id are others, until dropped.
    pub(crate) async fn watch(&self) {
        let mut changes = self.discovery.changes();
        let mut warned = HashSet::new();
        self.look_at_all(&mut warned);
        loop {
            match changes.recv().await {
                // A former joining may have taken the advert along when it ended.
                Ok(peer) if peer == *self.discovery.me().id() => self.publish(),
                Ok(peer) => {
                    let catalog = self.discovery.catalog();
                    let differing = catalog
                        .get(&peer)
                        .map(|entry| self.advert.differences(entry));
                    self.warn(&mut warned, peer, differing.unwrap_or_default());
                }
                Err(RecvError::Lagged(_)) => self.look_at_all(&mut warned),
                // After shutdown nothing changes any more.
                Err(RecvError::Closed) => return core::future::pending().await,
            }
        }
    }

    fn look_at_all(&self, warned: &mut HashSet<PeerId>) {
        for Mismatch { peer, ingredients } in mismatches(&self.discovery, &self.advert) {
            self.warn(warned, peer, ingredients);
        }
    }

    fn warn(&self, warned: &mut HashSet<PeerId>, peer: PeerId, differing: Vec<Ingredient>) {
        if differing.is_empty() || warned.len() >= MAX_WARNED || !warned.insert(peer) {
            return;
        }
        let names: Vec<_> = differing.iter().map(ToString::to_string).collect();
        tracing::warn!(
            store = %self.store_id.short(), peer = %peer.short(), differing = %names.join(", "),
            "a peer has a collection with this store id and other ingredients: the two don't share \
             what is written; make them equal, or take another store id"
        );
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let advert = self.advert;
        // Without it there is always room.
        let _ = self.discovery.update_own(|entry| advert.withdraw(entry));
    }
}

/// All peers whose collections of an advert's store id are others.
pub(crate) fn mismatches(discovery: &Discovery, advert: &Advert) -> Vec<Mismatch> {
    let local = *discovery.me().id();
    let catalog = discovery.catalog();
    let others = catalog.iter().filter(|(peer, _)| **peer != local);
    others
        .map(|(peer, entry)| Mismatch {
            peer: *peer,
            ingredients: advert.differences(entry),
        })
        .filter(|mismatch| !mismatch.ingredients.is_empty())
        .collect()
}
