//! A trader: reads orders from a file and streams them to all matchers.

use std::{path::Path, time::Duration};

use futures::SinkExt;
use mosaik::{
    Network, StreamProducer,
    streams::{Producer, producer::Error},
};

use crate::{
    csv,
    node::NodeOptions,
    order::Order,
    report::{Report, role_of},
    wire::Orders,
};

/// A group of one matcher would not survive its loss: trading begins with two.
const MIN_MATCHERS: usize = 2;
/// Orders go out in small batches this far apart.
const TICK: Duration = Duration::from_millis(10);
const TICKS_PER_SECOND: u32 = 100;
/// Number of orders between two reports of progress.
const TOLD_EVERY: u64 = 500;

pub(crate) async fn run(
    options: &NodeOptions,
    number: u32,
    file: &Path,
    rate: u32,
) -> anyhow::Result<()> {
    let reporter = options.reporter();
    let mut orders = csv::read(file)?;
    orders.retain(|order| order.id.trader == number);
    anyhow::ensure!(
        !orders.is_empty(),
        "{}: no orders of trader {number}",
        file.display()
    );
    let leave = options.asked_to_leave();
    let network = options.start("trader").await?;
    let mut producer = Orders::producer(&network);
    let trade = async {
        all_matchers_subscribed(&network, &producer).await;
        let per_tick = (rate / TICKS_PER_SECOND).max(1) as usize;
        let mut ticks = tokio::time::interval(TICK);
        let mut sent = 0;
        for batch in orders.chunks(per_tick) {
            ticks.tick().await;
            for order in batch {
                send(&mut producer, *order).await?;
                sent += 1;
                if sent % TOLD_EVERY == 0 {
                    reporter.tell(Report::Sent {
                        orders: sent,
                        done: false,
                    })?;
                }
            }
        }
        reporter.tell(Report::Sent {
            orders: sent,
            done: true,
        })?;
        // The subscriptions stay open until the last order is through.
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        result = trade => result?,
        _ = leave => {}
    }
    network.shutdown().await;
    Ok(())
}

/// Waits until every matcher in sight receives: streams don't replay, and a late subscriber misses
/// what was sent before. So the first order waits until every matcher in sight receives.
async fn all_matchers_subscribed(network: &Network, producer: &Producer<Order>) {
    let mut catalog = network.discovery().catalog_watch();
    loop {
        let matchers = network
            .discovery()
            .catalog()
            .peers()
            .filter(|e| role_of(e) == "matcher")
            .count();
        let mut subscribed = producer
            .when()
            .subscribed()
            .minimum_of(matchers.max(MIN_MATCHERS))
            .with_tags("matcher");
        tokio::select! {
            () = &mut subscribed => return,
            changed = catalog.changed() => if changed.is_err() { return },
        }
    }
}

/// Sends an order, also when the last matcher leaves in the very moment.
async fn send(producer: &mut Producer<Order>, order: Order) -> anyhow::Result<()> {
    loop {
        match producer.send(order).await {
            Ok(()) => return Ok(()),
            Err(Error::Offline(_) | Error::Full(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
