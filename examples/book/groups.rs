//! A group of three that keeps a table of positions, loses members, and goes on.

use std::collections::BTreeMap;

use mosaik::{
    Group, GroupKey, Network, NetworkId, Strong, UniqueId, Weak, discovery,
    groups::{ApplyContext, ConsensusConfig, LogReplaySync, StateMachine},
    id,
    iroh::{EndpointAddr, RelayMode},
};
use serde::{Deserialize, Serialize};

// ANCHOR: machine
/// Holdings of each symbol.
#[derive(Default)]
struct Positions(BTreeMap<String, i64>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Trade {
    symbol: String,
    quantity: i64,
}

impl StateMachine for Positions {
    type Command = Trade;
    type Query = String;
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    /// Changes when the meaning of a command does: members must agree on it.
    fn signature(&self) -> UniqueId {
        id!("book/positions v1")
    }

    /// The same on every member: no clock, no chance, nothing from outside.
    fn apply(&mut self, trade: Trade, _: &dyn ApplyContext) {
        *self.0.entry(trade.symbol).or_default() += trade.quantity;
    }

    fn query(&self, symbol: String) -> i64 {
        self.0.get(&symbol).copied().unwrap_or_default()
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}
// ANCHOR_END: machine

async fn node(network: NetworkId, bootstrap: Option<EndpointAddr>) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
        .with_bootstrap(bootstrap)
        .no_dht_bootstrap();
    let node = Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery)
        .build()
        .await?;
    Ok(node)
}

fn trade(quantity: i64) -> Trade {
    Trade {
        symbol: "ABC".into(),
        quantity,
    }
}

// ANCHOR: join
/// All that a member needs: a node, and the key that all members share.
fn join(node: &Network, key: GroupKey) -> anyhow::Result<Group<Positions>> {
    let consensus = ConsensusConfig::builder()
        // Found the group only when two of the intended three have met.
        .with_min_members(2)
        .build()?;
    let group = node
        .groups()
        .with_key(key)
        .with_consensus_config(consensus)
        .with_state_machine(Positions::default())
        .join();
    Ok(group)
}
// ANCHOR_END: join

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let network = NetworkId::random();
    let first = node(network, None).await?;
    let bootstrap = Some(first.local().addr());
    let second = node(network, bootstrap.clone()).await?;
    let third = node(network, bootstrap).await?;
    let key = GroupKey::random();
    let a = join(&first, key)?;
    let b = join(&second, key)?;
    let c = join(&third, key)?;

    // ANCHOR: when
    for member in [&a, &b, &c] {
        member.when().online().await;
    }
    let leader = a.when().leader_elected().await;
    println!("{leader} leads");
    // ANCHOR_END: when

    // ANCHOR: commands
    // On any member. Resolves when the command is committed and applied here.
    let position = a.execute(trade(100)).await?;
    // Resolves when the leader has taken it; it is committed a moment later.
    let fed = b.feed(trade(-30)).await?;
    b.when().committed().reaches(fed).await;
    println!("commands {position} and {fed} are committed");
    // ANCHOR_END: commands

    // ANCHOR: queries
    // What this member has applied: at once, perhaps a little late.
    let seen: i64 = a.query("ABC".into(), Weak).await?.into();
    // What all acknowledged commands together make, from any member.
    let held = c.query("ABC".into(), Strong).await?;
    assert_eq!(*held, 70);
    println!("{seen} seen here, {} held", *held);
    // ANCHOR_END: queries

    // ANCHOR: leave
    // The leader's node leaves; the others elect another and go on.
    let mut members = vec![(first, a), (second, b), (third, c)];
    let leading = members.iter().position(|(_, group)| group.is_leader());
    let (node, gone) = members.swap_remove(leading.unwrap_or_default());
    let changed = members[0].1.when().leader_changed();
    node.shutdown().await;
    changed.await;
    members[0].1.execute(trade(5)).await?;
    assert_eq!(*members[1].1.query("ABC".into(), Strong).await?, 75);
    // ANCHOR_END: leave
    drop(gone);

    for (node, _) in members {
        node.shutdown().await;
    }
    Ok(())
}

#[cfg(test)]
#[tokio::test(flavor = "multi_thread")]
async fn runs() {
    tokio::time::timeout(std::time::Duration::from_mins(1), run())
        .await
        .unwrap()
        .unwrap();
}
