//! Online state of a caller, and conditions on its handlers.

use mosaik::{
    CallContext, Network,
    functions::{Caller, Handler},
    futures::FutureExt,
};

use super::common::{introduce, meet, pair, until_candidates};
use crate::support::{node, random_network, within};

fn serve(node: &Network) -> Handler<u8, u8> {
    let serve = |n: u8, _: CallContext| async move { Ok(n) };
    node.functions().handler().serve(serve).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_count_handlers() {
    let nodes = meet(random_network(), 3).await;
    let caller: Caller<u8, u8> = nodes[2]
        .functions()
        .caller()
        .online_when(|conditions| conditions.minimum_of(2))
        .build();
    let when = caller.when();
    assert!(when.available() == false && true == when.unavailable());
    let mut one = when.available();
    assert!((&mut one).now_or_never().is_none());

    let first = serve(&nodes[0]);
    within(5, &mut one).await;
    assert!((&mut one).now_or_never().is_none(), "an edge fires once");
    assert!(
        one.clone().now_or_never().is_some(),
        "a clone has no history"
    );
    assert!(!when.is_online());
    let online = when.online();
    let tagged = when.available().with_tags(["a", "b"]);
    let id = *nodes[1].discovery().me().id();
    let second_is_there = when
        .available()
        .with_predicate(move |entry| *entry.id() == id);
    assert!(!second_is_there.is_condition_met());

    let second = serve(&nodes[1]);
    within(5, online).await;
    within(5, second_is_there).await;
    within(1, when.online()).await;
    assert!(tagged == false);
    nodes[1].discovery().add_tags(["a", "b"]);
    within(5, tagged).await;

    drop(first);
    within(5, when.offline()).await;
    assert!(!when.is_online() && when.available().is_condition_met());
    drop(second);
    within(5, when.unavailable()).await;
    let when = when.clone();
    drop(caller);
    within(5, when.offline()).await;
    assert!(when.online().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_come_and_go_with_the_catalog() {
    let id = random_network();
    let calling = node(id).await;
    let caller: Caller<u8, u8> = calling.functions().caller().build();
    let (early, late) = (node(id).await, node(id).await);
    let _early_handler = serve(&early);
    introduce(&calling, &early).await;
    until_candidates(&caller, 1).await;
    introduce(&calling, &late).await;
    assert_eq!(caller.candidates().count(), 1);
    let _late_handler = serve(&late);
    until_candidates(&caller, 2).await;
    within(10, early.shutdown()).await;
    until_candidates(&caller, 1).await;
    assert_eq!(
        caller.candidates().next().unwrap().entry().id(),
        &late.local().id()
    );
    // A caller made now is online at once.
    let another: Caller<u8, u8> = calling.functions().caller().build();
    assert!(another.when().is_online());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predicate_that_panics_is_not_met() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .online_when(|conditions| conditions.with_predicate(|_| panic!("on purpose")))
        .build();
    until_candidates(&caller, 1).await;
    assert!(!caller.when().is_online());
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
}
