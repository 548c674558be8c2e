//! The members of one group, and what can be done to them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mosaik::{Digest, PeerId, discovery};
use parking_lot::Mutex;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{process::Command, sync::OwnedMutexGuard};

use super::{
    Going, Plan, Setup, Target, Wiring,
    control::{Belief, GroupSetup, Request, Tenure},
    firewall::Firewall,
    leaders::Leaders,
    local::{Member, Site, Skew},
    process::Process,
};
use crate::{Conditions, Fleet, task::Task};

/// Time for which a node lives on whose member has left: longer than leaving takes.
const LEAVING: Duration = Duration::from_secs(3);

/// The members of one group.
pub(super) struct Cluster {
    fleet: Fleet,
    group: GroupSetup,
    durable: bool,
    conditions: Conditions,
    observers: Vec<usize>,
    volatile: Vec<usize>,
    /// Program that is started as a member; none when members run in this process.
    program: Option<PathBuf>,
    /// Firewall between members in namespaces; all others talk through the hub.
    firewall: Option<Firewall>,
    storage: TempDir,
    places: Vec<Place>,
    leaders: Leaders,
}

/// Place of a member, which runs there or not.
struct Place {
    /// Access for clients; none while it does not run.
    site: Mutex<Option<Arc<dyn Site>>>,
    /// Locked by the task that acts on it.
    unit: Arc<tokio::sync::Mutex<Unit>>,
}

/// A member under somebody's control.
pub(super) struct Unit {
    number: usize,
    running: Option<Running>,
    /// An earlier run that is still ending.
    ending: Option<Task>,
    /// Number of times that it has lost everything.
    life: u32,
    skew_ms: i64,
}

enum Running {
    Local(Arc<Member>, Skew),
    Process(Box<Process>),
}

impl Cluster {
    /// Members that don't run yet.
    pub(super) async fn new(plan: &Plan, program: Option<&Path>) -> anyhow::Result<Self> {
        let place = |number| Place {
            site: Mutex::default(),
            unit: Arc::new(tokio::sync::Mutex::new(Unit {
                number,
                running: None,
                ending: None,
                life: 0,
                skew_ms: plan.skews_ms[number],
            })),
        };
        Ok(Self {
            fleet: Fleet::new(plan.seed, plan.conditions),
            group: GroupSetup {
                key: Digest::from(format!("group {}", plan.seed).as_str()),
                founders: plan.founders,
                snapshot_interval: plan.snapshot_interval,
                bootstrap_delay_ms: u64::try_from(plan.bootstrap_delay.as_millis())?,
                evict_after_ms: u64::try_from(plan.evict_after.as_millis())?,
                max_voters: plan.max_voters,
                replayed: plan.replayed,
                pace_us: u64::try_from(plan.pace.as_micros())?,
            },
            durable: plan.durable,
            conditions: plan.conditions,
            observers: plan.observers.clone(),
            volatile: plan.volatile.clone(),
            program: program.map(Path::to_owned),
            firewall: if plan.firewall {
                Some(Firewall::new(plan.members).await?)
            } else {
                None
            },
            storage: tempfile::tempdir()?,
            places: (0..plan.members).map(place).collect(),
            leaders: Leaders::default(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn leaders(&self) -> &Leaders {
        &self.leaders
    }

    fn hub(&self) -> &crate::Hub {
        self.fleet.hub()
    }

    fn id(&self, member: usize) -> PeerId {
        self.fleet.id(member)
    }

    /// Lets nothing pass from the first of each pair to the second, and everything else.
    pub(super) async fn cut(&self, cut: BTreeSet<(usize, usize)>) -> anyhow::Result<()> {
        if let Some(firewall) = &self.firewall {
            return firewall.cut(cut).await;
        }
        self.hub().heal();
        for (from, to) in cut {
            self.hub().cut(&[self.id(from)], &[self.id(to)]);
        }
        Ok(())
    }

    /// Loses and delays packets, everywhere; or, with none, no more than ever.
    pub(super) async fn weather(&self, weather: Option<Conditions>) -> anyhow::Result<()> {
        let conditions = weather.map_or(self.conditions, |weather| Conditions {
            latency: weather.latency.max(self.conditions.latency),
            bandwidth: self.conditions.bandwidth,
            ..weather
        });
        if let Some(firewall) = &self.firewall {
            return firewall.lose(conditions.loss).await;
        }
        self.hub().set_conditions(conditions);
        Ok(())
    }

    /// Access of clients to a member; none while it does not run.
    pub(super) fn site(&self, member: usize) -> Option<Arc<dyn Site>> {
        self.places[member].site.lock().clone()
    }

    /// Member that a fault hits.
    pub(super) fn resolve(&self, target: Target) -> usize {
        match target {
            Target::Member(member) => member,
            Target::Leader => self.leaders.latest().unwrap_or(0),
        }
    }

    /// Takes control of a member; none while somebody else has it.
    pub(super) fn control(&self, member: usize) -> Option<OwnedMutexGuard<Unit>> {
        self.places[member].unit.clone().try_lock_owned().ok()
    }

    /// Members that run.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.len())
            .filter(|n| self.site(*n).is_some())
            .collect()
    }

    /// Starts a member, with what it kept on disk.
    pub(super) async fn start(&self, unit: &mut Unit) -> anyhow::Result<()> {
        let others: Vec<_> = (0..self.len()).filter(|n| *n != unit.number).collect();
        self.start_among(unit, &others).await
    }

    /// Starts a member that knows these others.
    pub(super) async fn start_among(
        &self,
        unit: &mut Unit,
        others: &[usize],
    ) -> anyhow::Result<()> {
        if let Some(ending) = unit.ending.take() {
            ending.ended().await;
        }
        let number = unit.number;
        let (leaders, life) = (self.leaders.clone(), unit.life);
        let leads = move |tenure: Tenure| leaders.note(tenure, number, life);
        let peers = others.iter().map(|n| self.id(*n));
        let durable = self.is_durable(number);
        let storage = durable.then(|| self.directory(number));
        let observes = self.observers.contains(&number);
        let (running, site): (_, Arc<dyn Site>) = match &self.program {
            Some(program) => {
                let (command, wiring, bridge) = match &self.firewall {
                    Some(firewall) => {
                        let wiring = Wiring::Udp {
                            own: Firewall::address(number),
                            others: others.iter().copied().map(Firewall::address).collect(),
                        };
                        (firewall.command(number, program), wiring, None)
                    }
                    None => {
                        let bridge = self.hub().bridge(self.id(number)).await?;
                        let wiring = Wiring::Hub(bridge.address());
                        (Command::new(program), wiring, Some(bridge))
                    }
                };
                let setup = Setup {
                    network: self.fleet.network_id(),
                    secret: self.fleet.secret(number).to_bytes(),
                    peers: peers.map(|peer| *peer.as_bytes()).collect(),
                    wiring,
                    storage,
                    skew_ms: unit.skew_ms,
                    observes,
                    group: self.group.clone(),
                };
                let process = Process::start(command, &setup, bridge, leads).await?;
                let site = process.site.clone();
                (Running::Process(Box::new(process)), site)
            }
            None => {
                let config = discovery::Config::builder().with_bootstrap(peers.collect::<Vec<_>>());
                let skew = Skew::new(unit.skew_ms);
                let mut builder = skew.apply(self.fleet.builder(number, config));
                if let Some(directory) = storage {
                    builder = builder.with_storage(directory);
                }
                let member = Member::start(builder, self.group.clone(), durable, observes, leads);
                let member = Arc::new(member.await?);
                (Running::Local(member.clone(), skew), member)
            }
        };
        unit.running = Some(running);
        *self.places[number].site.lock() = Some(site);
        Ok(())
    }

    /// Kills a member; `false` if it does not run.
    pub(super) async fn crash(&self, unit: &mut Unit) -> anyhow::Result<bool> {
        *self.places[unit.number].site.lock() = None;
        let Some(running) = unit.running.take() else {
            return Ok(false);
        };
        self.hub().crash(self.id(unit.number));
        if self.durable && !self.is_durable(unit.number) {
            unit.life += 1;
        }
        match running {
            Running::Local(member, _) => {
                // Its packets are lost already; what is left is to free what it holds.
                unit.ending = Some(Task::spawn(async move { member.shutdown().await }));
            }
            Running::Process(process) => process.kill().await?,
        }
        Ok(true)
    }

    /// Lets a member of this process go for good, in order. It does not run any more when this
    /// returns, but need not have ended yet.
    pub(super) fn depart(&self, unit: &mut Unit, how: Going) {
        *self.places[unit.number].site.lock() = None;
        let Some(Running::Local(member, _)) = unit.running.take() else {
            return;
        };
        match how {
            Going::Leave => member.leave(),
            Going::Drop => member.vanish(),
            Going::Shutdown => {}
        }
        unit.ending = Some(Task::spawn(async move {
            if how == Going::Leave {
                // The node lives on for longer than leaving takes.
                tokio::time::sleep(LEAVING).await;
            }
            member.shutdown().await;
        }));
    }

    /// Deviations from a group that consists of exactly these members, in words.
    pub(super) async fn doubts(&self, members: &[usize]) -> Vec<String> {
        let mut doubts = Vec::new();
        let ids =
            |of: &[usize]| -> BTreeSet<_> { of.iter().map(|n| *self.id(*n).as_bytes()).collect() };
        let (all, observers) = (ids(members), ids(&self.observers));
        let voters = (all.len() - observers.len()).min(self.group.max_voters);
        let mut first: Option<Belief> = None;
        for member in members {
            let belief = match self.site(*member) {
                Some(site) => site.belief().await,
                None => None,
            };
            let Some(belief) = belief else {
                doubts.push(format!("member {member} does not run"));
                continue;
            };
            let own = *self.id(*member).as_bytes();
            let mut doubt = |what: &str| doubts.push(format!("member {member} {what}"));
            if !belief.online {
                doubt("is not online");
            }
            match belief.leader {
                None => doubt("knows no leader"),
                Some(leader) if (leader == own) != belief.leads => {
                    doubt("contradicts itself about leading");
                }
                Some(leader) if !all.contains(&leader) => doubt("follows who is gone"),
                Some(_) => {}
            }
            let count = belief.voters.len();
            if count != voters {
                doubt(&format!("counts {count} voters instead of {voters}"));
            }
            if !belief.voters.is_disjoint(&observers) {
                doubt("lets an observer vote");
            }
            let members: BTreeSet<_> = belief.voters.union(&belief.learners).copied().collect();
            // Observers follow, and are no members.
            let expected = &all - &observers;
            let (gone, missing) = (&members - &expected, &expected - &members);
            if !gone.is_empty() || !missing.is_empty() {
                let (gone, missing) = (gone.len(), missing.len());
                doubt(&format!(
                    "counts {gone} who are none and lacks {missing} members"
                ));
            }
            let agrees = first.as_ref().is_none_or(|first| {
                (&first.leader, &first.voters, &first.learners)
                    == (&belief.leader, &belief.voters, &belief.learners)
            });
            if !agrees {
                doubt("disagrees with another about leader or members");
            }
            first.get_or_insert(belief);
        }
        doubts
    }

    fn is_durable(&self, member: usize) -> bool {
        self.durable && !self.volatile.contains(&member)
    }

    /// Makes a member that does not run forget everything.
    pub(super) async fn wipe(&self, unit: &mut Unit) -> anyhow::Result<()> {
        unit.life += 1;
        if self.durable {
            if let Some(ending) = unit.ending.take() {
                ending.ended().await;
            }
            if self.is_durable(unit.number) {
                std::fs::remove_dir_all(self.directory(unit.number))?;
            }
        }
        Ok(())
    }

    /// Stops a member as it is.
    pub(super) fn pause(&self, unit: &Unit) -> anyhow::Result<()> {
        match &unit.running {
            Some(Running::Process(process)) => process.signal(Signal::STOP),
            Some(Running::Local(..)) => {
                self.hub().pause(self.id(unit.number));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends a pause.
    pub(super) fn resume(&self, unit: &Unit) -> anyhow::Result<()> {
        match &unit.running {
            Some(Running::Process(process)) => process.signal(Signal::CONT),
            Some(Running::Local(..)) => {
                self.hub().resume(self.id(unit.number));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends all members.
    pub(super) async fn shutdown(&self) -> anyhow::Result<()> {
        for place in &self.places {
            let mut unit = place.unit.lock().await;
            self.crash(&mut unit).await?;
        }
        for place in &self.places {
            if let Some(ending) = place.unit.lock().await.ending.take() {
                ending.ended().await;
            }
        }
        Ok(())
    }

    fn directory(&self, member: usize) -> PathBuf {
        self.storage.path().join(member.to_string())
    }
}

impl Unit {
    /// Lets a member leave the group.
    pub(super) fn leave(&mut self) {
        // Who leaves loses what it held, and is another member when it comes back.
        self.life += 1;
        match &self.running {
            Some(Running::Process(process)) => process.tell(Request::Leave),
            Some(Running::Local(member, _)) => member.leave(),
            None => {}
        }
    }

    /// Lets a member found a new history from its own, if it knows no leader.
    pub(super) async fn reform(&self) {
        match &self.running {
            Some(Running::Process(process)) => process.tell(Request::Reform),
            Some(Running::Local(member, _)) => member.reform().await,
            None => {}
        }
    }

    /// Lets a member that has left join again.
    pub(super) fn join(&self) -> anyhow::Result<()> {
        match &self.running {
            Some(Running::Process(process)) => process.tell(Request::Join),
            Some(Running::Local(member, _)) => member.join()?,
            None => {}
        }
        Ok(())
    }

    /// Sets a member's clock.
    pub(super) fn skew(&mut self, ms: i64) {
        self.skew_ms = ms;
        match &self.running {
            Some(Running::Process(process)) => process.tell(Request::Skew(ms)),
            Some(Running::Local(_, skew)) => skew.set(ms),
            None => {}
        }
    }
}
