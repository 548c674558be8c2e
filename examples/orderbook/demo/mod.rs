//! The demo: starts a whole fleet on this machine, watches it form and trade, takes the leading
//! matcher away in the middle, and checks the books at the end.

mod board;
mod fleet;
mod process;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use tokio::time::{Instant, timeout_at};

use self::{
    board::Board,
    fleet::Fleet,
    process::{Ending, Role},
};
use crate::csv;

/// The whole run may take this long.
const LIMIT: Duration = Duration::from_secs(120);
/// The leader is taken away when this part of the orders is in the book, in percent.
const DISRUPT_AT: u64 = 35;
/// It comes back when this part is in the book, in percent.
const RESTORE_AT: u64 = 60;

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// The orders to trade: a CSV file with the header `trader,side,price,quantity`.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/orderbook/orders.csv"))]
    orders: PathBuf,
    /// Number of matchers. With 2, the leader leaves in the middle and comes back; with 3 or more
    /// it is killed without warning.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=5))]
    matchers: u32,
    /// Orders a second that each trader sends.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// End as soon as the topology has formed; prints how long that took.
    #[arg(long)]
    formation_only: bool,
}

pub(crate) async fn run(options: &DemoOptions) -> anyhow::Result<()> {
    let orders = csv::read(&options.orders)?;
    let mut traders: Vec<u32> = orders.iter().map(|order| order.id.trader).collect();
    traders.sort_unstable();
    traders.dedup();
    ensure!(
        traders.len() == 2,
        "the demo has two traders, the file has {}",
        traders.len()
    );

    let mut board = Board::new(orders.len() as u64);
    let mut fleet = Fleet::new(&options.orders, options.rate)?;
    println!(
        "network {}: 2 traders, {} matchers, 2 reporters",
        fleet.network(),
        options.matchers
    );
    fleet.start(Role::Reporter(1))?;
    let first = async { board.step(&mut fleet).await };
    let bootstrap = timeout_at(Instant::now() + LIMIT, first)
        .await
        .context("no start")??;
    fleet.set_bootstrap(bootstrap.context("the first process did not tell its address")?);
    fleet.start(Role::Reporter(2))?;
    for number in 1..=options.matchers {
        fleet.start(Role::Matcher(number))?;
    }
    for number in traders {
        fleet.start(Role::Trader(number))?;
    }

    let deadline = Instant::now() + LIMIT;
    let outcome = timeout_at(deadline, scenario(options, &mut board, &mut fleet)).await;
    let ended = match outcome {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!("not finished after {LIMIT:?}")),
    };
    fleet.stop_all().await;
    if options.formation_only {
        return ended;
    }
    board.summary(options.matchers as usize);
    ended?;
    board.verdict(options.matchers as usize)
}

async fn scenario(
    options: &DemoOptions,
    board: &mut Board,
    fleet: &mut Fleet,
) -> anyhow::Result<()> {
    board.until(fleet, Board::is_formed).await?;
    board.say_formed();
    if options.formation_only {
        return Ok(());
    }
    board
        .until(fleet, |board| board.percent_in() >= DISRUPT_AT)
        .await?;
    let leader = board.leader().context("no matcher leads")?;
    let ending = if options.matchers == 2 {
        Ending::Leave
    } else {
        Ending::Kill
    };
    board.say(match ending {
        Ending::Leave => "── the leading matcher is stopped",
        Ending::Kill => "── the leading matcher is killed",
    });
    board.forget(leader);
    fleet.stop(leader, ending).await?;
    board
        .until(fleet, |board| board.percent_in() >= RESTORE_AT)
        .await?;
    board.say("── and started again");
    fleet.start(leader)?;
    board
        .until(fleet, |board| board.is_complete(options.matchers as usize))
        .await
}
