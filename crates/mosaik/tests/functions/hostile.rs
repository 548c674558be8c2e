//! Callers and handlers that don't keep to the protocol.

use mosaik::{
    CallContext, Network, NetworkId, UniqueId,
    discovery::PeerEntry,
    functions::{CallError, Caller, Handler},
    futures::future::select_all,
    id,
    iroh::endpoint::{Connection, RecvStream, SendStream},
};
use serde::Serialize;

use super::common::{
    Gate, call_header, eventually, introduce, ms, serve_by_hand, until_candidates,
};
use crate::support::{
    intruder::{FUNCTIONS_ALPN, Intruder, closing, end_of, frame, header, hello, say},
    metrics::{count, counted},
    node, random_network, within,
};

const DOUBLE: UniqueId = id!("hostile/double");
const CALL: u8 = 0;

fn serve(node: &Network) -> Handler<u32, u32> {
    node.functions()
        .handler()
        .with_function_id(DOUBLE)
        .serve(|n: u32, _: CallContext| async move { Ok::<_, ()>(n * 2) })
        .unwrap()
}

fn caller(node: &Network) -> Caller<u32, u32> {
    node.functions().caller().with_function_id(DOUBLE).build()
}

fn violated(id: &NetworkId, reason: &str) -> u64 {
    counted(id, "mosaik.network.links.violated", Some(reason))
}

/// Close code with which a call of these bytes ends.
async fn outcome(connection: &Connection, bytes: &[u8]) -> Option<u64> {
    let (_send, mut recv) = say(connection, bytes).await;
    end_of(&mut recv).await
}

/// A header that announces a request, and what follows.
fn call(request_bytes: u64, then: &impl Serialize) -> Vec<u8> {
    [call_header(CALL, DOUBLE, request_bytes), frame(then)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_calls_end_alone() {
    count();
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let handler = serve(&a);
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    assert_eq!(outcome(&connection, &call(1, &7u32)).await, Some(401));
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));

    // A header and nothing else, and half a header: waited for, but not for long.
    let announced = call_header(CALL, DOUBLE, 100_000);
    let (_send, mut mute) = say(&connection, &announced).await;
    let (_send, mut half) = say(&connection, &[0, 0]).await;

    assert_eq!(outcome(&connection, &call(1, &7u32)).await, Some(200));
    for (what, bytes) in [
        ("garbage", frame(&vec![0xffu8; 64])),
        ("too large a header", header(513).to_vec()),
        ("too large a request", call(u64::MAX, &7u32)),
        ("another size than announced", call(3, &7u32)),
        ("an undecodable request", call(2, &(0xffu8, 0xffu8))),
        ("another kind", call_header(1, DOUBLE, 1)),
        ("no kind", call_header(9, DOUBLE, 1)),
    ] {
        assert_eq!(outcome(&connection, &bytes).await, Some(400), "{what}");
    }
    assert_eq!(violated(&id, "too_large"), 1);
    let nobody = call_header(CALL, id!("nobody"), 1);
    assert_eq!(outcome(&connection, &nobody).await, Some(11_404));

    assert_eq!(within(5, honest.call(4)).await.unwrap(), 8);
    end_of(&mut half).await.unwrap();
    end_of(&mut mute).await;
    assert_eq!(violated(&id, "silent"), 2);
    eventually(1, || handler.stats().inflight() == 0).await;
    assert_eq!(handler.stats().served(), 2);
    assert!(connection.close_reason().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_of_another_network_is_told_so() {
    let a = node(random_network()).await;
    let intruder = Intruder::new().await;
    let connection = intruder.connect(&a, FUNCTIONS_ALPN).await;
    let _answer = hello(&connection, &random_network()).await;
    assert_eq!(closing(&connection).await.error_code.into_inner(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_a_header_are_bounded_for_each_peer() {
    count();
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    introduce(&a, &b).await;
    let _handler = serve(&a);
    let honest = caller(&b);
    until_candidates(&honest, 1).await;

    let intruder = Intruder::new().await;
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    let mut half = Vec::new();
    for _ in 0..513 {
        half.push(say(&connection, &[0, 0]).await);
    }
    // The one too many; the others are waited for.
    let ends = half.iter_mut().map(|(_, recv)| Box::pin(end_of(recv)));
    let (first, _, _) = select_all(ends).await;
    assert_eq!(first, Some(11_509));
    assert_eq!(counted(&id, "mosaik.functions.calls.rejected", None), 1);
    assert_eq!(within(5, honest.call(4)).await.unwrap(), 8);
}

async fn called_with(answer: Vec<u8>) -> Result<u32, CallError<()>> {
    let id = random_network();
    let b = node(id).await;
    let intruder = Intruder::new().await;
    let entry = PeerEntry::new(id, intruder.addr()).add_functions(DOUBLE);
    let entry = entry.sign(&intruder.secret).unwrap();
    assert!(b.discovery().feed(entry.clone()));
    let caller = caller(&b);
    let calling = async {
        until_candidates(&caller, 1).await;
        within(5, caller.call_with_timeout(4, ms(4_000))).await
    };
    let answer_call = move |mut send: SendStream, _| {
        let answer = answer.clone();
        async move {
            let _ = send.write_all(&answer).await;
            let _ = send.finish();
        }
    };
    tokio::select! {
        () = serve_by_hand(&intruder, &entry, answer_call) => unreachable!(),
        result = calling => result,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_replies_are_failures_of_their_call() {
    for (what, answer) in [
        ("an unknown tag", frame(&9u8)),
        ("an empty frame", frame(&())),
        (
            "a beginning without an end",
            [&header(9)[..], &[0]].concat(),
        ),
        ("nothing", Vec::new()),
    ] {
        match called_with(answer).await {
            Err(CallError::Transport(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    for (what, answer) in [
        ("an undecodable value", frame(&(0u8, 0xffu8, 0xffu8))),
        ("too large a reply", header((64 << 20) + 2).to_vec()),
    ] {
        match called_with(answer).await {
            Err(CallError::Decode(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_see_the_distance_of_every_caller() {
    let id = random_network();
    let a = node(id).await;
    let _handler = a
        .functions()
        .handler()
        .with_function_id(DOUBLE)
        .require(|peer| peer.rtt_below(ms(0)))
        .serve(|n: u32, _: CallContext| async move { Ok::<_, ()>(n * 2) })
        .unwrap();
    let intruder = Intruder::new().await;
    // Known, but never measured.
    assert!(a.discovery().insert(PeerEntry::new(id, intruder.addr())));
    let connection = intruder.join(&a, FUNCTIONS_ALPN).await;
    assert_eq!(outcome(&connection, &call(1, &7u32)).await, Some(11_403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_without_a_reply_is_not_asked_again() {
    let success = [&[4, 0, 0, 0x80][..], &200u32.to_le_bytes()].concat();
    for is_reset in [false, true] {
        let id = random_network();
        let b = node(id).await;
        let intruder = Intruder::new().await;
        let entry = PeerEntry::new(id, intruder.addr()).add_functions(DOUBLE);
        let entry = entry.sign(&intruder.secret).unwrap();
        assert!(b.discovery().feed(entry.clone()));
        let caller = caller(&b);
        let ran = Gate::new();
        let counting = ran.clone();
        let success = success.clone();
        let ends = move |mut send: SendStream, mut recv: RecvStream| {
            let (ran, success) = (counting.clone(), success.clone());
            async move {
                let _ = recv.read_to_end(100).await;
                drop(ran.enter());
                if is_reset {
                    send.reset(200u32.into()).unwrap();
                } else {
                    let _ = send.write_all(&success).await;
                    send.finish().unwrap();
                }
            }
        };
        let calling = async {
            until_candidates(&caller, 1).await;
            within(5, caller.call(4)).await
        };
        tokio::select! {
            () = serve_by_hand(&intruder, &entry, ends) => unreachable!(),
            result = calling => assert!(matches!(result, Err(CallError::Transport(_)))),
        }
        assert_eq!(ran.started(), 1, "reset: {is_reset}");
    }
}
