//! A stock exchange in miniature: traders send limit orders, a replicated book matches them by
//! price and time, and reporters receive the fills.
//!
//! Without arguments it runs a whole fleet on this machine: two traders, two matchers and two
//! reporters, each a process of its own that knows the network's name, its role and one address.
//! Each role also runs alone, on as many machines as you like.
//!
//! `orderbook replay` runs one book in one process, without a network. It's the measure for every
//! other way to run it: whoever matches the same orders in the same sequence must arrive at the
//! same digest.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};

mod book;
mod csv;
mod demo;
mod machine;
mod node;
mod order;
mod report;
mod roles;
mod sample;
mod seen;
#[path = "../common/stop.rs"]
mod stop;
mod subscriptions;
mod wire;

use book::Book;
use node::NodeOptions;
use order::Cents;

#[derive(Parser)]
#[command(about = "Matches limit orders in a replicated order book")]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: demo::DemoOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Stream the orders of a file to all matchers.
    Trader {
        /// Number of the trader in the file.
        number: u32,
        /// A CSV file with the header `trader,side,price,quantity`.
        file: PathBuf,
        /// Orders a second.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Match orders, together with the other matchers.
    Matcher {
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Print fills.
    Reporter {
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Write a file of random orders.
    Sample {
        /// File to write; an existing one is replaced.
        #[arg(default_value = "orders.csv")]
        output: PathBuf,
        /// Equal seeds give equal files.
        #[arg(long, default_value_t = sample::DEFAULT_SEED)]
        seed: u64,
        /// Number of orders.
        #[arg(long, default_value_t = sample::DEFAULT_COUNT)]
        orders: u32,
    },
    /// Match the orders of a file in this process and print the result.
    Replay {
        /// A CSV file with the header `trader,side,price,quantity`.
        file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    let arguments = Arguments::parse();
    let Some(command) = arguments.command else {
        return demo::run(&arguments.demo).await;
    };
    match command {
        Command::Trader {
            number,
            file,
            rate,
            node,
        } => {
            roles::trader::run(&node, number, &file, rate).await?;
        }
        Command::Matcher { node } => roles::matcher::run(&node).await?,
        Command::Reporter { node } => roles::reporter::run(&node).await?,
        Command::Sample {
            output,
            seed,
            orders,
        } => {
            let mut text = Vec::new();
            csv::write(&sample::orders(seed, orders), &mut text)?;
            std::fs::write(&output, text)
                .with_context(|| format!("can't write {}", output.display()))?;
        }
        Command::Replay { file } => {
            let orders = csv::read(&file)?;
            let mut book = Book::default();
            for order in &orders {
                book.submit(order);
            }
            report(&book, &mut io::stdout().lock())?;
        }
    }
    Ok(())
}

fn report(book: &Book, out: &mut impl Write) -> io::Result<()> {
    let totals = book.totals();
    writeln!(out, "orders accepted     {}", totals.accepted)?;
    writeln!(out, "duplicates ignored  {}", totals.duplicates)?;
    writeln!(out, "fills               {}", totals.fills)?;
    writeln!(out, "quantity traded     {}", totals.traded)?;
    writeln!(out, "orders open         {}", book.open_orders())?;
    let price = |price: Option<Cents>| price.map_or_else(|| "-".into(), |price| price.to_string());
    writeln!(out, "best bid            {}", price(book.best_bid()))?;
    writeln!(out, "best ask            {}", price(book.best_ask()))?;
    writeln!(out, "digest              {}", book.digest())
}
