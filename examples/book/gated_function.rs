//! A function that only those may call who carry a token of the issuer.

use std::time::Duration;

use mosaik::{
    FunctionCaller, FunctionHandler, Network, NetworkId, discovery,
    functions::CallError,
    id,
    iroh::{EndpointAddr, RelayMode, endpoint::VarInt},
    tickets::{ChronoDuration, EdDsa, EdDsaSigningKey, Jwt, JwtTicketBuilder},
};

// ANCHOR: declare
/// The public key of the issuer, known to all programs.
const ISSUER: EdDsa =
    EdDsa::hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");

/// The network that all programs join.
const NETWORK: NetworkId = id!("book: the exchange");

/// Credentials that callers must show. The same in all programs: it is part of the function's id.
fn operators() -> Jwt {
    Jwt::with_key(ISSUER)
        .with_identity("book operators")
        .allow_issuer("operations")
        .for_network(NETWORK)
        .require_claim("role", "operator")
}

mosaik::function!(
    /// Stops trading in a symbol.
    Halt = String -> bool, "book/halt",
    caller require_ticket: operators(),
    timeout: Duration::from_secs(2),
);
// ANCHOR_END: declare

async fn node(bootstrap: Option<EndpointAddr>) -> anyhow::Result<Network> {
    let discovery = discovery::Config::builder()
        .with_bootstrap(bootstrap)
        .no_dht_bootstrap();
    let node = Network::builder(NETWORK)
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
    let exchange = node(None).await?;
    let operator = node(Some(exchange.local().addr())).await?;
    let guest = node(Some(exchange.local().addr())).await?;

    // ANCHOR: serve
    let _handler = Halt::handler(&exchange, |symbol, context| async move {
        println!("{} halts {symbol}", context.caller().id());
        Ok(true)
    })?;
    // ANCHOR_END: serve

    // ANCHOR: issue
    // Where the issuer runs, and nowhere else. (This key is printed in RFC 8032.)
    let secret = id!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    let issuer = JwtTicketBuilder::new(EdDsaSigningKey::from_bytes(secret.into()))
        .issuer("operations")
        .for_network(NETWORK)
        .claim("role", "operator")
        .expires_in(ChronoDuration::hours(1));
    let token = issuer.build(&operator.local().id());
    // ANCHOR_END: issue

    // ANCHOR: call
    operator.discovery().add_ticket(token);
    let halt = Halt::online_caller(&operator).await;
    assert!(halt.call("ABC".into()).await?);
    // ANCHOR_END: call

    // ANCHOR: refused
    let halt = Halt::online_caller(&guest).await;
    let error = halt
        .call_with_timeout("ABC".into(), Duration::from_millis(500))
        .await;
    match error {
        Err(CallError::Rejected(reason)) => {
            assert_eq!(reason.error_code, VarInt::from(11_403u32), "NotAllowed");
        }
        other => panic!("not refused: {other:?}"),
    }
    // ANCHOR_END: refused

    for node in [guest, operator, exchange] {
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
