//! Choice of the handler that is called first, and of the next one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use mosaik::{
    CallContext, Network,
    discovery::PeerEntry,
    functions::{CallError, Caller, Handler},
    id,
};

use super::common::{Gate, eventually, meet, ms, refusal, serve_by_hand, until_candidates};
use crate::support::{intruder::Intruder, node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn refusals_fail_over() {
    let nodes = meet(random_network(), 4).await;
    let serve = |n: u8, _: CallContext| async move { Ok::<_, ()>(n) };
    let picky = nodes[0]
        .functions()
        .handler()
        .require(|_| false)
        .serve(serve)
        .unwrap();
    let full = nodes[1]
        .functions()
        .handler()
        .with_max_concurrent(0)
        .serve(serve)
        .unwrap();
    let good = nodes[2].functions().handler().serve(serve).unwrap();
    let caller: Caller<u8, u8> = nodes[3].functions().caller().build();
    until_candidates(&caller, 3).await;
    for n in 0..50 {
        assert_eq!(within(5, caller.call(n)).await.unwrap(), n);
    }
    assert_eq!(good.stats().served(), 50);
    assert_eq!(picky.stats().served() + full.stats().served(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_run_is_not_called_again() {
    let nodes = meet(random_network(), 3).await;
    let ran = Gate::new();
    let serve = |node: &Network| -> Handler<u8, u8> {
        let ran = ran.clone();
        let serve = move |n: u8, _: CallContext| {
            let first = ran.started() == 0;
            drop(ran.enter());
            async move {
                assert!(!first, "on purpose");
                Ok(n)
            }
        };
        node.functions().handler().serve(serve).unwrap()
    };
    let _handlers = (serve(&nodes[0]), serve(&nodes[1]));
    let once: Caller<u8, u8> = nodes[2].functions().caller().build();
    until_candidates(&once, 2).await;
    assert_eq!(refusal(within(5, once.call(1)).await).0, 11_500);
    assert_eq!(ran.started(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_idempotent_is_called_again_elsewhere() {
    let nodes = meet(random_network(), 3).await;
    let failing = Arc::new(AtomicBool::new(true));
    let serve = |node: &Network| -> Handler<u8, u8> {
        let failing = failing.clone();
        let serve = move |n: u8, _: CallContext| {
            let fails = failing.swap(false, Ordering::SeqCst);
            async move {
                assert!(!fails, "on purpose");
                Ok(n)
            }
        };
        node.functions().handler().serve(serve).unwrap()
    };
    let handlers = [serve(&nodes[0]), serve(&nodes[1])];
    let caller: Caller<u8, u8> = nodes[2].functions().caller().with_idempotent(true).build();
    until_candidates(&caller, 2).await;
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    let mut outcomes = handlers.map(|handler| (handler.stats().served(), handler.stats().failed()));
    outcomes.sort_unstable();
    assert_eq!(
        outcomes,
        [(0, 1), (1, 0)],
        "the one that failed is not asked again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn application_errors_are_final() {
    let nodes = meet(random_network(), 3).await;
    let serve = |n: u8, _: CallContext| async move { Err::<(), _>(n) };
    let one = nodes[0].functions().handler().serve(serve).unwrap();
    let other = nodes[1].functions().handler().serve(serve).unwrap();
    let caller: Caller<u8, (), u8> = nodes[2].functions().caller().with_idempotent(true).build();
    until_candidates(&caller, 2).await;
    assert!(matches!(
        within(5, caller.call(7)).await,
        Err(CallError::Application(7))
    ));
    assert_eq!(one.stats().served() + other.stats().served(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_leaves_under_load_costs_no_call_that_was_not_sent() {
    let nodes = meet(random_network(), 4).await;
    let mut nodes = nodes.into_iter();
    let leaving = nodes.next().unwrap();
    let nodes: Vec<_> = nodes.collect();
    let serve = |n: u32, _: CallContext| async move {
        tokio::task::yield_now().await;
        Ok::<_, ()>(n)
    };
    let _leaving_handler = leaving.functions().handler().serve(serve).unwrap();
    let _handlers: Vec<_> = nodes[..2]
        .iter()
        .map(|node| node.functions().handler().serve(serve).unwrap())
        .collect();
    let caller: Arc<Caller<u32, u32>> = Arc::new(nodes[2].functions().caller().build());
    until_candidates(&caller, 3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..32)
        .map(|_| {
            let (caller, stop, answered) = (caller.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut interrupted = 0;
                while !stop.load(Ordering::Relaxed) {
                    match caller.call(7).await {
                        Ok(n) => {
                            assert_eq!(n, 7);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        // It was running when its handler was dropped.
                        Err(CallError::Rejected(close)) => {
                            assert_eq!(close.error_code.into_inner(), 11_404);
                            interrupted += 1;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
                interrupted
            })
        })
        .collect();
    let until_answered = async |more: usize| {
        let enough = answered.load(Ordering::Relaxed) + more;
        eventually(20, || answered.load(Ordering::Relaxed) >= enough).await;
    };
    until_answered(500).await;
    within(10, leaving.shutdown()).await;
    until_answered(500).await;
    stop.store(true, Ordering::Relaxed);
    let mut interrupted = 0;
    for caller in callers {
        interrupted += within(10, caller).await.unwrap();
    }
    assert!(
        interrupted <= 32,
        "at most those that were running: {interrupted}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_handlers_share_the_calls() {
    const CALLS: usize = 6_000;
    let nodes = meet(random_network(), 4).await;
    let serve = |n: usize, _: CallContext| async move { Ok::<_, ()>(n) };
    let handlers: Vec<_> = nodes[..3]
        .iter()
        .map(|node| node.functions().handler().serve(serve).unwrap())
        .collect();
    let caller: Arc<Caller<usize, usize>> = Arc::new(nodes[3].functions().caller().build());
    until_candidates(&caller, 3).await;
    eprintln!(
        "{:?}",
        caller.candidates().map(|c| c.rtt()).collect::<Vec<_>>()
    );
    let calling = (0..64).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move {
            for n in 0..CALLS / 64 {
                assert_eq!(caller.call(n).await.unwrap(), n);
            }
        })
    });
    for task in calling.collect::<Vec<_>>() {
        within(60, task).await.unwrap();
    }
    let served: Vec<_> = handlers
        .iter()
        .map(|handler| handler.stats().served())
        .collect();
    let total: usize = served.iter().sum();
    eprintln!(
        "{:?}",
        caller.candidates().map(|c| c.rtt()).collect::<Vec<_>>()
    );
    for share in served.iter().map(|served| served * 100 / total) {
        assert!((25..=42).contains(&share), "{served:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedged_call_takes_the_first_answer() {
    let nodes = meet(random_network(), 3).await;
    let gate = Gate::new();
    let stuck = gate.clone();
    let stuck = nodes[0]
        .functions()
        .handler()
        .serve(move |_: u8, _: CallContext| {
            let gate = stuck.clone();
            async move {
                gate.pass().await;
                Ok::<u8, ()>(0)
            }
        })
        .unwrap();
    let quick = nodes[1].functions().handler();
    let quick = quick
        .serve(|n: u8, _: CallContext| async move { Ok::<u8, ()>(n) })
        .unwrap();
    let hedged: Caller<u8, u8> = nodes[2]
        .functions()
        .caller()
        .with_idempotent(true)
        .with_hedging(ms(20))
        .build();
    until_candidates(&hedged, 2).await;
    let mut hedges = 0;
    for n in 1..100 {
        let started = Instant::now();
        assert_eq!(within(5, hedged.call(n)).await.unwrap(), n);
        hedges += u32::from(started.elapsed() >= ms(20));
        if stuck.stats().failed() > 3 {
            break;
        }
    }
    assert!(hedges > 0 && gate.started() > 0);
    // The slower one of each pair was dropped.
    eventually(5, || {
        gate.started() == gate.dropped() && stuck.stats().inflight() == 0
    })
    .await;
    assert!(quick.stats().served() > 0 && stuck.stats().served() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_handler_is_a_failure_of_the_transport() {
    let id = random_network();
    let b = node(id).await;
    let intruder = Intruder::new().await;
    let entry = PeerEntry::new(id, intruder.addr()).add_functions(id!("nobody"));
    let entry = entry.sign(&intruder.secret).unwrap();
    assert!(b.discovery().feed(entry.clone()));
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id(id!("nobody"))
        .build();
    tokio::select! {
        () = serve_by_hand(&intruder, &entry, |_, _| async {}) => unreachable!(),
        () = until_candidates(&caller, 1) => {}
    }
    intruder.endpoint.close().await;
    // Less than it takes to find out that it can't be reached.
    let result = within(5, caller.call_with_timeout(1, ms(500))).await;
    assert!(matches!(result, Err(CallError::Transport(_))), "{result:?}");
}
