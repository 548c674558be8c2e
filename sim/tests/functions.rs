//! Calls over a narrow line, on which everything is slow and nothing is broken.

use std::{num::NonZeroU64, time::Duration};

use futures::future::join_all;
use mosaik::CallContext;
use mosaik_sim::{Conditions, bound};
use tokio::time::timeout;

use crate::support::Formed;

/// A megabit a second.
const NARROW: Option<NonZeroU64> = NonZeroU64::new(125_000);

/// Makes calls at once, each with as many bytes; how often the function ran.
async fn calls(seed: u64, count: usize, bytes: usize) -> usize {
    let narrow = Conditions {
        latency: Duration::from_millis(10),
        bandwidth: NARROW,
        ..Conditions::default()
    };
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
    formed.fleet.hub().set_conditions(narrow);
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
