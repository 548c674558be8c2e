//! Members that come and go within the time of an election, each in order: those that stay have to
//! serve, with everything that was acknowledged.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use futures::future::join_all;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    History, Options, Plan, Report, Target, Violations,
    clients::Client,
    cluster::Cluster,
    history::Calls,
    run::{look, report, served},
};
use crate::{Conditions, bound};

/// Timeout for the first member to serve.
const FORMATION: Duration = Duration::from_secs(60);
/// Timeout of a step for another member to see the leader.
const SEEN: Duration = Duration::from_secs(10);
/// Timeout for all members that have stayed to serve, and a newcomer with them.
const RECOVERY: Duration = Duration::from_secs(20);
/// Interval between two checks.
const RETRY: Duration = Duration::from_millis(5);

/// Schedule of members that come and go, drawn from a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Churn {
    /// Seed from which everything follows.
    pub seed: u64,
    /// Steps after the first member has founded the group, each with its delay after the one
    /// before.
    pub steps: Vec<(Duration, Step)>,
    /// Number of clients meanwhile.
    pub clients: usize,
}

/// Kind of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A new member comes; whether what follows waits until it has seen the leader.
    Come(bool),
    /// Somebody goes, if anybody is left who has seen the leader. The numbers count those who run.
    Go(Target, Going),
}

/// Way in which a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going {
    /// The group's last handle is dropped.
    Leave,
    /// The node is dropped.
    Drop,
    /// The node is shut down.
    Shutdown,
}

impl Churn {
    /// The comings and goings of a seed.
    pub fn draw(seed: u64, options: Options) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let most = options.members.unwrap_or(4);
        let mut present = 1;
        let steps = (0..random.random_range(5..=12)).map(|_| {
            let after = if random.random_bool(0.5) {
                Duration::ZERO
            } else {
                Duration::from_millis(random.random_range(1..700))
            };
            let comes = present < 2 || (present < most && random.random_bool(0.55));
            let step = if comes {
                present += 1;
                Step::Come(random.random_bool(0.7))
            } else {
                present -= 1;
                let target = if random.random_bool(0.5) {
                    Target::Leader
                } else {
                    Target::Member(random.random_range(0..most))
                };
                let ways = [Going::Leave, Going::Drop, Going::Shutdown];
                Step::Go(target, ways[random.random_range(0..ways.len())])
            };
            (after, step)
        });
        Self {
            seed,
            steps: steps.collect(),
            clients: random.random_range(0..4),
        }
    }

    /// The members' part of it.
    fn plan(&self) -> Plan {
        let come = |(_, step): &&(Duration, Step)| matches!(step, Step::Come(_));
        // The founder, and a newcomer at the end.
        let members = 2 + self.steps.iter().filter(come).count();
        Plan {
            seed: self.seed,
            members,
            founders: 1,
            // Newcomers join the group that is there. On a busy machine bonds take longer than the
            // default, and a newcomer that founds alone loses what it acknowledges, as documented.
            bootstrap_delay: Duration::from_secs(30),
            processes: false,
            firewall: false,
            durable: false,
            snapshot_interval: 40,
            evict_after: Duration::from_secs(30),
            forgetful: Vec::new(),
            skews_ms: vec![0; members],
            clients: self.clients,
            conditions: Conditions::default(),
            pace: Duration::ZERO,
            replayed: false,
            max_voters: 5,
            observers: Vec::new(),
            volatile: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl fmt::Display for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} clients", self.seed, self.clients)?;
        for (after, step) in &self.steps {
            writeln!(f, "  after {after:>9.3?}: {step:?}")?;
        }
        Ok(())
    }
}

/// Lets members come and go.
///
/// # Errors
///
/// [`Violations`] when a promise was broken; anything else when the run itself failed.
pub async fn come_and_go(churn: &Churn) -> anyhow::Result<Report> {
    let plan = churn.plan();
    let cluster = Cluster::new(&plan, None).await?;
    let outcome = drive(churn, &plan, &cluster).await;
    cluster.shutdown().await?;
    outcome
}

async fn drive(churn: &Churn, plan: &Plan, cluster: &Cluster) -> anyhow::Result<Report> {
    let (history, calls) = (History::new(), Calls::default());
    let complaints = Arc::new(Mutex::new(Vec::new()));
    let client = |n| Client::new(n, cluster, &history, &calls, &complaints);
    let mut observer = client(plan.clients);
    come(cluster, 0).await?;
    timeout(bound(FORMATION), served(&mut observer, &[0]))
        .await
        .map_err(|_| anyhow!("the group has not formed within {FORMATION:?}"))?;

    let stop = CancellationToken::new();
    let clients = (0..plan.clients).map(|n| client(n).run(plan, stop.clone()));
    let changing = async {
        let outcome = change(churn, cluster).await;
        stop.cancel();
        outcome
    };
    let (_, changed) = futures::join!(join_all(clients), changing);
    changed?;

    come(cluster, plan.members - 1).await?;
    let members = cluster.running();
    let begun = Instant::now();
    let served = timeout(bound(RECOVERY), served(&mut observer, &members)).await;
    let recovery = begun.elapsed();
    let mut violations = Violations(std::mem::take(&mut complaints.lock()));
    if served.is_err() {
        let limit = bound(RECOVERY);
        let text = format!("{members:?} have stayed, and do not all serve after {limit:?}");
        violations.0.push(text);
        violations.0.extend(cluster.doubts(&members).await);
        return Err(violations.into());
    }
    let found = look(cluster, &members, &history, &calls).await?;
    violations.0.extend(found);
    if !violations.0.is_empty() {
        return Err(violations.into());
    }
    Ok(report(cluster, &history.records(), recovery))
}

/// Carries out all steps.
async fn change(churn: &Churn, cluster: &Cluster) -> anyhow::Result<()> {
    let mut next = 1;
    for (after, step) in &churn.steps {
        sleep(*after).await;
        match step {
            Step::Come(seen) => {
                come(cluster, next).await?;
                if *seen {
                    until_seen(cluster, &[next]).await;
                }
                next += 1;
            }
            Step::Go(target, how) => {
                let running = cluster.running();
                let goes = match target {
                    Target::Member(member) => running.get(member % running.len().max(1)),
                    Target::Leader => {
                        let leads = cluster.leaders().latest_of(&running);
                        running.iter().find(|member| Some(**member) == leads)
                    }
                };
                let Some(goes) = goes.or(running.first()) else {
                    continue;
                };
                let others: Vec<_> = running.iter().filter(|n| *n != goes).copied().collect();
                if !until_seen(cluster, &others).await {
                    continue;
                }
                tracing::info!(goes, ?how, "a member goes");
                let mut unit = cluster.control(*goes).context("nobody else has it")?;
                cluster.depart(&mut unit, *how);
            }
        }
    }
    Ok(())
}

/// Starts a member that knows those who run.
async fn come(cluster: &Cluster, member: usize) -> anyhow::Result<()> {
    tracing::info!(member, "a member comes");
    let running = cluster.running();
    let mut unit = cluster.control(member).context("nobody else has it")?;
    cluster.start_among(&mut unit, &running).await
}

/// Waits until one of these members knows who leads: it takes part, then. Not for long: what is
/// wrong is found at the end.
async fn until_seen(cluster: &Cluster, members: &[usize]) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < bound(SEEN) {
        for member in members {
            if let Some(site) = cluster.site(*member)
                && let Some(belief) = site.belief().await
                && belief.leader.is_some()
            {
                return true;
            }
        }
        sleep(RETRY).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_always_stays() {
        for seed in 0..300 {
            let churn = Churn::draw(seed, Options::default());
            assert_eq!(churn, Churn::draw(seed, Options::default()));
            let mut present = 1;
            for (_, step) in &churn.steps {
                match step {
                    Step::Come(_) => present += 1,
                    Step::Go(..) => present -= 1,
                }
                assert!(present > 0, "{churn}");
            }
        }
    }
}
