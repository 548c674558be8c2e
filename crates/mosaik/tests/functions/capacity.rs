//! Limit on the concurrent calls of a handler.

use mosaik::{CallContext, functions::Caller, futures::future::join_all};

use super::common::{Gate, eventually, meet, ms, pair, refusal, until_candidates};
use crate::support::{
    metrics::{count, counted},
    random_network, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn no_place_at_all_refuses_every_call() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_max_concurrent(0)
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    let refused = within(5, caller.call_with_timeout(1, ms(300))).await;
    assert_eq!(refusal(refused), (11_509, "NoCapacity".into()));
    let stats = handler.stats();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_one_place_is_served_one_by_one() {
    count();
    let id = random_network();
    let nodes = meet(id, 2).await;
    let gate = Gate::new();
    let inner = gate.clone();
    let handler = nodes[0]
        .functions()
        .handler()
        .with_max_concurrent(1)
        .serve(move |n: u8, _: CallContext| {
            let gate = inner.clone();
            async move {
                gate.pass().await;
                Ok::<_, ()>(n)
            }
        })
        .unwrap();
    let caller: Caller<u8, u8> = nodes[1].functions().caller().build();
    let calls = join_all((0..8).map(|n| caller.call(n)));
    let opening = async {
        // Until all but the one that has the place were refused at least once.
        let refused = || counted(&id, "mosaik.functions.calls.rejected", None);
        eventually(5, || refused() >= 7).await;
        gate.open();
    };
    let (results, ()) = within(10, async { tokio::join!(calls, opening) }).await;
    for (n, result) in (0..8).zip(results) {
        assert_eq!(result.unwrap(), n);
    }
    assert_eq!((handler.stats().served(), handler.stats().failed()), (8, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_handler_sends_calls_to_another() {
    let nodes = meet(random_network(), 3).await;
    let gate = Gate::new();
    let serve = |node: usize| {
        let gate = gate.clone();
        let builder = nodes[node].functions().handler().with_max_concurrent(2);
        builder.serve(move |(): (), _: CallContext| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok::<(), ()>(())
            }
        })
    };
    let (one, other) = (serve(0).unwrap(), serve(1).unwrap());
    let caller: Caller<(), ()> = nodes[2].functions().caller().build();
    until_candidates(&caller, 2).await;
    let all = within(10, join_all((0..4).map(|_| caller.call(()))));
    let running = async {
        gate.until_started(4).await;
        assert_eq!((one.stats().inflight(), other.stats().inflight()), (2, 2));
        gate.open();
    };
    let (results, ()) = tokio::join!(all, running);
    assert!(results.into_iter().all(|result| result.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn places_come_back_however_a_call_ends() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let inner = gate.clone();
    let handler = a
        .functions()
        .handler()
        .with_max_concurrent(1)
        .serve(move |how: String, _: CallContext| {
            let gate = inner.clone();
            async move {
                match how.as_str() {
                    "panic" => panic!("on purpose"),
                    "fail" => Err("failed".to_owned()),
                    "hang" => {
                        gate.pass().await;
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        })
        .unwrap();
    let caller: Caller<String, (), String> = b.functions().caller().build();
    for _ in 0..3 {
        within(5, caller.call("panic".into())).await.unwrap_err();
        within(5, caller.call("fail".into())).await.unwrap_err();
        let hanging = caller.call_with_timeout("hang".into(), ms(50));
        within(5, hanging).await.unwrap_err();
        eventually(5, || handler.stats().inflight() == 0).await;
        within(5, caller.call("end".into())).await.unwrap();
    }
    let stats = handler.stats();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (6, 6, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_waiting_calls_ask_in_turns() {
    const CALLS: u16 = 600;
    count();
    let id = random_network();
    let nodes = meet(id, 2).await;
    let _handler = nodes[0]
        .functions()
        .handler()
        .with_max_concurrent(2)
        .serve(|n: u16, _: CallContext| async move {
            // What a call takes.
            tokio::time::sleep(ms(5)).await;
            Ok::<_, ()>(n)
        })
        .unwrap();
    let caller: Caller<u16, u16> = nodes[1].functions().caller().build();
    let results = within(20, join_all((0..CALLS).map(|n| caller.call(n)))).await;
    for (n, result) in (0..CALLS).zip(results) {
        assert_eq!(result.unwrap(), n);
    }
    // Each is refused at the start, and few again: without turns it is dozens of times each.
    let refused = counted(&id, "mosaik.functions.calls.rejected", None);
    assert!(refused <= 5 * u64::from(CALLS), "{refused} refusals");
}
