//! Helpers shared by the tests of functions.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mosaik::{
    Datum, Network, NetworkId, UniqueId,
    discovery::SignedPeerEntry,
    functions::{CallError, Caller},
    iroh::endpoint::{RecvStream, SendStream},
};
use tokio::sync::watch;

pub(crate) use crate::support::eventually;
use crate::support::{
    intruder::{Intruder, PING_ALPN, frame},
    node, random_network, within,
};

/// Two nodes that know each other.
pub(crate) async fn pair() -> (Network, Network) {
    let mut nodes = meet(random_network(), 2).await.into_iter();
    (nodes.next().unwrap(), nodes.next().unwrap())
}

/// Nodes that all know each other.
pub(crate) async fn meet(id: NetworkId, count: usize) -> Vec<Network> {
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
pub(crate) async fn introduce(one: &Network, other: &Network) {
    let syncing = one.discovery().sync_with(other.local().addr());
    within(5, syncing).await.unwrap();
}

/// Waits until a caller has exactly this many candidates.
#[track_caller]
pub(crate) fn until_candidates<Req: Datum, Res: Datum, E: Datum>(
    caller: &Caller<Req, Res, E>,
    count: usize,
) -> impl Future<Output = ()> + use<Req, Res, E> {
    let enough = caller.when().available().minimum_of(count);
    let not_more = caller.when().available().minimum_of(count + 1).unmet();
    within(5, async move {
        enough.await;
        not_more.await;
    })
}

/// The header of a call by hand: one that announces a request of this size, exports no
/// traces and has no schema.
pub(crate) fn call_header(kind: u8, function: UniqueId, request_bytes: u64) -> Vec<u8> {
    frame(&(
        kind,
        function,
        60_000_000_u64,
        request_bytes,
        None::<u8>,
        None::<u8>,
    ))
}

/// Serves by hand what an entry offers: answers pings and signs of life as it should, and leaves
/// calls to a closure, each with its header read.
pub(crate) async fn serve_by_hand<F, Fut>(intruder: &Intruder, entry: &SignedPeerEntry, on_call: F)
where
    F: Fn(SendStream, RecvStream) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    const PROBE: u8 = 2;
    // A close record with the code of success, and no text.
    let success = [&[4, 0, 0, 0x80][..], &200u32.to_le_bytes()].concat();
    let pong = frame(&(0u8, entry));
    loop {
        let connection = intruder.accept(entry.network_id()).await;
        let (pong, success, on_call) = (pong.clone(), success.clone(), on_call.clone());
        tokio::spawn(async move {
            while let Ok((mut send, mut recv)) = connection.accept_bi().await {
                let mut start = [0; 5];
                if recv.read_exact(&mut start).await.is_err() {
                    continue;
                }
                let answer = match start[4] {
                    _ if connection.alpn() == PING_ALPN => &pong,
                    PROBE => &success,
                    _ => {
                        let len = u32::from_le_bytes(*start.first_chunk().unwrap());
                        let mut header = vec![0; len as usize - 1];
                        recv.read_exact(&mut header).await.unwrap();
                        tokio::spawn(on_call(send, recv));
                        continue;
                    }
                };
                let _ = send.write_all(answer).await;
                let _ = send.finish();
            }
        });
    }
}

/// The code and name of a refusal.
#[track_caller]
pub(crate) fn refusal<T: Debug, E: Debug>(result: Result<T, CallError<E>>) -> (u64, String) {
    match result {
        Err(CallError::Rejected(close)) => {
            let name = String::from_utf8(close.reason.to_vec()).unwrap();
            (close.error_code.into_inner(), name)
        }
        other => panic!("not a refusal: {other:?}"),
    }
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Functions that run until they are allowed to end, and are counted.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Counts>);

struct Counts {
    started: watch::Sender<usize>,
    dropped: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Counts {
            started: watch::Sender::new(0),
            dropped: AtomicUsize::new(0),
            open: watch::Sender::new(false),
        }))
    }

    /// Runs until the gate is open.
    pub(crate) async fn pass(&self) {
        let _guard = self.enter();
        let mut open = self.0.open.subscribe();
        open.wait_for(|open| *open).await.unwrap();
    }

    /// Counts one in; dropping the guard counts it out.
    pub(crate) fn enter(&self) -> impl Send + 'static + use<> {
        struct Guard(Gate);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.0.dropped.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.0.started.send_modify(|started| *started += 1);
        Guard(self.clone())
    }

    pub(crate) fn open(&self) {
        self.0.open.send_replace(true);
    }

    pub(crate) fn started(&self) -> usize {
        *self.0.started.borrow()
    }

    /// Those that have ended, in whatever way.
    pub(crate) fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(crate) fn until_started(&self, count: usize) -> impl Future<Output = ()> + use<> {
        let mut started = self.0.started.subscribe();
        within(5, async move {
            started.wait_for(|started| *started >= count).await.unwrap();
        })
    }
}
