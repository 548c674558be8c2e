//! Handlers whose process is killed.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mosaik::{
    CallContext, Network, NetworkId, PeerId,
    functions::{CallError, Caller, Handler},
    iroh::EndpointAddr,
};
use tokio::process::{Child, Command};

use super::common::{eventually, meet, ms, until_candidates};
use crate::support::{node_at, random_network, within};

const NETWORK: &str = "MOSAIK_TEST_VICTIM_NETWORK";
const BOOTSTRAP: &str = "MOSAIK_TEST_VICTIM_BOOTSTRAP";

/// Long before the transport gives a silent connection up, which takes it 5 s.
const GIVEN_UP: Duration = Duration::from_secs(4);

/// Serves until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "not a test by itself: the process that those of this file start and kill"]
async fn victim() {
    let told =
        |variable| std::env::var(variable).expect("set by the test that starts this process");
    let (network, bootstrap) = (told(NETWORK), told(BOOTSTRAP));
    let bootstrap: EndpointAddr = serde_json::from_str(&bootstrap).unwrap();
    let node = node_at(NetworkId::from(network.as_str()), bootstrap).await;
    let _handler = serve(&node);
    std::future::pending::<()>().await;
}

/// Takes a while, so that there are always calls running; tells who ran.
fn serve(node: &Network) -> Handler<u64, (u64, PeerId)> {
    let id = node.local().id();
    let work = move |n: u64, _: CallContext| async move {
        tokio::time::sleep(ms(5)).await;
        Ok((n, id))
    };
    let builder = node.functions().handler().with_function_id("work");
    builder.serve(work).unwrap()
}

fn start_victim(network: NetworkId, bootstrap: &EndpointAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "functions::crash::victim"])
        .arg("--nocapture")
        .env(NETWORK, network.to_string())
        .env(BOOTSTRAP, serde_json::to_string(bootstrap).unwrap())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Kills one of three handlers under load; returns how the calls ended.
async fn kill_one(is_idempotent: bool) -> (usize, usize, Duration) {
    let network = random_network();
    let nodes = meet(network, 3).await;
    let _handlers: Vec<_> = nodes[..2].iter().map(serve).collect();
    let mut victim = start_victim(network, &nodes[2].local().addr());
    let caller: Caller<u64, (u64, PeerId)> = nodes[2]
        .functions()
        .caller()
        .with_function_id("work")
        .with_idempotent(is_idempotent)
        .build();
    within(20, caller.when().available().minimum_of(3)).await;
    let caller = Arc::new(caller);
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let by_victim = Arc::new(AtomicUsize::new(0));
    let ours = [nodes[0].local().id(), nodes[1].local().id()];
    let ended: Arc<[AtomicUsize; 16]> = Arc::default();
    let calling: Vec<_> = (0..16)
        .map(|n| {
            let (caller, stop, ended) = (caller.clone(), stop.clone(), ended.clone());
            let (answered, by_victim) = (answered.clone(), by_victim.clone());
            tokio::spawn(async move {
                let (mut lost, mut longest) = (0, Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    match caller.call(n).await {
                        Ok((reply, by)) => {
                            assert_eq!(reply, n);
                            answered.fetch_add(1, Ordering::Relaxed);
                            if !ours.contains(&by) {
                                by_victim.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        Err(CallError::Transport(_)) => lost += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                    longest = longest.max(started.elapsed());
                    ended[n as usize].fetch_add(1, Ordering::Relaxed);
                }
                (lost, longest)
            })
        })
        .collect();
    eventually(20, || by_victim.load(Ordering::Relaxed) > 50).await;
    victim.kill().await.unwrap();
    // Until the calls that were running then have ended, and others after them.
    let counts = || -> Vec<usize> { ended.iter().map(|n| n.load(Ordering::Relaxed)).collect() };
    let before = counts();
    eventually(20, || {
        let more = counts().into_iter().zip(&before);
        more.fold(true, |all, (now, before)| all && now >= before + 20)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let (mut lost, mut longest) = (0, Duration::ZERO);
    for task in calling {
        let (lost_here, longest_here) = within(20, task).await.unwrap();
        lost += lost_here;
        longest = longest.max(longest_here);
    }
    (answered.load(Ordering::Relaxed), lost, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_handler_loses_only_what_it_was_sent() {
    let (answered, lost, longest) = kill_one(false).await;
    eprintln!("{answered} answered, {lost} lost, the longest took {longest:?}");
    assert!(answered > 100);
    assert!((1..=16).contains(&lost), "those that were sent: {lost}");
    assert!(longest < GIVEN_UP, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_handler_loses_no_idempotent_call() {
    let (answered, lost, longest) = kill_one(true).await;
    eprintln!("{answered} answered, {lost} lost, the longest took {longest:?}");
    assert!(answered > 100 && lost == 0);
    assert!(longest < GIVEN_UP, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_handler_does_not_return_as_a_candidate() {
    let network = random_network();
    let nodes = meet(network, 1).await;
    let mut victim = start_victim(network, &nodes[0].local().addr());
    let caller: Caller<u64, (u64, PeerId)> = nodes[0]
        .functions()
        .caller()
        .with_function_id("work")
        .build();
    within(20, caller.when().online()).await;
    assert_eq!(within(5, caller.call(3)).await.unwrap().0, 3);
    victim.kill().await.unwrap();
    let error = within(5, caller.call_with_timeout(1, ms(3_000)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Transport(_)), "{error:?}");
    within(20, caller.when().unavailable()).await;
    until_candidates(&caller, 0).await;
}
