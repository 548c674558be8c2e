//! A configuration service: three servers keep settings on disk, readers follow them, and a command
//! line sets them.
//!
//! The servers are the writers of one replicated `OrderedMap`; a majority of them is enough to go
//! on. Readers hold a copy of their own, so what they read costs nothing, and hear of each change.
//! The commands are short-lived, so they don't become members of the collection: they call
//! functions of whichever server answers.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mosaik::FunctionCaller;

#[path = "../common/node.rs"]
mod node;
mod reader;
mod server;
#[path = "../common/stop.rs"]
mod stop;
#[cfg(test)]
mod tests;

use node::NodeOptions;
use server::{Delete, Get, Set};

#[derive(Parser)]
#[command(about = "Keeps settings on several machines, and tells who reads them of every change")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keep the settings, together with two others.
    Server {
        /// Directory of the settings; each server has one of its own.
        #[arg(long)]
        storage: PathBuf,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Print the settings whose keys begin with a prefix, and then every change.
    Follow {
        /// All settings when it is empty.
        #[arg(default_value = "")]
        prefix: String,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Set a key.
    Set {
        key: String,
        value: String,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Print the value of a key; fails when it has none.
    Get {
        key: String,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Delete a key.
    Del {
        key: String,
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
    match arguments.command {
        Command::Server { storage, node } => server::run(&node, &storage).await,
        Command::Follow { prefix, node } => reader::run(&node, &prefix).await,
        Command::Set { key, value, node } => {
            let network = node.start(None).await?;
            let called = Set::caller(&network).call((key.clone(), value)).await;
            network.shutdown().await;
            println!("{key} is set, version {}", called?);
            Ok(())
        }
        Command::Get { key, node } => {
            let network = node.start(None).await?;
            let called = Get::caller(&network).call(key.clone()).await;
            network.shutdown().await;
            let Some((value, version)) = called? else {
                anyhow::bail!("{key} has no value");
            };
            println!("{key} = {value} (version {version})");
            Ok(())
        }
        Command::Del { key, node } => {
            let network = node.start(None).await?;
            let called = Delete::caller(&network).call(key.clone()).await;
            network.shutdown().await;
            match called? {
                Some(former) => println!("{key} is deleted, it was {former}"),
                None => println!("{key} had no value"),
            }
            Ok(())
        }
    }
}
