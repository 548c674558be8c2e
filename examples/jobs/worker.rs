//! A worker: takes one job after the other, and gives it to a command.

use std::{process::Stdio, time::Duration};

use anyhow::Context;
use mosaik::{Network, primitives::ShortFmtExt};
use tokio::{
    io::AsyncWriteExt,
    process::Command,
    time::{MissedTickBehavior, interval},
};

use crate::queue::{self, QUEUE, Queue, Taken};

/// Options of a worker.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorkerOptions {
    /// Lease in seconds: after this long without a renewal another worker may have the job.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    lease: u64,
    /// Command that is run for each job: it gets the input on its standard input, and its output is
    /// the result.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

// ANCHOR: worker
pub(crate) async fn run(options: &WorkerOptions, network: &Network) -> anyhow::Result<()> {
    let queue = Queue::writer_with_config(network, QUEUE, queue::config());
    queue.when().online().await;
    // No two processes have the same one.
    let worker = network.local().id().short().to_string();
    let lease = Duration::from_secs(options.lease);
    println!("waiting for jobs");
    loop {
        // Before the look, so that nothing that changes after it is missed.
        let seen = queue.version();
        let Some(taken) = queue::take(&queue, &worker, lease).await? else {
            queue.when().updated_since(seen).await;
            continue;
        };
        let name = taken.name.clone();
        println!("took {name}");
        let Some(output) = work(&queue, &taken, options).await? else {
            println!("lost {name}");
            continue;
        };
        if taken.finish(&queue, output).await? {
            println!("finished {name}");
        } else {
            println!("finished {name} too late");
        }
    }
}
// ANCHOR_END: worker

// ANCHOR: work
/// Runs the command, and renews the lease meanwhile; none when the lease was lost.
async fn work(
    queue: &Queue,
    taken: &Taken,
    options: &WorkerOptions,
) -> anyhow::Result<Option<String>> {
    let lease = Duration::from_secs(options.lease);
    let mut renewal = interval(lease / 4);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = queue.watch_key(taken.lease_key());
    let output = output_of(&options.command, &taken.input);
    tokio::pin!(output);
    while taken.is_held(queue) {
        tokio::select! {
            output = &mut output => return output.map(Some),
            _ = renewal.tick() => taken.renew(queue, lease).await,
            event = changes.recv() => {
                event.context("the queue has ended on this node")?;
            }
        }
    }
    // The command ends with its future.
    Ok(None)
}
// ANCHOR_END: work

async fn output_of(command: &[String], input: &str) -> anyhow::Result<String> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("can't run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads no input has closed it.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let done = child.wait_with_output().await?;
    let output = String::from_utf8_lossy(&done.stdout).trim_end().to_owned();
    Ok(if done.status.success() {
        output
    } else {
        format!("failed: {} {output}", done.status)
    })
}
