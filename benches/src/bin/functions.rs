//! What a call costs: next to the same exchange on a bare QUIC stream, over loopback, with both
//! ends in this process.
//!
//! The bare side is an echo server on an endpoint of the same library with its default settings:
//! one stream per exchange, a task per stream, nothing else. Rounds of both sides alternate, so
//! that what else the machine does hits both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use mosaik::{
    CallContext, Digest, Network, SecretKey, Ticket, UniqueId, discovery,
    functions::{Caller, Handler},
    id,
    iroh::{
        Endpoint, EndpointAddr, RelayMode,
        endpoint::{Connection, presets},
    },
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};
use tokio::task::JoinSet;

const ALPN: &[u8] = b"bare/echo";
const PAYLOAD_BYTES: usize = 64;
const ROUNDS: usize = 10;
const SEQUENTIAL_CALLS: usize = 2_000;
const CONCURRENT_CALLS: usize = 20_000;
const IN_FLIGHT: usize = 64;
const FIRST_CALLS: usize = 60;
const SPREAD_CALLS: usize = 30_000;

type Echo = Caller<Vec<u8>, Vec<u8>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let network_id = Digest::random();
    let (handling, calling) = (node(network_id).await?, node(network_id).await?);
    calling.discovery().add_ticket(Pass::ticket());
    introduce(&calling, &handling).await?;
    let _handlers = (
        serve(&handling, "echo")?,
        handling
            .functions()
            .handler()
            .with_function_id("gated")
            .require_caller_ticket(Pass { is_pure: true })
            .serve(echo)?,
        handling
            .functions()
            .handler()
            .with_function_id("gated anew")
            .require_caller_ticket(Pass { is_pure: false })
            .serve(echo)?,
    );
    let plain = Arc::new(
        calling
            .functions()
            .caller()
            .with_function_id("echo")
            .build(),
    );
    let gated = calling.functions().caller().with_function_id("gated");
    let gated: Arc<Echo> = Arc::new(gated.require_caller_ticket(Pass { is_pure: true }).build());
    let anew = calling.functions().caller().with_function_id("gated anew");
    let anew: Arc<Echo> = Arc::new(anew.require_caller_ticket(Pass { is_pure: false }).build());
    for caller in [&plain, &gated, &anew] {
        tokio::time::timeout(Duration::from_secs(10), caller.when().online()).await?;
    }
    let bare = Bare::start().await?;
    let connection = bare.connect().await?;

    sequential(&connection, &plain).await?;
    concurrent(&connection, &plain).await?;
    let open = throughput(&plain).await?;
    println!("\n{IN_FLIGHT} in flight, by what admission asks for");
    println!("  nothing                      {open:>9.0} calls/s");
    println!(
        "  a ticket, verdict cached     {:>9.0} calls/s",
        throughput(&gated).await?
    );
    println!(
        "  a ticket, validator not pure {:>9.0} calls/s",
        throughput(&anew).await?
    );
    first_calls(&bare, &handling, network_id).await?;
    spread(network_id, &calling, &handling).await
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
    compare("p50", percentile(&mut bare, 50), percentile(&mut ours, 50));
    compare("p99", percentile(&mut bare, 99), percentile(&mut ours, 99));
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
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let caller = caller.clone();
        tasks.spawn(async move {
            for _ in 0..CONCURRENT_CALLS / IN_FLIGHT {
                caller.call(vec![7; PAYLOAD_BYTES]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(rate(CONCURRENT_CALLS, started))
}

/// The first call of a node that knows the handler and has no connection to it.
async fn first_calls(bare: &Bare, handling: &Network, network_id: Digest) -> anyhow::Result<()> {
    let payload = vec![7; PAYLOAD_BYTES];
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..FIRST_CALLS {
        let endpoint = bare_endpoint().await?;
        let started = Instant::now();
        let connection = endpoint.connect(bare.addr.clone(), ALPN).await?;
        exchange(&connection, &payload).await?;
        theirs.push(started.elapsed());
        endpoint.close().await;

        let calling = node(network_id).await?;
        introduce(&calling, handling).await?;
        let caller: Echo = calling
            .functions()
            .caller()
            .with_function_id("echo")
            .build();
        tokio::time::timeout(Duration::from_secs(10), caller.when().online()).await?;
        let started = Instant::now();
        caller.call(payload.clone()).await?;
        ours.push(started.elapsed());
        calling.shutdown().await;
    }
    println!("\nfirst call to a new peer: connecting and one exchange");
    compare(
        "p50",
        percentile(&mut theirs, 50),
        percentile(&mut ours, 50),
    );
    Ok(())
}

/// Three handlers of one function share its calls.
async fn spread(network_id: Digest, calling: &Network, handling: &Network) -> anyhow::Result<()> {
    let added = [node(network_id).await?, node(network_id).await?];
    let others = [&added[0], &added[1], handling];
    let mut handlers = Vec::new();
    for other in &others {
        introduce(calling, other).await?;
        handlers.push(serve(other, "shared")?);
    }
    let caller: Echo = calling
        .functions()
        .caller()
        .with_function_id("shared")
        .build();
    let all = caller.when().available().minimum_of(others.len());
    tokio::time::timeout(Duration::from_secs(10), all).await?;
    let caller = Arc::new(caller);
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let caller = caller.clone();
        tasks.spawn(async move {
            for _ in 0..SPREAD_CALLS / IN_FLIGHT {
                caller.call(vec![7; PAYLOAD_BYTES]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    let total: usize = handlers
        .iter()
        .map(|handler| handler.stats().served())
        .sum();
    let shares = handlers
        .iter()
        .map(|handler| handler.stats().served() * 100 / total);
    println!(
        "\n{total} calls over {} equal handlers: {:?} %",
        others.len(),
        shares.collect::<Vec<_>>()
    );
    Ok(())
}

/// A bare echo server.
struct Bare {
    addr: EndpointAddr,
    _endpoint: Endpoint,
}

impl Bare {
    async fn start() -> anyhow::Result<Self> {
        let endpoint = bare_endpoint().await?;
        endpoint.set_alpns(vec![ALPN.to_vec()]);
        let server = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(async move {
                    let connection = incoming.accept()?.await?;
                    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                        tokio::spawn(async move {
                            let request = recv.read_to_end(1 << 20).await?;
                            send.write_all(&request).await?;
                            send.finish()?;
                            anyhow::Ok(())
                        });
                    }
                    anyhow::Ok(())
                });
            }
        });
        Ok(Self {
            addr: endpoint.addr(),
            _endpoint: endpoint,
        })
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let endpoint = bare_endpoint().await?;
        let connection = endpoint.connect(self.addr.clone(), ALPN).await?;
        // The endpoint lives as long as the process.
        std::mem::forget(endpoint);
        Ok(connection)
    }
}

async fn bare_endpoint() -> anyhow::Result<Endpoint> {
    Ok(Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::generate())
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?
        .bind()
        .await?)
}

async fn exchange(connection: &Connection, payload: &[u8]) -> anyhow::Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(payload).await?;
    send.finish()?;
    let reply = recv.read_to_end(1 << 20).await?;
    anyhow::ensure!(reply.len() == payload.len());
    Ok(())
}

async fn node(network_id: Digest) -> anyhow::Result<Network> {
    Ok(Network::builder(network_id)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse()?])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .build()
        .await?)
}

async fn introduce(one: &Network, other: &Network) -> anyhow::Result<()> {
    one.discovery()
        .sync_with(other.local().addr())
        .await
        .context("introducing two nodes")
}

fn serve(network: &Network, id: &str) -> anyhow::Result<Handler<Vec<u8>, Vec<u8>>> {
    Ok(network
        .functions()
        .handler()
        .with_function_id(id)
        .serve(echo)?)
}

async fn echo(request: Vec<u8>, _: CallContext) -> Result<Vec<u8>, ()> {
    Ok(request)
}

/// A credential that costs as much to check as a signature.
struct Pass {
    is_pure: bool,
}

impl Pass {
    fn ticket() -> Ticket {
        Ticket::new(id!("bench.pass"), b"admit".to_vec().into())
    }
}

impl TicketValidator for Pass {
    fn class(&self) -> TicketClass {
        id!("bench.pass")
    }

    fn signature(&self) -> UniqueId {
        id!("bench.pass.validator").derive([u8::from(self.is_pure)])
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let mut digest = Digest::hash(ticket);
        for _ in 0..500 {
            digest = digest.hashed();
        }
        let is_valid = ticket == b"admit" && digest != Digest::zero();
        is_valid.then_some(Expiration::Never).ok_or(InvalidTicket)
    }

    fn is_pure(&self) -> bool {
        self.is_pure
    }
}

fn compare(what: &str, bare: Duration, ours: Duration) {
    let (bare, ours) = (bare.as_secs_f64() * 1e6, ours.as_secs_f64() * 1e6);
    println!(
        "  {what}  bare {bare:>8.1} us   ours {ours:>8.1} us   ratio {:.2}",
        ours / bare
    );
}

fn percentile(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort_unstable();
    samples[(samples.len() - 1) * percent / 100]
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 calls")]
fn rate(calls: usize, started: Instant) -> f64 {
    calls as f64 / started.elapsed().as_secs_f64()
}
