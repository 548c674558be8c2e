//! Callers and handlers that don't keep to the protocol.

use mosaik::{
    CallContext, Network, NetworkId, UniqueId,
    discovery::PeerEntry,
    functions::{CallError, Caller, Handler},
    id,
    iroh::endpoint::Connection,
};
use serde::Serialize;

use super::common::{eventually, introduce, ms, until_candidates};
use crate::support::{
    intruder::{FUNCTIONS_ALPN, Intruder, end_of, frame, header, say},
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

/// Answers probes as it should, and calls with the same bytes each.
async fn answer_calls(intruder: &Intruder, network: NetworkId, answer: Vec<u8>) {
    loop {
        let connection = intruder.accept(&network).await;
        if connection.alpn() != FUNCTIONS_ALPN {
            // Kept open, and never answered.
            tokio::spawn(async move { connection.closed().await });
            continue;
        }
        let answer = answer.clone();
        tokio::spawn(async move {
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let mut start = [0; 5];
                if recv.read_exact(&mut start).await.is_err() {
                    continue;
                }
                // A close record with the code of success, and no text.
                let success = [&[4, 0, 0, 0x80][..], &200u32.to_le_bytes()].concat();
                let bytes = if start[4] == PROBE { &success } else { &answer };
                let _ = send.write_all(bytes).await;
                let _ = send.finish();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_replies_are_failures_of_their_call() {
    let id = random_network();
    for (what, answer) in [
        ("an unknown tag", frame(&9u8)),
        ("an empty frame", frame(&())),
        ("too large a reply", header((64 << 20) + 2).to_vec()),
        (
            "a beginning without an end",
            [&header(9)[..], &[0]].concat(),
        ),
        ("nothing", Vec::new()),
        ("an undecodable value", frame(&(0u8, 0xffu8, 0xffu8))),
    ] {
        let b = node(id).await;
        let intruder = Intruder::new().await;
        let mut entry = PeerEntry::new(id, intruder.addr());
        entry.functions.insert(DOUBLE);
        assert!(b.discovery().insert(entry));
        let caller = caller(&b);
        let serving = answer_calls(&intruder, id, answer);
        let calling = async {
            until_candidates(&caller, 1).await;
            within(5, caller.call_with_timeout(4, ms(4_000))).await
        };
        let result = tokio::select! {
            () = serving => unreachable!(),
            result = calling => result,
        };
        match result {
            Err(CallError::Decode(_)) => assert_eq!(what, "an undecodable value"),
            Err(CallError::Transport(_)) => assert_ne!(what, "an undecodable value"),
            other => panic!("{what}: {other:?}"),
        }
    }
}
