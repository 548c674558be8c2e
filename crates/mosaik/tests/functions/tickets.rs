//! Tickets of callers, checked by handlers, and of handlers, checked by callers.

use std::sync::{Arc, Mutex};

use mosaik::{
    CallContext, PeerId, Ticket, UniqueId,
    functions::{CallError, Caller, caller::Replies},
    futures::{StreamExt, stream},
    id,
    tickets::{
        Expiration, Hs256, InvalidTicket, Jwt, JwtTicketBuilder, PeerEntry, TicketClass,
        TicketValidator,
    },
};

use super::common::{Gate, eventually, meet, ms, pair, refusal, until_candidates};
use crate::support::{
    bound, random_network,
    tickets::{Moody, Until},
    within,
};

#[derive(Clone, Copy)]
struct Password(&'static str);

impl Password {
    fn ticket(self) -> Ticket {
        Ticket::new(self.class(), self.0.as_bytes().to_vec().into())
    }
}

impl TicketValidator for Password {
    fn class(&self) -> TicketClass {
        id!("test.password")
    }

    fn signature(&self) -> UniqueId {
        id!("test.password.validator").derive(self.0)
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        assert!(ticket != b"poison", "on purpose");
        let is_valid = ticket == self.0.as_bytes();
        is_valid.then_some(Expiration::Never).ok_or(InvalidTicket)
    }

    fn is_pure(&self) -> bool {
        true
    }
}

const PASS: Password = Password("sesame");

#[tokio::test(flavor = "multi_thread")]
async fn callers_need_a_ticket() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_function_id("gated")
        .require_caller_ticket(PASS)
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("gated")
        .require_caller_ticket(PASS)
        .build();
    until_candidates(&caller, 1).await;
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(refusal(refused), (11_403, "NotAllowed".into()));
    assert_eq!(handler.stats().failed(), 0);

    b.discovery()
        .add_ticket(Ticket::new(id!("test.password"), "poison".into()));
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(
        refusal(refused).0,
        11_403,
        "a validator that panics refuses"
    );

    b.discovery().replace_ticket(PASS.ticket());
    assert_eq!(
        within(5, caller.call_with_timeout(1, ms(3_000)))
            .await
            .unwrap(),
        1
    );

    b.discovery().remove_tickets_of(id!("test.password"));
    eventually(5, || {
        let catalog = a.discovery().catalog();
        catalog
            .get(&b.local().id())
            .is_some_and(|entry| entry.tickets().is_empty())
    })
    .await;
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(
        refusal(refused).0,
        11_403,
        "at once, not when the verdict is forgotten"
    );

    // Who doesn't declare the ticket looks for another function.
    let other: Caller<u8, u8> = b.functions().caller().with_function_id("gated").build();
    let error = within(5, other.call_with_timeout(1, ms(100)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_taken_away_admits_nobody() {
    let (a, b) = pair().await;
    let (old, new) = (Hs256::random(), Hs256::random());
    let operators = |key| Jwt::with_key(key).with_identity("ops");
    let serve = |key| {
        let builder = a.functions().handler().with_function_id("operate");
        let builder = builder.require_caller_ticket(operators(key));
        builder.serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
    };
    let token = |key| {
        let issuer = JwtTicketBuilder::new(key).expires_at(Expiration::in_24h());
        issuer.build(&b.local().id())
    };
    let before = serve(old).unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("operate")
        .require_caller_ticket(operators(old))
        .build();
    b.discovery().add_ticket(token(old));
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);

    let id = *before.function_id();
    drop(before);
    let after = serve(new).unwrap();
    assert_eq!(*after.function_id(), id, "the name stands for the keys");
    until_candidates(&caller, 1).await;
    let refused = within(5, caller.call_with_timeout(2, ms(200))).await;
    assert_eq!(refusal(refused), (11_403, "NotAllowed".into()));
    assert_eq!(after.stats().served(), 0);
    b.discovery().replace_ticket(token(new));
    assert_eq!(within(5, caller.call(3)).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_need_a_ticket() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .with_function_id("trusted")
        .require_handler_ticket(PASS)
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("trusted")
        .require_ticket(PASS)
        .build();
    let error = within(5, caller.call_with_timeout(1, ms(300)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unavailable), "{error:?}");
    a.discovery().add_ticket(PASS.ticket());
    until_candidates(&caller, 1).await;
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    a.discovery().remove_tickets_of(id!("test.password"));
    until_candidates(&caller, 0).await;
}

/// Takes any ticket of its class: of everybody, or from some moment on of one peer only.
#[derive(Clone, Default)]
struct Chosen(Arc<Mutex<Option<PeerId>>>);

impl TicketValidator for Chosen {
    fn class(&self) -> TicketClass {
        PASS.class()
    }

    fn signature(&self) -> UniqueId {
        id!("test.chosen")
    }

    fn verdict_id(&self) -> UniqueId {
        match *self.0.lock().unwrap() {
            Some(only) => self.signature().derive(only.as_bytes()),
            None => self.signature(),
        }
    }

    fn validate(&self, _: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let is_accepted = self.0.lock().unwrap().is_none_or(|only| only == *peer.id());
        is_accepted
            .then_some(Expiration::Never)
            .ok_or(InvalidTicket)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_goes_to_nobody_without_a_ticket() {
    let nodes = meet(random_network(), 3).await;
    let (gate, chosen) = (Gate::new(), Chosen::default());
    let handlers: Vec<_> = nodes[..2]
        .iter()
        .map(|node| {
            node.discovery().add_ticket(PASS.ticket());
            let (id, gate, chosen) = (node.local().id(), gate.clone(), chosen.clone());
            let builder = node.functions().handler().with_function_id("hedged");
            builder
                .require_handler_ticket(chosen.clone())
                .serve(move |n: u8, _: CallContext| {
                    // From now on the other one is not trusted.
                    chosen.0.lock().unwrap().get_or_insert(id);
                    let gate = gate.clone();
                    async move {
                        gate.pass().await;
                        Ok::<_, ()>(n)
                    }
                })
                .unwrap()
        })
        .collect();
    let caller: Caller<u8, u8> = nodes[2]
        .functions()
        .caller()
        .with_function_id("hedged")
        .require_handler_ticket(chosen)
        .with_idempotent(true)
        .with_hedging(ms(100))
        .build();
    until_candidates(&caller, 2).await;
    let (result, ()) = tokio::join!(within(5, caller.call(7)), async {
        gate.until_started(1).await;
        // Some time after the hedge was due.
        tokio::time::sleep(ms(400)).await;
        gate.open();
    });
    assert_eq!(result.unwrap(), 7);
    assert_eq!(gate.started(), 1, "only the one that is trusted was asked");
    let served: usize = handlers
        .iter()
        .map(|handler| handler.stats().served())
        .sum();
    assert_eq!(served, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_ticket_ends_calls_and_candidates() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .with_function_id("until")
        .require_caller_ticket(Until)
        .require_handler_ticket(Until)
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("until")
        .require_caller_ticket(Until)
        .require_handler_ticket(Until)
        .build();
    a.discovery().add_ticket(Until::ticket(60_000));
    b.discovery().add_ticket(Until::ticket(1_500));
    until_candidates(&caller, 1).await;
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    // Nobody changes anything: it is the time that passes.
    eventually(5, || Until.rejects(&b)).await;
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(refusal(refused), (11_403, "NotAllowed".into()));

    b.discovery().replace_ticket(Until::ticket(60_000));
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    a.discovery().replace_ticket(Until::ticket(500));
    until_candidates(&caller, 0).await;
    a.discovery().replace_ticket(Until::ticket(60_000));
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_replies_ends_with_the_ticket_of_its_caller() {
    let (a, b) = pair().await;
    let gate = Gate::new();
    let inner = gate.clone();
    let handler = a
        .functions()
        .handler()
        .with_function_id("feed")
        .require_caller_ticket(Until)
        .serve_stream(move |(): (), _: CallContext| {
            let running = inner.enter();
            // Holds the guard for as long as the stream exists.
            let endless = stream::poll_fn(move |_| {
                let _ = &running;
                std::task::Poll::Pending
            });
            stream::iter([Ok::<u8, ()>(1)]).chain(endless)
        })
        .unwrap();
    let caller: Caller<(), u8> = b
        .functions()
        .caller()
        .with_function_id("feed")
        .require_caller_ticket(Until)
        .build();
    let ended = async |replies: &mut Replies<u8>, seconds: u64| {
        let last = within(seconds, replies.next()).await.unwrap();
        assert_eq!(refusal(last), (11_403, "NotAllowed".into()));
        assert!(within(1, replies.next()).await.is_none());
        eventually(1, || handler.stats().inflight() == 0).await;
    };

    b.discovery().add_ticket(Until::ticket(60_000));
    let mut replies = within(5, caller.call_stream(())).await.unwrap();
    assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 1);
    b.discovery().remove_tickets_of(Until.class());
    ended(&mut replies, 2).await;
    assert_eq!((gate.started(), gate.dropped()), (1, 1));

    // The call must have begun while the ticket holds, on a slow machine too.
    let second = u64::try_from(bound(1).as_millis()).unwrap();
    b.discovery().add_ticket(Until::ticket(second * 3 / 2));
    let mut replies = within(5, caller.call_stream(())).await.unwrap();
    assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 1);
    // Renewed before the end: no interruption.
    b.discovery().replace_ticket(Until::ticket(second * 5 / 2));
    let early = tokio::time::timeout(ms(second * 2), replies.next()).await;
    assert!(early.is_err(), "the renewed ticket holds");
    ended(&mut replies, 2).await;
    assert_eq!(gate.dropped(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_replies_ends_with_the_ticket_of_its_handler() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_function_id("feed")
        .require_handler_ticket(Until)
        // Always ready: the ticket is looked at nevertheless.
        .serve_stream(|(): (), _: CallContext| stream::repeat(Ok::<u8, ()>(1)))
        .unwrap();
    let caller: Caller<(), u8> = b
        .functions()
        .caller()
        .with_function_id("feed")
        .require_handler_ticket(Until)
        .build();
    for removed in [true, false] {
        a.discovery()
            .replace_ticket(Until::ticket(if removed { 60_000 } else { 1_000 }));
        let mut replies = within(5, caller.call_stream(())).await.unwrap();
        assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 1);
        if removed {
            a.discovery().remove_tickets_of(Until.class());
        }
        let end = async {
            loop {
                match replies.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error,
                    None => panic!("an end without a reason"),
                }
            }
        };
        let error = within(4, end).await;
        assert_eq!(refusal::<u8, ()>(Err(error)), (11_403, "NotAllowed".into()));
        drop(replies);
        eventually(2, || handler.stats().inflight() == 0).await;
    }
}

/// Regression: a validator that had accepted a ticket for ever was not asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_replies_ends_when_a_validator_changes_its_mind() {
    let (a, b) = pair().await;
    a.discovery().add_ticket(Moody::ticket());
    b.discovery().add_ticket(Moody::ticket());
    let (callers, handlers) = (Moody::new(), Moody::new());
    let handler = a
        .functions()
        .handler()
        .with_function_id("feed")
        .require_caller_ticket(callers.clone())
        .require_handler_ticket(handlers.clone())
        .serve_stream(|(): (), _: CallContext| {
            stream::iter([Ok::<u8, ()>(1)]).chain(stream::pending())
        })
        .unwrap();
    let caller: Caller<(), u8> = b
        .functions()
        .caller()
        .with_function_id("feed")
        .require_caller_ticket(callers.clone())
        .require_handler_ticket(handlers.clone())
        .build();
    for validator in [callers, handlers] {
        // A refusal of before is remembered for a second.
        let calling = async {
            loop {
                let limit = ms(500);
                if let Ok(Ok(replies)) = tokio::time::timeout(limit, caller.call_stream(())).await {
                    return replies;
                }
            }
        };
        let mut replies = within(8, calling).await;
        assert_eq!(within(5, replies.next()).await.unwrap().unwrap(), 1);
        validator.accept(false);
        let last = within(4, replies.next()).await.unwrap();
        assert_eq!(refusal(last), (11_403, "NotAllowed".into()));
        eventually(2, || handler.stats().inflight() == 0).await;
        validator.accept(true);
    }
}
