//! `mosaik`: runs nodes, and shows how networks are.
//!
//! Data goes to standard output, everything else to standard error.

mod archive;
mod beacon;
mod cheat;
mod context;
mod dht;
mod doctor;
mod id;
mod key;
mod lists;
mod manual;
mod observe;
mod output;
mod peer;
mod ping;
mod stop;
mod top;
mod up;
mod watch;

use std::{
    io::{ErrorKind, IsTerminal},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{lists::List, output::note};

/// Runs nodes of mosaik networks, and shows how networks are.
#[derive(Debug, Parser)]
#[command(name = "mosaik", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a bootstrap node until interrupted.
    Beacon(beacon::Options),
    /// Run a node until interrupted, with a key of its own.
    Up(up::Options),
    /// Show the peers that a network published in the DHT.
    Dht(dht::Options),
    /// List the nodes of a network.
    Peers(lists::Options),
    /// List producers and consumers.
    Streams(lists::Options),
    /// List handlers and callers.
    Functions(lists::Options),
    /// List the members of groups.
    Groups(lists::Options),
    /// List collections.
    Collections(lists::Options),
    /// Show everything, full-screen.
    Top(top::Options),
    /// Print what changes, as it happens.
    Watch(watch::Options),
    /// Say what is wrong, and what to do.
    Doctor(doctor::Options),
    /// Say in one line how things are, for monitoring: exit code 0, 1 for a warning, 2 for an error.
    Check(doctor::Options),
    /// Measure how fast nodes answer.
    Ping(ping::Options),
    /// Write everything that the nodes tell to a file, to look at it elsewhere.
    Gather(archive::Options),
    /// List, keep and forget named networks.
    Ctx(context::Options),
    /// Print the identifiers that texts stand for.
    Id(id::Options),
    /// Print lines to copy, by topic.
    Cheat(cheat::Options),
    /// Print completions for a shell.
    Completions(manual::Completions),
    /// Print the manual.
    Man(manual::Man),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // On a whole screen, nobody could read what is written across it.
    let fills_screen = matches!(cli.command, Command::Top(_)) && std::io::stderr().is_terminal();
    let level = if fills_screen {
        LevelFilter::OFF
    } else {
        LevelFilter::ERROR
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::is_stderr_styled())
        .with_writer(std::io::stderr)
        .init();
    let result = match cli.command {
        Command::Beacon(options) => done(beacon::run(options).await),
        Command::Up(options) => done(up::run(options).await),
        Command::Dht(options) => done(dht::run(options).await),
        Command::Peers(options) => lists::run(List::Peers, options).await,
        Command::Streams(options) => lists::run(List::Streams, options).await,
        Command::Functions(options) => lists::run(List::Functions, options).await,
        Command::Groups(options) => lists::run(List::Groups, options).await,
        Command::Collections(options) => lists::run(List::Collections, options).await,
        Command::Top(options) => top::run(options).await,
        Command::Watch(options) => watch::run(options).await,
        Command::Doctor(options) => doctor::doctor(options).await,
        Command::Check(options) => doctor::check(options).await,
        Command::Ping(options) => ping::run(options).await,
        Command::Gather(options) => archive::run(options).await,
        Command::Ctx(options) => done(context::run(options)),
        Command::Id(options) => done(id::run(options)),
        Command::Cheat(options) => done(cheat::run(&options)),
        Command::Completions(options) => done(manual::completions(&options)),
        Command::Man(options) => done(manual::man(options)),
    };
    match result {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            // Whoever read the output has gone: that is no fault.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => {
                note(&format!("error: {error:#}"));
                ExitCode::FAILURE
            }
        },
    }
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
