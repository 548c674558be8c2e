//! Functions in detail: serving, calling, streaming replies, and what happens when one fails.

use std::time::Duration;

use mosaik::{
    CallContext, Function, FunctionCaller, FunctionHandler, Network, NetworkId, discovery,
    functions::{CallError, Caller},
    futures::{StreamExt, stream},
    iroh::{EndpointAddr, RelayMode},
};
use serde::{Deserialize, Serialize};

// ANCHOR: declare
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    quantity: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum NoPrice {
    UnknownSymbol,
}

mosaik::function!(
    /// Price of a quantity now.
    Price = Quote -> Result<u64, NoPrice>, "book/price",
    handler require: |peer| peer.tags().contains(&"desk".into()),
    timeout: Duration::from_secs(2),
    // Asking twice does no harm.
    idempotent: true,
);
// ANCHOR_END: declare

// ANCHOR: price
async fn price(quote: Quote, _context: CallContext) -> Result<u64, NoPrice> {
    match quote.symbol.as_str() {
        "ABC" => Ok(u64::from(quote.quantity) * 7),
        _ => Err(NoPrice::UnknownSymbol),
    }
}
// ANCHOR_END: price

// ANCHOR: state
/// A function with a state of its own, which is built before anybody can call it.
struct Discount {
    percent: u64,
}

impl Function for Discount {
    type Req = u64;
    type Res = u64;
    type Err = ();

    async fn call(&self, price: u64, context: CallContext) -> Result<u64, ()> {
        println!("asked by {}", context.caller().id());
        Ok(price * (100 - self.percent) / 100)
    }
}
// ANCHOR_END: state

async fn node(
    network: NetworkId,
    tag: &str,
    bootstrap: Option<EndpointAddr>,
) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
        .with_tags(tag)
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let first = node(id, "desk", None).await?;
    let second = node(id, "desk", Some(first.local().addr())).await?;
    let client = node(id, "client", Some(first.local().addr())).await?;

    // ANCHOR: serve
    // Served for as long as the handler exists.
    let served_first = Price::handler(&first, price)?;
    let served_second = Price::handler(&second, price)?;
    // ANCHOR_END: serve

    // ANCHOR: call
    // Resolves when a handler is known.
    let caller = Price::online_caller(&client).await;
    let quote = Quote {
        symbol: "ABC".into(),
        quantity: 6,
    };
    assert_eq!(caller.call(quote.clone()).await?, 42);
    // ANCHOR_END: call

    // ANCHOR: errors
    let unknown = Quote {
        symbol: "XYZ".into(),
        quantity: 1,
    };
    match caller
        .call_with_timeout(unknown, Duration::from_secs(1))
        .await
    {
        // The function's own answer: never asked again elsewhere.
        Err(CallError::Application(NoPrice::UnknownSymbol)) => println!("no such symbol"),
        Ok(price) => println!("it costs {price}"),
        Err(CallError::Unavailable) => println!("nobody serves it"),
        Err(CallError::Rejected(reason)) => println!("not for us: {reason}"),
        Err(CallError::Timeout) => println!("admitted, but too slow"),
        Err(error) => println!("lost or garbled: {error}"),
    }
    // ANCHOR_END: errors

    // ANCHOR: share
    // Equal handlers share the work, and one that leaves is not missed.
    caller.when().available().minimum_of(2).await;
    for candidate in caller.candidates() {
        println!("{} is {:?} away", candidate.entry().id(), candidate.rtt());
    }
    drop(served_first);
    for _ in 0..100 {
        assert_eq!(caller.call(quote.clone()).await?, 42);
    }
    assert!(served_second.stats().served() >= 100);
    // ANCHOR_END: share

    // ANCHOR: hedge
    let _discount = second
        .functions()
        .handler()
        .with_function_id("book/discount")
        .with_max_concurrent(64)
        .serve_fn(Discount { percent: 50 })?;
    let discount = client
        .functions()
        .caller_for::<Discount>()
        .with_function_id("book/discount")
        .with_idempotent(true)
        // Who has not answered by then is not waited for alone.
        .with_hedging(Duration::from_millis(50))
        .build();
    assert_eq!(discount.call(42).await?, 21);
    // ANCHOR_END: hedge

    // ANCHOR: stream
    let _history = second
        .functions()
        .handler()
        .with_function_id("book/history")
        .serve_stream(|days: u32, _: CallContext| {
            stream::iter((0..days).map(|day| Ok::<_, ()>(40 + u64::from(day))))
        })?;
    let history: Caller<u32, u64> = client
        .functions()
        .caller()
        .with_function_id("book/history")
        .build();
    let mut prices = history.call_stream(3).await?;
    let mut seen = Vec::new();
    while let Some(price) = prices.next().await {
        seen.push(price?);
    }
    assert_eq!(seen, [40, 41, 42]);
    // ANCHOR_END: stream

    for node in [client, second, first] {
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
