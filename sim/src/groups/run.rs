//! One run: a group forms, suffers, heals and is checked.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Deed, History, Outcome, Plan, Query, Record, Violations, clients::Client,
    cluster::Cluster, faults, history::Calls, verdict::judge,
};
use crate::{bound, stats::Millis};

/// Timeout for the group to form.
const FORMATION: Duration = Duration::from_secs(60);
/// Timeout for a call after every member serves again.
const PENDING: Duration = Duration::from_secs(10);
/// Timeout for all members to agree on the membership then.
const AGREEMENT: Duration = Duration::from_secs(20);
/// Time for which clients go on when every member serves again.
const CALM: Duration = Duration::from_millis(300);
/// Interval between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// Findings of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Commands that were acknowledged.
    pub acknowledged: usize,
    /// Commands whose outcome the clients were not told.
    pub unknown: usize,
    /// Reads that were answered.
    pub reads: usize,
    /// Terms that had a leader.
    pub terms: usize,
    /// The longest time in which no command was acknowledged.
    pub longest_pause: Duration,
    /// Time from the last fault until every member served again.
    pub recovery: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} commands acknowledged with pauses up to {}, {} unknown, {} reads, {} terms, serving \
             again after {}",
            self.acknowledged,
            Millis(self.longest_pause),
            self.unknown,
            self.reads,
            self.terms,
            Millis(self.recovery)
        )
    }
}

/// Carries out a plan. Members in processes of their own are started as `program member`.
///
/// # Errors
///
/// [`Violations`] when a promise was broken; anything else when the run itself failed.
pub async fn run(plan: &Plan, program: &Path) -> anyhow::Result<Report> {
    let cluster = Cluster::new(plan, plan.processes.then_some(program)).await?;
    let outcome = drive(plan, &cluster).await;
    cluster.shutdown().await?;
    outcome
}

async fn drive(plan: &Plan, cluster: &Cluster) -> anyhow::Result<Report> {
    let (history, complaints) = (History::new(), Arc::new(Mutex::new(Vec::new())));
    let calls = Calls::default();
    let starts = (0..plan.members).map(|n| async move {
        let mut unit = cluster.control(n).context("nobody else has it")?;
        cluster.start(&mut unit).await
    });
    try_join_all(starts).await?;
    let mut observer = Client::new(plan.clients, cluster, &history, &calls, &complaints);
    let members: Vec<_> = (0..plan.members).collect();
    timeout(bound(FORMATION), served(&mut observer, &members))
        .await
        .map_err(|_| anyhow!("the group has not formed within {FORMATION:?}"))?;

    let stop = CancellationToken::new();
    let clients = (0..plan.clients).map(|n| {
        let client = Client::new(n, cluster, &history, &calls, &complaints);
        client.run(plan, stop.clone())
    });
    let suffering = async {
        faults::happen(plan, cluster).await?;
        let healed = Instant::now();
        let served = timeout(plan.recovery(), served(&mut observer, &members)).await;
        let recovery = served.ok().map(|()| healed.elapsed());
        sleep(CALM).await;
        stop.cancel();
        anyhow::Ok(recovery)
    };
    let (_, recovery) = futures::join!(join_all(clients), suffering);
    let recovery = recovery?;
    let mut violations = Violations(std::mem::take(&mut complaints.lock()));
    let Some(recovery) = recovery else {
        violations.0.push(format!(
            "not every member serves {:?} after the last fault",
            plan.recovery()
        ));
        violations.0.extend(cluster.doubts(&members).await);
        return Err(violations.into());
    };
    violations
        .0
        .extend(look(cluster, &members, &history, &calls).await?);
    let histories = cluster.leaders().histories();
    if histories != 1 {
        violations
            .0
            .push(format!("the group was founded {histories} times"));
    }
    if !violations.0.is_empty() {
        return Err(violations.into());
    }
    Ok(report(cluster, &history.records(), recovery))
}

/// Looks at what is left when these members serve; returns what must not be, in words.
pub(super) async fn look(
    cluster: &Cluster,
    members: &[usize],
    history: &History,
    calls: &Calls,
) -> anyhow::Result<Vec<String>> {
    let mut found = calls.ended(bound(PENDING)).await;
    let begun = Instant::now();
    loop {
        let doubts = cluster.doubts(members).await;
        if doubts.is_empty() {
            break;
        }
        if begun.elapsed() > bound(AGREEMENT) {
            found.extend(doubts);
            break;
        }
        sleep(RETRY).await;
    }
    let applied = members.iter().map(|member| applied_by(cluster, *member));
    let applied = try_join_all(applied).await?;
    found.extend(judge(&history.records(), &applied).0);
    found.extend(cluster.leaders().rivals());
    Ok(found)
}

pub(super) fn report(cluster: &Cluster, records: &[Record], recovery: Duration) -> Report {
    let count = |wanted: fn(&Deed, &Outcome) -> bool| {
        records
            .iter()
            .filter(|r| wanted(&r.deed, &r.outcome))
            .count()
    };
    Report {
        acknowledged: count(|_, outcome| matches!(outcome, Outcome::Acknowledged(_))),
        unknown: count(|deed, outcome| {
            matches!(deed, Deed::Execute(_)) && *outcome == Outcome::Unknown
        }),
        reads: count(|_, outcome| matches!(outcome, Outcome::Value(..))),
        terms: cluster.leaders().terms(),
        longest_pause: longest_pause(records),
        recovery,
    }
}

fn longest_pause(records: &[Record]) -> Duration {
    let acknowledged = records
        .iter()
        .filter(|record| matches!(record.outcome, Outcome::Acknowledged(_)));
    let mut times: Vec<_> = acknowledged.map(|record| record.returned).collect();
    times.sort_unstable();
    let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_micros(pauses.max().unwrap_or_default())
}

/// Resolves once every member has acknowledged a command and answered strong reads.
pub(super) async fn served(observer: &mut Client<'_>, members: &[usize]) {
    for member in members {
        while !(observer.write(*member).await && observer.read_all(*member).await) {
            sleep(RETRY).await;
        }
    }
}

/// Commands that a member has applied, after everything that was acknowledged.
async fn applied_by(cluster: &Cluster, member: usize) -> anyhow::Result<Vec<u64>> {
    let answer = async {
        loop {
            if let Some(site) = cluster.site(member)
                && let Some((Answer::Applied(ids), _)) = site.query(Query::Applied, true).await
            {
                return ids;
            }
            sleep(RETRY).await;
        }
    };
    let answer = timeout(bound(AGREEMENT), answer).await;
    answer.with_context(|| format!("member {member} does not say what it has applied"))
}
