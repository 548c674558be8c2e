//! Two histories of one group that meet: how that comes about, and what must hold afterwards.
//!
//! At most one side is discarded: what was acknowledged on the other one is there, at the place that
//! was told, and nothing is there twice.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Action, Answer, Command, Options, Plan, Query, Report, Violations, cluster::Cluster,
    history::Calls, local::Site, plan::BOOTSTRAP_DELAY,
};
use crate::{Conditions, bound};

/// Timeout for a side to form, or to be reformed.
const FORMATION: Duration = Duration::from_secs(60);
/// Timeout for one history, once all members reach each other.
const RECOVERY: Duration = Duration::from_secs(60);
/// Timeout for a single answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Timeout for a call after all members serve again.
const PENDING: Duration = Duration::from_secs(10);
/// Interval between two attempts.
const RETRY: Duration = Duration::from_millis(50);
/// Time for which a member that was killed stays away.
const AWAY: Duration = Duration::from_secs(4);

/// A meeting of two histories, drawn from a seed.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each of them is drawn by itself"
)]
pub struct Meeting {
    /// Seed from which everything follows.
    pub seed: u64,
    /// Members on each side of the cut.
    pub sides: [Vec<usize>; 2],
    /// True if the second side was a minority of one group, and was reformed; otherwise the two
    /// were founded apart.
    pub reformed: bool,
    /// True if members run in processes of their own.
    pub processes: bool,
    /// True if they keep their part on disk. Such histories are never discarded by themselves.
    pub durable: bool,
    /// Number of commands between two snapshots.
    pub snapshot_interval: u64,
    /// Number of commands that each side carries out while they are apart.
    pub commands: [usize; 2],
    /// True if clients go on while the two meet.
    pub busy: bool,
    /// The leader of a side is killed this many milliseconds after the healing, or before it.
    pub crash: Option<(usize, i64)>,
}

/// Acknowledged commands of one side: ids with their indices.
type Acknowledged = Vec<(u64, u64)>;

impl Meeting {
    /// The meeting of a seed.
    pub fn draw(seed: u64, options: Options) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let count = options.members.unwrap_or(random.random_range(2..=6)).max(2);
        let reformed = count > 2 && random.random_bool(0.5);
        let mut members: Vec<_> = (0..count).collect();
        members.shuffle(&mut random);
        let few = random.random_range(1..=(count - 1) / 2 + usize::from(!reformed && count == 2));
        let many = members.split_off(few);
        let mut sides = [many, members];
        if !reformed && random.random_bool(0.5) {
            sides.reverse();
        }
        let more = random.random_range(0..2);
        let mut commands = [random.random_range(1..30); 2];
        commands[more] = commands[more] * 2 + 40;
        let crash = random.random_bool(0.6);
        let crash = crash.then(|| (random.random_range(0..2), random.random_range(-800..800)));
        Self {
            seed,
            sides,
            reformed,
            processes: options.processes,
            durable: false,
            snapshot_interval: [20, 1_000_000][random.random_range(0..2)],
            commands,
            busy: random.random_bool(0.4),
            crash,
        }
    }

    /// The members' part of it.
    fn plan(&self) -> Plan {
        let members = self.sides.iter().map(Vec::len).sum();
        Plan {
            seed: self.seed,
            members,
            founders: if self.reformed { members } else { 1 },
            bootstrap_delay: BOOTSTRAP_DELAY,
            processes: self.processes,
            firewall: false,
            durable: self.durable,
            snapshot_interval: self.snapshot_interval,
            evict_after: Duration::from_secs(3),
            forgetful: Vec::new(),
            skews_ms: vec![0; members],
            clients: 0,
            conditions: Conditions::default(),
            pace: Duration::ZERO,
            replayed: false,
            max_voters: 5,
            observers: Vec::new(),
            volatile: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Side whose history has to be there afterwards, when that is certain: the one with more
    /// commands, if a majority of its voters is there all the time, or on disk.
    fn winner(&self) -> Option<usize> {
        let longer = usize::from(self.commands[1] > self.commands[0]);
        let voters = if self.reformed && longer == 0 {
            self.sides[0].len() + self.sides[1].len()
        } else {
            self.sides[longer].len()
        };
        let hit = self.crash.is_some_and(|(side, _)| side == longer);
        let left = self.sides[longer].len() - usize::from(hit);
        let certain = !self.busy && (self.durable || left * 2 > voters.min(5));
        certain.then_some(longer)
    }
}

impl fmt::Display for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{self:?}")
    }
}

/// Lets two histories arise and meet.
///
/// # Errors
///
/// [`Violations`] when a promise was broken; anything else when the run itself failed.
pub async fn meet(meeting: &Meeting, program: &Path) -> anyhow::Result<Report> {
    let plan = meeting.plan();
    let cluster = Cluster::new(&plan, plan.processes.then_some(program)).await?;
    let outcome = Encounter::new(meeting, &cluster).run().await;
    cluster.shutdown().await?;
    outcome
}

/// A meeting while it goes on.
struct Encounter<'a> {
    meeting: &'a Meeting,
    cluster: &'a Cluster,
    all: Vec<usize>,
    /// The last id that was given to a command.
    ids: Mutex<u64>,
    unknown: Mutex<usize>,
    calls: Calls,
}

impl<'a> Encounter<'a> {
    fn new(meeting: &'a Meeting, cluster: &'a Cluster) -> Self {
        Self {
            meeting,
            cluster,
            all: (0..cluster.len()).collect(),
            ids: Mutex::default(),
            unknown: Mutex::default(),
            calls: Calls::default(),
        }
    }

    async fn run(&self) -> anyhow::Result<Report> {
        let Meeting { sides, .. } = self.meeting;
        let common = self.part().await?;
        let [one, other] = [0, 1].map(|side| self.use_side(side));
        let acknowledged = futures::join!(one, other);
        let acknowledged = [acknowledged.0?, acknowledged.1?];

        let stop = CancellationToken::new();
        let clients = sides.iter().map(|side| self.go_on(side, &stop));
        let meeting = async {
            let met = self.heal().await;
            stop.cancel();
            met
        };
        let (busy, met) = futures::join!(join_all(clients), meeting);
        let (recovery, last) = met?;
        // What was acknowledged meanwhile belongs to the history of that side, or to the one that
        // all have afterwards.
        let mut acknowledged = acknowledged;
        for (side, busy) in acknowledged.iter_mut().zip(busy) {
            side.extend(busy);
        }

        let histories = self.all.iter().map(|member| self.applied_by(*member));
        let histories = try_join_all(histories).await?;
        let mut violations = self.judge(&common, &acknowledged, &last, &histories);
        violations.extend(self.cluster.leaders().rivals());
        violations.extend(self.calls.ended(bound(PENDING)).await);
        if !violations.is_empty() {
            return Err(Violations(violations).into());
        }
        let counted = [&common, &acknowledged[0], &acknowledged[1], &last];
        Ok(Report {
            acknowledged: counted.map(Vec::len).iter().sum(),
            unknown: *self.unknown.lock(),
            reads: 0,
            terms: self.cluster.leaders().terms(),
            longest_pause: Duration::ZERO,
            recovery,
        })
    }

    /// Starts everybody and brings the two sides about; returns what was acknowledged before that.
    async fn part(&self) -> anyhow::Result<Acknowledged> {
        let Meeting {
            sides, reformed, ..
        } = self.meeting;
        let mut common = Vec::new();
        if !reformed {
            self.cut().await?;
        }
        let starts = self.all.iter().map(|n| async move {
            let mut unit = self.cluster.control(*n).context("nobody else has it")?;
            self.cluster.start(&mut unit).await
        });
        try_join_all(starts).await?;
        if *reformed {
            common = self.agree(&self.all, FORMATION).await?;
            self.cut().await?;
            let reformer = self.cluster.control(sides[1][0]);
            let reformer = reformer.context("nobody else has it")?;
            let reforming = async {
                loop {
                    reformer.reform().await;
                    sleep(RETRY * 10).await;
                }
            };
            tokio::select! {
                () = reforming => {}
                agreed = self.agree(&sides[1], FORMATION) => drop(agreed?),
            }
        }
        for side in sides {
            self.agree(side, FORMATION).await?;
        }
        Ok(common)
    }

    async fn cut(&self) -> anyhow::Result<()> {
        let [one, other] = &self.meeting.sides;
        let pairs = one.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
        let both_ways = pairs.flat_map(|(a, b)| [(a, b), (b, a)]);
        self.cluster.cut(both_ways.collect()).await
    }

    /// Lets everybody reach everybody, with what happens then; returns how long it took until there
    /// was one history again, and what was acknowledged in it at last.
    async fn heal(&self) -> anyhow::Result<(Duration, Acknowledged)> {
        let heal = self.cluster.cut(BTreeSet::new());
        let Some((side, at)) = self.meeting.crash else {
            heal.await?;
            let healed = Instant::now();
            let last = self.agree(&self.all, RECOVERY).await?;
            return Ok((healed.elapsed(), last));
        };
        let victim = self.cluster.leaders().latest_of(&self.meeting.sides[side]);
        let victim = victim.context("a side has had no leader")?;
        let mut unit = self.cluster.control(victim).context("nobody has it")?;
        let between = Duration::from_millis(at.unsigned_abs());
        if at < 0 {
            self.cluster.crash(&mut unit).await?;
            sleep(between).await;
            heal.await?;
        } else {
            heal.await?;
            sleep(between).await;
            self.cluster.crash(&mut unit).await?;
        }
        sleep(AWAY).await;
        if !self.meeting.durable {
            self.cluster.wipe(&mut unit).await?;
        }
        self.cluster.start(&mut unit).await?;
        let healed = Instant::now();
        let last = self.agree(&self.all, RECOVERY).await?;
        Ok((healed.elapsed(), last))
    }

    /// Carries out what one side is to carry out while it is alone.
    async fn use_side(&self, side: usize) -> anyhow::Result<Acknowledged> {
        let members = &self.meeting.sides[side];
        let mut acknowledged = Vec::new();
        let begun = Instant::now();
        for n in (0..).take_while(|_| begun.elapsed() < bound(RECOVERY)) {
            if acknowledged.len() >= self.meeting.commands[side] {
                return Ok(acknowledged);
            }
            let command = self.command();
            match self.execute(members[n % members.len()], command).await {
                Some(index) => acknowledged.push((command.id, index)),
                None => *self.unknown.lock() += 1,
            }
        }
        Err(anyhow!("side {side} does not serve"))
    }

    /// Goes on using a side, whatever comes of it; returns what was acknowledged.
    async fn go_on(&self, side: &[usize], stop: &CancellationToken) -> Acknowledged {
        let mut acknowledged = Vec::new();
        let mut n = 0;
        while self.meeting.busy && !stop.is_cancelled() {
            n += 1;
            let command = self.command();
            let executed = self.execute(side[n % side.len()], command);
            tokio::select! {
                index = executed => match index {
                    Some(index) => acknowledged.push((command.id, index)),
                    None => *self.unknown.lock() += 1,
                },
                () = stop.cancelled() => break,
            }
            sleep(RETRY / 5).await;
        }
        acknowledged
    }

    /// Waits until these members serve one history; returns what they have acknowledged for that.
    async fn agree(&self, members: &[usize], limit: Duration) -> anyhow::Result<Acknowledged> {
        let agreeing = async {
            loop {
                if let Some(acknowledged) = self.try_agree(members).await {
                    return acknowledged;
                }
                sleep(RETRY).await;
            }
        };
        let agreed = timeout(bound(limit), agreeing).await;
        agreed.map_err(|_| anyhow!("{members:?} do not agree within {limit:?}"))
    }

    async fn try_agree(&self, members: &[usize]) -> Option<Acknowledged> {
        let mut acknowledged = Vec::new();
        for member in members {
            let command = self.command();
            let index = self.execute(*member, command).await?;
            acknowledged.push((command.id, index));
        }
        for member in members {
            let applied = self.ask(*member).await?;
            let holds = |(id, index): &(u64, u64)| place(&applied, *index) == Some(*id);
            if !acknowledged.iter().all(holds) {
                return None;
            }
        }
        Some(acknowledged)
    }

    fn command(&self) -> Command {
        let mut ids = self.ids.lock();
        *ids += 1;
        Command {
            id: *ids,
            key: 0,
            action: Action::Write(*ids),
        }
    }

    async fn execute(&self, member: usize, command: Command) -> Option<u64> {
        let site: Arc<dyn Site> = self.cluster.site(member)?;
        let (told, ended) = oneshot::channel();
        let done = site.execute(command);
        let what = format!("{command:?} through member {member}");
        self.calls.follow(what, async move {
            // Nobody waits any more: fine.
            let _ = told.send(done.await);
        });
        timeout(PATIENCE, ended).await.ok()?.ok()?
    }

    async fn ask(&self, member: usize) -> Option<Vec<u64>> {
        let site = self.cluster.site(member)?;
        let answer = timeout(PATIENCE, site.query(Query::Applied, true));
        match answer.await.ok()?? {
            (Answer::Applied(ids), _) => Some(ids),
            (Answer::Value(_), _) => None,
        }
    }

    async fn applied_by(&self, member: usize) -> anyhow::Result<Vec<u64>> {
        for _ in 0..20 {
            if let Some(applied) = self.ask(member).await {
                ensure!(!applied.is_empty(), "member {member} has nothing");
                return Ok(applied);
            }
            sleep(RETRY).await;
        }
        Err(anyhow!("member {member} does not say what it has applied"))
    }

    /// Violations, in words.
    fn judge(
        &self,
        common: &Acknowledged,
        sides: &[Acknowledged; 2],
        last: &Acknowledged,
        histories: &[Vec<u64>],
    ) -> Vec<String> {
        let mut found = Vec::new();
        let longest = histories.iter().max_by_key(|history| history.len());
        let Some(longest) = longest else { return found };
        for (member, history) in histories.iter().enumerate() {
            if !longest.starts_with(history) {
                found.push(format!(
                    "member {member} has another history than the others"
                ));
            }
            let mut seen = HashSet::new();
            let twice = history.iter().filter(|id| !seen.insert(**id));
            found.extend(twice.map(|id| format!("member {member} has applied {id} twice")));
        }
        let lacking = |acknowledged: &Acknowledged| {
            let lost = |(id, index): &&(u64, u64)| place(longest, *index) != Some(*id);
            acknowledged.iter().filter(lost).count()
        };
        for (what, acknowledged) in [("before", common), ("afterwards", last)] {
            let lost = lacking(acknowledged);
            if lost > 0 {
                found.push(format!("{lost} commands acknowledged {what} are lost"));
            }
        }
        let lost = [0, 1].map(|side| lacking(&sides[side]));
        if lost[0] > 0 && lost[1] > 0 {
            found.push(format!(
                "both sides have lost acknowledged commands: {lost:?}"
            ));
        }
        if let Some(winner) = self.meeting.winner()
            && lost[winner] > 0
        {
            let lost = lost[winner];
            found.push(format!("side {winner} should have won and has lost {lost}"));
        }
        found
    }
}

/// The command at an index.
fn place(history: &[u64], index: u64) -> Option<u64> {
    let at = usize::try_from(index.checked_sub(1)?).ok()?;
    history.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meetings_are_drawn_as_they_should_be() {
        let mut seen = HashSet::new();
        for seed in 0..300 {
            let meeting = Meeting::draw(seed, Options::default());
            assert_eq!(meeting, Meeting::draw(seed, Options::default()));
            let [one, other] = &meeting.sides;
            assert!(!one.is_empty() && !other.is_empty(), "{meeting}");
            let all: BTreeSet<_> = one.iter().chain(other).collect();
            assert_eq!(all.len(), one.len() + other.len());
            // Who is cut off and reforms has no majority.
            assert!(!meeting.reformed || one.len() > other.len(), "{meeting}");
            seen.insert((meeting.reformed, meeting.winner()));
        }
        assert_eq!(seen.len(), 6, "everything comes up: {seen:?}");
    }
}
