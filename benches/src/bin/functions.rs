//! Cost of a call: next to the same exchange on a bare QUIC stream, over loopback, with both ends
//! in this process.
//!
//! The bare side is an echo server on endpoints with the transport settings of a node: one stream
//! per exchange, a task per stream, nothing else. Rounds of both sides alternate, so that what else
//! the machine does hits both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use iroh::endpoint::Connection;
use mosaik::{
    CallContext, Network,
    functions::{Caller, Handler},
    tickets::{EdDsaSigningKey, Expiration, Jwt, JwtTicketBuilder},
};
use mosaik_bench::{RAW_ALPN, network, node, percentile, raw_connection, raw_endpoint};
use tokio::{task::JoinSet, time::timeout};

const PAYLOAD_BYTES: usize = 64;
const ROUNDS: usize = 10;
const SEQUENTIAL_CALLS: usize = 2_000;
const CONCURRENT_CALLS: usize = 20_000;
const IN_FLIGHT: usize = 64;
const FIRST_CALLS: usize = 60;
const ADMISSIONS: usize = 200_000;
const SPREAD_CALLS: usize = 30_000;

const MAX_BARE_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

type Echo = Caller<Vec<u8>, Vec<u8>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (handling, others) = network(3).await?;
    let calling = &others[0];
    // What a program demands that follows the book.
    let key = EdDsaSigningKey::random();
    let id = *handling.network_id();
    let token = JwtTicketBuilder::new(key.clone())
        .issuer("bench")
        .for_network(id)
        .claim("may", "echo")
        .expires_at(Expiration::in_1h());
    calling
        .discovery()
        .add_ticket(token.build(&calling.local().id()));
    let pure = Jwt::with_key(key.verifying_key())
        .allow_issuer("bench")
        .for_network(id)
        .require_claim("may", "echo");
    // With a bound on the age of tokens, verdicts hold for a second only.
    let anew = pure.clone().max_age(Duration::from_secs(3600));
    let functions = handling.functions();
    let gated = |id, jwt: &Jwt| {
        let builder = functions.handler().with_function_id(id);
        builder.require_caller_ticket(jwt.clone()).serve(echo)
    };
    let gates = [gated("gated", &pure)?, gated("gated anew", &anew)?];
    let _handler = serve(&handling, "echo")?;
    let plain = calling.functions().caller().with_function_id("echo");
    let plain: Arc<Echo> = Arc::new(plain.build());
    let gated = |id, jwt: &Jwt| -> Arc<Echo> {
        let builder = calling.functions().caller().with_function_id(id);
        Arc::new(builder.require_caller_ticket(jwt.clone()).build())
    };
    let (gated, anew) = (gated("gated", &pure), gated("gated anew", &anew));
    for caller in [&plain, &gated, &anew] {
        timeout(PATIENCE, caller.when().online()).await?;
    }
    let (connection, accepted, endpoints) = raw_connection().await?;
    serve_bare(accepted);

    sequential(&connection, &plain).await?;
    concurrent(&connection, &plain).await?;
    println!("\n{IN_FLIGHT} in flight, by what is asked for at admission");
    for (what, caller) in [
        ("nothing", &plain),
        ("a token, verdict kept", &gated),
        ("a token, kept for a second", &anew),
    ] {
        println!("  {what:<28}{:>9.0} calls/s", throughput(caller).await?);
    }
    admissions(&handling, calling, &gates);
    first_calls(&handling).await?;
    spread(&handling, &others).await?;
    drop(endpoints);
    Ok(())
}

/// One call after another.
async fn sequential(connection: &Connection, caller: &Echo) -> anyhow::Result<()> {
    let payload = vec![7; PAYLOAD_BYTES];
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..SEQUENTIAL_CALLS / ROUNDS {
            let started = Instant::now();
            exchange(connection, &payload).await?;
            bare.push(started.elapsed());
        }
        for _ in 0..SEQUENTIAL_CALLS / ROUNDS {
            let started = Instant::now();
            caller.call(payload.clone()).await?;
            ours.push(started.elapsed());
        }
    }
    println!("sequential, {PAYLOAD_BYTES} bytes");
    compare("p50", 0.5, &mut bare, &mut ours);
    compare("p99", 0.99, &mut bare, &mut ours);
    Ok(())
}

/// Many calls at the same time.
async fn concurrent(connection: &Connection, caller: &Arc<Echo>) -> anyhow::Result<()> {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS / 2 {
        bare.push(bare_throughput(connection).await?);
        ours.push(throughput(caller).await?);
    }
    let (bare, ours) = (median(bare), median(ours));
    println!("\n{IN_FLIGHT} in flight, {PAYLOAD_BYTES} bytes");
    println!(
        "  bare {bare:>9.0} calls/s   ours {ours:>9.0} calls/s   ratio {:.2}",
        ours / bare
    );
    Ok(())
}

async fn bare_throughput(connection: &Connection) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let connection = connection.clone();
        tasks.spawn(async move {
            let payload = vec![7; PAYLOAD_BYTES];
            for _ in 0..CONCURRENT_CALLS / IN_FLIGHT {
                exchange(&connection, &payload).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(rate(CONCURRENT_CALLS, started))
}

async fn throughput(caller: &Arc<Echo>) -> anyhow::Result<f64> {
    many_calls(caller, CONCURRENT_CALLS).await
}

async fn many_calls(caller: &Arc<Echo>, calls: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let caller = caller.clone();
        tasks.spawn(async move {
            for _ in 0..calls / IN_FLIGHT {
                caller.call(vec![7; PAYLOAD_BYTES]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(rate(calls, started))
}

/// Decisions about calls of a peer whose token was seen before, on one thread.
fn admissions(handling: &Network, calling: &Network, gates: &[Handler<Vec<u8>, Vec<u8>>]) {
    println!("\nadmissions with a token (EdDSA), on one thread");
    for (what, gate) in ["verdict kept", "kept for a second"].into_iter().zip(gates) {
        let started = Instant::now();
        let peer = calling.local().id();
        let admitted = handling
            .functions()
            .__admit(&peer, *gate.function_id(), ADMISSIONS);
        println!("  {what:<28}{:>9.0} a second", rate(admitted, started));
    }
}

/// The first call of a node that knows the handler and has no connection to it.
async fn first_calls(handling: &Network) -> anyhow::Result<()> {
    let payload = vec![7; PAYLOAD_BYTES];
    let server = raw_endpoint().await?;
    let accepting = server.clone();
    tokio::task::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            serve_bare(incoming.accept()?.await?);
        }
        anyhow::Ok(())
    });
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..FIRST_CALLS {
        let client = raw_endpoint().await?;
        let started = Instant::now();
        let connection = client.connect(server.addr(), RAW_ALPN).await?;
        exchange(&connection, &payload).await?;
        bare.push(started.elapsed());
        client.close().await;

        let addr = handling.local().addr();
        let calling = node(*handling.network_id(), Some(addr)).await?;
        let caller = calling.functions().caller().with_function_id("echo");
        let caller: Echo = caller.build();
        timeout(PATIENCE, caller.when().online()).await?;
        // What else a new node does at first is not measured.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        caller.call(payload.clone()).await?;
        ours.push(started.elapsed());
        calling.shutdown().await;
    }
    println!("\nfirst call to a new peer: connecting and one exchange");
    compare("p50", 0.5, &mut bare, &mut ours);
    Ok(())
}

/// Three handlers of one function share its calls.
async fn spread(handling: &Network, others: &[Network]) -> anyhow::Result<()> {
    let nodes = [handling, &others[1], &others[2]];
    let handlers = nodes.map(|node| serve(node, "shared"));
    let handlers: Vec<_> = handlers.into_iter().collect::<anyhow::Result<_>>()?;
    let caller = others[0].functions().caller().with_function_id("shared");
    let caller: Arc<Echo> = Arc::new(caller.build());
    timeout(PATIENCE, caller.when().available().minimum_of(nodes.len())).await?;
    let rate = many_calls(&caller, SPREAD_CALLS).await?;
    let served: Vec<_> = handlers.iter().map(|h| h.stats().served()).collect();
    let total: usize = served.iter().sum();
    let shares: Vec<_> = served.iter().map(|served| served * 100 / total).collect();
    println!("\n{total} calls, three equal handlers: {shares:?} %, {rate:.0} calls/s");
    Ok(())
}

/// Echoes what arrives on the streams of a connection.
fn serve_bare(connection: Connection) {
    tokio::task::spawn(async move {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::task::spawn(async move {
                let request = recv.read_to_end(MAX_BARE_BYTES).await?;
                send.write_all(&request).await?;
                send.finish()?;
                anyhow::Ok(())
            });
        }
    });
}

async fn exchange(connection: &Connection, payload: &[u8]) -> anyhow::Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(payload).await?;
    send.finish()?;
    let reply = recv.read_to_end(MAX_BARE_BYTES).await?;
    anyhow::ensure!(reply.len() == payload.len());
    Ok(())
}

fn serve(network: &Network, id: &str) -> anyhow::Result<Handler<Vec<u8>, Vec<u8>>> {
    let builder = network.functions().handler().with_function_id(id);
    builder.serve(echo).context("serving")
}

async fn echo(request: Vec<u8>, _: CallContext) -> Result<Vec<u8>, ()> {
    Ok(request)
}

fn compare(what: &str, share: f64, bare: &mut [Duration], ours: &mut [Duration]) {
    bare.sort_unstable();
    ours.sort_unstable();
    let micros = |sorted: &[Duration]| percentile(sorted, share).as_secs_f64() * 1e6;
    let (bare, ours) = (micros(bare), micros(ours));
    println!(
        "  {what}  bare {bare:>8.1} us   ours {ours:>8.1} us   ratio {:.2}",
        ours / bare
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 calls")]
fn rate(calls: usize, started: Instant) -> f64 {
    calls as f64 / started.elapsed().as_secs_f64()
}
