//! A reporter: prints every fill once, however often it arrives.

use std::{collections::BTreeSet, time::Duration};

use futures::SinkExt;
use mosaik::{Network, StreamConsumer, StreamProducer, streams::Consumer};

use crate::{
    node::NodeOptions,
    order::Fill,
    report::{Report, Reporter},
    seen::Seen,
    subscriptions::Subscriptions,
    wire::{Fills, Resend, Resends},
};

/// Number of traders in the fleet.
const TRADERS: usize = 2;
/// Interval of the reports of totals and of the requests for missing fills.
const TICK: Duration = Duration::from_millis(250);

pub(crate) async fn run(options: &NodeOptions) -> anyhow::Result<()> {
    let reporter = options.reporter();
    let leave = options.asked_to_leave();
    let network = options.start("reporter").await?;
    let fills = Fills::consumer(&network);
    tokio::select! {
        result = print(&network, fills, reporter) => result?,
        _ = leave => {}
    }
    network.shutdown().await;
    Ok(())
}

async fn print(
    network: &Network,
    mut fills: Consumer<Fill>,
    reporter: Reporter,
) -> anyhow::Result<()> {
    let mut resends = Resends::producer(network);
    let mut ledger = Ledger::default();
    let mut ticks = tokio::time::interval(TICK);
    let mut told = None;
    let mut subscriptions = Subscriptions::new("fills", &fills);
    loop {
        tokio::select! {
            () = subscriptions.changed() => subscriptions.tell(&fills, reporter)?,
            fill = fills.recv() => match fill {
                Some(fill) => {
                    if ledger.enter(&fill) {
                        reporter.tell(Report::Fill { fill })?;
                        if ledger.has_just_formed() {
                            reporter.tell(Report::Formed)?;
                        }
                    }
                }
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                if let Some(from) = ledger.first_missing()
                    && resends.is_online()
                {
                    // When it fails the next tick asks again.
                    let _ = resends.send(Resend { from }).await;
                }
                if told.replace(ledger.fills) != Some(ledger.fills) {
                    reporter.tell(ledger.report())?;
                }
            }
        }
    }
}

/// The fills that were printed.
#[derive(Debug, Default)]
struct Ledger {
    seen: Seen,
    traders: BTreeSet<u32>,
    fills: u64,
    quantity: u64,
    repeated: u64,
    formed: bool,
}

impl Ledger {
    /// Enters a fill; `false` if it was there already.
    fn enter(&mut self, fill: &Fill) -> bool {
        if !self.seen.insert(fill.id) {
            self.repeated += 1;
            return false;
        }
        self.fills += 1;
        self.quantity += u64::from(fill.quantity.get());
        self.traders.extend([fill.maker.trader, fill.taker.trader]);
        true
    }

    /// Returns whether there is now, for the first time, a fill of an order of every trader.
    fn has_just_formed(&mut self) -> bool {
        let formed = self.traders.len() >= TRADERS;
        formed && !std::mem::replace(&mut self.formed, formed)
    }

    /// The first fill that must exist, as later ones do, and was not received.
    fn first_missing(&self) -> Option<u64> {
        (self.seen.ahead().len() > 0).then(|| self.seen.below())
    }

    fn report(&self) -> Report {
        let (fills, quantity, repeated) = (self.fills, self.quantity, self.repeated);
        Report::Printed {
            fills,
            quantity,
            repeated,
        }
    }
}
