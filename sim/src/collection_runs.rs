//! `mosaik-sim collections`: runs of replicated collections under faults.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use futures::{StreamExt, stream};
use mosaik_sim::{collections, stats::Millis};
use rand::Rng;

/// Options of the runs.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Options {
    /// The first run's seed; each further run adds one. Random by default.
    #[arg(short, long)]
    seed: Option<u64>,
    /// Number of runs.
    #[arg(short, long, default_value_t = 1)]
    runs: u64,
    /// Number of concurrent runs.
    #[arg(short, long, default_value_t = 1)]
    parallel: usize,
    /// Time for which the faults of one run go on.
    #[arg(long, default_value = "8s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// The kind of collection; by default, consecutive seeds go through all of them.
    #[arg(short, long, value_enum)]
    kind: Option<collections::Subject>,
    /// Write 70 MiB first, so that newcomers need a snapshot; drawn by default.
    #[arg(long)]
    heavy: Option<bool>,
}

/// Carries out the runs; fails when one has.
pub(crate) async fn run(options: Options) -> ExitCode {
    let first = options
        .seed
        .unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
    let started = Instant::now();
    let one = |seed| async move {
        let options = collections::Options {
            length: options.length,
            subject: options.kind,
            heavy: options.heavy,
        };
        (seed, collections::run(seed, options).await)
    };
    let seeds = (0..options.runs).map(|n| first.wrapping_add(n));
    let mut outcomes = stream::iter(seeds)
        .map(one)
        .buffer_unordered(options.parallel.max(1));
    let mut failed = Vec::new();
    while let Some((seed, outcome)) = outcomes.next().await {
        match outcome {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(error) => {
                println!("seed {seed} FAILED: {error:#}");
                failed.push(seed);
            }
        }
    }
    println!(
        "{} runs in {}, {} failed: {failed:?}",
        options.runs,
        Millis(started.elapsed()),
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
