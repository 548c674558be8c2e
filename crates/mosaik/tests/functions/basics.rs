//! A function is served, found and called.

use std::sync::Arc;

use mosaik::{
    Bytes, CallContext, Datum, Function, Ticket,
    functions::{CallError, Caller, Handler, handler::BuilderError},
    id,
};

use super::common::{eventually, introduce, pair, refusal, until_candidates};
use crate::support::{node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_returns_what_the_function_returns() {
    let (a, b) = pair().await;
    let caller_id = b.local().id();
    let handler = a
        .functions()
        .handler()
        .with_function_id("half")
        .serve(move |n: u32, context: CallContext| async move {
            assert_eq!(context.caller().id(), &caller_id);
            assert_eq!(context.clone().into_caller().id(), &caller_id);
            if n.is_multiple_of(2) {
                Ok(n / 2)
            } else {
                Err(format!("{n} is odd"))
            }
        })
        .unwrap();
    let advertised = a.discovery().catalog();
    assert!(
        advertised
            .local()
            .functions()
            .contains(handler.function_id())
    );
    let caller: Caller<u32, u32, String> = b.functions().caller().with_function_id("half").build();
    assert_eq!(handler.function_id(), caller.function_id());
    within(5, caller.when().online()).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_a_handler() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    let caller: Caller<String, usize> = b.functions().caller().build();
    assert!(!caller.when().is_online());
    let calling = tokio::spawn(async move { caller.call("four".into()).await });
    introduce(&a, &b).await;
    let _handler = a
        .functions()
        .handler()
        .serve(|text: String, _: CallContext| async move { Ok::<_, ()>(text.len()) })
        .unwrap();
    assert_eq!(within(5, calling).await.unwrap().unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_requests_and_replies_arrive_whole() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .serve(|bytes: Bytes, _: CallContext| async move {
            Ok::<Bytes, ()>(bytes.iter().rev().copied().collect())
        })
        .unwrap();
    let caller: Caller<Bytes, Bytes> = b.functions().caller().build();
    // Around the size up to which a request is sent with its header, and far above.
    for len in [0, 1, 65_532, 65_533, 65_534, 65_536, 65_537, 10_000_000] {
        let request: Bytes = (0..len).map(|i: u32| i.to_le_bytes()[0]).collect();
        let expected: Bytes = request.iter().rev().copied().collect();
        let reply = within(20, caller.call(request)).await.unwrap();
        assert!(reply == expected, "{len} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_run_at_the_same_time() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .serve(|n: u64, _: CallContext| async move {
            tokio::task::yield_now().await;
            Ok::<_, ()>(n * 2)
        })
        .unwrap();
    let caller: Arc<Caller<u64, u64>> = Arc::new(b.functions().caller().build());
    let calls = (0..3_000).map(|n| {
        let caller = caller.clone();
        tokio::spawn(async move { (n, caller.call(n).await.unwrap()) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (n, doubled) = within(20, call).await.unwrap();
        assert_eq!(doubled, n * 2);
    }
    assert_eq!(handler.stats().served(), 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_handler_per_id_and_node() {
    let (a, b) = pair().await;
    let serve = |answer: u8| {
        let builder = a.functions().handler().with_function_id("one");
        builder.serve(move |(): (), _: CallContext| async move { Ok::<u8, ()>(answer) })
    };
    let first = serve(1).unwrap();
    assert!(matches!(serve(2), Err(BuilderError::AlreadyExists)));
    let caller: Caller<(), u8> = b.functions().caller().with_function_id("one").build();
    assert_eq!(
        within(5, caller.call(())).await.unwrap(),
        1,
        "the first goes on"
    );
    drop(first);
    assert!(a.discovery().catalog().local().functions().is_empty());
    let _third = serve(3).unwrap();
    assert_eq!(a.discovery().catalog().local().functions().len(), 1);
    assert_eq!(within(5, caller.call(())).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_can_not_be_advertised_is_an_error() {
    let (a, b) = pair().await;
    // Tickets fill the entry, except for less than another one needs.
    for size in (0..16).rev().map(|power| 1_usize << power) {
        for n in 0..8_u8 {
            let data = [vec![7; size], vec![n]].concat();
            a.discovery()
                .add_ticket(Ticket::new(id!("ballast"), data.into()));
        }
    }
    let serve = |n: u8| {
        let id = id!("one of many").derive([n]);
        let builder = a.functions().handler().with_function_id(id);
        builder.serve(move |(): (), _: CallContext| async move { Ok::<u8, ()>(n) })
    };
    let is_advertised = |handler: &Handler<(), u8>| {
        let catalog = a.discovery().catalog();
        catalog.local().functions().contains(handler.function_id())
    };
    let mut handlers = Vec::new();
    let refused = loop {
        match serve(handlers.len().try_into().unwrap()) {
            Ok(handler) => {
                assert!(is_advertised(&handler));
                handlers.push(handler);
            }
            Err(error) => break error,
        }
    };
    let BuilderError::EntryFull { what, len, max } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((what, max), ("encoded bytes", 256 * 1024));
    assert!(len > max);
    let local = a.discovery().catalog().local().functions().len();
    assert_eq!(
        local,
        handlers.len(),
        "nothing that is not served is advertised"
    );

    a.discovery().remove_tickets_of(id!("ballast"));
    let n = handlers.len().try_into().unwrap();
    let last = serve(n).unwrap();
    let caller = b.functions().caller().with_function_id(*last.function_id());
    let caller: Caller<(), u8> = caller.build();
    assert_eq!(within(5, caller.call(())).await.unwrap(), n);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_handler_vanishes() {
    let (a, b) = pair().await;
    let handler: Handler<u8, u8> = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move { Ok(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    assert_eq!(
        caller.candidates().next().unwrap().entry().id(),
        &a.local().id()
    );
    assert!(caller.candidates().next().unwrap().rtt().is_some());
    drop(handler);
    until_candidates(&caller, 0).await;
    within(5, caller.when().offline()).await;
    assert_eq!(caller.candidates().count(), 0);
}

struct Counter {
    start: u64,
}

impl Function for Counter {
    type Req = u64;
    type Res = u64;
    type Err = String;

    async fn call(&self, by: u64, context: CallContext) -> Result<u64, String> {
        if context.caller().tags().contains(&"banned".into()) {
            return Err("banned".into());
        }
        Ok(self.start + by)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_state() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .serve_fn(Counter { start: 40 })
        .unwrap();
    assert_eq!(handler.function_id(), &Counter::signature());
    let caller = b.functions().caller_for::<Counter>().build();
    assert_eq!(within(5, caller.call(2)).await.unwrap(), 42);
    b.discovery().add_tags("banned");
    eventually(5, || {
        let catalog = a.discovery().catalog();
        catalog
            .get(&b.local().id())
            .is_some_and(|entry| !entry.tags().is_empty())
    })
    .await;
    let banned = within(5, caller.call(2)).await;
    assert!(matches!(banned, Err(CallError::Application(text)) if text == "banned"));
}

/// Encoded by hand, and not always.
#[derive(Debug, PartialEq)]
struct Even(u8);

#[derive(Debug)]
struct Odd;

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("odd")
    }
}

impl std::error::Error for Odd {}

impl Datum for Even {
    type EncodeError = Odd;
    type DecodeError = Odd;

    fn encode(&self) -> Result<Bytes, Odd> {
        self.0
            .is_multiple_of(2)
            .then(|| vec![self.0].into())
            .ok_or(Odd)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Odd> {
        match bytes {
            [n] if n.is_multiple_of(4) => Ok(Self(*n)),
            _ => Err(Odd),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_that_fail() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_function_id("even")
        .serve(|Even(n): Even, _: CallContext| async move { Ok::<_, ()>(Even(n / 4)) })
        .unwrap();
    let caller: Caller<Even, Even> = b.functions().caller().with_function_id("even").build();
    assert_eq!(within(5, caller.call(Even(16))).await.unwrap(), Even(4));
    let unencodable = within(5, caller.call(Even(1))).await;
    assert!(matches!(unencodable, Err(CallError::Encode(error)) if error.is::<Odd>()));
    assert_eq!((handler.stats().served(), handler.stats().failed()), (1, 0));

    let limit = std::time::Duration::from_millis(300);
    let undecodable_there = within(5, caller.call_with_timeout(Even(2), limit)).await;
    assert_eq!(
        refusal(undecodable_there),
        (400, "ProtocolViolation".into())
    );
    assert_eq!(
        handler.stats().failed(),
        1,
        "not asked again in the same call"
    );

    let unencodable_there = within(5, caller.call(Even(4))).await;
    assert_eq!(
        refusal(unencodable_there),
        (11_500, "HandlerFailure".into())
    );
    assert_eq!(handler.stats().failed(), 2);

    let undecodable_here = within(5, caller.call(Even(8))).await;
    assert!(matches!(undecodable_here, Err(CallError::Decode(error)) if error.is::<Odd>()));
    assert_eq!((handler.stats().served(), handler.stats().failed()), (2, 2));
}
