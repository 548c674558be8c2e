//! A function is served, found and called.

use mosaik::{
    CallContext, CallerOf, Function, HandlerOf,
    functions::{CallError, Caller, FunctionDef, Handler},
    id,
};

use super::common::{introduce, pair, until_candidates};
use crate::support::{node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_returns_what_the_function_returns() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_function_id("test/half")
        .serve(|n: u32, ctx: CallContext| async move {
            assert!(ctx.caller().network_id() != &mosaik::Digest::zero());
            if n % 2 == 0 {
                Ok(n / 2)
            } else {
                Err(format!("{n} is odd"))
            }
        })
        .unwrap();
    assert!(
        a.discovery()
            .catalog()
            .local()
            .functions()
            .contains(handler.function_id())
    );
    let caller: Caller<u32, u32, String> =
        b.functions().caller().with_function_id("test/half").build();
    within(5, caller.when().online()).await;
    assert!(caller.when().is_online());
    assert_eq!(within(5, caller.call(8)).await.unwrap(), 4);
    assert_eq!(handler.stats().served(), 1);
    match within(5, caller.call(7)).await {
        Err(CallError::Application(text)) => assert_eq!(text, "7 is odd"),
        other => panic!("{other:?}"),
    }
    assert_eq!(handler.stats().served(), 2);
    assert_eq!(handler.stats().inflight(), 0);
    assert_eq!(handler.stats().failed(), 0);
}
