//! A matcher: puts the orders of all traders into the replicated book and streams its fills.
//!
//! Every matcher receives every order and submits it; the book takes each order once. Every
//! matcher publishes every fill; reporters print each fill once. So any one of them may go.

use std::time::Duration;

use futures::SinkExt;
use mosaik::{
    Consistency, Group, Network, StreamConsumer, StreamProducer,
    groups::{CommandError, ConsensusConfig},
    streams::{Consumer, Producer, producer::Error},
};

use crate::{
    machine::{Market, MarketAnswer, MarketQuery},
    node::NodeOptions,
    order::{Fill, Order},
    report::{Report, Reporter},
    subscriptions::Subscriptions,
    wire::{Fills, Orders, Resend, Resends},
};

/// The secret that matchers share. A real fleet would not have it in its source.
const GROUP_SECRET: &str = "mosaik.examples.orderbook";
/// Orders that go to the group in one command batch at most.
const MAX_BATCH: usize = 512;
/// Fills that are published before new ones are looked for.
const MAX_FILLS: usize = 512;
/// Time without anything new after which the last fill is sent again, so that a reporter that
/// missed the end notices.
const IDLE: Duration = Duration::from_millis(500);
/// Pause before commands are submitted again while there is no leader.
const RETRY: Duration = Duration::from_millis(50);
/// Interval between reports of the book's state.
const TOLD_EVERY: Duration = Duration::from_millis(250);

pub(crate) async fn run(options: &NodeOptions) -> anyhow::Result<()> {
    let reporter = options.reporter();
    let leave = options.asked_to_leave();
    let network = options.start("matcher").await?;
    let consensus = ConsensusConfig::builder().with_min_members(2).build()?;
    let group = network
        .groups()
        .with_key(GROUP_SECRET)
        .with_consensus_config(consensus)
        .with_state_machine(Market::default())
        .join();
    let orders = Orders::consumer(&network);
    let work = async {
        tokio::try_join!(
            submit(&group, orders, reporter),
            publish(&group, &network),
            tell_leaders(&group, reporter),
            tell_state(&group, reporter),
        )
    };
    tokio::select! {
        result = work => drop(result?),
        _ = leave => {}
    }
    drop(group);
    network.shutdown().await;
    Ok(())
}

/// Puts all received orders into the book, in batches of what has arrived.
async fn submit(
    group: &Group<Market>,
    mut orders: Consumer<Order>,
    reporter: Reporter,
) -> anyhow::Result<()> {
    let mut subscriptions = Subscriptions::new("orders", &orders);
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = subscriptions.changed() => {
                subscriptions.tell(&orders, reporter)?;
                continue;
            }
        };
        let Some(order) = order else { return Ok(()) };
        let mut batch = vec![order];
        while batch.len() < MAX_BATCH
            && let Ok(order) = orders.try_recv()
        {
            batch.push(order);
        }
        loop {
            match group.execute_many(batch).await {
                Ok(_) => break,
                // Some may be in the book already: it ignores what it has seen.
                Err(CommandError::Offline(unsent) | CommandError::Unknown(unsent)) => {
                    batch = unsent;
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Publishes the book's fills in their order, and again what reporters ask for.
async fn publish(group: &Group<Market>, network: &Network) -> anyhow::Result<()> {
    let mut producer = Fills::producer(network);
    let mut resends = Resends::consumer(network);
    let mut next = 0;
    loop {
        let advanced = group.when().committed().advanced();
        let fills = fills_from(group, next).await?;
        next += fills.len() as u64;
        let idle = fills.is_empty();
        for fill in fills {
            send(&mut producer, fill).await?;
        }
        if idle {
            tokio::select! {
                _ = advanced => {}
                resend = resends.recv() => match resend {
                    Some(Resend { from }) => next = next.min(from),
                    None => return Ok(()),
                },
                () = tokio::time::sleep(IDLE) => next = next.saturating_sub(1),
            }
        }
        while let Ok(Resend { from }) = resends.try_recv() {
            next = next.min(from);
        }
    }
}

async fn fills_from(group: &Group<Market>, from: u64) -> anyhow::Result<Vec<Fill>> {
    let query = MarketQuery::Fills {
        from,
        max: MAX_FILLS,
    };
    match group.query(query, Consistency::Weak).await {
        Ok(answer) => match answer.into() {
            MarketAnswer::Fills(fills) => Ok(fills),
            MarketAnswer::Summary { .. } => anyhow::bail!("fills were asked for"),
        },
        // Not a member yet, or electing.
        Err(mosaik::groups::QueryError::Offline(_)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn send(producer: &mut Producer<Fill>, fill: Fill) -> anyhow::Result<()> {
    loop {
        match producer.send(fill).await {
            Ok(()) => return Ok(()),
            Err(Error::Offline(_) | Error::Full(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn tell_leaders(group: &Group<Market>, reporter: Reporter) -> anyhow::Result<()> {
    let mut leader = group.when().leader_elected().await;
    loop {
        let changed = group.when().leader_changed();
        reporter.tell(Report::Leader { peer: Some(leader) })?;
        leader = changed.await;
    }
}

async fn tell_state(group: &Group<Market>, reporter: Reporter) -> anyhow::Result<()> {
    let mut last = None;
    let mut ticks = tokio::time::interval(TOLD_EVERY);
    loop {
        ticks.tick().await;
        if let Ok(answer) = group.query(MarketQuery::Summary, Consistency::Weak).await
            && let MarketAnswer::Summary { totals, digest } = answer.into()
            && last.replace((totals.accepted, digest)) != Some((totals.accepted, digest))
        {
            reporter.tell(Report::Book { totals, digest })?;
        }
    }
}
