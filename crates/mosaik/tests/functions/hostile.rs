//! Callers and handlers that don't keep to the protocol.

use mosaik::{
    CallContext, Network, NetworkId, UniqueId,
    discovery::{PeerEntry, SignedPeerEntry},
    functions::{CallError, Caller, Handler},
    id,
    iroh::endpoint::Connection,
};
use serde::Serialize;

use super::common::{eventually, introduce, ms, until_candidates};
use crate::support::{
    intruder::{FUNCTIONS_ALPN, Intruder, PING_ALPN, end_of, frame, header, say},
    metrics::{count, counted},
    node, random_network, within,
};

const DOUBLE: UniqueId = id!("hostile/double");
const CALL: u8 = 0;
const PROBE: u8 = 2;

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

/// How a call of these bytes ends.
async fn outcome(connection: &Connection, bytes: &[u8]) -> Option<u64> {
    let (_send, mut recv) = say(connection, bytes).await;
    end_of(&mut recv).await
}

/// A header that announces a request, and what follows.
fn call(request_bytes: u64, then: &impl Serialize) -> Vec<u8> {
    let announced = (CALL, DOUBLE, 1_000_000u64, request_bytes);
    [frame(&announced), frame(then)].concat()
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
    let announced = frame(&(CALL, DOUBLE, 60_000_000u64, 100_000u64));
    let (_send, mut mute) = say(&connection, &announced).await;
    let (_send, mut half) = say(&connection, &[0, 0]).await;

    assert_eq!(outcome(&connection, &call(1, &7u32)).await, Some(200));
    for (what, bytes) in [
        ("garbage", frame(&vec![0xffu8; 64])),
        ("too large a header", header(129).to_vec()),
        ("too large a request", call(u64::MAX, &7u32)),
        ("another size than announced", call(3, &7u32)),
        ("an undecodable request", call(2, &(0xffu8, 0xffu8))),
        ("another kind", frame(&(1u8, DOUBLE, 1_000_000u64, 1u64))),
        ("no kind", frame(&(9u8, DOUBLE, 1_000_000u64, 1u64))),
    ] {
        assert_eq!(outcome(&connection, &bytes).await, Some(400), "{what}");
    }
    assert_eq!(violated(&id, "too_large"), 1);
    let nobody = frame(&(CALL, id!("nobody"), 1u64, 1u64));
    assert_eq!(outcome(&connection, &nobody).await, Some(11_404));

    assert_eq!(within(5, honest.call(4)).await.unwrap(), 8);
    end_of(&mut half).await.unwrap();
    assert_eq!(violated(&id, "silent"), 1);
    end_of(&mut mute).await;
    eventually(1, || handler.stats().inflight() == 0).await;
    assert_eq!(handler.stats().served(), 2);
    assert!(connection.close_reason().is_none());
}

/// Answers pings and probes as it should, and every call with the same bytes.
async fn answer_calls(intruder: &Intruder, entry: &SignedPeerEntry, answer: Vec<u8>) {
    // A close record with the code of success, and no text.
    let success = [&[4, 0, 0, 0x80][..], &200u32.to_le_bytes()].concat();
    let pong = frame(&(0u8, entry));
    loop {
        let connection = intruder.accept(entry.network_id()).await;
        let (pong, success, answer) = (pong.clone(), success.clone(), answer.clone());
        tokio::spawn(async move {
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let mut start = [0; 5];
                if recv.read_exact(&mut start).await.is_err() {
                    continue;
                }
                let bytes = match start[4] {
                    _ if connection.alpn() == PING_ALPN => &pong,
                    PROBE => &success,
                    _ => &answer,
                };
                let _ = send.write_all(bytes).await;
                let _ = send.finish();
            }
        });
    }
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
    tokio::select! {
        () = answer_calls(&intruder, &entry, answer) => unreachable!(),
        result = calling => result,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_replies_are_failures_of_their_call() {
    for (what, answer) in [
        ("an unknown tag", frame(&9u8)),
        ("an empty frame", frame(&())),
        ("too large a reply", header((64 << 20) + 2).to_vec()),
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
    match called_with(frame(&(0u8, 0xffu8, 0xffu8))).await {
        Err(CallError::Decode(_)) => {}
        other => panic!("an undecodable value: {other:?}"),
    }
}
