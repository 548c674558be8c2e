//! A queue of jobs whose workers may crash at any time.
//!
//! Keepers hold the queue on disk. Workers take jobs for a limited time, which they renew; a job
//! whose worker has died comes back when that time is over. However often a job is begun, one
//! result of it is recorded.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};
use mosaik::{
    Network,
    collections::{Event, OrderedMapReader},
};
use tokio::time::timeout;

#[path = "../common/node.rs"]
mod node;
mod queue;
#[path = "../common/stop.rs"]
mod stop;
#[cfg(test)]
mod tests;
mod worker;

use node::{Address, NodeOptions};
use queue::{Key, QUEUE, Queue};

/// Timeout of commands for the queue.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Parser)]
#[command(about = "A queue of jobs whose workers may crash at any time")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the queue, together with two others.
    Keeper {
        /// Directory of the queue; each keeper has one of its own.
        #[arg(long)]
        storage: PathBuf,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Take jobs, and run a command for each.
    Worker {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        options: worker::WorkerOptions,
    },
    /// Add jobs.
    Add {
        /// Jobs as `name=input`.
        #[arg(required = true)]
        jobs: Vec<String>,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Print all jobs.
    Status {
        /// Print results as they come, after those that are there.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        node: NodeOptions,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    run(Arguments::parse()).await
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (network, ended) = match arguments.command {
        Command::Keeper { storage, node } => {
            let network = node.start(Some(&storage)).await?;
            println!("ready as {}", Address::of(&network));
            let ended = until_asked_to_end(keep(&network)).await;
            (network, ended)
        }
        Command::Worker { node, options } => {
            let network = node.start(None).await?;
            let ended = until_asked_to_end(worker::run(&options, &network)).await;
            (network, ended)
        }
        Command::Add { jobs, node } => {
            let network = node.start(None).await?;
            let added = timeout(TIMEOUT, add(&network, &jobs)).await;
            let added = added.context("the queue can't be reached");
            (network, added.and_then(|added| added))
        }
        Command::Status { follow, node } => {
            let network = node.start(None).await?;
            let ended = until_asked_to_end(status(&network, follow)).await;
            (network, ended)
        }
    };
    network.shutdown().await;
    ended
}

async fn until_asked_to_end(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        ended = role => ended,
        asked = stop::requested() => asked,
    }
}

// ANCHOR: keeper
async fn keep(network: &Network) -> anyhow::Result<()> {
    let queue = Queue::writer_with_config(network, QUEUE, queue::config().durable());
    loop {
        queue.when().online().await;
        println!("online with {} entries", queue.len());
        queue.when().offline().await;
        println!("offline");
    }
}
// ANCHOR_END: keeper

async fn add(network: &Network, jobs: &[String]) -> anyhow::Result<()> {
    let queue = Queue::writer_with_config(network, QUEUE, queue::config());
    for job in jobs {
        let (name, input) = job
            .split_once('=')
            .with_context(|| format!("{job:?} is not name=input"))?;
        if queue::add(&queue, name, input.into()).await? {
            println!("added {name}");
        } else {
            println!("{name} was there already");
        }
    }
    Ok(())
}

async fn status(network: &Network, follow: bool) -> anyhow::Result<()> {
    let queue =
        OrderedMapReader::<Key, String>::reader_with_config(network, QUEUE, queue::config());
    queue.when().online().await;
    // ANCHOR: follow
    let mut results = queue.watch_range(Key::Result(String::new())..);
    let now = queue.snapshot();
    for (key, text) in now.iter() {
        match key {
            Key::Job(name) => match now.get(&Key::Lease(name.clone())) {
                Some(worker) => println!("taken {name} by {worker}"),
                None => println!("waiting {name}"),
            },
            Key::Lease(_) => {}
            Key::Result(_) if follow => {}
            Key::Result(name) => println!("done {name}: {text}"),
        }
    }
    if !follow {
        return Ok(());
    }
    for (key, output) in results.snapshot().iter() {
        print_result(key, output);
    }
    while let Some(event) = results.recv().await {
        match event {
            Event::Changed { changes, .. } => {
                for change in changes.iter() {
                    if let Some(output) = change.new() {
                        print_result(change.key(), output);
                    }
                }
            }
            Event::Lagged { now, .. } | Event::Reset { now, .. } => {
                println!(
                    "some results may have been passed over; there are {}",
                    now.len()
                );
            }
            _ => {}
        }
    }
    // ANCHOR_END: follow
    Ok(())
}

fn print_result(key: &Key, output: &str) {
    if let Key::Result(name) = key {
        println!("done {name}: {output}");
    }
}
