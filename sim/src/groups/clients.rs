//! Clients: each does one thing after the other, as its seed says.

use std::{sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Action, Answer, Command, Plan, Query,
    cluster::Cluster,
    history::{Calls, Deed, History, Outcome, Record},
    local::Site,
};

/// Timeout of a client for any answer: longer than the group's own by default.
const PATIENCE: Duration = Duration::from_secs(4);
/// Number of registers, and of counters.
const KEYS: u8 = 2;
/// Longest pause of a client between two operations, in milliseconds.
const MAX_PAUSE_MS: u64 = 25;

/// One who uses the group.
pub(super) struct Client<'a> {
    number: usize,
    cluster: &'a Cluster,
    history: History,
    calls: Calls,
    /// Statements of members that can't be true.
    complaints: Arc<Mutex<Vec<String>>>,
    commands: u64,
}

/// Number of commands given at once when a client doesn't wait for each of them.
const BURST: usize = 4;

impl<'a> Client<'a> {
    pub(super) fn new(
        number: usize,
        cluster: &'a Cluster,
        history: &History,
        calls: &Calls,
        complaints: &Arc<Mutex<Vec<String>>>,
    ) -> Self {
        Self {
            number,
            cluster,
            history: history.clone(),
            calls: calls.clone(),
            complaints: complaints.clone(),
            commands: 0,
        }
    }

    /// Does what the plan says, until it is told to stop.
    pub(super) async fn run(mut self, plan: &Plan, stop: CancellationToken) {
        let mut random = SmallRng::seed_from_u64(plan.client_seed(self.number));
        while !stop.is_cancelled() {
            let member = random.random_range(0..plan.members);
            let key = random.random_range(0..KEYS);
            // Drawn in any case, so that what follows doesn't depend on what happens.
            let (kind, amount) = (random.random_range(0..100), random.random_range(1..1 << 32));
            let pause = Duration::from_millis(random.random_range(0..MAX_PAUSE_MS));
            let deed = match kind {
                0..25 => Deed::Execute(self.command(key, None)),
                25..45 => Deed::Execute(self.command(key, Some(amount))),
                45..50 => Deed::Feed(self.command(key, Some(amount))),
                50..55 => {
                    self.burst(member, key).await;
                    continue;
                }
                55..75 => Deed::ReadRegister(key),
                75..90 => Deed::ReadCounter(key),
                _ => Deed::GlanceAtCounter(key),
            };
            self.perform(member, deed).await;
            sleep(pause).await;
        }
    }

    /// A write through a member: whether it was acknowledged.
    pub(super) async fn write(&mut self, member: usize) -> bool {
        let deed = Deed::Execute(self.command(0, None));
        let outcome = self.perform(member, deed).await;
        matches!(outcome, Some(Outcome::Acknowledged(_)))
    }

    /// Reads everything through a member: whether it was answered.
    pub(super) async fn read_all(&mut self, member: usize) -> bool {
        for key in 0..KEYS {
            for deed in [Deed::ReadRegister(key), Deed::ReadCounter(key)] {
                let outcome = self.perform(member, deed).await;
                if !matches!(outcome, Some(Outcome::Value(..))) {
                    return false;
                }
            }
        }
        true
    }

    /// A command that nobody else gives: writes its own id, or adds.
    fn command(&mut self, key: u8, amount: Option<u64>) -> Command {
        self.commands += 1;
        let id = (self.number as u64) << 32 | self.commands;
        let action = amount.map_or(Action::Write(id), Action::Add);
        Command { id, key, action }
    }

    /// Gives several commands through one handle without waiting for each: they take effect in
    /// this order.
    async fn burst(&mut self, member: usize, key: u8) {
        let commands: Vec<_> = (0..BURST).map(|_| self.command(key, None)).collect();
        let Some(site) = self.cluster.site(member) else {
            return sleep(Duration::from_millis(MAX_PAUSE_MS)).await;
        };
        let given = commands.into_iter().map(Deed::Execute);
        let given: Vec<_> = given.map(|deed| self.begin(&site, member, deed)).collect();
        // Whether they come in time is not this client's affair.
        let _ = timeout(PATIENCE, join_all(given)).await;
    }

    /// Does something through a member; `None` if it does not run.
    async fn perform(&self, member: usize, deed: Deed) -> Option<Outcome> {
        let site = self.cluster.site(member)?;
        let ended = self.begin(&site, member, deed);
        let Ok(Ok(outcome)) = timeout(PATIENCE, ended).await else {
            tracing::debug!(member, ?deed, "no answer");
            return Some(Outcome::Unknown);
        };
        if let Outcome::Acknowledged(index) = outcome {
            self.sees_own(&*site, index).await;
        }
        Some(outcome)
    }

    /// Begins an operation; its outcome is recorded when that is known, even if nobody waits for
    /// it.
    fn begin(&self, site: &Arc<dyn Site>, member: usize, deed: Deed) -> oneshot::Receiver<Outcome> {
        let (client, history) = (self.number, self.history.clone());
        let called = history.now();
        let outcome = carry_out(&**site, deed);
        let (told, ended) = oneshot::channel();
        let what = format!("{deed:?} of client {client} through member {member} at {called} µs");
        self.calls.follow(what, async move {
            let outcome = outcome.await.unwrap_or(Outcome::Unknown);
            history.add(Record {
                client,
                member,
                deed,
                outcome,
                called,
                returned: history.now(),
            });
            // Nobody waits any more: fine.
            let _ = told.send(outcome);
        });
        ended
    }

    /// An acknowledged command is applied where it was given.
    async fn sees_own(&self, site: &dyn Site, index: u64) {
        let read = timeout(PATIENCE, site.query(Query::Register(0), false)).await;
        if let Ok(Some((_, position))) = read
            && position < index
        {
            let client = self.number;
            self.complaints.lock().push(format!(
                "client {client} reads at {position} after its command {index} was acknowledged"
            ));
        }
    }
}

fn carry_out(site: &dyn Site, deed: Deed) -> BoxFuture<'static, Option<Outcome>> {
    let (query, strong) = match deed {
        Deed::Execute(command) => {
            let done = site.execute(command);
            return Box::pin(async move { done.await.map(Outcome::Acknowledged) });
        }
        Deed::Feed(command) => {
            let fed = site.feed(command);
            return Box::pin(async move { fed.await.map(Outcome::Accepted) });
        }
        Deed::ReadRegister(key) => (Query::Register(key), true),
        Deed::ReadCounter(key) => (Query::Counter(key), true),
        Deed::GlanceAtCounter(key) => (Query::Counter(key), false),
    };
    let answer = site.query(query, strong);
    Box::pin(async move {
        match answer.await? {
            (Answer::Value(value), position) => Some(Outcome::Value(value, position)),
            (Answer::Applied(_), _) => None,
        }
    })
}
