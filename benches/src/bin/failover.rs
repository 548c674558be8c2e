//! Cost of a killed handler: one of three is killed under load. Measured are how and when its calls
//! end, and how all others fare; beside it exchanges with the same process on a bare QUIC
//! connection with the transport settings of a node.

use std::{
    collections::BTreeSet,
    env,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use iroh::{Endpoint, EndpointAddr, TransportAddr, endpoint::Connection};
use mosaik::{
    CallContext, Network, NetworkId, PeerId,
    functions::{CallError, Caller, Handler},
};
use mosaik_bench::{RAW_ALPN, network, node, raw_endpoint};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

const RUNS: usize = 5;
const IN_FLIGHT: usize = 64;
/// Run time of the function.
const WORK: Duration = Duration::from_millis(5);
/// Time under load before the kill.
const WARM_UP: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_BARE_BYTES: usize = 1024;

const NETWORK: &str = "MOSAIK_BENCH_VICTIM_NETWORK";
const BOOTSTRAP: &str = "MOSAIK_BENCH_VICTIM_BOOTSTRAP";

type Work = Caller<u64, (u64, PeerId)>;

/// A call that was made.
struct Made {
    started: Instant,
    ended: Instant,
    is_answered: bool,
}

/// Effects of one kill.
struct Outcome {
    answered: usize,
    /// Calls that ended with `Transport`: begun before the kill, and after it.
    lost: [usize; 2],
    /// Duration of the longest of them.
    longest_lost: Duration,
    /// Duration of the slowest answered call.
    longest_answered: Duration,
    /// Time from the kill to the failure of the bare connection.
    bare: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    if let Ok(network) = env::var(NETWORK) {
        return victim(NetworkId::from(network.as_str())).await;
    }
    println!("one of three handlers is killed, {IN_FLIGHT} calls in flight, {RUNS} runs each");
    for is_idempotent in [false, true] {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(kill(is_idempotent).await?);
        }
        report(is_idempotent, &runs);
    }
    Ok(())
}

fn report(is_idempotent: bool, runs: &[Outcome]) {
    println!("\nfunction is idempotent: {is_idempotent}");
    println!("  answered  lost: begun before, after  longest lost  slowest answered  bare failed");
    for run in runs {
        let [before, after] = run.lost;
        println!(
            "  {:>8}  {before:>18}  {after:>5}  {:>9.0?} ms  {:>13.0?} ms  {:>8.0?} ms",
            run.answered,
            millis(run.longest_lost),
            millis(run.longest_answered),
            millis(run.bare),
        );
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Kills one of three handlers under load.
async fn kill(is_idempotent: bool) -> Result<Outcome> {
    let (first, others) = network(2).await?;
    let _handlers = [serve(&first)?, serve(&others[0])?];
    let calling = &others[1];
    let (mut victim, bare_addr) = start_victim(calling).await?;
    let bare_endpoint = raw_endpoint().await?;
    let bare = bare_endpoint.connect(bare_addr, RAW_ALPN).await?;
    exchange(&bare).await?;

    let caller = calling.functions().caller().with_function_id("work");
    let caller: Arc<Work> = Arc::new(caller.with_idempotent(is_idempotent).build());
    timeout(PATIENCE, caller.when().available().minimum_of(3)).await?;
    let ours = [first.local().id(), others[0].local().id()];
    let (stop, by_victim) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut loads = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        loads.spawn(load(caller.clone(), ours, stop.clone(), by_victim.clone()));
    }
    let bare_failing = tokio::task::spawn(async move {
        while exchange(&bare).await.is_ok() {
            sleep(WORK).await;
        }
        Instant::now()
    });
    sleep(WARM_UP).await;
    ensure!(
        by_victim.load(Ordering::Relaxed) > IN_FLIGHT,
        "the victim has no share"
    );

    let killed = Instant::now();
    victim.kill().await?;
    let bare_failed = timeout(PATIENCE, bare_failing).await??;
    stop.store(true, Ordering::Relaxed);
    let mut made = Vec::new();
    while let Some(calls) = loads.join_next().await {
        made.extend(calls??);
    }
    let took = |is_answered: bool| {
        let calls = made
            .iter()
            .filter(move |call| call.is_answered == is_answered);
        calls
            .map(|call| call.ended - call.started)
            .max()
            .unwrap_or_default()
    };
    let lost = |is_after: bool| {
        let lost = made.iter().filter(|call| !call.is_answered);
        lost.filter(|call| (call.started > killed) == is_after)
            .count()
    };
    Ok(Outcome {
        answered: made.iter().filter(|call| call.is_answered).count(),
        lost: [lost(false), lost(true)],
        longest_lost: took(false),
        longest_answered: took(true),
        bare: bare_failed - killed,
    })
}

/// Calls one after another until told to stop.
async fn load(
    caller: Arc<Work>,
    ours: [PeerId; 2],
    stop: Arc<AtomicBool>,
    by_victim: Arc<AtomicUsize>,
) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let is_answered = match caller.call(7).await {
            Ok((_, by)) => {
                by_victim.fetch_add(usize::from(!ours.contains(&by)), Ordering::Relaxed);
                true
            }
            Err(CallError::Transport(_)) => false,
            Err(error) => bail!("neither an answer nor a loss: {error:?}"),
        };
        made.push(Made {
            started,
            ended: Instant::now(),
            is_answered,
        });
    }
    Ok(made)
}

fn serve(network: &Network) -> Result<Handler<u64, (u64, PeerId)>> {
    let id = network.local().id();
    let work = move |n: u64, _: CallContext| async move {
        sleep(WORK).await;
        Ok((n, id))
    };
    let builder = network.functions().handler().with_function_id("work");
    builder.serve(work).context("serving")
}

/// Starts a handler in a process of its own; returns it with the address of its bare endpoint.
async fn start_victim(known: &Network) -> Result<(Child, EndpointAddr)> {
    let mut child = Command::new(env::current_exe()?)
        .env(NETWORK, known.network_id().to_string())
        .env(BOOTSTRAP, text_of(&known.local().addr())?)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = child.stdout.take().context("the output of the victim")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    Ok((child, addr_of(&line.context("the victim said nothing")?)?))
}

/// Serves until it is killed.
async fn victim(id: NetworkId) -> Result<()> {
    let node = node(id, Some(addr_of(&env::var(BOOTSTRAP)?)?)).await?;
    let _handler = serve(&node)?;
    let bare: Endpoint = raw_endpoint().await?;
    println!("{}", text_of(&bare.addr())?);
    while let Some(incoming) = bare.accept().await {
        let connection = incoming.accept()?.await?;
        tokio::task::spawn(async move {
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let request = recv.read_to_end(MAX_BARE_BYTES).await?;
                sleep(WORK).await;
                send.write_all(&request).await?;
                send.finish()?;
            }
            anyhow::Ok(())
        });
    }
    Ok(())
}

async fn exchange(connection: &Connection) -> Result<()> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(b"work").await?;
    send.finish()?;
    recv.read_to_end(MAX_BARE_BYTES).await?;
    Ok(())
}

/// An address as text: id and socket address.
fn text_of(addr: &EndpointAddr) -> Result<String> {
    let ip = addr.ip_addrs().next().context("no address")?;
    Ok(format!("{} {ip}", addr.id))
}

fn addr_of(text: &str) -> Result<EndpointAddr> {
    let (id, ip) = text.split_once(' ').context("not an address")?;
    Ok(EndpointAddr {
        id: id.parse()?,
        addrs: BTreeSet::from([TransportAddr::Ip(ip.parse()?)]),
    })
}
