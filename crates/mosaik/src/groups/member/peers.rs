//! Peers that this member knows of, and its bonds with them.

use std::sync::Arc;

use tokio::time::Instant;

use super::worker::Worker;
use crate::{
    groups::bond::{
        close::{NotAllowed, Timeout},
        core::BondCore,
        wire::{Control, MAX_ROSTER},
    },
    net::close::GracefulShutdown,
    primitives::{PeerId, ShortFmtExt},
    tickets::CLOCK_LOOK,
};

impl Worker {
    /// Looks at everybody in the catalog.
    pub(super) fn scan_catalog(&mut self) {
        let catalog = self.instance.discovery().catalog();
        let group = self.instance.id();
        let listed: Vec<_> = catalog
            .iter()
            .filter(|(_, entry)| entry.groups().contains(&group))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in listed {
            self.on_entry(peer);
        }
        for bond in self.instance.bonds().all() {
            self.on_entry(bond.peer);
        }
    }

    /// A peer's entry changed, or this node's own.
    pub(super) fn on_entry(&mut self, peer: PeerId) {
        let instance = &self.instance;
        if peer == instance.local() {
            let entry = instance.discovery().me();
            instance.broadcast(|| Control::Entry(Box::new(entry.clone())));
            return;
        }
        let catalog = instance.discovery().catalog();
        self.note_candidate(peer);
        let instance = &self.instance;
        if let Some(bond) = instance.bonds().get(&peer) {
            if let Some(entry) = catalog.get_signed(&peer) {
                bond.set_entry(entry.clone());
            }
            self.check_tickets(&bond);
            return;
        }
        let listed = catalog
            .get(&peer)
            .filter(|entry| entry.groups().contains(&instance.id()));
        match listed {
            Some(entry) if instance.authorize(entry).is_ok() => {
                self.refused.remove(&peer);
                if !self.wants(&peer) {
                    self.dials.forget(&peer);
                } else if self.dials.want(peer) {
                    self.last_news = Instant::now();
                }
            }
            listed => {
                if listed.is_some() {
                    self.refused.insert(peer);
                } else {
                    self.refused.remove(&peer);
                }
                self.dials.forget(&peer);
            }
        }
    }

    /// Ends a bond whose peer no longer satisfies the validators.
    fn check_tickets(&mut self, bond: &Arc<BondCore>) {
        match self.instance.authorize(&bond.entry()) {
            Ok(validity) => bond.set_validity(validity),
            Err(_) => {
                self.refused.insert(bond.peer);
                self.instance.end_bond(bond, &NotAllowed.into());
            }
        }
    }

    /// Ends bonds that fell silent, and those whose peers no longer satisfy the validators. Peers
    /// that were refused are looked at again: their tickets may be valid by now.
    pub(super) fn check_bonds(&mut self, now: Instant) {
        let silence = self.instance.timing().silence;
        for bond in self.instance.bonds().all() {
            let quiet = self.instance.beats().silence(&bond.peer);
            if self.instance.write_key().is_some() && !bond.has_proven {
                // A handle has brought the key since then: it is proven on a new bond.
                self.instance.end_bond(&bond, &GracefulShutdown.into());
                // What the peer has told is unknown here until then.
                self.last_news = now;
                if self.wants(&bond.peer) {
                    self.dials.renew(bond.peer);
                }
            } else if quiet > silence && bond.established.elapsed() > silence {
                self.instance.end_bond(&bond, &Timeout.into());
                self.last_news = now;
            } else if bond.is_due() {
                self.check_tickets(&bond);
            }
        }
        if now >= self.refused_at {
            self.refused_at = now + CLOCK_LOOK;
            for peer in std::mem::take(&mut self.refused) {
                self.on_entry(peer);
            }
        }
    }

    /// Finds out whether this member lacks the right to write, and says so once, where it would.
    pub(super) fn check_write_key(&mut self, now: Instant) {
        let instance = &self.instance;
        if instance.lacks_right() {
            let since = *self.lacks_right_since.get_or_insert(now);
            // By then it has met whoever there is.
            let settled = now.saturating_duration_since(since) >= instance.timing().election;
            instance.settle_right(settled);
        } else {
            self.lacks_right_since = None;
            instance.settle_right(false);
        }
        let is_refused = instance.is_write_refused();
        let news = is_refused && !self.told_of_write_key;
        self.told_of_write_key = is_refused;
        if !news {
            return;
        }
        let group = instance.id();
        let group = group.short();
        match instance.write_key() {
            Some(_) => {
                let others = instance.bonds().all();
                let others = others.iter().filter(|bond| instance.is_guest(bond));
                let others: Vec<_> = others.map(|bond| bond.peer.short().to_string()).collect();
                tracing::error!(
                    %group, peers = %others.join(", "),
                    "other members write with another write key, or without one: this member follows \
                     nobody and writes nothing, so that what they hold is not lost; give all writers \
                     the same key"
                );
            }
            None if instance.preference().is_observer() => {}
            None => tracing::warn!(
                %group,
                "the writers have a write key and this one has none: it reads, and its writes are                  refused; give it the key"
            ),
        }
    }

    pub(super) fn roster(&self) -> Control {
        let bonds = self.instance.bonds().all();
        Control::Roster(
            bonds
                .iter()
                .map(|bond| bond.peer)
                .take(MAX_ROSTER)
                .collect(),
        )
    }

    /// Handles a member's list of its bonds: a peer that is unknown here is asked about, once per
    /// bond.
    pub(super) fn on_roster(&mut self, from: PeerId, peers: &[PeerId]) {
        let instance = &self.instance;
        let discovery = instance.discovery();
        let unknown = peers
            .iter()
            .take(MAX_ROSTER)
            .any(|peer| *peer != instance.local() && !discovery.knows(peer));
        if unknown && self.rosters.insert(from) {
            // Runs by itself; its result shows up as changes of the catalog.
            drop(discovery.sync_with(from));
        }
    }
}
