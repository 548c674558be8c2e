//! The established bonds of one group.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::core::BondCore;
use crate::{groups::model::lineage::MemberId, primitives::PeerId};

/// Bonds of a member, at most one per peer.
#[derive(Debug)]
pub(crate) struct BondSet {
    bonds: Mutex<BTreeMap<PeerId, Arc<BondCore>>>,
    /// Counts changes of the set.
    version: watch::Sender<u64>,
}

/// Outcome of adding a bond.
#[derive(Debug)]
pub(crate) enum Admission {
    Taken,
    /// Taken in place of one with an earlier session of the peer, or a dead one.
    Replaced(Arc<BondCore>),
    /// One with this session exists.
    Refused,
    /// This one with another session exists.
    Contested(Arc<BondCore>),
}

impl Default for BondSet {
    fn default() -> Self {
        Self {
            bonds: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }
}

impl BondSet {
    /// Takes a bond in; in place of one with another session only if that is known to be dead.
    pub(crate) fn insert(&self, bond: Arc<BondCore>, dead: Option<&BondCore>) -> Admission {
        let mut bonds = self.bonds.lock();
        if let Some(existing) = bonds.get(&bond.peer)
            && !existing.is_ended()
        {
            if existing.session == bond.session {
                return Admission::Refused;
            }
            if dead.is_none_or(|dead| dead.id != existing.id) {
                return Admission::Contested(existing.clone());
            }
        }
        let replaced = bonds.insert(bond.peer, bond);
        drop(bonds);
        self.changed();
        replaced.map_or(Admission::Taken, Admission::Replaced)
    }

    /// Takes this very bond out; returns whether it was there.
    pub(crate) fn remove(&self, bond: &BondCore) -> bool {
        let mut bonds = self.bonds.lock();
        let there = bonds
            .get(&bond.peer)
            .is_some_and(|found| found.id == bond.id);
        if there {
            bonds.remove(&bond.peer);
        }
        drop(bonds);
        if there {
            self.changed();
        }
        there
    }

    pub(crate) fn get(&self, peer: &PeerId) -> Option<Arc<BondCore>> {
        self.bonds.lock().get(peer).cloned()
    }

    pub(crate) fn of_member(&self, member: &MemberId) -> Option<Arc<BondCore>> {
        let bonds = self.bonds.lock();
        let bond = bonds.values().find(|bond| member.is_of(&bond.peer))?;
        (bond.member() == *member).then(|| bond.clone())
    }

    pub(crate) fn all(&self) -> Vec<Arc<BondCore>> {
        self.bonds.lock().values().cloned().collect()
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.bonds.lock().contains_key(peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.bonds.lock().len()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}
