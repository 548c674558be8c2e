//! What the tests of functions share.

use std::time::Duration;

use mosaik::{
    Datum, Network,
    functions::{CallError, Caller},
    iroh::endpoint::VarInt,
};

use crate::support::{node, random_network, within};

/// Two nodes that know each other.
pub async fn pair() -> (Network, Network) {
    let [one, other] = meet(random_network(), 2).await.try_into().ok().unwrap();
    (one, other)
}

/// Nodes that all know each other.
pub async fn meet(id: mosaik::NetworkId, count: usize) -> Vec<Network> {
    let mut nodes: Vec<Network> = Vec::new();
    for _ in 0..count {
        let new = node(id).await;
        for old in &nodes {
            introduce(&new, old).await;
        }
        nodes.push(new);
    }
    nodes
}

/// Makes two nodes know each other.
pub async fn introduce(one: &Network, other: &Network) {
    within(5, one.discovery().sync_with(other.local().addr()))
        .await
        .unwrap();
}

/// Waits until a caller has this many candidates.
#[track_caller]
pub fn until_candidates<Req: Datum, Res: Datum, E: Datum>(
    caller: &Caller<Req, Res, E>,
    count: usize,
) -> impl Future<Output = ()> {
    let enough = caller.when().available().minimum_of(count);
    let few = caller.when().available().minimum_of(count + 1).unmet();
    within(5, async move {
        enough.await;
        few.await;
    })
}

/// Waits until a condition holds that nothing announces.
#[track_caller]
pub fn eventually(seconds: u64, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(seconds, async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

/// The code and name of a refusal.
#[track_caller]
pub fn refusal<T: std::fmt::Debug, E: std::fmt::Debug>(
    result: Result<T, CallError<E>>,
) -> (u64, String) {
    match result {
        Err(CallError::Rejected(close)) => {
            assert!(close.error_code > VarInt::from_u32(0));
            let name = String::from_utf8(close.reason.to_vec()).unwrap();
            (close.error_code.into_inner(), name)
        }
        other => panic!("not a refusal: {other:?}"),
    }
}
