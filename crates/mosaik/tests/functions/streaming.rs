//! Functions with a stream of replies.

use mosaik::{
    Bytes, CallContext, Network,
    functions::{CallError, Caller, Handler},
    futures::{FutureExt, StreamExt, future::join_all, stream, stream::FusedStream},
};

use super::common::{Gate, eventually, ms, pair, refusal, until_candidates};
use crate::support::within;

fn serve_counting(node: &Network) -> Handler<u32, u32, String> {
    let serve = |to: u32, _: CallContext| {
        stream::iter((0..to).map(|i| {
            if i % 10 == 9 {
                Err(format!("no {i}"))
            } else {
                Ok(i)
            }
        }))
    };
    node.functions().handler().serve_stream(serve).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_arrive_in_order_with_errors_among_them() {
    let (a, b) = pair().await;
    let handler = serve_counting(&a);
    let caller: Caller<u32, u32, String> = b.functions().caller().build();
    for count in [0, 1, 25, 20_000] {
        let replies = within(5, caller.call_stream(count)).await.unwrap();
        let items: Vec<_> = within(20, replies.collect()).await;
        assert_eq!(items.len(), count as usize);
        for (i, item) in (0..count).zip(items) {
            match item {
                Ok(n) => assert_eq!(n, i),
                Err(CallError::Application(text)) => assert_eq!(text, format!("no {i}")),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert_eq!(handler.stats().served(), 4);
    assert_eq!(
        (handler.stats().failed(), handler.stats().inflight()),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_arrives_when_it_is_ready() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let inner = gate.clone();
    let _handler = a
        .functions()
        .handler()
        .serve_stream(move |(): (), _: CallContext| {
            let gate = inner.clone();
            let later = stream::once(async move {
                gate.pass().await;
                Ok::<u32, ()>(2)
            });
            stream::iter([Ok(1)]).chain(later)
        })
        .unwrap();
    let caller: Caller<(), u32> = b.functions().caller().build();
    let mut replies = within(5, caller.call_stream(())).await.unwrap();
    assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 1);
    gate.open();
    assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 2);
    assert!(within(5, replies.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_the_function() {
    const ITEM_BYTES: usize = 100_000;
    const BUFFERED_BYTES: usize = 1536 * 1024;
    let (a, b) = pair().await;
    let gate = Gate::new();
    let inner = gate.clone();
    let handler = a
        .functions()
        .handler()
        .serve_stream(move |(): (), _: CallContext| {
            let gate = inner.clone();
            stream::repeat_with(move || {
                drop(gate.enter());
                Ok::<_, ()>(Bytes::from(vec![7; ITEM_BYTES]))
            })
        })
        .unwrap();
    let caller: Caller<(), Bytes> = b.functions().caller().build();
    let mut replies = within(5, caller.call_stream(())).await.unwrap();
    assert_eq!(
        within(5, replies.next()).await.unwrap().unwrap().len(),
        ITEM_BYTES
    );
    // Until the function makes no more items by itself: none for a hundred looks.
    let (mut before, mut looks) = (0, 0);
    eventually(20, || {
        let made = gate.started();
        looks = if made == before { looks + 1 } else { 0 };
        before = made;
        made > 10 && looks >= 100
    })
    .await;
    let made = gate.started();
    // What the buffers hold, the item that was read, one being written and one just made.
    let most = BUFFERED_BYTES / ITEM_BYTES + 4;
    assert!(made <= most, "{made} items of 100 kB ahead of the reader");
    for _ in 0..2 * made {
        within(5, replies.next()).await.unwrap().unwrap();
    }
    assert!(gate.started() > made, "it goes on when the reader does");
    assert_eq!(handler.stats().inflight(), 1);

    drop(replies);
    eventually(5, || handler.stats().inflight() == 0).await;
    assert_eq!((handler.stats().served(), handler.stats().failed()), (1, 0));
}

/// Serves streams of one item, which comes when the gate is opened.
fn serve_gated(node: &Network, gate: &Gate) -> Handler<u16, u16> {
    let gate = gate.clone();
    let serve = move |n: u16, _: CallContext| {
        let gate = gate.clone();
        stream::once(async move {
            gate.pass().await;
            Ok(n)
        })
    };
    node.functions().handler().serve_stream(serve).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_quiet_streams_as_may_be_open_stay_open() {
    /// As many as one node may have open to one handler.
    const STREAMS: u16 = 960;
    let (a, b) = pair().await;
    let gate = Gate::new();
    let _handler = serve_gated(&a, &gate);
    let caller: Caller<u16, u16> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    let opening = join_all((0..STREAMS).map(|n| caller.call_stream(n)));
    let mut open: Vec<_> = within(20, opening).await;
    let mut open: Vec<_> = open.drain(..).map(Result::unwrap).collect();
    let hasty = b.functions().caller().with_call_timeout(ms(300));
    let hasty: Caller<u16, u16> = hasty.build();
    let one_more = within(5, hasty.call_stream(STREAMS)).await;
    assert_eq!(refusal(one_more), (11_509, "NoCapacity".into()));

    // Longer than a handler may be silent.
    tokio::time::sleep(ms(2_500)).await;
    for replies in &mut open {
        let item = replies.next().now_or_never();
        assert!(item.is_none(), "an end while nothing happened: {item:?}");
    }
    gate.open();
    for (n, replies) in (0..STREAMS).zip(&mut open) {
        assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), n);
    }
    drop(open);
    let mut last = within(5, caller.call_stream(7)).await.unwrap();
    assert_eq!(within(5, last.next()).await.unwrap().unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_its_caller() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let _handler = serve_gated(&a, &gate);
    let caller: Caller<u16, u16> = b.functions().caller().build();
    let mut replies = within(5, caller.call_stream(7)).await.unwrap();
    drop(caller);
    let item = replies.next().now_or_never();
    assert!(item.is_none(), "it goes on: {item:?}");
    gate.open();
    assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 7);
    assert!(within(5, replies.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_early_ends_a_silent_stream() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let inner = gate.clone();
    let handler = a
        .functions()
        .handler()
        .serve_stream(move |(): (), _: CallContext| {
            let gate = inner.clone();
            stream::once(async move {
                gate.pass().await;
                Ok::<u8, ()>(1)
            })
        })
        .unwrap();
    let caller: Caller<(), u8> = b.functions().caller().build();
    let replies = within(5, caller.call_stream(())).await.unwrap();
    gate.until_started(1).await;
    drop(replies);
    eventually(5, || gate.dropped() == 1 && handler.stats().inflight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_says_so() {
    let (a, b) = pair().await;
    let serve = |to: u32, _: CallContext| {
        stream::iter(0..).then(move |i: u32| async move {
            assert!(i != 13, "on purpose");
            if i == to {
                std::future::pending::<()>().await;
            }
            Ok::<_, ()>(i)
        })
    };
    let handler = a.functions().handler().serve_stream(serve).unwrap();
    let caller: Caller<u32, u32> = b.functions().caller().build();

    let replies = within(5, caller.call_stream(100)).await.unwrap();
    let mut items: Vec<_> = within(5, replies.collect()).await;
    assert_eq!(
        refusal(items.pop().unwrap()),
        (11_500, "HandlerFailure".into())
    );
    assert!(items.into_iter().map(Result::unwrap).eq(0..13));

    let mut replies = within(5, caller.call_stream(5)).await.unwrap();
    for i in 0..5 {
        assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), i);
    }
    drop(handler);
    let last = within(5, replies.next()).await.unwrap();
    assert_eq!(refusal(last), (11_404, "FunctionNotFound".into()));
    assert!(within(5, replies.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reply_and_many_are_not_mixed_up() {
    let (a, b) = pair().await;
    let _many = serve_counting(&a);
    let _one = a
        .functions()
        .handler()
        .with_function_id("one")
        .serve(|n: u32, _: CallContext| async move { Ok::<_, String>(n) })
        .unwrap();
    let many: Caller<u32, u32, String> = b.functions().caller().build();
    let one: Caller<u32, u32, String> = b
        .functions()
        .caller()
        .with_function_id("one")
        .with_call_timeout(ms(300))
        .build();
    until_candidates(&many, 1).await;
    until_candidates(&one, 1).await;
    let refused = within(5, many.call_with_timeout(1, ms(300))).await;
    assert_eq!(refusal(refused).0, 400);
    assert_eq!(refusal(within(5, one.call_stream(1)).await).0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_stream_stays_ended() {
    let (a, b) = pair().await;
    let _handler = serve_counting(&a);
    let caller: Caller<u32, u32, String> = b.functions().caller().build();
    let mut replies = within(5, caller.call_stream(1)).await.unwrap();
    assert!(within(5, replies.next()).await.is_some());
    for _ in 0..3 {
        assert!(within(5, replies.next()).await.is_none());
        assert!(replies.is_terminated());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_hold_up_nobody_else() {
    const STREAMS: usize = 60;
    const ITEM_BYTES: usize = 64 * 1024;
    let (a, b) = pair().await;
    let made = Gate::new();
    let making = made.clone();
    let _endless = a
        .functions()
        .handler()
        .serve_stream(move |(): (), _: CallContext| {
            let made = making.clone();
            stream::repeat_with(move || {
                drop(made.enter());
                Ok::<_, ()>(Bytes::from(vec![7; ITEM_BYTES]))
            })
        })
        .unwrap();
    let _echo = a
        .functions()
        .handler()
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<(), Bytes> = b.functions().caller().build();
    let other: Caller<u8, u8> = b.functions().caller().build();
    until_candidates(&other, 1).await;
    let mut all = Vec::new();
    for _ in 0..STREAMS {
        all.push(within(5, caller.call_stream(())).await.unwrap());
    }
    // Until all of them have made what their buffers hold.
    let (mut before, mut looks) = (0, 0);
    eventually(20, || {
        let made = made.started();
        looks = if made == before { looks + 1 } else { 0 };
        before = made;
        made > STREAMS && looks >= 100
    })
    .await;
    for _ in 0..20 {
        assert_eq!(within(5, other.call(1)).await.unwrap(), 1);
    }
    let first = &mut all[0];
    within(10, async {
        for _ in 0..500 {
            assert_eq!(first.next().await.unwrap().unwrap().len(), ITEM_BYTES);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_does_not_keep_its_place() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_max_concurrent(1)
        .with_stall_limit(ms(300))
        .serve_stream(|(): (), _: CallContext| {
            stream::repeat_with(|| Ok::<_, ()>(Bytes::from(vec![7; 100_000])))
        })
        .unwrap();
    let caller: Caller<(), Bytes> = b.functions().caller().build();
    let mut stalled = within(5, caller.call_stream(())).await.unwrap();
    assert!(within(5, stalled.next()).await.unwrap().is_ok());
    eventually(10, || handler.stats().inflight() == 0).await;
    let mut next = within(5, caller.call_stream(())).await.unwrap();
    for _ in 0..50 {
        assert!(within(5, next.next()).await.unwrap().is_ok());
    }
    let end = within(10, async {
        loop {
            if let Err(error) = stalled.next().await.unwrap() {
                return error;
            }
        }
    });
    assert!(matches!(end.await, CallError::Transport(_)));
    assert!(stalled.next().await.is_none());
    assert_eq!((handler.stats().served(), handler.stats().failed()), (0, 1));
}
