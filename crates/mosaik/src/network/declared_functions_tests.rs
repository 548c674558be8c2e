//! Peers of the network that speak the protocol of functions wrongly; it takes a whole node to see
//! what becomes of them.

use std::time::Duration;

use futures::future::join_all;
use iroh::{RelayMode, endpoint::ApplicationClose};
use serde::Serialize;
use tokio::time::timeout;

use super::*;
use crate::{
    Bytes, discovery,
    functions::{Caller, Handler},
    net::{Link, close::UnknownPeer, link::RecvError},
    primitives::{Digest, FunctionId},
};

const ALPN: &[u8] = b"/mosaik/functions/1.0";
const CALL: u8 = 0;
const STREAM: u8 = 1;
const PROBE: u8 = 2;

#[derive(Serialize)]
struct Header {
    kind: u8,
    function: FunctionId,
    budget_us: u64,
    request_bytes: u64,
    trace: Option<()>,
    schema: Option<()>,
}

fn header(kind: u8, function: FunctionId, request_bytes: u64) -> Header {
    Header {
        kind,
        function,
        budget_us: 60_000_000,
        request_bytes,
        trace: None,
        schema: None,
    }
}

async fn node(id: Digest) -> Network {
    Network::builder(id)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery::Config::builder().no_dht_bootstrap())
        .build()
        .await
        .unwrap()
}

async fn pair() -> (Network, Network) {
    let id = Digest::random();
    let (a, b) = (node(id).await, node(id).await);
    a.discovery().sync_with(b.local().addr()).await.unwrap();
    (a, b)
}

fn serve(network: &Network) -> Handler<Bytes, u64> {
    let serve = |bytes: Bytes, _: CallContext| async move { Ok(bytes.len() as u64) };
    network.functions().handler().serve(serve).unwrap()
}

async fn open(from: &Network, to: &Network) -> Link {
    let links = from.discovery().links();
    links.open(ALPN, to.local().addr()).await.unwrap()
}

/// The reason with which a link is closed, and the number of frames before it.
async fn closed(link: &mut Link) -> (ApplicationClose, usize) {
    let mut frames = 0;
    let end = async {
        loop {
            match link.receiver.recv_bytes().await {
                Ok(_) => frames += 1,
                Err(RecvError::Closed(reason)) => return reason,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let reason = timeout(Duration::from_secs(8), end).await;
    (reason.expect("the link must be closed"), frames)
}

/// Sends frames, and returns what the link is closed with.
async fn answer_to(from: &Network, to: &Network, frames: &[&[u8]]) -> (u64, usize) {
    let mut link = open(from, to).await;
    for frame in frames {
        link.sender.queue_bytes(frame).unwrap();
    }
    link.sender.flush().await.unwrap();
    let (reason, frames) = closed(&mut link).await;
    (reason.error_code.into_inner(), frames)
}

fn encoded(header: &Header) -> Vec<u8> {
    crate::primitives::encoding::try_serialize(header)
        .unwrap()
        .to_vec()
}

#[tokio::test]
async fn every_mistake_has_its_answer() {
    let (a, b) = pair().await;
    let handler = serve(&a);
    let id = *handler.function_id();
    let request = crate::primitives::encoding::try_serialize(&Bytes::from_static(b"abc")).unwrap();
    let len = request.len() as u64;

    let right = encoded(&header(CALL, id, len));
    assert_eq!(answer_to(&b, &a, &[&right, &request]).await, (200, 1));
    let probe = encoded(&header(PROBE, id, 0));
    assert_eq!(answer_to(&b, &a, &[&probe]).await, (200, 0));

    let nobody = encoded(&header(CALL, Digest::zero(), len));
    assert_eq!(answer_to(&b, &a, &[&nobody, &request]).await, (11_404, 0));
    let another_kind = encoded(&header(STREAM, id, len));
    assert_eq!(
        answer_to(&b, &a, &[&another_kind, &request]).await,
        (400, 0)
    );
    let too_large = encoded(&header(CALL, id, u64::MAX));
    assert_eq!(answer_to(&b, &a, &[&too_large]).await, (400, 0));
    let another_size = encoded(&header(CALL, id, len + 1));
    assert_eq!(
        answer_to(&b, &a, &[&another_size, &request]).await,
        (400, 0)
    );
    assert_eq!(
        answer_to(&b, &a, &[&right, b"\xff\xff\xff\xff"]).await,
        (400, 0)
    );
    assert_eq!(answer_to(&b, &a, &[b"no header"]).await, (400, 0));
    assert_eq!(answer_to(&b, &a, &[&[0; 200]]).await, (400, 0));
    let larger_than_said = vec![0; 70_000];
    assert_eq!(
        answer_to(&b, &a, &[&right, &larger_than_said]).await,
        (400, 0)
    );

    let stats = handler.stats();
    assert_eq!((stats.served(), stats.inflight()), (1, 0));
    assert_eq!(stats.failed(), 1, "the one that can't be decoded");
    let caller: Caller<Bytes, u64> = b.functions().caller().build();
    assert_eq!(caller.call(Bytes::from_static(b"four")).await.unwrap(), 4);
}

#[tokio::test]
async fn a_stranger_is_unknown_whatever_it_says() {
    let id = Digest::random();
    let (a, stranger) = (node(id).await, node(id).await);
    let handler = serve(&a);
    let call = encoded(&header(CALL, *handler.function_id(), 0));
    for frame in [&call[..], b"no header"] {
        let mut link = open(&stranger, &a).await;
        link.sender.queue_bytes(frame).unwrap();
        link.sender.flush().await.unwrap();
        let (reason, _) = closed(&mut link).await;
        assert_eq!(UnknownPeer, reason);
    }
}

#[tokio::test]
async fn a_large_request_waits_for_the_verdict() {
    let (a, b) = pair().await;
    let handler = serve(&a);
    let bytes = Bytes::from(vec![7; 100_000]);
    let request = crate::primitives::encoding::try_serialize(&bytes).unwrap();
    let header = header(CALL, *handler.function_id(), request.len() as u64);

    let mut link = open(&b, &a).await;
    link.send(&header).await.unwrap();
    let proceed = link.receiver.recv_bytes().await.unwrap();
    assert_eq!(&proceed[..], [2]);
    assert_eq!(
        handler.stats().inflight(),
        0,
        "it runs only with its request"
    );
    link.sender.queue_bytes(&request).unwrap();
    link.sender.flush().await.unwrap();
    assert_eq!(closed(&mut link).await.1, 1);
    assert_eq!(handler.stats().served(), 1);

    // Leaving instead of sending costs no place.
    let mut link = open(&b, &a).await;
    link.send(&header).await.unwrap();
    link.receiver.recv_bytes().await.unwrap();
    drop(link);
    let caller: Caller<Bytes, u64> = b.functions().caller().build();
    assert_eq!(caller.call(Bytes::from_static(b"four")).await.unwrap(), 4);
    let stats = handler.stats();
    assert_eq!((stats.failed(), stats.inflight()), (0, 0));
}

#[tokio::test]
async fn silent_streams_harm_nobody_and_end() {
    let (a, b) = pair().await;
    let _handler = serve(&a);
    let caller: Caller<Bytes, u64> = b.functions().caller().build();
    caller.when().online().await;
    let silent = join_all((0..300).map(|_| async {
        let mut link = open(&b, &a).await;
        let mut half = Bytes::from_static(&[40, 0, 0, 0, 1, 2, 3]);
        let part = core::slice::from_mut(&mut half);
        link.sender.write_framed(part).await.unwrap();
        link
    }));
    let mut silent = silent.await;
    for n in 0..100_u64 {
        let request = Bytes::from(vec![0; usize::try_from(n).unwrap()]);
        assert_eq!(caller.call(request).await.unwrap(), n);
    }
    for link in &mut silent {
        closed(link).await;
    }
}
