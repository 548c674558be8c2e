//! A stream that only those may listen to who carry a token of the issuer.

use std::time::Duration;

use futures::SinkExt;
use mosaik::{
    Network, NetworkId, discovery,
    iroh::{EndpointAddr, RelayMode},
    tickets::{ChronoDuration, EdDsaSigningKey, Jwt, JwtTicketBuilder},
};

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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await
}

async fn run() -> anyhow::Result<()> {
    let id = NetworkId::random();
    let exchange = node(id, None).await?;
    let desk = node(id, Some(exchange.local().addr())).await?;
    let guest = node(id, Some(exchange.local().addr())).await?;

    // ANCHOR: issuer
    // Only the issuer has this key; everybody else has its public half.
    let key = EdDsaSigningKey::random();
    let public_key = key.verifying_key();
    let issuer = JwtTicketBuilder::new(key)
        .issuer("exchange")
        // Good in this network only.
        .for_network(id)
        .claim("may", "listen");
    // ANCHOR_END: issuer

    // ANCHOR: producer
    let listeners = Jwt::with_key(public_key)
        .allow_issuer("exchange")
        .for_network(id)
        .require_claim("may", "listen")
        .max_lifetime(Duration::from_secs(3600));
    let mut quotes = exchange
        .streams()
        .producer::<u64>()
        .with_stream_id("book/gated-quotes")
        .require_ticket(listeners)
        .build()?;
    // ANCHOR_END: producer

    // ANCHOR: consumer
    // The issuer makes a token for one peer, of no use to any other.
    let token = issuer
        .clone()
        .expires_in(ChronoDuration::minutes(10))
        .build(&desk.local().id());
    desk.discovery().add_ticket(token.clone());
    let mut received = desk
        .streams()
        .consumer::<u64>()
        .with_stream_id("book/gated-quotes")
        .build();
    // ANCHOR_END: consumer
    // Tickets are public: anybody may copy one, and gains nothing.
    guest.discovery().add_ticket(token.clone());
    let refused = guest
        .streams()
        .consumer::<u64>()
        .with_stream_id("book/gated-quotes")
        .build();

    quotes.send(100).await?;
    assert_eq!(received.recv().await, Some(100));
    assert!(!refused.when().subscribed().is_condition_met());

    // ANCHOR: renew
    // A later token takes the place of the former; the subscription goes on.
    let renewed = issuer
        .expires_in(ChronoDuration::minutes(20))
        .build(&desk.local().id());
    desk.discovery().replace_ticket(renewed);
    quotes.send(101).await?;
    assert_eq!(received.recv().await, Some(101));
    // ANCHOR_END: renew

    // ANCHOR: revoke
    // Without a valid ticket the subscription ends, at once and on both sides.
    desk.discovery().remove_tickets_of(Jwt::CLASS);
    quotes.when().unsubscribed().await;
    received.when().unsubscribed().await;
    // ANCHOR_END: revoke

    for node in [guest, desk, exchange] {
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
