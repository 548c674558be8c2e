//! `mosaik-sim groups`: runs of groups under faults, one after the other or several at once.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use futures::{StreamExt, stream};
use mosaik_sim::{
    groups::{self, Churn, Meeting, Plan, Report},
    stats::Spread,
};
use rand::Rng;

/// Options of the runs.
#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch")]
pub(crate) struct Options {
    /// The first run's seed; each further run adds one. Random by default.
    #[arg(short, long)]
    seed: Option<u64>,
    /// Number of runs. Without it and `--minutes`, one.
    #[arg(short, long)]
    runs: Option<u64>,
    /// No run starts after this many minutes.
    #[arg(short, long)]
    minutes: Option<f64>,
    /// Number of concurrent runs.
    #[arg(short, long, default_value_t = 1)]
    parallel: usize,
    /// Members run in processes of their own, and are stopped and killed by signals.
    #[arg(long)]
    processes: bool,
    /// Those processes are in network namespaces of their own, joined by a bridge, and a firewall
    /// cuts them off each other. Needs root or user namespaces, util-linux, iproute2 and
    /// nftables.
    #[arg(long)]
    firewall: bool,
    /// Two histories of the group arise and meet, instead of faults in one: founded apart, or
    /// continued by a minority.
    #[arg(long, conflicts_with = "firewall")]
    rivals: bool,
    /// Members come and go, in order, within the time of an election, instead of faults.
    #[arg(long, conflicts_with_all = ["firewall", "processes", "rivals"])]
    churn: bool,
    /// Number of members; three to seven by default, as the seed says.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=9))]
    members: Option<u8>,
    /// Time for which the faults of one run go on.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// Shows what is planned for each run.
    #[arg(long)]
    verbose: bool,
}

/// All that the runs have shown.
#[derive(Default)]
struct Total {
    runs: u64,
    failed: Vec<u64>,
    acknowledged: usize,
    unknown: usize,
    reads: usize,
    terms: usize,
    recoveries: Vec<Duration>,
}

/// Carries out the runs; fails when one has.
pub(crate) async fn run(options: Options) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("this program does not know where it is: {error}");
            return ExitCode::FAILURE;
        }
    };
    if options.firewall && !groups::is_inside() {
        return inside(&program).await;
    }
    let first = options
        .seed
        .unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
    let started = Instant::now();
    let limit = options
        .minutes
        .map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0));
    let runs = match (options.runs, limit) {
        (Some(runs), _) => runs,
        (None, Some(_)) => u64::MAX,
        (None, None) => 1,
    };
    let seeds = (0..runs).map(|n| first.wrapping_add(n));
    let seeds = seeds.take_while(|_| limit.is_none_or(|limit| started.elapsed() < limit));
    let mut outcomes = stream::iter(seeds)
        .map(|seed| one(seed, &options, &program))
        .buffer_unordered(options.parallel.max(1));
    let mut total = Total::default();
    while let Some((seed, report)) = outcomes.next().await {
        total.add(seed, report);
    }
    drop(outcomes);
    total.show(started.elapsed());
    if total.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Starts this program once more, in a namespace of its own.
async fn inside(program: &Path) -> ExitCode {
    if let Err(error) = groups::probe().await {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match groups::enter(program, &arguments).await {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Takes part in a run of another process.
pub(crate) async fn member() -> ExitCode {
    mosaik_sim::show_logs();
    match groups::run_member().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("a member has failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn one(seed: u64, options: &Options, program: &PathBuf) -> (u64, Option<Report>) {
    let drawn = groups::Options {
        processes: options.processes,
        firewall: options.firewall,
        members: options.members.map(usize::from),
        length: Some(options.length),
    };
    let (plan, outcome) = if options.rivals {
        let meeting = Meeting::draw(seed, drawn);
        show(&meeting, options);
        let outcome = groups::meet(&meeting, Path::new(program)).await;
        (meeting.to_string(), outcome)
    } else if options.churn {
        let churn = Churn::draw(seed, drawn);
        show(&churn, options);
        let outcome = groups::come_and_go(&churn).await;
        (churn.to_string(), outcome)
    } else {
        let plan = Plan::draw(seed, drawn);
        show(&plan, options);
        let outcome = groups::run(&plan, Path::new(program)).await;
        (plan.to_string(), outcome)
    };
    match outcome {
        Ok(report) => {
            println!("seed {seed}: {report}");
            (seed, Some(report))
        }
        Err(error) => {
            println!("FAILED {plan}{error:#}");
            println!("again: mosaik-sim groups {}", arguments(seed, options));
            (seed, None)
        }
    }
}

fn show(plan: &impl std::fmt::Display, options: &Options) {
    if options.verbose {
        print!("{plan}");
    }
}

/// Arguments that carry out a run again.
fn arguments(seed: u64, options: &Options) -> String {
    let members = options
        .members
        .map(|members| format!("--members {members} "));
    format!(
        "--seed {seed} {}{}{}--length {}",
        if options.rivals {
            "--rivals "
        } else if options.churn {
            "--churn "
        } else {
            ""
        },
        if options.firewall {
            "--firewall "
        } else if options.processes {
            "--processes "
        } else {
            ""
        },
        members.unwrap_or_default(),
        humantime::format_duration(options.length)
    )
}

impl Total {
    fn add(&mut self, seed: u64, report: Option<Report>) {
        self.runs += 1;
        let Some(report) = report else {
            self.failed.push(seed);
            return;
        };
        self.acknowledged += report.acknowledged;
        self.unknown += report.unknown;
        self.reads += report.reads;
        self.terms += report.terms;
        self.recoveries.push(report.recovery);
    }

    fn show(&self, took: Duration) {
        let recoveries: Spread = self.recoveries.iter().copied().collect();
        println!(
            "{} runs in {:.0} s, {} failed {:?}",
            self.runs,
            took.as_secs_f64(),
            self.failed.len(),
            self.failed
        );
        println!(
            "of those that did not: {} commands acknowledged, none lost or applied twice; {} \
             unknown, {} reads, {} terms; serving again after {recoveries}",
            self.acknowledged, self.unknown, self.reads, self.terms
        );
    }
}
