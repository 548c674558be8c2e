//! An observer's bonds and its source.
//!
//! An observer is no member: members leave it alone, and it makes bonds with a few of all that list
//! the group, at random. Which of them it is fed by, see [`sources`]. As long as there are
//! no more than a few, it has bonds with all.
//!
//! | event | reaction |
//! |---|---|
//! | fewer bonds than wanted | bonds with others that were not tried lately |
//! | a peer feeds nobody more, for a while | its bond is given up for another one |
//! | the source is gone, or brings nothing new while the observer is offline, and has applied what it got | the next best one; that one again after a while, ever later, or after a second if there is no other |
//! | a better one has room | that one |
//! | all that would do are far | now and then the farthest is given up for another one |

use std::time::Duration;

use rand::{Rng, seq::IteratorRandom};
use tokio::time::Instant;

use super::{
    feeding::{Feeding, Following, LAST_PROBATION, PROBATION, Seen},
    sources::{self, Offer, Rank},
    worker::Worker,
};
use crate::{
    groups::{bond::core::BondCore, consensus::Transfer, model::event::Event},
    net::{close::Success, link::path_rtt},
    primitives::{PeerId, ShortFmtExt},
};

/// Bonds that an observer makes, if there are as many peers.
const BONDS: usize = 4;
/// Interval in which a peer that feeds nobody more is not asked again.
const AVOID_FULL: Duration = Duration::from_secs(30);
/// The same for one that can't be reached, or is not fed itself.
const AVOID_UNFED: Duration = Duration::from_secs(4);
/// The same for one that is far.
const AVOID_FAR: Duration = Duration::from_secs(600);
/// Interval in which a source that was lost is not followed again, the first time.
const AVOID_LOST: Duration = Duration::from_millis(250);
/// Interval between two looks for a better source.
const REVIEW: Duration = Duration::from_secs(5);
/// Interval between two looks for a nearer peer.
const EXPLORE: Duration = Duration::from_secs(30);
/// A bond that was made to send commands is given up after so long.
const REACH: Duration = Duration::from_secs(60);

impl Worker {
    /// Returns whether a bond with a peer that lists the group is wanted from this side.
    pub(super) fn wants(&self, peer: &PeerId) -> bool {
        if self.instance.observes() {
            return self.feeding.wants(peer);
        }
        let catalog = self.instance.discovery().catalog();
        !catalog
            .get(peer)
            .is_some_and(|entry| self.instance.is_observers(entry))
    }

    /// Handles a change of a peer's entry: it may list the group or not, and have the tickets or not.
    pub(super) fn note_candidate(&mut self, peer: PeerId) {
        if !self.instance.observes() {
            return;
        }
        let catalog = self.instance.discovery().catalog();
        let listed = catalog.get(&peer).is_some_and(|entry| {
            entry.groups().contains(&self.instance.id()) && self.instance.authorize(entry).is_ok()
        });
        if listed {
            if self.feeding.candidates.insert(peer) {
                self.fill_bonds(Instant::now());
            }
        } else {
            self.feeding.candidates.remove(&peer);
            self.feeding.picks.remove(&peer);
            self.feeding.reached.remove(&peer);
        }
    }

    /// An observer has commands for this peer.
    pub(super) fn reach(&mut self, peer: PeerId) {
        if !self.instance.observes() {
            return;
        }
        self.feeding.reached.insert(peer, Instant::now() + REACH);
        if !self.instance.bonds().contains(&peer) {
            self.dials.want(peer);
        }
    }

    pub(super) fn on_source_lost(&mut self, number: u64) {
        let lost = |following: &mut Following| following.number == number;
        if let Some(lost) = self.feeding.following.take_if(lost) {
            self.feeding
                .strikes
                .add(lost.peer, AVOID_LOST, Instant::now());
        }
    }

    /// Looks after an observer's bonds and its source.
    pub(super) async fn feed(&mut self, now: Instant) {
        if self.instance.is_leaving() || self.crashes.pause_ends.is_some() {
            return;
        }
        if !self.instance.observes() {
            if !self.feeding.is_idle() {
                // Another handle of this node has made a member of it.
                self.feeding = Feeding::new(now);
                self.scan_catalog();
            }
            return;
        }
        self.feeding.avoided.retain(|_, until| now < *until);
        self.end_reached(now);
        self.drop_bonds(now);
        self.fill_bonds(now);
        self.choose_source(now).await;
    }

    /// Gives up bonds for commands that are not needed any more.
    fn end_reached(&mut self, now: Instant) {
        let over: Vec<_> = self
            .feeding
            .reached
            .extract_if(|_, until| now >= *until)
            .collect();
        for (peer, _) in over {
            if !self.feeding.picks.contains_key(&peer) {
                self.end_unwanted(&peer);
            }
        }
    }

    /// Ends a bond that this observer has made and does not want any more, unless it is of use to
    /// either side.
    fn end_unwanted(&mut self, peer: &PeerId) {
        self.dials.forget(peer);
        let Some(bond) = self.instance.bonds().get(peer) else {
            return;
        };
        let feeds = self.node.as_ref().is_some_and(|watch| {
            let children = watch.node.core().children();
            children.contains(&bond.member())
        });
        if !feeds && !self.feeding.wants(peer) && !self.feeding.is_source(peer) {
            self.instance.end_bond(&bond, &Success.into());
        }
    }

    /// Gives up bonds with peers that don't feed this observer and never will, if there are others.
    fn drop_bonds(&mut self, now: Instant) {
        if self.feeding.candidates.len() <= BONDS {
            return;
        }
        let has_source = self.feeding.following.is_some();
        let calm = now.saturating_duration_since(self.feeding.dropped_at);
        if calm < self.feeding.probation {
            return;
        }
        if calm >= LAST_PROBATION * 2 {
            self.feeding.probation = PROBATION;
        }
        let mut dropped = None;
        for (peer, since) in &self.feeding.picks {
            if now.saturating_duration_since(*since) < self.feeding.probation
                || self.feeding.is_source(peer)
            {
                continue;
            }
            let bond = self.instance.bonds().get(peer);
            if bond.as_ref().is_some_and(|bond| self.offer(bond).is_some()) {
                continue;
            }
            let alive = bond.is_some_and(|bond| {
                let theirs = bond.standing().lineage;
                theirs.is_some_and(|theirs| theirs.alive)
            });
            let avoid = if alive { AVOID_FULL } else { AVOID_UNFED };
            dropped = Some((*peer, avoid));
            break;
        }
        if dropped.is_none() && has_source && now >= self.feeding.explore_at {
            let pause = EXPLORE.mul_f64(rand::rng().random_range(0.5..1.5));
            self.feeding.explore_at = now + pause;
            dropped = self.farthest().map(|peer| (peer, AVOID_FAR));
        } else if dropped.is_some() {
            self.feeding.probation = (self.feeding.probation * 2).min(LAST_PROBATION);
        }
        if let Some((peer, avoid)) = dropped {
            self.feeding.dropped_at = now;
            self.feeding.picks.remove(&peer);
            self.feeding.avoided.insert(peer, now + avoid);
            self.end_unwanted(&peer);
        }
    }

    /// The picked peer that is farthest, if that is far, and not the source.
    fn farthest(&self) -> Option<PeerId> {
        let bonds = self.instance.bonds();
        let picks = self.feeding.picks.keys();
        picks
            .filter(|peer| !self.feeding.is_source(peer))
            .filter_map(|peer| {
                let bond = bonds.get(peer)?;
                Some((rank_of(&bond, 0, false), *peer))
            })
            .filter(|(rank, _)| rank.is_far())
            .max_by_key(|(rank, _)| rank.distance())
            .map(|(_, peer)| peer)
    }

    /// Picks peers to have bonds with, at random, until there are enough.
    fn fill_bonds(&mut self, now: Instant) {
        let feeding = &mut self.feeding;
        let missing = BONDS.saturating_sub(feeding.picks.len());
        if missing == 0 {
            return;
        }
        let free = feeding.candidates.iter().copied().filter(|peer| {
            !feeding.picks.contains_key(peer) && !feeding.avoided.contains_key(peer)
        });
        // Members have the write key; of the many observers few do, and the others are guests.
        let catalog = self.instance.discovery().catalog();
        let has_key = self.instance.write_key().is_some();
        let is_late = |peer: &PeerId| {
            let entry = catalog.get(peer).filter(|_| has_key);
            entry.is_some_and(|entry| self.instance.is_observers(entry))
        };
        let (late, early): (Vec<_>, Vec<_>) = free.partition(is_late);
        let mut rng = rand::rng();
        let mut chosen = early.into_iter().choose_multiple(&mut rng, missing);
        let missing = missing - chosen.len();
        chosen.extend(late.into_iter().choose_multiple(&mut rng, missing));
        for peer in chosen {
            self.feeding.picks.insert(peer, now);
            if !self.instance.bonds().contains(&peer) && self.dials.want(peer) {
                self.last_news = now;
            }
        }
    }

    /// Offer of a bonded peer to feed this observer, if it makes one.
    fn offer(&self, bond: &BondCore) -> Option<Offer> {
        // A guest's history may be one that no writer vouches for.
        if self.instance.is_guest(bond) {
            return None;
        }
        let own = self.node.as_ref().map(|watch| watch.node.lineage());
        let standing = bond.standing();
        let theirs = standing.lineage?;
        let follows = own.is_none_or(|own| own == theirs.id);
        let feeds = standing.feeds.filter(|_| follows && theirs.alive)?;
        // To that peer, this observer is a guest itself.
        if !feeds.takes_guests && !bond.has_proven {
            return None;
        }
        Some(Offer {
            peer: bond.peer,
            member: standing.member,
            lineage: theirs.id,
            committed: theirs.committed,
            rank: rank_of(bond, feeds.depth, theirs.leading),
        })
    }

    async fn choose_source(&mut self, now: Instant) {
        let own = self.node.as_ref().map(|watch| watch.node.member());
        let is_online = self.instance.status().is_online();
        let core = self.node.as_ref().map(|watch| watch.node.core().clone());
        let seen = Seen {
            is_online,
            arrivals: core.as_ref().map_or(0, |core| core.arrivals()),
            transfer: core.as_ref().map_or(Transfer::None, |core| core.transfer()),
            is_busy: core.as_ref().is_some_and(|core| core.is_busy()),
        };
        self.feeding
            .following
            .take_if(|following| Some(following.own) != own);
        let failing = self.feeding.note(seen, now);
        let current = self.feeding.following.as_ref();
        let current = current.map(|following| following.peer);
        // A snapshot that is under way would begin anew.
        let is_fetching = seen.transfer != Transfer::None;
        let rests = now < self.feeding.review_at || is_fetching;
        if current.is_some() && failing.is_none() && rests {
            return;
        }
        let pause = REVIEW.mul_f64(rand::rng().random_range(0.5..1.5));
        let mut offers: Vec<_> = {
            let bonds = self.instance.bonds().all();
            bonds.iter().filter_map(|bond| self.offer(bond)).collect()
        };
        let children = core.map_or_else(Vec::new, |core| core.children());
        // What a child has comes from here.
        offers.retain(|offer| current != Some(offer.peer) && !children.contains(&offer.member));
        let strikes = &self.feeding.strikes;
        let (struck, free): (Vec<_>, Vec<_>) = offers
            .into_iter()
            .partition(|offer| strikes.holds(&offer.peer, now));
        let best = sources::best(&free, &mut rand::rng()).or_else(|| {
            // To avoid those that have failed gains nothing where there are no others.
            let failed = strikes.least(&struck, |offer| offer.peer, now);
            failed.copied().filter(|_| current.is_none())
        });
        let Some(best) = best else {
            self.feeding.review_at = now + pause;
            return;
        };
        match (current, failing) {
            (Some(_), Some(failing)) => self.feeding.strike(failing, now),
            (Some(peer), None) if !self.is_better(&best, &peer) => {
                self.feeding.review_at = now + pause;
                return;
            }
            _ => {}
        }
        self.feeding.review_at = now + pause;
        self.follow(best, now).await;
    }

    /// Returns whether an offer is better than the current source.
    fn is_better(&self, offer: &Offer, current: &PeerId) -> bool {
        let Some(bond) = self.instance.bonds().get(current) else {
            return true;
        };
        let core = self.node.as_ref().map(|watch| watch.node.core().clone());
        // The source itself is one of the steps.
        let depth = core.map_or(0, |core| core.steps_to_membership().saturating_sub(1));
        let leads = bond.standing().lineage.is_some_and(|theirs| theirs.leading);
        offer.rank < rank_of(&bond, u8::try_from(depth).unwrap_or(u8::MAX), leads)
    }

    async fn follow(&mut self, offer: Offer, now: Instant) {
        self.feeding.following = None;
        let Some(node) = self.instance.take_part(offer.lineage).await else {
            return;
        };
        tracing::debug!(
            group = %self.instance.id().short(), peer = %offer.peer.short(),
            "an observer follows a source"
        );
        self.feeding.count += 1;
        let number = self.feeding.count;
        let instance = self.instance.clone();
        let scope = node.follow(offer.member, move || {
            instance.tell_soon(Event::SourceLost(number));
        });
        self.feeding.following = Some(Following {
            number,
            peer: offer.peer,
            own: node.member(),
            scope,
            online: now,
            online_since: None,
            arrivals: node.core().arrivals(),
            arrived: now,
        });
    }
}

fn rank_of(bond: &BondCore, depth: u8, leads: bool) -> Rank {
    let rtt = path_rtt(&bond.connection).unwrap_or_default();
    Rank::new(rtt, depth, leads)
}
