//! One run: places are disturbed while clients mutate and watchers watch.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Context, ensure};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, interval, sleep, timeout};

use super::{invariants, place::Place, truth::Truth, watcher::Note};
use crate::{Conditions, Fleet, bound, invariants::Violation};

/// Timeout for the collection to form.
const FORMATION: Duration = Duration::from_secs(60);
/// Timeout for every reader to be up to date after the last fault.
const RECOVERY: Duration = Duration::from_secs(40);
/// Interval between two mutations.
const PACE: Duration = Duration::from_millis(4);

/// Options of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time for which faults go on.
    pub length: Duration,
}

/// Report of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Mutations that were acknowledged.
    pub acknowledged: usize,
    /// Watchers that were judged.
    pub watchers: usize,
    /// Versions that they were told, all together.
    pub told: usize,
    /// Number of times that they were told that they had missed something.
    pub missed: usize,
    /// Entries that expired.
    pub expired: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} mutations acknowledged, {} entries expired; {} watchers were told {} versions and \
             missed some {} times",
            self.acknowledged, self.expired, self.watchers, self.told, self.missed
        )
    }
}

/// Faults of a place, one after the other.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut,
    Weather,
    Restart { crash: bool },
    Reopen,
    Calm,
}

/// Carries out the run of a seed.
///
/// # Errors
///
/// When a promise was broken, or the run itself failed.
pub async fn run(seed: u64, options: Options) -> anyhow::Result<Report> {
    let mut random = SmallRng::seed_from_u64(seed);
    let fleet = Fleet::new(seed, Conditions::default());
    let writers = random.random_range(3..=4);
    let readers = random.random_range(0..=2);
    let (count, durable) = (writers + readers, random.random_bool(0.5));
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
    for (number, place) in places.iter_mut().enumerate() {
        place.start(&fleet, count, number < writers).await?;
    }
    let formed = join_all(places.iter().map(Place::online));
    timeout(bound(FORMATION), formed)
        .await
        .context("the collection has not formed")?;

    let mortal = random.random_range(0..writers);
    let mut run = Run {
        fleet,
        places,
        writers,
        random,
        mortal,
        durable,
        acknowledged: Vec::new(),
    };
    run.suffer(options.length).await?;
    run.settle().await?;
    let report = run.judge();
    for place in &mut run.places {
        place.stop(&run.fleet, false).await;
    }
    report
}

struct Run {
    fleet: Fleet,
    places: Vec<Place>,
    /// Number of places that write, from the first on.
    writers: usize,
    random: SmallRng,
    /// The only writer that may leave, or lose what it had: what it was may count as a voter for a
    /// while, and with two of them a majority could be gone.
    mortal: usize,
    durable: bool,
    /// Versions that were acknowledged, with a key and the value that it was given.
    acknowledged: Vec<(u64, u8, Option<u32>)>,
}

impl Run {
    /// Faults, one after the other, while clients go on: a majority of writers is always there.
    async fn suffer(&mut self, length: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < length {
            let victim = self.random.random_range(0..self.places.len());
            let fault = match self.random.random_range(0..10) {
                0..3 => Fault::Cut,
                3..5 => Fault::Weather,
                5..7 => Fault::Restart {
                    crash: self.random.random_bool(0.5),
                },
                7..9 => Fault::Reopen,
                _ => Fault::Calm,
            };
            let lasts = Duration::from_millis(self.random.random_range(100..1800));
            let forgets = match fault {
                Fault::Reopen => true,
                Fault::Restart { .. } => !self.durable,
                _ => false,
            };
            let victim = if forgets && victim < self.writers {
                self.mortal
            } else {
                victim
            };
            tracing::info!(?fault, victim, ?lasts, "fault");
            let writes = victim < self.writers;
            match fault {
                Fault::Cut => {
                    let others = (0..self.places.len()).filter(|n| *n != victim);
                    let others: Vec<_> = others.map(|n| self.fleet.id(n)).collect();
                    let hub = self.fleet.hub();
                    hub.partition(&[self.fleet.id(victim)], &others);
                    self.mutate(lasts).await;
                    self.fleet.hub().heal();
                }
                Fault::Weather => {
                    let conditions = Conditions {
                        latency: Duration::from_millis(self.random.random_range(0..40)),
                        jitter: Duration::from_millis(self.random.random_range(0..40)),
                        loss: self.random.random_range(0.0..0.2),
                        bandwidth: None,
                    };
                    self.fleet.hub().set_conditions(conditions);
                    self.mutate(lasts).await;
                    self.fleet.hub().set_conditions(Conditions::default());
                }
                Fault::Restart { crash } => {
                    self.places[victim].stop(&self.fleet, crash).await;
                    self.mutate(lasts).await;
                    let count = self.places.len();
                    self.places[victim]
                        .start(&self.fleet, count, writes)
                        .await?;
                    self.recovered(victim).await?;
                }
                Fault::Reopen => {
                    self.places[victim].close();
                    self.mutate(lasts).await;
                    self.places[victim].open(writes);
                    self.recovered(victim).await?;
                }
                Fault::Calm => self.mutate(lasts).await,
            }
            let lucky = self.random.random_range(0..self.places.len());
            self.places[lucky].watch_more();
        }
        Ok(())
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
            calls.extend(self.places[place].mutate(&mut self.random));
            while let Some(Some(done)) = futures::FutureExt::now_or_never(calls.next()) {
                self.acknowledge(done);
            }
        }
        // What a minority was asked for ends after some seconds; the fault goes on meanwhile.
        while let Some(done) = calls.next().await {
            self.acknowledge(done);
        }
    }

    fn acknowledge(&mut self, done: Option<(mosaik::collections::Version, u8, Option<u32>)>) {
        let done = done.map(|(version, key, wrote)| (version.0.0, key, wrote));
        self.acknowledged.extend(done);
    }

    /// Waits until everybody is up to date, and has told its watchers.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let last = async {
            loop {
                if let Some(write) = self.places[0].mutate(&mut self.random)
                    && let Some((version, ..)) = write.await
                {
                    return version;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let last = timeout(bound(RECOVERY), last).await.context("no leader")?;
        let settled = self.places.iter().map(|place| place.settled(last));
        timeout(bound(RECOVERY), join_all(settled))
            .await
            .context("not everybody is up to date")?;
        Ok(())
    }

    fn judge(&self) -> anyhow::Result<Report> {
        let seen: Vec<_> = self.places.iter().map(Place::look).collect();
        ensure!(
            seen.iter().all(Option::is_some),
            "two handles of one place differ"
        );
        let records: Vec<_> = self.places.iter().flat_map(Place::records).collect();
        let truth = Truth::of(&records)?;
        let mut broken: BTreeSet<String> = BTreeSet::new();
        for record in &records {
            let violations = invariants::judge(record, &truth);
            broken.extend(violations.into_iter().map(|Violation(reason)| reason));
        }
        for (version, key, wrote) in &self.acknowledged {
            // Some changed nothing; what wrote a value did, and all watchers of it were told.
            let told = truth.at(*version).unwrap_or_default();
            let told = told.iter().any(|c| c.key == *key && c.new == *wrote);
            if wrote.is_some() && !told {
                broken.insert(format!(
                    "version {version} was acknowledged, and nobody was told that it wrote {key}"
                ));
            }
        }
        ensure!(
            broken.is_empty(),
            "{} promises broken:\n{}",
            broken.len(),
            broken.into_iter().take(20).collect::<Vec<_>>().join("\n")
        );
        let notes = || records.iter().flat_map(|record| &record.notes);
        let count = |wanted: fn(&Note) -> bool| notes().filter(|note| wanted(note)).count();
        Ok(Report {
            acknowledged: self.acknowledged.len(),
            watchers: records.len(),
            told: count(|note| matches!(note, Note::Changed(..))),
            missed: count(|note| matches!(note, Note::Anew(..))),
            expired: truth.expired(),
        })
    }
}
