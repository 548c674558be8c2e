//! Clients: each does one thing after the other, as its seed says.

use std::{sync::Arc, time::Duration};

use mosaik::futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Action, Answer, Command, Plan, Query,
    cluster::Cluster,
    history::{Deed, History, Outcome, Record},
    local::Site,
};

/// How long a client waits for anything: longer than the group does by default.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many registers there are, and how many counters.
const KEYS: u8 = 2;
/// What a client waits at most between two operations, in milliseconds.
const MAX_PAUSE_MS: u64 = 25;

/// One who uses the group.
pub(super) struct Client<'a> {
    number: usize,
    cluster: &'a Cluster,
    history: History,
    /// What members have told that can't be.
    complaints: Arc<Mutex<Vec<String>>>,
    commands: u64,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        number: usize,
        cluster: &'a Cluster,
        history: &History,
        complaints: &Arc<Mutex<Vec<String>>>,
    ) -> Self {
        Self {
            number,
            cluster,
            history: history.clone(),
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
                0..30 => self.command(key, None),
                30..55 => self.command(key, Some(amount)),
                55..80 => Deed::ReadRegister(key),
                _ => Deed::ReadCounter(key),
            };
            self.perform(member, deed).await;
            sleep(pause).await;
        }
    }

    /// A write through a member: whether it was acknowledged.
    pub(super) async fn write(&mut self, member: usize) -> bool {
        let deed = self.command(0, None);
        let outcome = self.perform(member, deed).await;
        matches!(outcome, Some(Outcome::Acknowledged(_)))
    }

    /// Reads everything through a member: whether it was answered.
    pub(super) async fn read_all(&mut self, member: usize) -> bool {
        for key in 0..KEYS {
            for deed in [Deed::ReadRegister(key), Deed::ReadCounter(key)] {
                let outcome = self.perform(member, deed).await;
                if !matches!(outcome, Some(Outcome::Value(_))) {
                    return false;
                }
            }
        }
        true
    }

    /// A command that nobody else gives: writes its own id, or adds.
    fn command(&mut self, key: u8, amount: Option<u64>) -> Deed {
        self.commands += 1;
        let id = (self.number as u64) << 32 | self.commands;
        let action = amount.map_or(Action::Write(id), Action::Add);
        Deed::Execute(Command { id, key, action })
    }

    /// Does something through a member; `None` if it does not run.
    async fn perform(&self, member: usize, deed: Deed) -> Option<Outcome> {
        let site = self.cluster.site(member)?;
        let called = self.history.now();
        let outcome = timeout(PATIENCE, carry_out(&*site, deed)).await;
        if outcome.is_err() {
            tracing::debug!(member, ?deed, "no answer");
        }
        let outcome = outcome.ok().flatten().unwrap_or(Outcome::Unknown);
        self.history.add(Record {
            client: self.number,
            member,
            deed,
            outcome,
            called,
            returned: self.history.now(),
        });
        if let Outcome::Acknowledged(index) = outcome {
            self.sees_own(&*site, index).await;
        }
        Some(outcome)
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
    let query = match deed {
        Deed::Execute(command) => {
            let done = site.execute(command);
            return Box::pin(async move { done.await.map(Outcome::Acknowledged) });
        }
        Deed::ReadRegister(key) => Query::Register(key),
        Deed::ReadCounter(key) => Query::Counter(key),
    };
    let answer = site.query(query, true);
    Box::pin(async move {
        match answer.await? {
            (Answer::Value(value), _) => Some(Outcome::Value(value)),
            (Answer::Applied(_), _) => None,
        }
    })
}
