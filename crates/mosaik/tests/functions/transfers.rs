//! Large requests and replies, which take a while to cross the network.

use std::sync::Arc;

use mosaik::{
    Bytes, CallContext, Network, UniqueId,
    discovery::PeerEntry,
    functions::{CallError, Caller, Handler},
    futures::{StreamExt, future::join_all, stream},
    id,
    iroh::endpoint::{RecvStream, SendStream},
};
use tokio::{sync::Notify, time::timeout};

use super::common::{
    Gate, call_header, eventually, introduce, ms, pair, serve_by_hand, until_candidates,
};
use crate::support::{
    intruder::{FUNCTIONS_ALPN, Intruder, end_of, frame, say},
    node, random_network, within,
};

const STORE: UniqueId = id!("transfers/store");
const MIB: usize = 1024 * 1024;
/// Too large to be sent without being asked for.
const LARGE: usize = 100_000;
/// Tag with which a handler asks for the request.
const PROCEED: u8 = 2;

/// Answers with as many bytes as it is asked for, and counts how often it has run.
fn serve(node: &Network, ran: &Gate) -> Handler<(Bytes, usize), Bytes> {
    let ran = ran.clone();
    let serve = move |(_, len): (Bytes, usize), _: CallContext| {
        drop(ran.enter());
        async move { Ok::<_, ()>(Bytes::from(vec![7; len])) }
    };
    let builder = node.functions().handler().with_function_id(STORE);
    builder.serve(serve).unwrap()
}

fn caller(node: &Network) -> Caller<(Bytes, usize), Bytes> {
    node.functions().caller().with_function_id(STORE).build()
}

fn request(len: usize) -> (Bytes, usize) {
    (vec![1; len].into(), 3)
}

/// A header that announces a request of this size.
fn announced(bytes: usize) -> Vec<u8> {
    call_header(0, STORE, bytes as u64)
}

/// A call with no more than a few bytes that asks for a reply of this size.
fn asking_for(len: usize) -> Vec<u8> {
    let request = postcard::to_stdvec(&(Bytes::new(), len)).unwrap();
    let header = announced(request.len());
    [header, frame(&(Bytes::new(), len))].concat()
}

async fn until_proceed(recv: &mut RecvStream) {
    let mut proceed = [0; 5];
    within(5, recv.read_exact(&mut proceed)).await.unwrap();
    assert_eq!(proceed, [1, 0, 0, 0, PROCEED]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_request_may_take_its_time() {
    let id = random_network();
    let b = node(id).await;
    let intruder = Intruder::new().await;
    let entry = PeerEntry::new(id, intruder.addr()).add_functions(STORE);
    let entry = entry.sign(&intruder.secret).unwrap();
    assert!(b.discovery().feed(entry.clone()));
    // Takes the request only after a time in which nobody else would have been admitted.
    let slow = |mut send: SendStream, mut recv: RecvStream| async move {
        send.write_all(&frame(&PROCEED)).await.unwrap();
        tokio::time::sleep(ms(3_500)).await;
        assert!(recv.read_to_end(2 * LARGE).await.unwrap().len() > LARGE);
        let reply = frame(&(0u8, Bytes::from_static(b"all")));
        send.write_all(&reply).await.unwrap();
        send.finish().unwrap();
    };
    let caller = caller(&b);
    let calling = async {
        until_candidates(&caller, 1).await;
        within(10, caller.call(request(LARGE))).await
    };
    tokio::select! {
        () = serve_by_hand(&intruder, &entry, slow) => unreachable!(),
        result = calling => assert_eq!(result.unwrap(), "all"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_never_come_hold_up_nobody_else() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let handler = serve(&a, &Gate::new());
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let mut silent = Vec::new();
    for n in 0..8 {
        silent.push(say(&connection, &announced(64 * MIB)).await);
        if n < 2 {
            until_proceed(&mut silent[n].1).await;
        }
    }
    let reply = within(5, honest.call(request(LARGE))).await.unwrap();
    assert_eq!(reply.len(), 3);
    // Two were waited for, for a few seconds; the others were too many of one peer.
    let ends = silent.iter_mut().map(|(_, recv)| end_of(recv));
    let mut ends = within(15, join_all(ends)).await;
    ends.sort_unstable();
    let refused = [Some(11_509); 6];
    assert_eq!(ends, [&[Some(102); 2][..], &refused].concat());
    let stats = handler.stats();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (1, 0, 0)
    );
}

/// Serves with so many places; requests below [`LARGE`] pass a gate.
fn serve_gated(node: &Network, places: usize, gate: &Gate) -> Handler<(Bytes, usize), Bytes> {
    let gate = gate.clone();
    let serve = move |(bytes, len): (Bytes, usize), _: CallContext| {
        let gate = gate.clone();
        async move {
            if bytes.len() < LARGE {
                gate.pass().await;
            }
            Ok::<_, ()>(Bytes::from(vec![7; len]))
        }
    };
    let builder = node.functions().handler().with_function_id(STORE);
    builder.with_max_concurrent(places).serve(serve).unwrap()
}

/// Sends a request slowly, though fast enough to go on, until it is told to send the rest.
async fn drip(mut send: SendStream, body: Vec<u8>, finish: Arc<Notify>) {
    let mut sent = 0;
    while timeout(ms(500), finish.notified()).await.is_err() {
        let next = body.len().min(sent + 20_000);
        send.write_all(&body[sent..next]).await.unwrap();
        sent = next;
    }
    send.write_all(&body[sent..]).await.unwrap();
    send.finish().unwrap();
}

/// Regression: a call took its place before its request was there, and the request could drip for as
/// long as the call's budget.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_slowly_or_never_keep_no_place() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let gate = Gate::new();
    gate.open();
    let handler = serve_gated(&a, 1, &gate);
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let body = frame(&request(MIB));
    let (send, mut recv) = say(&connection, &announced(body.len() - 4)).await;
    until_proceed(&mut recv).await;
    tokio::spawn(drip(send, body, Arc::new(Notify::new())));
    // A small one that would come without being asked for, if it came.
    let _small = say(&connection, &announced(1000)).await;
    // As soon as the place is not kept any more.
    assert_eq!(within(9, honest.call(request(3))).await.unwrap().len(), 3);
    for len in [3, LARGE] {
        let calling = honest.call_with_timeout(request(len), ms(2_000));
        assert_eq!(within(5, calling).await.unwrap().len(), 3);
    }
    let stats = handler.stats();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (3, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_that_is_asked_for_has_its_place() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let handler = serve_gated(&a, 1, &Gate::new());
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let body = frame(&request(LARGE));
    let (mut send, mut recv) = say(&connection, &announced(body.len() - 4)).await;
    until_proceed(&mut recv).await;
    let small = honest.call_with_timeout(request(3), ms(500));
    let refused = within(5, small).await.unwrap_err();
    assert!(matches!(refused, CallError::Rejected(_)), "{refused:?}");
    send.write_all(&body).await.unwrap();
    send.finish().unwrap();
    assert_eq!(end_of(&mut recv).await, Some(200));
    assert_eq!((handler.stats().served(), handler.stats().failed()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_took_long_waits_a_second_for_a_place() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let gate = Gate::new();
    let handler = serve_gated(&a, 2, &gate);
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let body = frame(&request(MIB));
    let mut slow = Vec::new();
    for _ in 0..2 {
        let intruder = Intruder::new().await;
        assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
        let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
        let (send, mut recv) = say(&connection, &announced(body.len() - 4)).await;
        until_proceed(&mut recv).await;
        let finish = Arc::new(Notify::new());
        tokio::spawn(drip(send, body.clone(), finish.clone()));
        slow.push((finish, recv, intruder));
    }
    let running = join_all((0..2).map(|_| honest.call(request(3))));
    let others = async {
        // The places were given up, and are taken.
        eventually(9, || gate.started() == 2).await;
        let (finish, mut recv, _intruder) = slow.pop().unwrap();
        finish.notify_one();
        assert_eq!(end_of(&mut recv).await, Some(11_509));
        let (finish, mut recv, _intruder) = slow.pop().unwrap();
        finish.notify_one();
        gate.open();
        assert_eq!(end_of(&mut recv).await, Some(200));
    };
    let (results, ()) = within(20, async { tokio::join!(running, others) }).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((handler.stats().served(), handler.stats().failed()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_dropped_before_it_has_the_request_has_not_run() {
    let id = random_network();
    let a = node(id).await;
    let ran = Gate::new();
    let handler = serve(&a, &ran);
    let intruder = Intruder::new().await;
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let (_send, mut recv) = say(&connection, &announced(LARGE)).await;
    until_proceed(&mut recv).await;
    drop(handler);
    let mut told = [0; 8];
    within(5, recv.read_exact(&mut told)).await.unwrap();
    let code = u32::from_le_bytes(*told.last_chunk().unwrap());
    assert_eq!(
        (told[3], code),
        (0x80, 11_404),
        "the verdict, and nothing before it"
    );
    assert_eq!(ran.started(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_handler_was_dropped_goes_to_another() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let intruder = Intruder::new().await;
    let entry = PeerEntry::new(id, intruder.addr()).add_functions(STORE);
    let entry = entry.sign(&intruder.secret).unwrap();
    assert!(b.discovery().feed(entry.clone()));
    let (asked, withdraw) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (telling, told) = (asked.clone(), withdraw.clone());
    let withdrawn = move |mut send: SendStream, mut recv: RecvStream| {
        let (asked, withdraw) = (telling.clone(), told.clone());
        async move {
            send.write_all(&frame(&PROCEED)).await.unwrap();
            asked.notify_one();
            withdraw.notified().await;
            recv.stop(11_404u32.into()).unwrap();
            let verdict = [&[4, 0, 0, 0x80][..], &11_404u32.to_le_bytes()].concat();
            send.write_all(&verdict).await.unwrap();
            send.finish().unwrap();
        }
    };
    let caller = caller(&b);
    let calling = async {
        until_candidates(&caller, 1).await;
        within(10, caller.call(request(LARGE))).await
    };
    let later = async {
        asked.notified().await;
        let handler = serve(&a, &Gate::new());
        until_candidates(&caller, 2).await;
        withdraw.notify_one();
        handler
    };
    tokio::select! {
        () = serve_by_hand(&intruder, &entry, withdrawn) => unreachable!(),
        (result, handler) = async { tokio::join!(calling, later) } => {
            assert_eq!(result.unwrap().len(), 3);
            assert_eq!(handler.stats().served(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_takes_are_bounded_for_each_peer() {
    const REPLY: usize = 60 * MIB;
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let handler = serve(&a, &Gate::new());
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let stats = handler.stats();
    let mut untaken = Vec::new();
    for served in 1..=3 {
        untaken.push(say(&connection, &asking_for(REPLY)).await);
        eventually(10, || stats.served() == served).await;
    }
    // Two fit in: their places are free. The third keeps its own.
    eventually(5, || stats.inflight() == 1).await;
    let (_send, mut recv) = say(&connection, &asking_for(1)).await;
    assert_eq!(end_of(&mut recv).await, Some(11_509));
    assert_eq!(within(5, honest.call(request(1))).await.unwrap().len(), 3);

    for (_, recv) in &mut untaken {
        recv.stop(0u32.into()).unwrap();
    }
    eventually(5, || stats.inflight() == 0).await;
    let (_send, mut recv) = say(&connection, &asking_for(1)).await;
    assert_eq!(end_of(&mut recv).await, Some(200));
    assert_eq!(stats.failed(), 0);
}

/// Regression: what streams of replies hold was counted nowhere, and a caller that read nothing could
/// have as much of it as its calls.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_takes_are_bounded_for_each_peer() {
    const ITEM: usize = 60 * MIB;
    const STREAM: u8 = 1;
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let builder = a.functions().handler().with_function_id(STORE);
    let handler = builder
        .serve_stream(|len: usize, _: CallContext| {
            stream::iter([Ok::<_, ()>(Bytes::from(vec![7; len]))])
        })
        .unwrap();
    let honest: Caller<usize, Bytes> = b.functions().caller().with_function_id(STORE).build();
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let asking_for = |len: usize| {
        let request = postcard::to_stdvec(&len).unwrap();
        let header = call_header(STREAM, STORE, request.len() as u64);
        [header, frame(&len)].concat()
    };
    let mut untaken = Vec::new();
    for _ in 0..3 {
        let (send, mut recv) = say(&connection, &asking_for(ITEM)).await;
        // The word that it runs, and the first byte of the item.
        within(10, recv.read_exact(&mut [0; 6])).await.unwrap();
        untaken.push((send, recv));
    }
    let (_send, mut recv) = say(&connection, &asking_for(1)).await;
    assert_eq!(end_of(&mut recv).await, Some(11_509));
    let mut replies = within(5, honest.call_stream(1)).await.unwrap();
    assert_eq!(within(5, replies.next()).await.unwrap().unwrap().len(), 1);

    for (_, recv) in &mut untaken {
        recv.stop(0u32.into()).unwrap();
    }
    eventually(5, || handler.stats().inflight() == 0).await;
    let (_send, mut recv) = say(&connection, &asking_for(1)).await;
    assert_eq!(end_of(&mut recv).await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_and_its_reply_arrive() {
    let (a, b) = pair().await;
    let _handler = serve(&a, &Gate::new());
    let caller = caller(&b);
    let reply = within(20, caller.call((vec![1; 20 * MIB].into(), 20 * MIB))).await;
    assert_eq!(reply.unwrap().len(), 20 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_arrives_slowly_is_waited_for() {
    let id = random_network();
    let b = node(id).await;
    let intruder = Intruder::new().await;
    let entry = PeerEntry::new(id, intruder.addr()).add_functions(STORE);
    let entry = entry.sign(&intruder.secret).unwrap();
    assert!(b.discovery().feed(entry.clone()));
    // For longer than a handler may say nothing.
    let slow = |mut send: SendStream, _recv: RecvStream| async move {
        let reply = frame(&(0u8, Bytes::from(vec![7; MIB])));
        for part in reply.chunks(reply.len() / 8) {
            send.write_all(part).await.unwrap();
            tokio::time::sleep(ms(500)).await;
        }
        send.finish().unwrap();
    };
    let caller = caller(&b);
    let calling = async {
        until_candidates(&caller, 1).await;
        within(10, caller.call(request(3))).await
    };
    tokio::select! {
        () = serve_by_hand(&intruder, &entry, slow) => unreachable!(),
        result = calling => assert_eq!(result.unwrap().len(), MIB),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_not_taken_is_lost_and_not_made_again() {
    const REPLY: usize = 60 * MIB;
    let (a, b) = pair().await;
    let ran = Gate::new();
    let handler = serve(&a, &ran);
    let caller = caller(&b);
    until_candidates(&caller, 1).await;
    let mut calls = Vec::new();
    for count in 1..=3 {
        let mut call = Box::pin(caller.call((vec![1; LARGE].into(), REPLY)));
        tokio::select! {
            result = &mut call => panic!("{}", result.is_ok()),
            () = ran.until_started(count) => {}
        }
        calls.push(call);
    }
    // One is too many to be kept for long, whichever was ready last, and nobody reads.
    eventually(10, || {
        handler.stats().served() == 3 && handler.stats().inflight() == 0
    })
    .await;
    let results = within(20, join_all(calls)).await;
    let (taken, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), lost.len()), (2, 1));
    assert!(matches!(lost[0], Err(CallError::Transport(_))));
    assert_eq!(ran.started(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_reads_hold_up_no_other_call() {
    /// More than the window of a connection has room for.
    const UNREAD: usize = 40;
    let (a, b) = pair().await;
    let ran = Gate::new();
    let handler = serve(&a, &ran);
    let caller = caller(&b);
    until_candidates(&caller, 1).await;
    let mut calls = Vec::new();
    for count in 1..=UNREAD {
        let mut call = Box::pin(caller.call((vec![1; 10].into(), 3 * MIB / 2)));
        tokio::select! {
            result = &mut call => panic!("{}", result.is_ok()),
            () = ran.until_started(count) => {}
        }
        calls.push(call);
    }
    eventually(5, || handler.stats().served() == UNREAD).await;
    for _ in 0..20 {
        assert_eq!(within(5, caller.call(request(3))).await.unwrap().len(), 3);
    }
}
