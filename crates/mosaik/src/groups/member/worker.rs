//! Watches the network and the group, and carries out what the rules say.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use rand::Rng;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, interval, sleep},
};

use super::{
    Lineage, MemberId,
    dial::Dials,
    rules::{self, Change, Committee, Founding},
};
use crate::{
    Digest,
    groups::{
        bond::{
            core::BondCore,
            wire::{Control, LineageStanding, MAX_ROSTER, Standing, Willingness},
        },
        close::{NotAllowed, Timeout},
        instance::Instance,
        raft::{Node, Stopped, View},
    },
    net::close::GracefulShutdown,
    primitives::{PeerId, ShortFmtExt},
};

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(50);
/// The same while the member is online: nothing is about to happen by itself.
const CALM_TICK: Duration = Duration::from_millis(100);
/// A view in which nothing happened for so long has settled.
const QUIET: Duration = Duration::from_millis(150);
/// Standings that concern a rival history are repeated so often.
const RIVAL_INTERVAL: Duration = Duration::from_millis(250);
/// A learner this close to the leader's log may vote.
const PROMOTION_LAG: u64 = 256;
/// Between two attempts to change the membership.
const CHANGE_RETRY: Duration = Duration::from_millis(100);
/// How long one step of a hand-over may take.
const HAND_OVER: Duration = Duration::from_millis(500);
/// Between two attempts to hand leadership over.
const HAND_OVER_RETRY: Duration = Duration::from_millis(50);
/// How long a departing member waits until it is out of the membership.
const DEPARTURE: Duration = Duration::from_millis(1200);

/// What the worker is told.
#[derive(Debug)]
pub(crate) enum Event {
    BondUp(PeerId),
    /// A bond has ended; whether the peer has said goodbye.
    BondDown(PeerId, bool),
    /// A bonded peer's standing changed.
    Standing(PeerId),
    /// A bonded peer's entry changed.
    Entry(PeerId),
    /// Peers that a bonded peer has bonds with.
    Roster(PeerId, Vec<PeerId>),
    Leaving(MemberId),
    Removed(MemberId),
    Rival(LineageStanding),
    Dissolved {
        lineage: Lineage,
        winner: Lineage,
    },
    /// This member has begun or given up a history.
    HistoryChanged,
    /// This member has fetched what it lacked of this history.
    CaughtUp(Lineage),
    /// Found a new history from this member's state; answers whether that was done.
    Reform(oneshot::Sender<bool>),
    /// Leave the group; the worker ends.
    Leave,
    /// Hand over and stop, but stay a member; the worker ends.
    Stop,
}

/// The state of one member's worker.
pub(crate) struct Worker {
    instance: Arc<Instance>,
    dials: Dials,
    joined: Instant,
    /// When something last happened that bears on founding.
    last_news: Instant,
    discovery_settled: bool,
    node: Option<NodeWatch>,
    /// The history that this member fetches from others before it is added to the membership.
    fetching: Option<Lineage>,
    /// What was last told to the others.
    told: Standing,
    told_at: Instant,
    /// How often that was done.
    told_count: u64,
    /// Members that have asked to leave.
    departed: BTreeSet<MemberId>,
    /// Since when members of this history have had no bond with this one.
    unreachable: HashMap<MemberId, Instant>,
    changing: Option<BoxFuture<'static, Result<Change, Stopped>>>,
    next_change: Instant,
    /// When this member stands for election by itself, if it does.
    stand_at: Option<Instant>,
    /// Since when no leader is known.
    leaderless_since: Option<Instant>,
    /// How much longer than others this member waits before it stands or founds.
    factor: u32,
    rosters: HashSet<PeerId>,
}

/// What is watched of a consensus instance.
struct NodeWatch {
    node: Node,
    view: tokio::sync::watch::Receiver<Arc<View>>,
    failure: tokio::sync::watch::Receiver<Option<String>>,
    since: Instant,
    /// Whether a leader was ever known.
    alive: bool,
    leader: Option<MemberId>,
    candidate: bool,
}

impl Worker {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let now = Instant::now();
        Self {
            dials: Dials::new(instance.clone()),
            joined: now,
            last_news: now,
            discovery_settled: false,
            node: None,
            fetching: None,
            told: instance.standing(),
            told_at: now,
            told_count: 0,
            departed: BTreeSet::new(),
            unreachable: HashMap::new(),
            changing: None,
            next_change: now,
            stand_at: None,
            leaderless_since: None,
            factor: instance.preference().factor(),
            rosters: HashSet::new(),
            instance,
        }
    }

    /// Runs until the group is left, or can't go on here.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let discovery = self.instance.discovery().clone();
        let mut changes = Some(discovery.changes());
        let settling = discovery.clone();
        let mut settled = std::pin::pin!(async move { settling.settled().await }.fuse());
        let mut tick = std::pin::pin!(sleep(TICK));
        if let Err(error) = self.instance.restore().await {
            self.fail(&error.to_string());
            return;
        }
        self.scan_catalog();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Leave) | None => {
                        self.leave(&mut events).await;
                        return;
                    }
                    Some(Event::Stop) => {
                        self.stop().await;
                        return;
                    }
                    Some(event) => self.on_event(event).await,
                },
                change = next_entry(&mut changes) => match change {
                    Ok(peer) => self.on_entry(peer),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.scan_catalog(),
                    // After shutdown nothing changes any more.
                    Err(broadcast::error::RecvError::Closed) => changes = None,
                },
                () = &mut settled, if !self.discovery_settled => {
                    self.discovery_settled = true;
                    self.last_news = Instant::now();
                }
                dialled = self.dials.next() => self.last_news = dialled,
                () = view_changed(&mut self.node) => self.on_view(),
                changed = change_done(&mut self.changing) => self.on_changed(changed),
                () = &mut tick => {
                    if self.tick().await {
                        return;
                    }
                    let online = self.instance.status().is_online();
                    let pause = if online { CALM_TICK } else { TICK };
                    tick.as_mut().reset(Instant::now() + pause);
                }
            }
        }
    }

    // ---- what happens

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::BondUp(peer) => {
                self.last_news = Instant::now();
                self.dials.succeeded(&peer);
                if let Some(bond) = self.instance.bonds().get(&peer) {
                    let (number, standing) = self.next_standing();
                    bond.post(Control::Standing { number, standing });
                    bond.post(self.roster());
                    if let Some(watch) = &self.node {
                        watch.node.retry(bond.member()).await;
                    }
                }
                self.consider(&peer).await;
            }
            Event::BondDown(peer, graceful) => {
                self.last_news = Instant::now();
                if let Some(watch) = &self.node
                    && graceful
                    && self.instance.status().leader() == Some(peer)
                {
                    watch.node.leader_left();
                }
                self.rosters.remove(&peer);
                self.dials.lost(peer);
            }
            Event::Standing(peer) => self.consider(&peer).await,
            Event::Entry(peer) => self.on_entry(peer),
            Event::Roster(from, peers) => self.on_roster(from, &peers),
            Event::Leaving(member) => {
                self.departed.insert(member);
                self.work_on_membership();
            }
            Event::Removed(member) => {
                if let Some(watch) = &self.node
                    && member == self.instance.member()
                {
                    tracing::debug!(group = %self.instance.id().short(), "removed by the leader");
                    // Being bonded it is added again; until then it has no say.
                    watch.node.tick(Instant::now());
                }
            }
            Event::Rival(rival) => self.on_rival(&rival).await,
            Event::Dissolved { lineage, winner } => {
                let own = self.instance.lineage_standing();
                if own.is_some_and(|own| own.id == lineage) {
                    tracing::debug!(
                        group = %self.instance.id().short(), winner = %winner.short(),
                        "this history is dissolved"
                    );
                    self.abandon(lineage, true).await;
                }
            }
            Event::HistoryChanged => self.watch_node(),
            Event::CaughtUp(lineage) => {
                if self.fetching == Some(lineage) {
                    self.fetching = None;
                    self.instance.set_caught_up();
                    self.tell_standing();
                }
            }
            Event::Reform(reply) => {
                let reformed = self.reform().await;
                // Nobody waits any more: fine.
                let _ = reply.send(reformed);
            }
            Event::Leave | Event::Stop => {}
        }
    }

    /// Looks at everybody in the catalog.
    fn scan_catalog(&mut self) {
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
    fn on_entry(&mut self, peer: PeerId) {
        let instance = &self.instance;
        if peer == instance.local() {
            let entry = instance.discovery().me();
            instance.broadcast(|| Control::Entry(Box::new(entry.clone())));
            return;
        }
        let catalog = instance.discovery().catalog();
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
                if self.dials.want(peer) {
                    self.last_news = Instant::now();
                }
            }
            _ => self.dials.forget(&peer),
        }
    }

    /// Ends a bond whose peer no longer satisfies the validators.
    fn check_tickets(&self, bond: &Arc<BondCore>) {
        match self.instance.authorize(&bond.entry()) {
            Ok(expires) => bond.set_expiration(expires),
            Err(_) => self.instance.end_bond(bond, &NotAllowed.into()),
        }
    }

    fn roster(&self) -> Control {
        let bonds = self.instance.bonds().all();
        Control::Roster(
            bonds
                .iter()
                .map(|bond| bond.peer)
                .take(MAX_ROSTER)
                .collect(),
        )
    }

    /// A member names its bonds: whoever is unknown here is asked about, once per bond.
    fn on_roster(&mut self, from: PeerId, peers: &[PeerId]) {
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

    // ---- histories

    fn watch_node(&mut self) {
        self.changing = None;
        self.departed.clear();
        self.unreachable.clear();
        self.stand_at = None;
        self.last_news = Instant::now();
        self.node = self.instance.node().map(|node| NodeWatch {
            view: node.view(),
            failure: node.failure(),
            node,
            since: Instant::now(),
            alive: false,
            leader: None,
            candidate: false,
        });
        let lineage = self.node.as_ref().map(|watch| watch.node.lineage());
        self.fetching.take_if(|fetching| lineage != Some(*fetching));
        self.tell_standing();
    }

    /// A member without history finds out whether there is much of it: then it fetches that before
    /// it lets the leader add it.
    async fn catch_up(&mut self) {
        let instance = self.instance.clone();
        if !instance.is_catching_up() || self.fetching.is_some() || instance.is_leaving() {
            return;
        }
        if let Some(watch) = &self.node
            && watch.view.borrow().contains(&watch.node.member())
        {
            instance.set_caught_up();
            return self.tell_standing();
        }
        let own = self.node.as_ref().map(|watch| watch.node.lineage());
        let bonds = instance.bonds().all();
        let known = bonds.iter().filter_map(|bond| bond.standing().lineage);
        let known = known
            .filter(|theirs| theirs.alive && own.is_none_or(|own| own == theirs.id))
            .max_by_key(|theirs| theirs.committed);
        let Some(known) = known else { return };
        let node = if known.committed > instance.batch_size() {
            instance.take_part(known.id).await
        } else {
            None
        };
        let Some(node) = node else {
            instance.set_caught_up();
            return self.tell_standing();
        };
        self.fetching = Some(known.id);
        node.fetch_log(move || instance.tell_soon(Event::CaughtUp(known.id)));
    }

    fn on_view(&mut self) {
        let metrics = self.instance.metrics();
        if let Some(watch) = &mut self.node {
            let view = watch.view.borrow_and_update().clone();
            if view.leader != watch.leader {
                watch.leader = view.leader;
                if view.leader.is_some() {
                    metrics.leader_changes.increment(1);
                }
            }
            if view.candidate && !watch.candidate {
                metrics.elections.increment(1);
            }
            watch.candidate = view.candidate;
            metrics.committee(view.voters.len(), view.learners.len());
        }
        self.tell_standing();
        self.work_on_membership();
    }

    /// A bonded peer's standing is known or has changed.
    async fn consider(&mut self, peer: &PeerId) {
        self.last_news = Instant::now();
        let Some(bond) = self.instance.bonds().get(peer) else {
            return;
        };
        self.unreachable.remove(&bond.member());
        let (own, theirs) = (self.instance.lineage_standing(), bond.standing().lineage);
        if let (Some(own), Some(theirs)) = (own, theirs)
            && own.id != theirs.id
        {
            self.on_rival(&theirs).await;
        }
        self.catch_up().await;
        self.work_on_membership();
    }

    /// Another history of this group exists.
    async fn on_rival(&mut self, rival: &LineageStanding) {
        let Some(own) = self.instance.lineage_standing() else {
            return;
        };
        if own.id == rival.id {
            return;
        }
        if own.alive && !own.leading {
            // Only the leader can tell how far this history has come.
            let leader = self.instance.status().leader();
            let bond = leader.and_then(|leader| self.instance.bonds().get(&leader));
            if let Some(bond) = bond {
                bond.post(Control::Rival(*rival));
            }
            return;
        }
        if rules::gives_way(&own, rival) && !self.awaits_members(&own) {
            let (lineage, winner) = (own.id, rival.id);
            if own.leading {
                self.instance
                    .broadcast(|| Control::Dissolved { lineage, winner });
            }
            if let Some(parent) = &rival.parent
                && parent.lineage == lineage
                && self.instance.follow(winner, parent).await
            {
                return self.watch_node();
            }
            self.abandon(lineage, true).await;
        }
    }

    /// Whether this history has just come back from the disk: its majority may still be starting,
    /// and until then it must not lose against one that was founded in its absence.
    fn awaits_members(&self, own: &LineageStanding) -> bool {
        let patience = self.instance.config().consensus().evict_after;
        let restored = self.instance.restored() == Some(own.id);
        restored && !own.alive && self.joined.elapsed() < patience
    }

    async fn reform(&mut self) -> bool {
        self.node = None;
        self.changing = None;
        let reformed = self.instance.reform().await;
        self.watch_node();
        reformed
    }

    /// Reforms the group when it had no leader for as long as the configuration allows.
    async fn reform_if_due(&mut self, now: Instant) {
        let Some(limit) = self.instance.config().consensus().reform_after else {
            return;
        };
        if self.instance.status().leader().is_some() || self.instance.preference().is_observer() {
            self.leaderless_since = None;
            return;
        }
        let since = *self.leaderless_since.get_or_insert(now);
        let own = self.instance.lineage_standing();
        let is_ahead = |bond: &Arc<BondCore>| {
            let theirs = bond.standing();
            theirs.willingness != Willingness::Never
                && theirs.lineage.zip(own).is_some_and(|(theirs, own)| {
                    theirs.id == own.id
                        && (theirs.committed, bond.peer) > (own.committed, self.instance.local())
                })
        };
        // Whoever has most goes first.
        let wait = if self.instance.bonds().all().iter().any(is_ahead) {
            limit * 2
        } else {
            limit
        };
        if now - since >= wait {
            self.leaderless_since = None;
            self.reform().await;
        }
    }

    async fn abandon(&mut self, lineage: Lineage, for_good: bool) {
        self.node = None;
        self.changing = None;
        self.instance.abandon(lineage, for_good).await;
        self.watch_node();
    }

    /// Founds a group, if that is this member's part.
    async fn found(&mut self, now: Instant) {
        let instance = self.instance.clone();
        let consensus = instance.config().consensus();
        let bonded: Vec<_> = instance
            .bonds()
            .all()
            .iter()
            .map(|bond| bond.standing())
            .collect();
        let limit = consensus.bootstrap_delay.saturating_mul(self.factor);
        let quiet = now - self.last_news >= QUIET && !self.dials.is_first_attempt_pending();
        let own = instance.standing();
        let voters = rules::found(&Founding {
            own: &own,
            bonded: &bonded,
            min_members: consensus.min_members,
            max_voters: consensus.max_voters,
            settled: (self.discovery_settled && quiet) || now - self.joined >= limit,
        });
        let Some(voters) = voters else { return };
        // Whoever lacks the tickets itself would be alone for ever with what it founds.
        if instance.authorize(&instance.discovery().me()).is_err() {
            return;
        }
        tracing::debug!(
            group = %instance.id().short(), voters = voters.len(), "founding the group"
        );
        let Some(node) = instance.take_part(Digest::random()).await else {
            return;
        };
        if let Err(error) = node.found(voters).await {
            tracing::warn!(group = %instance.id().short(), %error, "founding failed");
        }
        self.watch_node();
    }

    // ---- the membership, as the leader

    /// Starts the next change of the membership, if this member leads and there is one to make.
    fn work_on_membership(&mut self) {
        let Some(watch) = &self.node else { return };
        let now = Instant::now();
        let view = watch.view.borrow().clone();
        let ready = view.leading && view.settled && self.instance.status().is_online();
        if !ready || self.changing.is_some() || now < self.next_change {
            return;
        }
        let consensus = self.instance.config().consensus();
        let lineage = watch.node.lineage();
        let bonded: Vec<_> = self
            .instance
            .bonds()
            .all()
            .iter()
            .map(|bond| (bond.peer, bond.standing()))
            .filter(|(_, standing)| standing.lineage.is_none_or(|theirs| theirs.id == lineage))
            .collect();
        let mut gone: BTreeSet<_> = self.departed.clone();
        for member in view.members() {
            if *member == watch.node.member() || bonded.iter().any(|(_, s)| s.member == *member) {
                self.unreachable.remove(member);
                continue;
            }
            let since = *self.unreachable.entry(*member).or_insert(now);
            if now - since >= consensus.evict_after {
                gone.insert(*member);
            }
        }
        let change = rules::next_change(&Committee {
            own: watch.node.member(),
            view: &view,
            bonded: &bonded,
            gone: &gone,
            matched: &watch.node.matched(PROMOTION_LAG),
            max_voters: consensus.max_voters,
        });
        let Some(change) = change else { return };
        tracing::debug!(group = %self.instance.id().short(), ?change, "changing the membership");
        let node = watch.node.clone();
        self.changing = Some(
            async move {
                match change.clone() {
                    Change::AddLearners(members) => node.add_learners(members).await,
                    Change::Voters { promoted, removed } => {
                        node.change_voters(promoted, removed).await
                    }
                    Change::RemoveLearners(members) => node.remove_learners(members).await,
                }
                .map(|()| change)
            }
            .boxed(),
        );
    }

    fn on_changed(&mut self, changed: Result<Change, Stopped>) {
        self.changing = None;
        match changed {
            Ok(Change::Voters { removed, .. } | Change::RemoveLearners(removed)) => {
                for member in removed {
                    self.unreachable.remove(&member);
                    if let Some(bond) = self.instance.bonds().of_member(&member) {
                        bond.post(Control::Removed(member));
                    }
                }
            }
            Ok(Change::AddLearners(_)) => {}
            Err(error) => {
                tracing::debug!(
                    group = %self.instance.id().short(), %error, "the membership was not changed"
                );
                self.next_change = Instant::now() + CHANGE_RETRY;
            }
        }
        self.work_on_membership();
    }

    // ---- the clock

    /// Returns whether this member can't go on.
    async fn tick(&mut self) -> bool {
        let now = Instant::now();
        self.instance
            .metrics()
            .committed
            .set(u32::try_from(self.instance.status().committed().0).map_or(f64::MAX, f64::from));
        if let Some(error) = self.instance.storage_failure() {
            self.fail(&error.to_string());
            return true;
        }
        self.check_bonds();
        self.dials.tick(now);
        self.catch_up().await;
        if self.node.is_none() {
            self.instance.submissions().expire(now);
            if !self.instance.is_leaving() {
                self.found(now).await;
            }
            self.tell_standing();
            return false;
        }
        if let Some(watch) = &mut self.node {
            watch.node.tick(now);
            let failure = watch.failure.borrow().clone();
            if let Some(reason) = failure {
                self.fail(&reason);
                return true;
            }
            watch.alive |= self.instance.status().leader().is_some();
            // A founding that never got a majority together has no history to lose.
            let patience = self.instance.timing().election * 4;
            let founded = self.instance.restored() != Some(watch.node.lineage());
            let late = !watch.alive && now - watch.since > patience;
            if late && founded && is_stillborn(&self.instance) {
                let lineage = watch.node.lineage();
                tracing::debug!(group = %self.instance.id().short(), "a founding that failed is given up");
                self.abandon(lineage, false).await;
                return false;
            }
        }
        self.stand_if_due(now).await;
        self.reform_if_due(now).await;
        self.tell_standing();
        self.work_on_membership();
        false
    }

    /// Ends bonds that fell silent, and those whose tickets ran out.
    fn check_bonds(&self) {
        let silence = self.instance.timing().silence;
        for bond in self.instance.bonds().all() {
            let quiet = self.instance.beats().silence(&bond.peer);
            if quiet > silence && bond.established.elapsed() > silence {
                self.instance.end_bond(&bond, &Timeout.into());
            } else if bond.is_expired() {
                self.check_tickets(&bond);
            }
        }
    }

    /// A reluctant member stands for election by itself, after a longer wait.
    async fn stand_if_due(&mut self, now: Instant) {
        let Some(watch) = &self.node else { return };
        let instance = &self.instance;
        let votes = {
            let view = watch.view.borrow();
            view.voters.contains(&watch.node.member())
        };
        let idle = self.factor == 1 || instance.preference().is_observer();
        if idle || !votes || instance.status().leader().is_some() {
            self.stand_at = None;
            return;
        }
        let timing = instance.timing();
        let due = *self.stand_at.get_or_insert_with(|| {
            let jitter = timing.election_jitter.mul_f64(rand::rng().random());
            now + (timing.election + jitter).saturating_mul(self.factor - 1)
        });
        if now >= due {
            self.stand_at = None;
            watch.node.stand().await;
        }
    }

    /// Where this member stands, to be told to somebody.
    fn next_standing(&mut self) -> (u64, Standing) {
        self.told_count += 1;
        (self.told_count, self.instance.standing())
    }

    /// Tells the others where this member stands, when that has changed in a way that matters.
    fn tell_standing(&mut self) {
        let standing = self.instance.standing();
        let rivals = self.instance.bonds().all().iter().any(|bond| {
            let theirs = bond.standing().lineage;
            theirs.is_some() && theirs.map(|l| l.id) != standing.lineage.map(|l| l.id)
        });
        let mut comparable = standing.clone();
        if let (Some(new), Some(old)) = (&mut comparable.lineage, &self.told.lineage) {
            new.committed = old.committed;
        }
        let due = rivals && self.told_at.elapsed() >= RIVAL_INTERVAL && standing != self.told;
        if comparable != self.told || due {
            self.told = standing.clone();
            self.told_at = Instant::now();
            self.told_count += 1;
            let number = self.told_count;
            self.instance.broadcast(|| Control::Standing {
                number,
                standing: standing.clone(),
            });
        }
    }

    // ---- the end

    /// The machine can't go on: the group ends on this node.
    fn fail(&self, reason: &str) {
        tracing::error!(group = %self.instance.id().short(), %reason, "the group ends on this node");
        let instance = &self.instance;
        instance.begin_leaving();
        instance.discovery().remove_group(instance.id());
        instance.submissions().close();
        instance.status().terminate();
        let member = instance.member();
        instance.broadcast(|| Control::Leaving(member));
        let ending = instance.clone();
        instance.scope().spawn_orderly(async move {
            if let Some(node) = ending.take_node() {
                node.shutdown().await;
            }
            close_bonds(&ending).await;
            ending.scope().cancel();
        });
    }

    /// Leaves in order: hands leadership over, is removed, says goodbye.
    async fn leave(&mut self, events: &mut mpsc::Receiver<Event>) {
        let instance = self.instance.clone();
        instance.submissions().close();
        instance.status().terminate();
        let frozen = instance.freeze().await;
        if let Some(node) = instance.node() {
            if let Some(change) = self.changing.take() {
                // Cut off halfway, its successor would have to finish it.
                let _ = tokio::time::timeout(HAND_OVER, change).await;
            }
            // What is not done in time is done by eviction.
            let departure = self.depart(&node, events);
            let _ = tokio::time::timeout(DEPARTURE, departure).await;
            instance.take_node();
            node.shutdown().await;
        }
        drop(frozen);
        instance.forget().await;
        close_bonds(&instance).await;
        instance.scope().cancel();
    }

    /// Stops in order and stays a member: hands leadership over, says goodbye.
    async fn stop(&mut self) {
        let instance = self.instance.clone();
        instance.submissions().close();
        instance.status().terminate();
        let frozen = instance.freeze().await;
        if let Some(node) = instance.node() {
            // The others elect somebody if this is not done in time.
            let _ = tokio::time::timeout(DEPARTURE, self.resign(&node)).await;
            instance.take_node();
            node.shutdown().await;
        }
        drop(frozen);
        close_bonds(&instance).await;
        instance.scope().cancel();
    }

    /// Stops leading, if there is somebody to follow.
    async fn resign(&mut self, node: &Node) {
        let own = node.member();
        let mut view = node.view();
        let mut ticks = interval(HAND_OVER_RETRY);
        loop {
            let now = view.borrow_and_update().clone();
            let bonds = self.instance.bonds();
            let heirs = |member: &MemberId| *member != own && bonds.of_member(member).is_some();
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

    /// Takes part until the others have removed this member: they may need its vote for that.
    async fn depart(&mut self, node: &Node, events: &mut mpsc::Receiver<Event>) {
        let own = node.member();
        let mut view = node.view();
        self.departed.insert(own);
        self.instance.broadcast(|| Control::Leaving(own));
        let mut ticks = interval(HAND_OVER_RETRY);
        loop {
            let now = view.borrow_and_update().clone();
            let stays = |member: &MemberId| {
                !self.departed.contains(member) && self.instance.bonds().of_member(member).is_some()
            };
            if (!now.joint && !now.contains(&own)) || !now.members().any(stays) {
                return;
            }
            if now.leading {
                hand_over(&self.instance, &self.departed, node, &now).await;
            }
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Removed(member)) if member == own => return,
                    Some(Event::Leaving(member)) => {
                        self.departed.insert(member);
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

/// Gives leadership to somebody who stays.
async fn hand_over(instance: &Instance, departed: &BTreeSet<MemberId>, node: &Node, view: &View) {
    let bonds = instance.bonds();
    let can_lead = |member: &MemberId| {
        let bond = bonds.of_member(member);
        let willing = |bond: Arc<BondCore>| bond.standing().willingness != Willingness::Never;
        !departed.contains(member) && bond.is_some_and(willing)
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

/// Whether this member's history has no command and never had a leader.
fn is_stillborn(instance: &Instance) -> bool {
    instance.status().committed().is_zero() && instance.status().log_position().is_zero()
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

async fn next_entry(
    changes: &mut Option<broadcast::Receiver<PeerId>>,
) -> Result<PeerId, broadcast::error::RecvError> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

async fn view_changed(node: &mut Option<NodeWatch>) {
    match node {
        Some(watch) => {
            if watch.view.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

async fn change_done(
    changing: &mut Option<BoxFuture<'static, Result<Change, Stopped>>>,
) -> Result<Change, Stopped> {
    match changing {
        Some(change) => change.await,
        None => std::future::pending().await,
    }
}
