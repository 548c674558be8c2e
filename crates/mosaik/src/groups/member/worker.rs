//! Watches the network and the group, and has done what there is to do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, sleep},
};

use super::{
    admissions::Admissions, crashes::Crashes, feeding::Feeding, halt_detector::HaltDetector,
    rules::Change, stalls::Stalls,
};
use crate::{
    groups::{
        bond::{core::BondCore, wire::Control},
        bonding::dial::Dials,
        consensus::{Failure, Node, Stopped, View},
        instance::{Instance, Role},
        model::{
            event::Event,
            lineage::{Lineage, MemberId},
            member_info::MemberInfo,
        },
    },
    primitives::{PeerId, ShortFmtExt},
};

/// Interval of the worker's clock.
const TICK: Duration = Duration::from_millis(50);
/// The same while the member is online: nothing is about to happen by itself.
const CALM_TICK: Duration = Duration::from_millis(100);
/// Number of election timeouts after which a founding without a leader is given up, the first time.
const FOUNDING_ELECTIONS: u32 = 4;

/// The state of one member's worker.
pub(crate) struct Worker {
    pub(super) instance: Arc<Instance>,
    pub(super) dials: Dials,
    /// Time since which this member has waited for others in its present role.
    pub(super) waiting_since: Instant,
    /// The role in which it began to wait.
    pub(super) role: Role,
    /// True if it has waited in another role before.
    pub(super) has_changed_role: bool,
    /// Time of the last event that bears on founding.
    pub(super) last_news: Instant,
    pub(super) discovery_settled: bool,
    pub(super) node: Option<NodeWatch>,
    /// The history that this member fetches from others before it is added to the membership.
    pub(super) fetching: Option<Lineage>,
    /// Info that was last told to the others.
    pub(super) told: MemberInfo,
    pub(super) told_at: Instant,
    /// Number of times that a standing was told.
    pub(super) told_count: u64,
    /// Members that have asked to leave, and in which session of theirs.
    pub(super) departed: BTreeMap<MemberId, u64>,
    /// Members that have closed their bonds in order and have not left: they are stopped, and mean to
    /// come back.
    pub(super) stopped: BTreeSet<MemberId>,
    /// Members of this history without a bond with this one, each with the time since when.
    pub(super) unreachable: HashMap<MemberId, Instant>,
    pub(super) changing: Option<BoxFuture<'static, Result<Change, Stopped>>>,
    pub(super) next_change: Instant,
    /// Guests that were added to the membership.
    pub(super) admissions: Admissions,
    /// Time at which this member stands for election by itself, if it does.
    pub(super) stand_at: Option<Instant>,
    /// Foundings in a row that were given up.
    pub(super) failed_foundings: u32,
    pub(super) quorum: HaltDetector,
    pub(super) crashes: Crashes,
    /// Time since which this history has had neither a leader nor a majority.
    pub(super) halted_since: Option<Instant>,
    /// Rival histories, with the first and the last time that they were said to be alive.
    pub(super) rivals_seen: HashMap<Lineage, (Instant, Instant)>,
    /// Time at which rival histories are judged again.
    pub(super) rivals_at: Instant,
    /// Rival history against which this member's was last reported as kept.
    pub(super) kept_from: Option<Lineage>,
    /// Time at which this leader last took no commands for a moment, because of a rival history.
    pub(super) rested: Option<Instant>,
    /// Voters that acknowledge nothing.
    pub(super) stalls: Stalls,
    /// Time at which this member last gave its history up for another one.
    pub(super) yielded: Option<Instant>,
    pub(super) rosters: HashSet<PeerId>,
    /// Bonds and source of an observer.
    pub(super) feeding: Feeding,
    /// Peers that list the group, and whose tickets were not valid at the last check.
    pub(super) refused: HashSet<PeerId>,
    /// Time of their next check.
    pub(super) refused_at: Instant,
    /// Time since which this member has lacked the right to write.
    pub(super) lacks_right_since: Option<Instant>,
    /// Set once it was said that this member lacks the right to write.
    pub(super) told_of_write_key: bool,
}

/// Observed state of a consensus instance.
pub(super) struct NodeWatch {
    pub(super) node: Node,
    pub(super) view: tokio::sync::watch::Receiver<Arc<View>>,
    pub(super) failure: tokio::sync::watch::Receiver<Option<Failure>>,
    pub(super) since: Instant,
    /// True if a leader was ever known.
    pub(super) alive: bool,
    pub(super) leader: Option<MemberId>,
    /// Last term for which this member's candidacy was counted.
    pub(super) stood: u64,
}

impl NodeWatch {
    /// Returns whether a peer that votes in this history is another member by now: it has given the
    /// history up.
    fn has_lost_a_voter(&self, instance: &Instance) -> bool {
        let view = self.view.borrow();
        let is_another = |voter: &MemberId| {
            let bonds = instance.trusted_bonds();
            let is_peers = |bond: &Arc<BondCore>| voter.is_of(&bond.peer);
            bonds
                .iter()
                .any(|bond| is_peers(bond) && bond.member() != *voter)
        };
        view.voters.iter().any(is_another)
    }
}

impl Worker {
    pub(crate) fn new(instance: Arc<Instance>) -> Self {
        let now = Instant::now();
        Self {
            dials: Dials::new(instance.clone()),
            waiting_since: now,
            role: instance.role(),
            has_changed_role: false,
            last_news: now,
            discovery_settled: false,
            node: None,
            fetching: None,
            told: instance.standing(),
            told_at: now,
            told_count: 0,
            departed: BTreeMap::new(),
            stopped: BTreeSet::new(),
            unreachable: HashMap::new(),
            changing: None,
            next_change: now,
            admissions: Admissions::default(),
            stand_at: None,
            failed_foundings: 0,
            quorum: HaltDetector::default(),
            crashes: Crashes::default(),
            halted_since: None,
            rivals_at: now,
            rivals_seen: HashMap::new(),
            kept_from: None,
            rested: None,
            stalls: Stalls::default(),
            yielded: None,
            rosters: HashSet::new(),
            feeding: Feeding::new(now),
            refused: HashSet::new(),
            refused_at: now,
            lacks_right_since: None,
            told_of_write_key: false,
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
                news = self.dials.next() => if news {
                    self.last_news = Instant::now();
                },
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

    /// The factor by which this member waits longer than others before it stands or founds.
    pub(super) fn factor(&self) -> u32 {
        self.instance.preference().factor()
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::BondUp(peer) => {
                self.last_news = Instant::now();
                self.dials.succeeded(&peer);
                if let Some(bond) = self.instance.bonds().get(&peer) {
                    self.on_return(&bond);
                    self.stopped.remove(&bond.member());
                    let (number, standing) = self.next_standing();
                    bond.post(Control::MemberInfo { number, standing });
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
                self.note_stopped(&peer, graceful);
                self.rosters.remove(&peer);
                if self.wants(&peer) {
                    self.dials.lost(peer);
                }
            }
            Event::MemberInfo(peer) => self.consider(&peer).await,
            Event::Entry(peer) => self.on_entry(peer),
            Event::Roster(from, peers) => self.on_roster(from, &peers),
            Event::Leaving(member) => {
                self.on_departure(member);
                self.work_on_membership();
            }
            Event::Removed { member, by } => {
                if let Some(watch) = &self.node
                    && member == self.instance.member()
                    && watch.view.borrow().leader == Some(by)
                {
                    tracing::debug!(group = %self.instance.id().short(), "removed by the leader");
                    // Being bonded it is added again; until then it has no say.
                    watch.node.tick(Instant::now());
                }
            }
            Event::Rival(rival) => self.on_rival(&rival).await,
            Event::Dissolved {
                lineage,
                term,
                winner,
            } => self.on_dissolved(lineage, term, winner).await,
            Event::Reach(peer) => self.reach(peer),
            Event::SourceLost(number) => {
                self.on_source_lost(number);
                self.feed(Instant::now()).await;
            }
            Event::HistoryChanged => self.watch_node(),
            Event::CaughtUp(lineage) => {
                if self.fetching == Some(lineage) {
                    self.fetching = None;
                    if let Some(watch) = &mut self.node {
                        // Only now the leader is to be heard.
                        watch.since = Instant::now();
                    }
                    self.instance.set_caught_up();
                    self.tell_standing();
                }
            }
            Event::Reform(reply) => {
                let reformed = !self.instance.is_stale() && self.reform_on_request().await;
                // Nobody waits any more: fine.
                let _ = reply.send(reformed);
            }
            Event::AbandonHistory(reply) => {
                let abandoned = self.abandon_history().await;
                // Nobody waits any more: fine.
                let _ = reply.send(abandoned);
            }
            #[cfg(all(test, feature = "storage"))]
            Event::Panic => panic!("a planted panic"),
            Event::Leave | Event::Stop => {}
        }
    }

    /// Time in which a founding must have found a leader. Longer after each that was given up: where
    /// machines are so busy that it takes longer, every new founding would meet with the same.
    fn patience_with_founding(&self) -> Duration {
        let factor = FOUNDING_ELECTIONS << self.failed_foundings.min(4);
        self.instance.timing().election * factor
    }

    /// Returns whether this member can't go on.
    async fn tick(&mut self) -> bool {
        let now = Instant::now();
        let committed = self.instance.status().committed();
        self.instance.metrics().committed(committed.0);
        if let Some(reason) = self.instance.failure() {
            self.fail(&reason);
            return true;
        }
        self.check_bonds(now);
        self.check_write_key(now);
        self.dials.tick(now);
        let failure = self
            .node
            .as_ref()
            .map(|watch| watch.failure.borrow().clone());
        match failure.flatten() {
            None => {}
            Some(Failure::Crashed(reason)) if self.recover(&reason, now).await => return false,
            Some(Failure::Crashed(reason) | Failure::Broken(reason)) => {
                self.fail(&reason);
                return true;
            }
        }
        self.catch_up().await;
        self.feed(now).await;
        if self.node.is_none() {
            self.instance.pending_commands().expire(now);
            if !self.instance.is_leaving() {
                self.found(now).await;
            }
            self.tell_standing();
            return false;
        }
        let patience = self.patience_with_founding();
        let briefly = self.instance.timing().election * FOUNDING_ELECTIONS;
        if let Some(watch) = &mut self.node {
            watch.node.tick(now);
            watch.alive |= self.instance.status().leader().is_some();
            if watch.alive {
                self.failed_foundings = 0;
            }
            // What was kept has its log from the first moment on. One without any entry was killed
            // before the founding, or its first message, had reached the disk.
            let lineage = watch.node.lineage();
            let founded = self.instance.restored() != Some(lineage)
                || (watch.node.last_entry().is_none()
                    && is_shared_by_nobody(&self.instance, lineage));
            // A founding that never got a majority together has no history to lose.
            let waited = now - watch.since;
            let late = !watch.alive
                && (waited > patience
                    || waited > briefly && watch.has_lost_a_voter(&self.instance));
            // Who fetches a history, or is fed with one, has founded none.
            let founds = self.fetching.is_none() && !self.instance.observes();
            if late && founded && founds && is_stillborn(&self.instance) {
                tracing::debug!(group = %self.instance.id().short(), "a founding that failed is given up");
                self.failed_foundings = self.failed_foundings.saturating_add(1);
                self.abandon(lineage).await;
                return false;
            }
        }
        self.stand_if_due(now);
        self.reconsider_rivals(now).await;
        if !self.instance.is_stale() {
            self.reform_if_due(now).await;
        }
        if let Some(watch) = &self.node {
            self.quorum.watch(&self.instance, &watch.node, now);
        }
        self.tell_standing();
        self.forget_departed();
        self.work_on_membership();
        false
    }
}

/// Returns whether nobody else has this history, among as many as could found another one: a member
/// that is alone may be needed by those who have it.
fn is_shared_by_nobody(instance: &Instance, lineage: Lineage) -> bool {
    let bonds = instance.trusted_bonds();
    let shares = |standing: &MemberInfo| {
        let theirs = standing.lineage.as_ref();
        theirs.is_some_and(|theirs| theirs.id == lineage)
    };
    let shared = bonds.iter().any(|bond| shares(&bond.standing()));
    bonds.len() + 1 >= instance.min_members() && !shared
}

/// Returns whether this member's history has no command and never had a leader.
fn is_stillborn(instance: &Instance) -> bool {
    instance.status().committed().is_zero() && instance.status().log_position().is_zero()
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
