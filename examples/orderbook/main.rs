//! A stock exchange in miniature: traders send limit orders, a replicated book matches them by
//! price and time, and reporters receive the fills.
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
mod order;
mod sample;
mod seen;

use book::Book;
use order::Cents;

#[derive(Parser)]
#[command(about = "Matches limit orders in a replicated order book")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a file of random orders.
    Sample {
        /// Where to write; an existing file is replaced.
        #[arg(default_value = "orders.csv")]
        output: PathBuf,
        /// Equal seeds give equal files.
        #[arg(long, default_value_t = sample::DEFAULT_SEED)]
        seed: u64,
        /// How many orders.
        #[arg(long, default_value_t = sample::DEFAULT_COUNT)]
        orders: u32,
    },
    /// Match the orders of a file in this process and print the result.
    Replay {
        /// A CSV file with the header `trader,side,price,quantity`.
        file: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
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
