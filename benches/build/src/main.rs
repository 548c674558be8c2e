//! A program of the least size that uses a group, a stream and a function.

use std::collections::BTreeMap;

use mosaik::{
    CallContext, FunctionCaller, FunctionHandler, GroupKey, Network, NetworkId, StreamConsumer,
    StreamProducer, UniqueId, Weak,
    discovery::Config,
    futures::SinkExt,
    groups::{ApplyContext, LogReplaySync, StateMachine},
    id,
};
use serde::{Deserialize, Serialize};

/// Holdings of each symbol.
#[derive(Default)]
struct Positions(BTreeMap<String, i64>);

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    Trade { symbol: String, quantity: i64 },
    Close(String),
    Reset,
}

impl StateMachine for Positions {
    type Command = Command;
    type Query = String;
    type QueryResult = i64;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("bench/positions")
    }

    fn apply(&mut self, command: Command, _: &dyn ApplyContext) {
        match command {
            Command::Trade { symbol, quantity } => {
                *self.0.entry(symbol).or_default() += quantity;
            }
            Command::Close(symbol) => drop(self.0.remove(&symbol)),
            Command::Reset => self.0.clear(),
        }
    }

    fn query(&self, symbol: String) -> i64 {
        self.0.get(&symbol).copied().unwrap_or_default()
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    value: f64,
}

mosaik::stream!(Readings = Reading, "bench/readings");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    quantity: u64,
}

mosaik::function!(Price = Quote -> Result<u64, String>, "bench/price");

async fn price(quote: Quote, _: CallContext) -> Result<u64, String> {
    match quote.symbol.as_str() {
        "ABC" => Ok(quote.quantity * 7),
        _ => Err("unknown symbol".into()),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let network = NetworkId::random();
    let one = Network::builder(network)
        .with_discovery(Config::builder().no_dht_bootstrap())
        .build()
        .await?;
    let two = Network::builder(network)
        .with_discovery(
            Config::builder()
                .no_dht_bootstrap()
                .with_bootstrap(one.local().addr()),
        )
        .build()
        .await?;

    let mut consumer = Readings::consumer(&two);
    let mut producer = Readings::producer(&one);
    let reading = Reading {
        sensor: "roof".into(),
        value: 21.5,
    };
    producer.send(reading).await?;
    println!("{:?}", consumer.recv().await);

    let _handler = Price::handler(&one, price);
    let quote = Quote {
        symbol: "ABC".into(),
        quantity: 3,
    };
    println!("{:?}", Price::caller(&two).call(quote).await);

    let key = GroupKey::random();
    let join = |node: &Network| {
        let groups = node.groups();
        groups
            .with_key(key)
            .with_state_machine(Positions::default())
            .join()
    };
    let (first, second) = (join(&one), join(&two));
    second.when().online().await;
    let trade = Command::Trade {
        symbol: "ABC".into(),
        quantity: 100,
    };
    first.execute(trade).await?;
    first.execute_many([Command::Close("XYZ".into())]).await?;
    println!("{:?}", second.query("ABC".into(), Weak).await?);
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}
