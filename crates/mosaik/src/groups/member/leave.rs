//! The end of a member: leaving, stopping, and not being able to go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::interval};

use super::{membership::PROMOTION_LAG, worker::Worker};
use crate::{
    groups::{
        bond::{core::BondCore, wire::Control},
        consensus::{Node, View},
        instance::Instance,
        model::{event::Event, lineage::MemberId, member_info::Willingness},
    },
    net::close::GracefulShutdown,
    primitives::ShortFmtExt,
};

/// Timeout for one step of a hand-over.
const HAND_OVER: Duration = Duration::from_millis(500);
/// Retry interval for handing leadership over.
const HAND_OVER_RETRY: Duration = Duration::from_millis(50);
/// Time that a leaving member waits until it is out of the membership, beside the round trips.
const DEPARTURE: Duration = Duration::from_millis(1200);
/// The same where those that stay are no majority without it: the group would halt, or lose what only
/// this member has. Machines may be so busy that the step from one voter to another takes seconds.
const LAST_VOTER: Duration = Duration::from_secs(5);
/// Time for which a leaving leader takes no commands: longer than it has left to live. They wait for
/// its successor, which needs all of the log: as long as that grows, there may be nobody who has it.
const LAST_REST: Duration = Duration::from_secs(60);

impl Worker {
    /// This member can't go on: the group ends on this node. A durable one stays a member, and may
    /// come back when what was wrong is mended.
    pub(super) fn fail(&self, reason: &str) {
        tracing::error!(group = %self.instance.id().short(), %reason, "the group ends on this node");
        let instance = &self.instance;
        instance.begin_leaving();
        instance.unlist();
        instance.terminate();
        let ending = instance.clone();
        instance.scope().spawn_orderly(async move {
            if !ending.is_durable() {
                let leaving = Control::Leaving(ending.member());
                let bonds = ending.bonds().all();
                // Before the bonds close. Where one is blocked, eviction does it.
                let telling = futures::future::join_all(bonds.iter().map(|b| b.send(&leaving)));
                let _ = tokio::time::timeout(HAND_OVER, telling).await;
            }
            // A start that is under way would leave its instance behind.
            let frozen = ending.freeze().await;
            if let Some(node) = ending.take_node() {
                node.shutdown().await;
            }
            drop(frozen);
            close_bonds(&ending).await;
            ending.scope().cancel();
        });
    }

    /// A member has asked to leave.
    pub(super) fn on_departure(&mut self, member: MemberId) {
        let bond = self.instance.bonds().of_member(&member);
        self.departed
            .insert(member, bond.map_or(0, |bond| bond.session));
    }

    /// Notes that a member with a bond from a later joining is back, although it asked to leave
    /// before.
    pub(super) fn on_return(&mut self, bond: &BondCore) {
        let member = bond.member();
        let session = self.departed.get(&member);
        if session.is_some_and(|session| *session != bond.session) {
            self.departed.remove(&member);
        }
    }

    /// Lets go of departed members once they are out of the membership, and gone.
    pub(super) fn forget_departed(&mut self) {
        let Some(watch) = &self.node else { return };
        if self.departed.is_empty() || self.changing.is_some() {
            return;
        }
        let view = watch.view.borrow();
        let bonds = self.instance.bonds();
        self.departed
            .retain(|member, _| view.contains(member) || bonds.of_member(member).is_some());
    }

    /// Leaves in order: hands leadership over, is removed, and announces its departure.
    pub(super) async fn leave(&mut self, events: &mut mpsc::Receiver<Event>) {
        let instance = self.instance.clone();
        instance.terminate();
        let frozen = instance.freeze().await;
        if let Some(node) = instance.node() {
            if let Some(change) = self.changing.take() {
                // Cut off halfway, its successor would have to finish it.
                let _ = tokio::time::timeout(HAND_OVER, change).await;
            }
            node.rest(LAST_REST);
            // What is not done in time is done by eviction.
            let limit = self.departure();
            let departed = tokio::time::timeout(limit, self.depart(&node, events)).await;
            if departed.is_err() && self.is_needed(&node) {
                let _ = tokio::time::timeout(LAST_VOTER, self.depart(&node, events)).await;
            }
            let _ = tokio::time::timeout(limit, self.feed_to_the_end(&node)).await;
            instance.take_node();
            node.shutdown().await;
        }
        drop(frozen);
        instance.forget().await;
        close_bonds(&instance).await;
        instance.scope().cancel();
    }

    /// Stops in order and stays a member: hands leadership over, and announces its departure.
    pub(super) async fn stop(&mut self) {
        let instance = self.instance.clone();
        instance.terminate();
        let frozen = instance.freeze().await;
        if let Some(node) = instance.node() {
            node.rest(LAST_REST);
            // The others elect somebody if this is not done in time.
            let limit = self.departure();
            let _ = tokio::time::timeout(limit, self.resign(&node)).await;
            let _ = tokio::time::timeout(limit, self.feed_to_the_end(&node)).await;
            instance.take_node();
            node.shutdown().await;
        }
        drop(frozen);
        close_bonds(&instance).await;
        instance.scope().cancel();
    }

    /// Timeout for taking leave of the other members.
    fn departure(&self) -> Duration {
        DEPARTURE + self.instance.parting_trips()
    }

    /// Returns whether members stay who are no majority without this one.
    fn is_needed(&self, node: &Node) -> bool {
        let view = node.view().borrow().clone();
        let stays = |member: &MemberId| {
            !self.departed.contains_key(member) && self.instance.is_trusted(member)
        };
        let staying = view.voters.iter().filter(|member| stays(member)).count();
        let is_voter = view.voters.contains(&node.member());
        is_voter && staying * 2 <= view.voters.len() && view.members().any(stays)
    }

    /// Stops leading, if there is a member to follow.
    async fn resign(&mut self, node: &Node) {
        let own = node.member();
        let mut view = node.view();
        let mut ticks = interval(HAND_OVER_RETRY);
        loop {
            let now = view.borrow_and_update().clone();
            let instance = &self.instance;
            let heirs = |member: &MemberId| *member != own && instance.is_trusted(member);
            if !now.leading || !now.voters.iter().any(heirs) {
                return;
            }
            hand_over(&self.instance, &self.departed, node, &now).await;
            tokio::select! {
                changed = view.changed() => if changed.is_err() {
                    return;
                },
                _ = ticks.tick() => {}
            }
        }
    }

    /// Waits until observers have everything that this member has, unless a member stays that they
    /// get it from.
    async fn feed_to_the_end(&mut self, node: &Node) {
        let own = node.member();
        let instance = &self.instance;
        let mut ticks = interval(HAND_OVER_RETRY);
        loop {
            let view = node.view().borrow().clone();
            let feeds = |member: &MemberId| {
                let stays = *member != own && !self.departed.contains_key(member);
                stays && instance.is_trusted(member)
            };
            if !view.contains(&own) || view.members().any(feeds) {
                return;
            }
            // One that has just lost its source is about to come here. Observers need no write key, so
            // a lie costs the time that this may take.
            let seeks = |bond: &Arc<BondCore>| {
                let standing = bond.standing();
                standing.willingness == Willingness::Observer && standing.feeds.is_none()
            };
            let seeking = instance.bonds().all().iter().any(seeks);
            if !seeking && !node.core().has_more_for_observers() {
                return;
            }
            ticks.tick().await;
        }
    }

    /// Takes part until the others have removed this member: they may need its vote for that.
    async fn depart(&mut self, node: &Node, events: &mut mpsc::Receiver<Event>) {
        let own = node.member();
        let mut view = node.view();
        self.departed.insert(own, self.instance.session);
        self.instance.broadcast(|| Control::Leaving(own));
        let mut ticks = interval(HAND_OVER_RETRY);
        loop {
            let now = view.borrow_and_update().clone();
            // Guests can't remove anybody, so it is not for them to wait.
            let stays = |member: &MemberId| {
                !self.departed.contains_key(member) && self.instance.is_trusted(member)
            };
            if (!now.joint && !now.contains(&own)) || !now.members().any(stays) {
                return;
            }
            if now.leading {
                hand_over(&self.instance, &self.departed, node, &now).await;
            }
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Removed { member, by })
                        if member == own && view.borrow().leader == Some(by) =>
                    {
                        return;
                    }
                    Some(Event::Leaving(member)) => {
                        self.on_departure(member);
                    }
                    Some(_) => {}
                    None => return,
                },
                changed = view.changed() => if changed.is_err() {
                    return;
                },
                _ = ticks.tick() => {}
            }
        }
    }
}

/// Gives leadership to a member that stays.
async fn hand_over(
    instance: &Instance,
    departed: &BTreeMap<MemberId, u64>,
    node: &Node,
    view: &View,
) {
    let bonds = instance.bonds();
    let can_lead = |member: &MemberId| {
        let bond = bonds.of_member(member);
        let willing = |bond: Arc<BondCore>| instance.standing_of(&bond).willingness.votes();
        !departed.contains_key(member) && bond.is_some_and(willing)
    };
    let complete = node.matched(0);
    if let Some(heir) = complete
        .iter()
        .find(|member| view.voters.contains(member) && can_lead(member))
    {
        return node.hand_over(*heir).await;
    }
    if view.voters.iter().any(can_lead) || !view.settled {
        return;
    }
    // Nobody else votes yet: whoever has the log is given the vote, so that the group
    // outlives its founder.
    let next = node.matched(PROMOTION_LAG).into_iter();
    let promoted: BTreeSet<_> = next
        .filter(|member| view.learners.contains(member) && can_lead(member))
        .take(1)
        .collect();
    if !promoted.is_empty() {
        let promotion = node.change_voters(promoted, BTreeSet::new());
        let _ = tokio::time::timeout(HAND_OVER, promotion).await;
    }
}

async fn close_bonds(instance: &Arc<Instance>) {
    let reason = GracefulShutdown.into();
    let closing: FuturesUnordered<_> = instance
        .bonds()
        .all()
        .into_iter()
        .map(|bond| {
            let reason: &iroh::endpoint::ApplicationClose = &reason;
            async move {
                instance.end_bond(&bond, reason);
                bond.shut(reason).await;
            }
        })
        .collect();
    closing.collect::<()>().await;
}
