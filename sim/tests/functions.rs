//! Calls over a narrow line, on which everything is slow and nothing is broken.

use std::{num::NonZeroU64, time::Duration};

use futures::{StreamExt, future::join_all, stream};
use mosaik::CallContext;
use mosaik_sim::{Conditions, bound};
use tokio::time::timeout;

use crate::support::Formed;

/// A megabit a second.
const NARROW: Option<NonZeroU64> = NonZeroU64::new(125_000);

fn narrow() -> Conditions {
    Conditions {
        latency: Duration::from_millis(10),
        bandwidth: NARROW,
        ..Conditions::default()
    }
}

/// Makes calls at once, each with as many bytes; how often the function ran.
async fn calls(seed: u64, count: usize, bytes: usize) -> usize {
    let formed = Formed::new(seed, Conditions::default(), 2).await;
    let [handling, calling] = &formed.nodes[..] else {
        panic!("two nodes");
    };
    let handler = handling
        .functions()
        .handler()
        .serve(|data: Vec<u8>, _: CallContext| async move { Ok::<_, ()>(data.len()) })
        .unwrap();
    let caller = calling.functions().caller::<Vec<u8>, usize, ()>().build();
    timeout(bound(Duration::from_secs(10)), caller.call(Vec::new()))
        .await
        .unwrap()
        .unwrap();
    formed.fleet.hub().set_conditions(narrow());
    let budget = bound(Duration::from_secs(60));
    let calls = (0..count).map(|_| caller.call_with_timeout(vec![0; bytes], budget));
    for reply in join_all(calls).await {
        assert_eq!(reply.unwrap(), bytes);
    }
    handler.stats().served() - 1
}

/// Regression: none of them was there after three seconds, and all were given up.
#[tokio::test(flavor = "multi_thread")]
async fn small_requests_that_share_a_narrow_line_arrive() {
    assert_eq!(calls(1, 8, 60_000).await, 8);
}

/// Regression: the handler gave up a request that came at less than a certain rate, and the caller
/// sent it from its start again.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_may_take_as_long_as_its_budget() {
    assert_eq!(calls(2, 1, 1_500_000).await, 1);
}

/// The function starts when all of it is there, long after one would have been given up that says
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_for_a_stream_may_take_as_long_as_its_budget() {
    const BYTES: usize = 1_000_000;
    let formed = Formed::new(4, Conditions::default(), 2).await;
    let _handler = formed.nodes[0]
        .functions()
        .handler()
        .serve_stream(|data: Vec<u8>, _: CallContext| stream::iter([Ok::<_, ()>(data.len())]))
        .unwrap();
    let caller = formed.nodes[1].functions().caller::<Vec<u8>, usize, ()>();
    let budget = bound(Duration::from_secs(60));
    let caller = caller.with_call_timeout(budget).build();
    let limit = bound(Duration::from_secs(10));
    timeout(limit, caller.when().available()).await.unwrap();
    formed.fleet.hub().set_conditions(narrow());
    let mut replies = caller.call_stream(vec![0; BYTES]).await.unwrap();
    assert_eq!(replies.next().await.unwrap().unwrap(), BYTES);
}

/// Regression: the node went on with its end when the reply was handed to the transport, which takes
/// in more than a narrow line carries in that time.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_waits_for_replies_on_a_narrow_line() {
    const REPLY_BYTES: usize = 300_000;
    let mut formed = Formed::new(3, Conditions::default(), 2).await;
    let handler = formed.nodes[0].functions().handler();
    let handler = handler
        .serve(|(): (), _: CallContext| async { Ok::<_, ()>(vec![7u8; REPLY_BYTES]) })
        .unwrap();
    let caller = formed.nodes[1].functions().caller::<(), Vec<u8>, ()>();
    let caller = caller.build();
    let limit = bound(Duration::from_secs(20));
    timeout(limit, caller.when().available()).await.unwrap();
    formed.fleet.hub().set_conditions(narrow());
    let calling = timeout(limit, caller.call(()));
    let ending = async {
        while handler.stats().served() == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let started = tokio::time::Instant::now();
        assert!(formed.take(0).shutdown().await.is_empty());
        started.elapsed()
    };
    let (reply, ended_after) = tokio::join!(calling, ending);
    assert_eq!(reply.unwrap().unwrap().len(), REPLY_BYTES);
    assert!(ended_after >= Duration::from_secs(1), "{ended_after:?}");
}
