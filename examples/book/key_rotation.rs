//! The issuer gets a new key while the stream that it gates goes on.

use futures::SinkExt;
use mosaik::{
    Network, NetworkId, UniqueId, discovery, id,
    iroh::{EndpointAddr, RelayMode},
    tickets::{
        ChronoDuration, EdDsaSigningKey, Expiration, InvalidTicket, Jwt, JwtTicketBuilder,
        PeerEntry, TicketClass, TicketValidator,
    },
};
use tokio::sync::watch;

// ANCHOR: validator
/// Checks tokens with the keys that are current, which may change at any time.
struct CurrentKeys(watch::Receiver<Jwt>);

impl TicketValidator for CurrentKeys {
    fn class(&self) -> TicketClass {
        Jwt::CLASS
    }

    /// Stays the same when the keys change, and with it every id that it is part of.
    fn signature(&self) -> UniqueId {
        id!("book: tokens of the exchange, v1")
    }

    /// Changes with the keys: what was found out with the keys of before no longer counts.
    fn verdict_id(&self) -> UniqueId {
        self.0.borrow().verdict_id()
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        self.0.borrow().validate(ticket, peer)
    }
}

/// Demands of the exchange on a token that was signed with this key.
fn tokens_of(key: &EdDsaSigningKey, network: NetworkId) -> Jwt {
    Jwt::with_key(key.verifying_key())
        .allow_issuer("exchange")
        .for_network(network)
}
// ANCHOR_END: validator

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

fn token(key: &EdDsaSigningKey, node: &Network) -> mosaik::Ticket {
    JwtTicketBuilder::new(key.clone())
        .issuer("exchange")
        .for_network(*node.network_id())
        .expires_in(ChronoDuration::minutes(10))
        .build(&node.local().id())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let network = NetworkId::random();
    let exchange = node(network, None).await?;
    let desk = node(network, Some(exchange.local().addr())).await?;
    let late = node(network, Some(exchange.local().addr())).await?;

    // ANCHOR: before
    let old_key = EdDsaSigningKey::random();
    let only_old = tokens_of(&old_key, network);
    let (keys, current) = watch::channel(only_old.clone());
    let mut quotes = exchange
        .streams()
        .producer::<u64>()
        .with_stream_id("book/rotation")
        .require_ticket(CurrentKeys(current))
        .build()?;
    desk.discovery().add_ticket(token(&old_key, &desk));
    let mut received = desk
        .streams()
        .consumer::<u64>()
        .with_stream_id("book/rotation")
        .build();
    quotes.send(1).await?;
    // ANCHOR_END: before
    assert_eq!(received.recv().await, Some(1));
    let subscription = quotes.consumers().next().expect("the desk's");

    // ANCHOR: rotate
    // 1. Whoever checks accepts both keys.
    let new_key = EdDsaSigningKey::random();
    keys.send_replace(only_old.add_key(new_key.verifying_key()));
    // 2. The issuer signs with the new one, and every holder replaces its token.
    desk.discovery().replace_ticket(token(&new_key, &desk));
    quotes.send(2).await?;
    // 3. When all have, or the last old token has expired, the old key goes.
    let only_new = tokens_of(&new_key, network);
    let mut catalog = exchange.discovery().catalog_watch();
    let has_new = catalog.wait_for(|catalog| {
        let entry = catalog.get(&desk.local().id());
        entry.is_some_and(|entry| entry.validate_ticket(&only_new).is_ok())
    });
    drop(has_new.await?);
    keys.send_replace(only_new.clone());
    quotes.send(3).await?;
    // ANCHOR_END: rotate
    assert_eq!(received.recv().await, Some(2));
    assert_eq!(received.recv().await, Some(3));
    assert!(subscription.is_connected(), "without an interruption");

    // A token of the old key opens nothing any more, one of the new key does.
    late.discovery().add_ticket(token(&old_key, &late));
    let mut second = late
        .streams()
        .consumer::<u64>()
        .with_stream_id("book/rotation")
        .build();
    let admitted = second.when().subscribed();
    let refused = tokio::time::timeout(std::time::Duration::from_secs(1), admitted).await;
    assert!(refused.is_err(), "the old key is gone");
    late.discovery().replace_ticket(token(&new_key, &late));
    second.when().subscribed().await;
    quotes.send(4).await?;
    assert_eq!(second.recv().await, Some(4));
    assert!(subscription.is_connected());

    for node in [late, desk, exchange] {
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
