//! Calls end: by their budget, by being dropped, with their handler, with the network.

use std::time::Instant;

use mosaik::{
    CallContext, Network,
    functions::{CallError, Caller, Handler},
    futures::{StreamExt, stream},
};

use super::common::{Gate, eventually, meet, ms, pair, refusal, until_candidates};
use crate::support::{random_network, within};

fn serve_gated(node: &Network, gate: &Gate) -> Handler<u8, u8> {
    let gate = gate.clone();
    let serve = move |n: u8, _: CallContext| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(n)
        }
    };
    node.functions().handler().serve(serve).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_function_too() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let handler = serve_gated(&a, &gate);
    let caller: Caller<u8, u8> = b.functions().caller().with_call_timeout(ms(200)).build();
    until_candidates(&caller, 1).await;
    let started = Instant::now();
    let error = within(5, caller.call(1)).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout), "{error:?}");
    assert!(started.elapsed() >= ms(200));
    assert_eq!(gate.started(), 1);
    eventually(5, || gate.dropped() == 1).await;
    eventually(5, || {
        handler.stats().failed() == 1 && handler.stats().inflight() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_function_is_left_running() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let _handler = serve_gated(&a, &gate);
    let caller: Caller<u8, u8> = b.functions().caller().build();
    // Longer than an admission may take.
    let slow = async {
        gate.until_started(1).await;
        tokio::time::sleep(ms(3_500)).await;
        gate.open();
    };
    let (result, ()) = tokio::join!(within(10, caller.call(1)), slow);
    assert_eq!(result.unwrap(), 1);
    assert_eq!(gate.started(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_call_ends_the_function() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let handler = serve_gated(&a, &gate);
    let caller: Caller<u8, u8> = b.functions().caller().build();
    {
        let call = caller.call(1);
        tokio::select! {
            _ = call => panic!("the gate is closed"),
            () = gate.until_started(1) => {}
        }
    }
    eventually(5, || gate.dropped() == 1).await;
    eventually(5, || {
        handler.stats().failed() == 1 && handler.stats().inflight() == 0
    })
    .await;
    gate.open();
    assert_eq!(within(5, caller.call(2)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_handler_ends_its_calls() {
    let nodes = meet(random_network(), 3).await;
    let gate = Gate::new();
    let handler = serve_gated(&nodes[0], &gate);
    let caller: Caller<u8, u8> = nodes[2].functions().caller().build();
    let (result, ()) = tokio::join!(within(5, caller.call(1)), async {
        gate.until_started(1).await;
        drop(handler);
    });
    // It may have had effects, so it is not called again elsewhere.
    assert_eq!(refusal(result), (11_404, "FunctionNotFound".into()));
    eventually(5, || gate.dropped() == 1).await;

    let handler = serve_gated(&nodes[0], &gate);
    let idempotent: Caller<u8, u8> = nodes[2].functions().caller().with_idempotent(true).build();
    let (result, _other) = tokio::join!(within(5, idempotent.call(1)), async {
        gate.until_started(2).await;
        drop(handler);
        gate.open();
        serve_gated(&nodes[1], &gate)
    });
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_network_ends() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let handler = serve_gated(&a, &gate);
    let caller: Caller<u8, u8> = b.functions().caller().build();
    let lonely: Caller<String, u8> = b.functions().caller().build();
    let when = caller.when().clone();
    let endless = a.functions().handler().with_function_id("endless");
    let _endless = endless
        .serve_stream(|_: u8, _: CallContext| stream::pending::<Result<u8, ()>>())
        .unwrap();
    let endless = b.functions().caller().with_function_id("endless");
    let endless: Caller<u8, u8> = endless.build();
    let mut replies = within(5, endless.call_stream(1)).await.unwrap();
    let (running, waiting, ()) = tokio::join!(
        within(5, caller.call(1)),
        within(5, lonely.call(String::new())),
        async {
            gate.until_started(1).await;
            within(10, b.shutdown()).await;
        }
    );
    assert!(
        matches!(running, Err(CallError::Unavailable)),
        "{running:?}"
    );
    assert!(
        matches!(waiting, Err(CallError::Unavailable)),
        "{waiting:?}"
    );
    let last = within(1, replies.next()).await;
    assert!(
        matches!(last, Some(Err(CallError::Unavailable))),
        "{last:?}"
    );
    assert!(within(1, replies.next()).await.is_none());
    let later = within(1, caller.call(1)).await;
    assert!(matches!(later, Err(CallError::Unavailable)), "{later:?}");
    within(1, when.offline()).await;
    assert!(!when.is_online());
    assert!(when.unavailable().is_condition_met());
    eventually(5, || gate.dropped() == 1 && handler.stats().inflight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handlers_network_ends() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let handler = serve_gated(&a, &gate);
    let caller: Caller<u8, u8> = b.functions().caller().build();
    let (running, ()) = tokio::join!(within(5, caller.call(1)), async {
        gate.until_started(1).await;
        within(10, a.shutdown()).await;
    });
    assert_eq!(refusal(running), (11_404, "FunctionNotFound".into()));
    until_candidates(&caller, 0).await;
    assert_eq!(handler.stats().inflight(), 0);
    assert_eq!(handler.stats().failed(), 1);
    drop(handler);
}
