//! One run: places are disturbed while clients mutate and watchers watch.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Context, ensure};
use futures::{FutureExt, StreamExt, future::join_all, stream::FuturesUnordered};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, interval, sleep, timeout};

use super::{
    faults::Fault,
    invariants::{self, Seen},
    kinds::{
        CellKind, Kind, MARKS, MapKind, Mutation, OnceKind, OrderedMapKind, QueueKind, SetKind,
        VecKind,
    },
    place::Place,
    truth::Truth,
    watcher::Note,
};
use crate::{Conditions, Fleet, bound, invariants::Violation};

/// Timeout for the collection to form.
const FORMATION: Duration = Duration::from_secs(60);
/// Timeout for every reader to be up to date after the last fault.
const RECOVERY: Duration = Duration::from_secs(40);
/// Interval between two mutations.
const PACE: Duration = Duration::from_millis(4);
/// Ways in which a promise was broken that are shown.
const SHOWN: usize = 3;
/// Mutations of a mebibyte after which the beginning of the log is discarded, so that newcomers
/// need a snapshot.
const HEAVY: usize = 70;
/// Time for which others go on in between.
const BETWEEN: Duration = Duration::from_millis(60);

/// The kinds of collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(missing_docs, reason = "named as the kinds are")]
pub enum Subject {
    Map,
    OrderedMap,
    Set,
    Vec,
    Cell,
    Once,
    PriorityQueue,
}

impl Subject {
    /// All kinds; the seed of a run selects one.
    pub const ALL: [Self; 7] = [
        Self::Map,
        Self::OrderedMap,
        Self::Set,
        Self::Vec,
        Self::Cell,
        Self::Once,
        Self::PriorityQueue,
    ];
}

/// Options of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time for which faults go on.
    pub length: Duration,
    /// The kind of collection; by the seed if not given.
    pub subject: Option<Subject>,
    /// True to write so much first that newcomers need a snapshot; drawn if not given.
    pub heavy: Option<bool>,
}

/// Report of a run.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The kind of collection.
    pub subject: Subject,
    /// Mutations that were acknowledged.
    pub acknowledged: usize,
    /// Mutations that failed, or may have.
    pub failed: usize,
    /// Watchers that were judged.
    pub watchers: usize,
    /// Versions that they were told, all together.
    pub told: usize,
    /// Number of times that they were told that they had missed something.
    pub missed: usize,
    /// Number of times that this was because a member had got a snapshot.
    pub installed: usize,
    /// Entries that expired.
    pub expired: usize,
    /// Contents that were compared.
    pub compared: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            acknowledged,
            failed,
            watchers,
            told,
            missed,
            installed,
            expired,
            compared,
        } = self;
        write!(
            f,
            "{subject:?}: {acknowledged} mutations acknowledged, {failed} not, {expired} entries \
             expired, {compared} contents compared; {watchers} watchers were told {told} versions \
             and missed some {missed} times, {installed} of them by snapshots"
        )
    }
}

/// Carries out the run of a seed.
///
/// # Errors
///
/// When a promise was broken, or the run itself failed.
pub async fn run(seed: u64, options: Options) -> anyhow::Result<Report> {
    let count = Subject::ALL.len() as u64;
    let by_seed = usize::try_from(seed % count).map(|n| Subject::ALL[n])?;
    let subject = options.subject.unwrap_or(by_seed);
    match subject {
        Subject::Map => Box::pin(Run::<MapKind>::whole(seed, subject, options)).await,
        Subject::OrderedMap => Box::pin(Run::<OrderedMapKind>::whole(seed, subject, options)).await,
        Subject::Set => Box::pin(Run::<SetKind>::whole(seed, subject, options)).await,
        Subject::Vec => Box::pin(Run::<VecKind>::whole(seed, subject, options)).await,
        Subject::Cell => Box::pin(Run::<CellKind>::whole(seed, subject, options)).await,
        Subject::Once => Box::pin(Run::<OnceKind>::whole(seed, subject, options)).await,
        Subject::PriorityQueue => Box::pin(Run::<QueueKind>::whole(seed, subject, options)).await,
    }
}

struct Run<K: Kind> {
    fleet: Fleet,
    places: Vec<Place<K>>,
    /// Number of places that write, from the first on.
    writers: usize,
    random: SmallRng,
    /// The only writer that may leave, or lose what it had: what it was may count as a voter for a
    /// while, and with two of them a majority could be gone.
    mortal: usize,
    durable: bool,
    /// The first mark that no mutation has written.
    mark: u32,
    seen: Seen,
}

impl<K: Kind> Run<K> {
    async fn whole(seed: u64, subject: Subject, options: Options) -> anyhow::Result<Report> {
        let mut random = SmallRng::seed_from_u64(seed);
        let fleet = Fleet::new(seed, Conditions::default());
        let writers = random.random_range(3..=4);
        let readers = random.random_range(0..=2);
        let (count, durable) = (writers + readers, random.random_bool(0.5));
        let heavy = random.random_bool(0.3);
        let mut places = Vec::new();
        for number in 0..count {
            // Readers are in memory, also where writers are durable.
            places.push(Place::new(
                number,
                seed,
                writers,
                durable && number < writers,
            )?);
        }
        let heavy = options.heavy.unwrap_or(heavy);
        // Where a snapshot is needed, by one that misses nothing else.
        let mortal = random.random_range(0..writers);
        let mut run = Self {
            mortal: if heavy { 1 } else { mortal },
            fleet,
            places,
            writers,
            random,
            durable,
            mark: 0,
            seen: Seen::default(),
        };
        run.start_all().await?;
        if heavy {
            run.weigh().await?;
        }
        run.suffer(options.length).await?;
        run.settle().await?;
        run.look();
        let records = run.places.iter().flat_map(Place::records);
        run.seen.records = records.collect();
        let report = run.judge(subject);
        for place in &mut run.places {
            place.stop(&run.fleet, false).await?;
        }
        report
    }

    async fn start_all(&mut self) -> anyhow::Result<()> {
        let count = self.places.len();
        for (number, place) in self.places.iter_mut().enumerate() {
            let writes = number < self.writers;
            place.start(&self.fleet, count, writes).await?;
        }
        let formed = join_all(self.places.iter().map(Place::online));
        timeout(bound(FORMATION), formed)
            .await
            .context("the collection has not formed")?;
        Ok(())
    }

    /// Writes so much that the log is cut off, with other mutations in between which the snapshot
    /// has to tell, and has a newcomer.
    async fn weigh(&mut self) -> anyhow::Result<()> {
        for n in 0..HEAVY {
            if n % 8 == 0 {
                self.mutate(BETWEEN).await;
            }
            self.insist(|run| {
                let mark = run.next_mark();
                run.places[0].heavy(mark)
            })
            .await?;
        }
        self.insist(|run| run.places[0].lighten()).await?;
        self.afflict(Fault::Reopen, self.mortal).await
    }

    /// Faults, one after the other, while clients go on: a majority of writers is always there, or
    /// all are down and come back.
    async fn suffer(&mut self, length: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < length {
            let fault = Fault::draw(&mut self.random, self.durable);
            let leader = self.random.random_bool(0.3).then(|| self.leader());
            let any = self.random.random_range(0..self.places.len());
            let victim = match leader.flatten().unwrap_or(any) {
                writer if writer < self.writers && fault.forgets(self.durable) => self.mortal,
                victim => victim,
            };
            self.afflict(fault, victim).await?;
            let lucky = self.random.random_range(0..self.places.len());
            self.places[lucky].watch_more();
            self.look();
        }
        Ok(())
    }

    async fn afflict(&mut self, fault: Fault, victim: usize) -> anyhow::Result<()> {
        let lasts = Duration::from_millis(self.random.random_range(100..1800));
        tracing::info!(?fault, victim, ?lasts, "fault");
        let writes = victim < self.writers;
        let id = self.fleet.id(victim);
        match fault {
            Fault::Cut => {
                let others = (0..self.places.len()).filter(|n| *n != victim);
                let others: Vec<_> = others.map(|n| self.fleet.id(n)).collect();
                self.fleet.hub().partition(&[id], &others);
                self.mutate(lasts).await;
                self.fleet.hub().heal();
            }
            Fault::Pause => {
                self.fleet.hub().pause(id);
                self.mutate(lasts).await;
                self.fleet.hub().resume(id);
            }
            Fault::Weather(conditions) => {
                self.fleet.hub().set_conditions(conditions);
                self.mutate(lasts).await;
                self.fleet.hub().set_conditions(Conditions::default());
            }
            Fault::Restart { crash } => {
                self.places[victim].stop(&self.fleet, crash).await?;
                self.mutate(lasts).await;
                let count = self.places.len();
                self.places[victim]
                    .start(&self.fleet, count, writes)
                    .await?;
                self.recovered(victim).await?;
            }
            Fault::RestartAll { crash } => {
                let stopping = self.places.iter_mut();
                let stopping = stopping.map(|place| place.stop(&self.fleet, crash));
                for stopped in join_all(stopping).await {
                    stopped?;
                }
                self.start_all().await?;
                self.recovered(victim).await?;
            }
            Fault::Reopen => {
                self.places[victim].close().await?;
                self.mutate(lasts).await;
                self.places[victim].open(writes);
                self.recovered(victim).await?;
            }
            Fault::Calm => self.mutate(lasts).await,
        }
        Ok(())
    }

    /// The place that leads, as far as is known.
    fn leader(&self) -> Option<usize> {
        let leader = self.places.iter().find_map(Place::leader)?;
        (0..self.places.len()).find(|n| self.fleet.id(*n) == leader)
    }

    /// A place that was away is back, and all writers vote, before another one goes: else there may
    /// be no majority.
    async fn recovered(&self, place: usize) -> anyhow::Result<()> {
        let back = async {
            self.places[place].online().await;
            while self.places[place].voters() < self.writers {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(bound(RECOVERY), back)
            .await
            .context(format!("place {place} has not come back"))
    }

    /// Mutates from everywhere for a while, and then waits for what is still under way.
    async fn mutate(&mut self, period: Duration) {
        let mut calls = FuturesUnordered::new();
        let (begun, mut ticks) = (Instant::now(), interval(PACE));
        while begun.elapsed() < period {
            ticks.tick().await;
            let place = self.random.random_range(0..self.places.len());
            let mark = self.next_mark();
            let mutation = self.places[place].mutate(&mut self.random, mark);
            calls.extend(mutation.map(finish));
            while let Some(Some(call)) = calls.next().now_or_never() {
                self.seen.calls.push(call);
            }
        }
        // What a minority was asked for ends after some seconds; the fault goes on meanwhile.
        while let Some(call) = calls.next().await {
            self.seen.calls.push(call);
        }
    }

    fn next_mark(&mut self) -> u32 {
        self.mark += MARKS;
        self.mark
    }

    /// Mutates until it is acknowledged; returns the version.
    async fn insist(
        &mut self,
        mut mutate: impl FnMut(&mut Self) -> Option<Mutation>,
    ) -> anyhow::Result<u64> {
        let begun = Instant::now();
        loop {
            ensure!(begun.elapsed() < bound(RECOVERY), "no leader");
            if let Some(mutation) = mutate(self) {
                let call = finish(mutation).await;
                let done = call.1.as_ref().map(|(version, _)| *version).ok();
                self.seen.calls.push(call);
                if let Some(version) = done {
                    return Ok(version);
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until everybody is up to date, and has told its watchers.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let last = self.insist(|run| {
            let mark = run.next_mark();
            run.places[0].mutate(&mut run.random, mark)
        });
        let last = mosaik::collections::Version(mosaik::groups::Index(last.await?));
        let settled = self.places.iter().map(|place| place.settled(last));
        timeout(bound(RECOVERY), join_all(settled))
            .await
            .context("not everybody is up to date, or something has not expired")?;
        Ok(())
    }

    /// Notes what all handles show.
    fn look(&mut self) {
        for (number, place) in self.places.iter().enumerate() {
            let looks = place.looks().into_iter();
            let looks = looks.map(|(version, content)| (number, version, content));
            self.seen.looks.extend(looks);
        }
    }

    fn judge(&self, subject: Subject) -> anyhow::Result<Report> {
        let (truth, contradictions) = Truth::of(K::empty(), &self.seen.records);
        let broken = invariants::judge(&self.seen, &truth).into_iter();
        let broken = contradictions.into_iter().chain(broken);
        let broken: BTreeSet<_> = broken.map(|Violation(reason)| reason).collect();
        ensure!(broken.is_empty(), "{}", in_short(&broken));
        let records = &self.seen.records;
        let notes = || records.iter().flat_map(|record| &record.notes);
        let count = |wanted: fn(&Note) -> bool| notes().filter(|note| wanted(note)).count();
        let complete = records
            .iter()
            .filter(|record| self.places[record.place].is_complete());
        let installed = complete.flat_map(|record| &record.notes);
        let calls = &self.seen.calls;
        let acknowledged = calls.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        Ok(Report {
            subject,
            acknowledged,
            failed: calls.len() - acknowledged,
            watchers: records.len(),
            told: count(|note| matches!(note, Note::Changed(..))),
            missed: count(|note| matches!(note, Note::Anew(..))),
            installed: installed
                .filter(|note| matches!(note, Note::Anew(..)))
                .count(),
            expired: truth.expired(),
            compared: self.seen.looks.len(),
        })
    }
}

/// Counts of the broken promises, and the first ways in which each was broken.
fn in_short(broken: &BTreeSet<String>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut first = Vec::new();
    for reason in broken {
        let promise = reason.split(':').next().unwrap_or_default();
        let count = counts.entry(promise).or_default();
        *count += 1;
        if *count <= SHOWN {
            first.push(reason.as_str());
        }
    }
    format!("broken: {counts:?}\n{}", first.join("\n"))
}

/// Waits for what comes of a mutation.
async fn finish(mutation: Mutation) -> invariants::Call {
    let outcome = mutation.writing.await;
    let outcome = outcome.map(|(version, answer)| (version.0.0, answer));
    (mutation.effect, outcome)
}
