//! Tickets where nothing else changes: over the hub, round-trip times stay as they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use mosaik::{
    CallContext, GroupKey, Ticket, UniqueId,
    functions::Caller,
    groups::NoOp,
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};
use mosaik_sim::{Conditions, bound};
use tokio::time::timeout;

use crate::support::{Formed, PATIENCE};

/// Takes any ticket for as long as it likes.
#[derive(Clone)]
struct Moody(Arc<AtomicBool>);

impl TicketValidator for Moody {
    fn class(&self) -> TicketClass {
        id!("sim.moody")
    }

    fn signature(&self) -> UniqueId {
        id!("sim.moody.validator")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let accepts = self.0.load(Ordering::SeqCst);
        accepts.then_some(Expiration::Never).ok_or(InvalidTicket)
    }
}

/// Regression: a validator that had accepted a ticket for ever was not asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_changes_its_mind_ends_all_that_stands_on_it() {
    let steady = Conditions {
        latency: Duration::from_millis(40),
        ..Conditions::default()
    };
    let formed = Formed::new(6, steady, 2).await;
    let [a, b] = &formed.nodes[..] else {
        panic!("two nodes");
    };
    for node in [a, b] {
        node.discovery()
            .add_ticket(Ticket::new(id!("sim.moody"), "any".into()));
    }
    let moody = Moody(Arc::new(AtomicBool::new(true)));

    let producer = a.streams().producer::<u8>().with_stream_id("by producer");
    let _by_producer = producer.require_ticket(moody.clone()).build().unwrap();
    let put_out = b.streams().consumer::<u8>().with_stream_id("by producer");
    let put_out = put_out.build();
    let producer = a.streams().producer::<u8>().with_stream_id("by consumer");
    let _by_consumer = producer.build().unwrap();
    let leaving = b.streams().consumer::<u8>().with_stream_id("by consumer");
    let leaving = leaving.require_ticket(moody.clone()).build();
    let _handler = a
        .functions()
        .handler()
        .with_function_id("feed")
        .require_caller_ticket(moody.clone())
        .serve_stream(|(): (), _: CallContext| {
            stream::iter([Ok::<u8, ()>(1)]).chain(stream::pending())
        })
        .unwrap();
    let caller: Caller<(), u8> = b
        .functions()
        .caller()
        .with_function_id("feed")
        .require_caller_ticket(moody.clone())
        .build();
    let key = GroupKey::random();
    let join = |node: &mosaik::Network| -> mosaik::Group<NoOp> {
        let group = node.groups().with_key(key);
        group.require_ticket(moody.clone()).join()
    };
    let (group, _other) = (join(a), join(b));

    let patience = bound(PATIENCE);
    for consumer in [&put_out, &leaving] {
        let subscribed = consumer.when().subscribed();
        timeout(patience, subscribed).await.unwrap();
    }
    let calling = timeout(patience, caller.call_stream(()));
    let mut replies = calling.await.unwrap().unwrap();
    let first = timeout(patience, replies.next()).await.unwrap();
    assert_eq!(first.unwrap().unwrap(), 1);
    let bond = async {
        loop {
            if let Some(bond) = group.bonds().get(&b.local().id()) {
                return bond;
            }
            group.bonds().changed().await;
        }
    };
    let bond = timeout(patience, bond).await.unwrap();

    moody.0.store(false, Ordering::SeqCst);
    let soon = bound(Duration::from_secs(3));
    let ended = async {
        put_out.when().unsubscribed().await;
        leaving.when().unsubscribed().await;
        assert!(replies.next().await.unwrap().is_err());
        assert_eq!(bond.terminated().await.error_code, 30_403u32.into());
    };
    timeout(soon, ended).await.unwrap();

    moody.0.store(true, Ordering::SeqCst);
    let allowed = async {
        put_out.when().subscribed().await;
        leaving.when().subscribed().await;
        while group.bonds().is_empty() {
            group.bonds().changed().await;
        }
    };
    timeout(patience, allowed).await.unwrap();
}
