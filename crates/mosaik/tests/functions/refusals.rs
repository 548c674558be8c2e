//! Calls that are not served say why.

use std::time::{Duration, SystemTime};

use mosaik::{
    CallContext, discovery,
    functions::{CallError, Caller},
};

use super::common::{Gate, eventually, introduce, ms, pair, refusal, until_candidates};
use crate::support::{builder, node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_serves_it() {
    let (_, b) = pair().await;
    let caller: Caller<u8, u8> = b.functions().caller().build();
    let error = within(5, caller.call_with_timeout(1, ms(100)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unavailable));
    assert_eq!(error.to_string(), "no eligible handler available");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_requires_more_of_callers() {
    let (a, b) = pair().await;
    let asked = Gate::new();
    let asking = asked.clone();
    let handler = a
        .functions()
        .handler()
        .require(move |peer| {
            drop(asking.enter());
            peer.tags.contains(&"good".into())
        })
        .require(|peer| {
            assert!(!peer.tags().contains(&"confusing".into()), "on purpose");
            true
        })
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    let refused = within(5, caller.call_with_timeout(1, ms(100))).await;
    assert_eq!(refusal(refused), (11_403, "NotAllowed".into()));
    let stats = handler.stats();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (0, 0, 0)
    );

    // The changed entry is delivered before the next attempt, within the same call.
    let before = asked.started();
    let calling = caller.call(2);
    let (result, ()) = tokio::join!(within(5, calling), async {
        asked.until_started(before + 1).await;
        b.discovery().add_tags("good");
    });
    assert_eq!(result.unwrap(), 2);

    b.discovery().add_tags("confusing");
    eventually(5, || {
        let catalog = a.discovery().catalog();
        catalog
            .get(&b.local().id())
            .is_some_and(|entry| entry.tags().contains(&"confusing".into()))
    })
    .await;
    let refused = within(5, caller.call_with_timeout(1, ms(500))).await;
    assert_eq!(
        refusal(refused),
        (11_403, "NotAllowed".into()),
        "a panic is a refusal"
    );
    b.discovery().remove_tags("confusing");
    assert_eq!(
        within(5, caller.call(3)).await.unwrap(),
        3,
        "and harms nothing else"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_just_before_the_call_counts() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .require(|peer| peer.tags().contains(&"good".into()))
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    b.discovery().add_tags("good");
    assert_eq!(
        within(5, caller.call_with_timeout(1, ms(2_000)))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_requires_more_of_handlers() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .require(|peer| {
            assert!(peer.rtt().is_some(), "measured first");
            peer.tags().contains(&"good".into())
        })
        .build();
    let error = within(5, caller.call_with_timeout(1, ms(200)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unavailable));
    a.discovery().add_tags("good");
    until_candidates(&caller, 1).await;
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    a.discovery().remove_tags("good");
    until_candidates(&caller, 0).await;

    let confused: Caller<u8, u8> = b
        .functions()
        .caller()
        .require(|_| panic!("on purpose"))
        .build();
    let error = within(5, confused.call_with_timeout(1, ms(200)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, CallError::Unavailable),
        "a panic excludes the handler"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_stays_in_its_call() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move {
            assert!(n != 13, "on purpose");
            Ok::<_, ()>(n)
        })
        .unwrap();
    let caller: Caller<u8, u8> = b.functions().caller().build();
    for _ in 0..3 {
        let failed = within(5, caller.call(13)).await;
        assert_eq!(refusal(failed), (11_500, "HandlerFailure".into()));
        assert_eq!(within(5, caller.call(12)).await.unwrap(), 12);
    }
    let stats = handler.stats();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (3, 3, 0)
    );
    introduce(&b, &a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_closure_itself_stays_in_its_call() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| {
            assert!(n != 13, "on purpose");
            std::future::ready(Ok::<_, ()>(n))
        })
        .unwrap();
    let caller: Caller<u8, u8> = b.functions().caller().build();
    assert_eq!(refusal(within(5, caller.call(13)).await).0, 11_500);
    assert_eq!(within(5, caller.call(12)).await.unwrap(), 12);
    assert_eq!(handler.stats().failed(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_caller_introduces_itself() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    let handler = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    // b knows a, and a has not heard of b.
    assert!(b.discovery().feed(a.discovery().me()));
    let caller: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    let calls = (0..20).map(|n| caller.call_with_timeout(n, ms(2_000)));
    let results = within(5, mosaik::futures::future::join_all(calls)).await;
    for (n, result) in (0..20).zip(results) {
        assert_eq!(result.unwrap(), n);
    }
    assert_eq!(handler.stats().served(), 20);
    assert!(a.discovery().catalog().get(&b.local().id()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_be_known_stays_unknown() {
    let id = random_network();
    let a = node(id).await;
    let handler = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    // The clock of b is an hour ahead: a refuses its entry, and b accepts all.
    let tolerant = discovery::Config::builder()
        .with_max_time_drift(ms(10_000_000))
        .with_purge_after(Duration::from_hours(2));
    let b = builder(id, tolerant)
        .with_clock(|| SystemTime::now() + Duration::from_hours(1))
        .build()
        .await
        .unwrap();
    assert!(b.discovery().feed(a.discovery().me()));
    let caller: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    let refused = within(5, caller.call_with_timeout(1, ms(700))).await;
    assert_eq!(refusal(refused), (401, "UnknownPeer".into()));
    assert_eq!(handler.stats().failed(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn different_schemas_refuse_each_other_by_name() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .with_schema("orders v2")
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let calls = || b.functions().caller::<u8, u8, ()>();
    let same = calls().with_schema("orders v2").build();
    until_candidates(&same, 1).await;
    assert_eq!(within(5, same.call(1)).await.unwrap(), 1);
    let untagged = calls().build();
    assert_eq!(within(5, untagged.call(1)).await.unwrap(), 1);
    let other = calls().with_schema("orders v1").build();
    let refused = within(5, other.call_with_timeout(1, ms(300))).await;
    let text = "SchemaMismatch: handler has \"orders v2\", caller has \"orders v1\"";
    assert_eq!(refusal(refused), (11_409, text.into()));
}

/// Regression: it was made again and again, as if its handler had been lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_too_large_for_its_caller_is_an_error_at_once() {
    let id = random_network();
    let a = node(id).await;
    let limits = mosaik::functions::Config::builder().with_max_message_bytes(1024);
    let discovery = discovery::Config::builder().with_bootstrap(a.local().addr());
    let b = builder(id, discovery).with_functions(limits);
    let b = b.build().await.unwrap();
    let handler = a
        .functions()
        .handler()
        .serve(|n: u32, _: CallContext| async move { Ok::<_, ()>(vec![0_u8; n as usize]) })
        .unwrap();
    let caller = b.functions().caller::<u32, Vec<u8>, ()>();
    let caller = caller.with_idempotent(true).build();
    until_candidates(&caller, 1).await;
    let error = within(5, caller.call(2000)).await.unwrap_err();
    assert!(matches!(error, CallError::Decode(_)), "{error:?}");
    assert_eq!(handler.stats().served(), 1);
    assert_eq!(within(5, caller.call(1000)).await.unwrap().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_tag_may_be_of_any_length() {
    for length in [30, 256, 10_000] {
        let tag = "v".repeat(length);
        let (a, b) = pair().await;
        let _handler = a
            .functions()
            .handler()
            .with_schema(&tag)
            .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
            .unwrap();
        let calls = b.functions().caller::<u8, u8, ()>();
        let caller = calls.with_schema(&tag).build();
        until_candidates(&caller, 1).await;
        assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    }
}
