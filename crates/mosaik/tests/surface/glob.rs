//! `use mosaik::*` is the normal way to use the crate, and disturbs nothing.

// What a program names itself, beside the glob: std's prelude, direct dependencies, own types.
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use iroh::EndpointAddr;
#[allow(clippy::wildcard_imports, reason = "this is what is tested")]
use mosaik::*;
use serde::{Deserialize, Serialize};

use crate::support::random_network;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    price: Option<u32>,
    notes: Vec<String>,
}

declare::stream!(
    /// Orders of the traders.
    Orders = Order, "surface/orders",
    consumer require: |peer| peer.tags().contains(&"matcher".into()),
    online_when: |c| c.minimum_of(1),
);
stream!(pub Prices = u32);
declare::function!(Halve = u32 -> Result<u32, String>, "surface/halve");
function!(Echo = String -> String);

/// Names of the submodules that are part of the contract, as a program writes them.
#[expect(dead_code, reason = "checked by compiling")]
async fn submodules_resolve(bootstrap: EndpointAddr) -> Result<(), Box<dyn std::error::Error>> {
    let network: Network = Network::builder("name")
        .with_relay_mode(iroh::RelayMode::Disabled)
        .with_discovery(
            discovery::Config::builder()
                .with_bootstrap(bootstrap)
                .with_tags("matcher")
                .with_tags(["validator", "signer"])
                .with_purge_after(Duration::from_secs(600)),
        )
        .with_streams(streams::Config::builder())
        .with_functions(functions::Config::builder().with_call_timeout(Duration::from_secs(1)))
        .with_groups(groups::Config::builder())
        .build()
        .await?;
    let event: Option<discovery::Event> = None;
    if let Some(discovery::Event::PeerDeparted(peer)) = event {
        let _: PeerId = peer;
    }
    let _: Result<streams::Producer<u8>, streams::producer::BuilderError<u8>> =
        network.streams().producer::<u8>().build();
    let _: Option<(
        tickets::Ticket,
        primitives::Short<Digest>,
        network::NetworkError,
    )> = None;
    let _: futures::future::Ready<()> = futures::future::ready(());
    let _ = (Strong, Weak, Consistency::Strong);
    Ok(())
}

#[test]
fn the_names_at_the_root() {
    let _: Option<(Bytes, BytesMut, Digest, Tag, UniqueId, NetworkId, PeerId)> = None;
    let _: Option<(
        StreamId,
        FunctionId,
        GroupId,
        GroupKey,
        SecretKey,
        Signature,
    )> = None;
    let _: Option<(Criteria, CallContext, Ticket)> = None;
    let _: Option<(ProducerOf<Orders>, ConsumerOf<Orders>)> = None;
    let _: Option<(HandlerOf<Halve>, CallerOf<Halve>, HandlerOf<Echo>)> = None;
    fn datum<D: Datum>() {}
    datum::<Order>();
    fn declared<S: StreamProducer + StreamConsumer, F: FunctionHandler + FunctionCaller>() {}
    declared::<Orders, Halve>();
    const ID: UniqueId = unique_id!("x");
    const TAG: Tag = tag!("x");
    assert_eq!((ID, TAG), (id!("x"), Digest::from("x")));
    // The prelude is the usual one.
    let result: Result<Vec<String>, Box<dyn std::error::Error>> = Ok(Vec::new());
    assert_eq!(result.unwrap(), Vec::<String>::new());
}

async fn node(id: NetworkId, bootstrap: Option<EndpointAddr>) -> Network {
    Network::builder(id)
        .with_relay_mode(iroh::RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(
            discovery::Config::builder()
                .with_bootstrap(bootstrap)
                .with_tags("matcher")
                .no_dht_bootstrap(),
        )
        .build()
        .await
        .unwrap()
}

/// A whole program, with nothing imported but the glob and the extension traits of futures.
#[tokio::test(flavor = "multi_thread")]
async fn a_program() {
    let id = random_network();
    let a = node(id, None).await;
    let b = node(id, Some(a.local().addr())).await;
    let mut orders: ProducerOf<Orders> = Orders::producer(&a);
    let mut received: ConsumerOf<Orders> = Orders::online_consumer(&b).await;
    let order = Order {
        id: 1,
        price: Some(7),
        notes: vec!["first".into()],
    };
    crate::support::within(5, orders.send(order.clone()))
        .await
        .unwrap();
    assert_eq!(
        crate::support::within(5, received.next()).await,
        Some(order)
    );

    let _handler = Halve::handler(&a, |n, _ctx| async move {
        if n % 2 == 0 {
            Ok(n / 2)
        } else {
            Err(format!("{n} is odd"))
        }
    })
    .unwrap();
    let halve = crate::support::within(5, Halve::online_caller(&b)).await;
    assert_eq!(halve.call(4).await.unwrap(), 2);
    match halve.call(5).await {
        Err(functions::CallError::Application(text)) => assert_eq!(text, "5 is odd"),
        other => panic!("{other:?}"),
    }
}
